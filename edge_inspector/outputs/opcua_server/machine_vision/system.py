"""The VisionSystem: follows the contract, shows its states and sends its events; its methods are in calls.py."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from asyncua import Server, ua

from edge_inspector.datatypes import Identity, InspectionResult, Mode
from edge_inspector.interfaces import Clock, ExposureDone, PlcMessage, TriggerAccepted
from edge_inspector.outputs.live import LiveContract
from edge_inspector.outputs.opcua_server.machine_vision import events, nodeset, view, workarounds
from edge_inspector.outputs.opcua_server.machine_vision.address_space import (
    AUTOMATIC_MODE,
    SAME_AS_PARENT,
    STATE_MACHINE,
    AddressSpace,
    build,
)
from edge_inspector.outputs.opcua_server.machine_vision.calls import Calls
from edge_inspector.outputs.opcua_server.machine_vision.jobs import Jobs
from edge_inspector.outputs.opcua_server.machine_vision.queries import Queries
from edge_inspector.outputs.opcua_server.machine_vision.results import Job, Results
from edge_inspector.outputs.opcua_server.machine_vision.states import EXECUTING, Step, way
from edge_inspector.outputs.opcua_server.machine_vision.virtual_plc import VirtualPlc, Write
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import image
from edge_inspector.plc.states import State


class VisionSystem:
    """One vision system over one contract.

    `observe` shows states, events and results; `control` takes jobs, recipes and commands as well, which reach the
    contract through `write` as a PLC's would. For the event loop alone.
    """

    def __init__(
        self,
        live: LiveContract,
        identity: Identity,
        mode: Literal["observe", "control"],
        clock: Clock,
        write: Write,
    ) -> None:
        self._live = live
        self._identity = identity
        self._mode = mode
        self._clock = clock
        self._plc = VirtualPlc(live, write)
        self._jobs = Jobs(identity.boot_id)
        self._results = Results(identity.station)
        self._state = State.Preoperational
        self._halted = False
        self._halted_as = State.Halted
        self._cause = ""
        self._prepared = ""
        self.recipes_told = 0
        self._shown = (State.Preoperational, True)
        self._behind: deque[Contract | PlcMessage] = deque([live.contract])
        self._order = asyncio.Lock()
        self._showing: asyncio.Task[None] | None = None
        self._space: AddressSpace
        self._events: events.Events
        live.follow(lambda _, contract: self._behind.append(contract))

    async def add_to(self, server: Server, namespace_index: int, may_call: Callable[[Any], bool]) -> None:
        """Add the object before the server starts; `namespace_index` is ours. `may_call` judges the session's user."""
        workarounds.apply()
        published = await nodeset.load(server)
        self._space = AddressSpace(server, namespace_index, published)
        await workarounds.tell_apart(server, [self._space.data_type(name) for name in SAME_AS_PARENT])
        started = events.utc(self._clock.utc())
        await build(self._space, self._identity, started)
        await self._space.show_state(self._state, started)
        await self._space.show_system_state(self._state, production=True, now=started)
        self._events = events.Events(server, published, self._space.node(), self._clock)
        calls = Calls(self, self._plc, self._jobs, self._space, self._identity)
        queries = Queries(self._results, self._plc, self._space, self._identity, started)
        await calls.link(queries, may_call, changing=self._mode == "control")
        await self.follow()

    async def told(self, message: PlcMessage) -> None:
        """The station said this, and the tags show it already. Returns at once: a verdict never waits for events.

        So they have a task of their own, which ends when there is nothing more to show. A bug in it is raised here.
        """
        self._behind.append(message)
        showing, self._showing = self._showing, None
        if showing is not None and not showing.done():
            self._showing = showing
            return
        self._showing = asyncio.get_running_loop().create_task(self.follow(), name="machine vision events")
        if showing is not None:
            showing.result()

    async def follow(self) -> None:
        """Show every state through which the contract has gone, and tell every event; with a turn for others between.

        When it returns, whatever was told before the call is shown.
        """
        async with self._order:
            while self._behind:
                await self._take(self._behind.popleft())
                self._plc.look()
                await asyncio.sleep(0)

    async def _take(self, one: Contract | PlcMessage) -> None:
        if isinstance(one, Contract):
            if self._halted and not one.status.halted:
                self._halted_as = State.Halted
            self._halted = one.status.halted
            await self._go(view.state(one, self._halted_as), one)
            if self._plc.prepared() != self._prepared:
                await self._tell_prepared(self._plc.prepared())
        elif isinstance(one, TriggerAccepted):
            await self._tell_job(events.JOB_STARTED, self._jobs.started(self.plc_boot_id, one.trigger_seq))
        elif isinstance(one, ExposureDone):
            job = self._jobs.exposed(self.plc_boot_id, one.trigger_seq, self.runs_by_itself)
            await self._tell_job(events.ACQUISITION_DONE, job)
        elif isinstance(one, InspectionResult):
            await self._tell_result(one)

    # --- what the methods need --------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._state

    @property
    def runs_by_itself(self) -> bool:
        return self._live.contract.status.runs_by_itself

    @property
    def plc_boot_id(self) -> int:
        return self._live.contract.plc.plc_boot_id

    def because(self, method: str) -> None:
        """The next transition that this method can cause is caused by it; empty = no method is the reason."""
        self._cause = method

    def show_halted_as(self, state: State) -> None:
        """What a halted station is, until it runs again: Halted, Preoperational after Reset, Ready after Stop."""
        self._halted_as = state

    async def pass_preoperational(self) -> None:
        """Reset was carried out: whatever the state was, it goes through Preoperational, and stays there if halted."""
        await self.follow()
        async with self._order:
            contract = self._live.contract
            if contract.status.halted:
                self._halted_as = State.Preoperational
            await self._go(State.Preoperational, contract)
            await self._go(view.state(contract, self._halted_as), contract)
            self._plc.look()

    async def tell_prepared(self, name: str, unless_after: int) -> None:
        """RecipePrepared for an order of the recipe in use, unless more than `unless_after` have been told."""
        async with self._order:
            if self.recipes_told == unless_after:
                await self._tell_prepared(name)

    # --- events -----------------------------------------------------------------------------------------------------

    async def _go(self, after: State, contract: Contract) -> None:
        """Make each transition on the way to a state."""
        now = events.utc(self._clock.utc())
        production = contract.status.mode is Mode.PRODUCTION
        for step in way(self._state, after, self._cause):
            self._state = step.after
            await self._space.show_step(step, now)
            await self._tell_step(step, contract)
        if (self._state, production) != self._shown:
            self._shown = (self._state, production)
            await self._space.show_system_state(self._state, production, now)

    async def _tell_step(self, step: Step, contract: Contract) -> None:
        transition = step.transition
        machine = STATE_MACHINE if transition.machine == "vision" else AUTOMATIC_MODE
        cause = f"Method/{transition.cause}" if transition.cause else machine.rpartition(".")[2]
        source = (self._space.node(machine), cause)
        fields = self._space.transition_fields(transition)
        await self._events.send(events.STATE_CHANGED, transition.name, source, fields)
        if transition.cause:
            self._cause = ""
        if step.after is State.Error:
            why = str(image(contract)["Status.ErrorText"])
            await self._events.send(events.ERROR, why, source, fields, events.HIGH)
        elif transition.before is State.Error and not transition.cause:
            await self._events.send(events.ERROR_RESOLVED, transition.name, source, fields)
        if step.after is State.ContinuousExecution:
            await self._tell_job(events.JOB_STARTED, self._jobs.started_run())
        elif step.before in EXECUTING and step.after is State.Ready:
            await self._tell_job(events.READY, self._jobs.latest)

    async def _tell_job(self, event: int, job: Job) -> None:
        await self._send(event, f"{events.NAMES[event]} {job.job_id}", JobId=self._id("JobIdDataType", job.job_id))

    async def _tell_prepared(self, name: str) -> None:
        self._prepared = name
        if not name:
            return
        self.recipes_told += 1
        external, internal = (self._id(f"RecipeId{one}DataType", name) for one in ("External", "Internal"))
        await self._send(events.RECIPE_PREPARED, f"RecipePrepared {name}", ExternalId=external, InternalId=internal)

    async def _tell_result(self, result: InspectionResult) -> None:
        kept = self._results.keep(result, self._jobs.settled(result, self.runs_by_itself))
        fields = self._results.event_fields(kept, self._space)
        await self._send(events.RESULT_READY, f"ResultReady {result.result_id}", **fields)

    async def _send(self, event: int, message: str, **fields: ua.Variant) -> None:
        await self._events.send(event, message, (self._space.node(), "VisionSystem"), fields)

    def _id(self, structure: str, text: str) -> ua.Variant:
        return ua.Variant(self._space.structure(structure, text), ua.VariantType.ExtensionObject)
