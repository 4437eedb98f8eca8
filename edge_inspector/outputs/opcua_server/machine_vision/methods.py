"""Calls of the methods: who may, with which arguments, and how a refusal is answered."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asyncua import Node, Server, ua
from asyncua.common.ua_utils import data_type_to_variant_type

from edge_inspector.datatypes import Reason
from edge_inspector.outputs.opcua_server.machine_vision import workarounds

Handler = Callable[..., Awaitable[tuple[Any, ...]]]
"""Takes plain values (identifications as their text), gives the output arguments but the last, which is Error."""
_REFUSED_BY_STATION = -100


class Error(enum.IntEnum):
    """The last output argument. The specification keeps positive numbers for itself; negative ones are ours."""

    OK = 0
    WRONG_STATE = -1
    UNKNOWN_ID = -2
    NOT_SUPPORTED = -3
    NO_ANSWER = -4
    BAD_ARGUMENT = -5
    COMMAND_REFUSED = -6
    WRONG_TRIGGER = -7


class Refusal(Exception):
    """A call that is answered with Good, empty outputs and this error number."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = int(error)


def refused_by_station(reason: int) -> Refusal:
    """The station's own reason is -100 less its number of the reason table: `not_ready` 9 is -109."""
    return Refusal(_REFUSED_BY_STATION - (reason or Reason.NOT_READY))


@dataclass(frozen=True)
class _Argument:
    variant: ua.VariantType
    structure: Any
    is_array: bool

    def read(self, given: ua.Variant) -> Any:
        """The plain value. TypeError when it is of another type."""
        value = given.Value
        if self.is_array:
            if value is not None and not isinstance(value, list):
                raise TypeError
            return list(value or ())
        if isinstance(value, list):
            raise TypeError
        if self.structure is not None:
            return _identification(value, self.structure)
        is_text = self.variant == ua.VariantType.String
        if given.VariantType != self.variant and not (is_text and value is None):
            raise TypeError
        return text(value) if is_text else value

    def written(self, value: Any) -> ua.Variant:
        return ua.Variant(value, self.variant, is_array=self.is_array)

    def blank(self) -> ua.Variant:
        """What an output reads when the call was refused."""
        if self.is_array:
            return self.written([])
        if self.structure is not None:
            return self.written(self.structure())
        return self.written(ua.get_default_value(self.variant))


def _identification(value: Any, structure: Any) -> str:
    """The Id of a structure; clients leave out an identification by a null in its place."""
    if value is None or (isinstance(value, ua.ExtensionObject) and not value.Body):
        return ""
    if not isinstance(value, structure):
        raise TypeError
    return text(value.Id).strip()


def text(value: str | None) -> str:
    """What a client wrote; bytes that are no UTF-8, which asyncua passes on as lone surrogates, become "?"."""
    return (value or "").encode("utf-8", "replace").decode("utf-8")


async def link(server: Server, method: Node, handler: Handler, may_call: Callable[[Any], bool]) -> None:
    """Put `handler` behind a method node; arguments are checked against those that the node declares."""
    inputs = await _arguments(server, method, "InputArguments")
    outputs = await _arguments(server, method, "OutputArguments")
    owners = {n.nodeid for n in await method.get_referenced_nodes(direction=ua.BrowseDirection.Inverse)}

    async def call(owner: ua.NodeId, *given: ua.Variant) -> ua.CallMethodResult | ua.StatusCode:
        if owner not in owners:
            return ua.StatusCode(ua.StatusCodes.BadMethodInvalid)
        if not may_call(workarounds.caller()):
            return ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
        if len(given) != len(inputs):
            missing = len(given) < len(inputs)
            codes = ua.StatusCodes
            return ua.StatusCode(codes.BadArgumentsMissing if missing else codes.BadTooManyArguments)
        values, wrong = [], [ua.StatusCode()] * len(given)
        for i, (argument, one) in enumerate(zip(inputs, given, strict=True)):
            try:
                values.append(argument.read(one))
            except TypeError:
                wrong[i] = ua.StatusCode(ua.StatusCodes.BadTypeMismatch)
        if len(values) < len(inputs):
            bad = ua.StatusCode(ua.StatusCodes.BadInvalidArgument)
            return ua.CallMethodResult(StatusCode=bad, InputArgumentResults=wrong)
        try:
            answer = [*await handler(*values), Error.OK]
        except Refusal as refusal:
            blanks = [o.blank() for o in outputs[:-1]]
            return ua.CallMethodResult(OutputArguments=[*blanks, outputs[-1].written(refusal.error)])
        return ua.CallMethodResult(OutputArguments=[o.written(value) for o, value in zip(outputs, answer, strict=True)])

    server.link_method(method, call)


async def forbid(method: Node) -> None:
    """Nobody may call it, and clients see that beforehand."""
    for attribute in (ua.AttributeIds.Executable, ua.AttributeIds.UserExecutable):
        await method.write_attribute(attribute, ua.DataValue(ua.Variant(False, ua.VariantType.Boolean)))

    async def call(_owner: ua.NodeId, *_given: ua.Variant) -> ua.StatusCode:
        return ua.StatusCode(ua.StatusCodes.BadNotExecutable)

    method.session.add_method_callback(method.nodeid, call)


async def _arguments(server: Server, method: Node, which: str) -> list[_Argument]:
    found = [n for n in await method.get_properties() if (await n.read_browse_name()).Name == which]
    declared = await found[0].read_value() if found else []
    arguments = []
    for one in declared:
        variant = await data_type_to_variant_type(server.get_node(one.DataType))
        structure = ua.get_type(one.DataType) if variant == ua.VariantType.ExtensionObject else None
        arguments.append(_Argument(variant, structure, one.ValueRank == 1))
    return arguments
