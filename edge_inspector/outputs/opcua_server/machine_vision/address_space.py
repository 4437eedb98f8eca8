"""The VisionSystem object in the address space: its nodes, and what they read in each state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from asyncua import Node, Server, ua
from asyncua.common.instantiate_util import instantiate

from edge_inspector.datatypes import Identity
from edge_inspector.outputs.opcua_server.machine_vision.states import AUTOMATIC, STATE_NODE, Step, Transition, top
from edge_inspector.plc.states import State

_SYSTEM, _RECIPES, _CONFIGURATIONS, _RESULTS, _AUTOMATIC_MODE = 1003, 1004, 1006, 1007, 1021
_DATA_TYPES = {
    "RecipeIdExternalDataType": 3002,
    "ProductIdDataType": 3003,
    "PartIdDataType": 3004,
    "ProcessingTimesDataType": 3005,
    "ResultDataType": 3006,
    "ConfigurationDataType": 3007,
    "ConfigurationIdDataType": 3008,
    "RecipeIdInternalDataType": 3013,
    "MeasIdDataType": 3015,
    "JobIdDataType": 3016,
    "ResultIdDataType": 3021,
    "SystemStateDataType": 3023,
    "SystemStateDescriptionDataType": 3024,
}
SAME_AS_PARENT = ("RecipeIdExternalDataType", "ConfigurationIdDataType", "RecipeIdInternalDataType")
"""Structures that add no field to their parent's."""
STATE_MACHINE = "VisionStateMachine"
AUTOMATIC_MODE = f"{STATE_MACHINE}.AutomaticModeStateMachine"

# What the device does for production, of SystemStateDataType (SEMI E10's six states).
_SYSTEM_STATES = {
    State.Preoperational: (2, "Preoperational: no recipe is ready"),
    State.Halted: (4, "Halted"),
    State.Error: (5, "Error"),
    State.Initialized: (2, "Standing by"),
    State.Ready: (2, "Standing by"),
    State.SingleExecution: (1, "Productive"),
    State.ContinuousExecution: (1, "Productive"),
}
_ENGINEERING = (3, "Not in Production: nothing is passed")


@dataclass(frozen=True)
class AddressSpace:
    """Node ids follow the browse path: `ns=<ours>;s=VisionSystem.VisionStateMachine.CurrentState.Number`."""

    server: Server
    own: int
    published: int
    """Namespace index of OPC 40100-1."""

    def node(self, path: str = "") -> ua.NodeId:
        return ua.NodeId(f"VisionSystem.{path}" if path else "VisionSystem", self.own)

    def type(self, number: int) -> ua.NodeId:
        return ua.NodeId(number, self.published)

    def data_type(self, name: str) -> ua.NodeId:
        return self.type(_DATA_TYPES[name])

    def cls(self, name: str) -> Any:
        """asyncua's class of a data type of OPC 40100-1."""
        return ua.get_type(self.data_type(name))

    def structure(self, name: str, text: str) -> Any:
        """An identification: a structure with nothing but an Id."""
        return self.cls(name)(Id=text)

    def state_node(self, state: State) -> ua.NodeId:
        return self.type(STATE_NODE[state])

    async def show_step(self, step: Step, now: datetime) -> None:
        """LastTransition of the machine that made it, and the state in which both are now."""
        machine = STATE_MACHINE if step.transition.machine == "vision" else AUTOMATIC_MODE
        await self._show_transition(f"{machine}.LastTransition", step.transition, now)
        await self.show_state(step.after, now)

    async def show_state(self, state: State, now: datetime) -> None:
        """Outside Operational the AutomaticModeStateMachine has no state: BadStateNotActive."""
        await self._show_state(f"{STATE_MACHINE}.CurrentState", top(state), now)
        await self._show_state(f"{AUTOMATIC_MODE}.CurrentState", state if state in AUTOMATIC else None, now)

    async def show_system_state(self, state: State, production: bool, now: datetime) -> None:
        number, words = _SYSTEM_STATES[state]
        if not production and state in AUTOMATIC:
            number, words = _ENGINEERING
        kind = self.cls("SystemStateDataType")(number)
        value = self.cls("SystemStateDescriptionDataType")(State=kind, StateDescription=words)
        await self.write("SystemState", ua.Variant(value, ua.VariantType.ExtensionObject), now)

    def transition_fields(self, transition: Transition) -> dict[str, ua.Variant]:
        """What TransitionEventType adds to BaseEventType."""
        fields = {
            "Transition": ua.Variant(ua.LocalizedText(transition.name), ua.VariantType.LocalizedText),
            "Transition/Id": ua.Variant(self.type(transition.node), ua.VariantType.NodeId),
            "Transition/Number": ua.Variant(transition.number, ua.VariantType.UInt32),
        }
        for name, state in (("FromState", transition.before), ("ToState", transition.after)):
            fields[name] = ua.Variant(ua.LocalizedText(state.name), ua.VariantType.LocalizedText)
            fields[f"{name}/Id"] = ua.Variant(self.state_node(state), ua.VariantType.NodeId)
            fields[f"{name}/Number"] = ua.Variant(int(state), ua.VariantType.UInt32)
        return fields

    async def _show_state(self, path: str, state: State | None, now: datetime) -> None:
        if state is None:
            not_active = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadStateNotActive), SourceTimestamp=now)
            not_active = replace(not_active, ServerTimestamp=now)
            for leaf in ("", ".Id", ".Number", ".Name"):
                await self.server.write_attribute_value(self.node(path + leaf), not_active)
            return
        await self.write(path, ua.Variant(ua.LocalizedText(state.name), ua.VariantType.LocalizedText), now)
        await self.write(f"{path}.Id", ua.Variant(self.state_node(state), ua.VariantType.NodeId), now)
        await self.write(f"{path}.Number", ua.Variant(int(state), ua.VariantType.UInt32), now)
        await self.write(f"{path}.Name", self._name(state.name), now)

    async def _show_transition(self, path: str, transition: Transition, now: datetime) -> None:
        words = ua.Variant(ua.LocalizedText(transition.name), ua.VariantType.LocalizedText)
        await self.write(path, words, now)
        await self.write(f"{path}.Id", ua.Variant(self.type(transition.node), ua.VariantType.NodeId), now)
        await self.write(f"{path}.Number", ua.Variant(transition.number, ua.VariantType.UInt32), now)
        await self.write(f"{path}.Name", self._name(transition.name), now)
        when = ua.Variant(now, ua.VariantType.DateTime)
        await self.write(f"{path}.TransitionTime", when, now)

    def _name(self, name: str) -> ua.Variant:
        return ua.Variant(ua.QualifiedName(name, self.published), ua.VariantType.QualifiedName)

    async def write(self, path: str, value: ua.Variant, now: datetime) -> None:
        stamped = ua.DataValue(value, SourceTimestamp=now, ServerTimestamp=now)
        await self.server.write_attribute_value(self.node(path), stamped)


async def build(space: AddressSpace, identity: Identity, now: datetime) -> None:
    """Add VisionSystem under Objects: the mandatory members of its types, and the optional ones that we serve."""
    server = space.server
    system = await server.nodes.objects.add_object(
        space.node(),
        ua.QualifiedName("VisionSystem", space.own),
        objecttype=space.type(_SYSTEM),
        instantiate_optional=False,
    )
    for name, type_id in (
        ("ConfigurationManagement", _CONFIGURATIONS),
        ("RecipeManagement", _RECIPES),
        ("ResultManagement", _RESULTS),
    ):
        await _add(space, system, name, space.type(type_id))
    machine = server.get_node(space.node(STATE_MACHINE))
    automatic = await _add(space, machine, AUTOMATIC_MODE, space.type(_AUTOMATIC_MODE))
    await _add_select_mode(space, machine)
    for path, one in ((STATE_MACHINE, machine), (AUTOMATIC_MODE, automatic)):
        await _complete_machine(space, path, one)
    await system.add_variable(
        space.node("SystemState"),
        ua.QualifiedName("SystemState", space.published),
        ua.Variant(space.cls("SystemStateDescriptionDataType")(), ua.VariantType.ExtensionObject),
        datatype=space.data_type("SystemStateDescriptionDataType"),
    )
    active = ua.Variant(configuration(space, identity, now), ua.VariantType.ExtensionObject)
    await space.write("ConfigurationManagement.ActiveConfiguration", active, now)
    await system.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
    await server.nodes.server.add_reference(system, ua.ObjectIds.HasNotifier)
    for one in (machine, automatic):
        await system.add_reference(one, ua.ObjectIds.HasEventSource)


async def _add(space: AddressSpace, parent: Node, path: str, type_id: ua.NodeId) -> Node:
    """One optional member with the mandatory members of its type."""
    name = ua.QualifiedName(path.rpartition(".")[2], space.published)
    added = await instantiate(
        parent,
        space.server.get_node(type_id),
        nodeid=space.node(path),
        bname=name,
        dname=ua.LocalizedText(name.Name),
        instantiate_optional=False,
    )
    return added[0]


async def _add_select_mode(space: AddressSpace, machine: Node) -> None:
    """SelectModeAutomatic is optional in the nodeset and mandatory in the text of the specification."""
    error = ua.Argument(Name="Error", DataType=ua.NodeId(ua.ObjectIds.Int32), ValueRank=-1)
    path = f"{STATE_MACHINE}.SelectModeAutomatic"

    async def nothing(_owner: ua.NodeId) -> ua.StatusCode:  # replaced when the methods are linked
        return ua.StatusCode(ua.StatusCodes.BadNotImplemented)

    name = ua.QualifiedName("SelectModeAutomatic", space.published)
    await machine.add_method(space.node(path), name, nothing, [], [error])


async def _complete_machine(space: AddressSpace, path: str, machine: Node) -> None:
    """Number and Name of the state, and LastTransition, all of them optional."""
    current = space.server.get_node(space.node(f"{path}.CurrentState"))
    await _add_property(space, current, f"{path}.CurrentState.Number", ua.VariantType.UInt32)
    await _add_property(space, current, f"{path}.CurrentState.Name", ua.VariantType.QualifiedName)
    last = f"{path}.LastTransition"
    nothing = ua.Variant(ua.LocalizedText(), ua.VariantType.LocalizedText)
    transition = await machine.add_variable(space.node(last), ua.QualifiedName("LastTransition", 0), nothing)
    await _set_type(transition, ua.NodeId(ua.ObjectIds.FiniteTransitionVariableType))
    for name, kind in (
        ("Id", ua.VariantType.NodeId),
        ("Number", ua.VariantType.UInt32),
        ("Name", ua.VariantType.QualifiedName),
        ("TransitionTime", ua.VariantType.DateTime),
    ):
        await _add_property(space, transition, f"{last}.{name}", kind)


async def _set_type(variable: Node, type_id: ua.NodeId) -> None:
    """asyncua makes every variable a BaseDataVariableType, or copies a VariableType without its access level."""
    present = await variable.read_type_definition()
    await variable.delete_reference(present, ua.ObjectIds.HasTypeDefinition, forward=True, bidirectional=False)
    await variable.add_reference(type_id, ua.ObjectIds.HasTypeDefinition, forward=True, bidirectional=False)


async def _add_property(space: AddressSpace, node: Node, path: str, kind: ua.VariantType) -> None:
    name = ua.QualifiedName(path.rpartition(".")[2], 0)
    await node.add_property(space.node(path), name, ua.get_default_value(kind), kind)


def configuration(space: AddressSpace, identity: Identity, now: datetime) -> Any:
    """ConfigurationDataType of the only configuration: its id is the station's name."""
    own_id = space.cls("ConfigurationIdDataType")(Id=identity.station, Version=identity.software_version)
    return space.cls("ConfigurationDataType")(
        HasTransferableDataOnFile=False, ExternalId=own_id, InternalId=own_id, LastModified=now
    )
