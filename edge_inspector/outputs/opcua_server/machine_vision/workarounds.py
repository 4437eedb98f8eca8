"""What asyncua 2.1's server needs mended for OPC 40100-1, each with the defect named; patched at run time.

Two more defects are gone round, not patched: `EventGenerator` takes the type of each field from the event type's
value, which is null in a published nodeset, and tells an event only to who listens at the emitting object itself, not
to who listens at Server (see events.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from asyncua import Server, ua
from asyncua.server import internal_session, monitored_item_service

from edge_inspector.errors import OutputError

_NEEDED: tuple[tuple[Any, str], ...] = (
    (internal_session.InternalSession, "call"),
    (monitored_item_service.WhereClauseEvaluator, "eval"),
    (monitored_item_service.WhereClauseEvaluator, "_eval_el"),
)
_MARK = "_edge_inspector_machine_vision"
MAX_ELEMENTS = 100
"""Of an event filter; one with more lets nothing through."""
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)
_caller: ContextVar[Any] = ContextVar("caller", default=None)


def apply() -> None:
    """Patch asyncua once in this process. OutputError when a patched symbol is gone: not the pinned version."""
    for owner, name in _NEEDED:
        if not hasattr(owner, name):
            raise OutputError(f"asyncua has no {owner.__name__}.{name}: install asyncua>=2.1,<2.2")
    if hasattr(internal_session.InternalSession, _MARK):
        return
    setattr(internal_session.InternalSession, _MARK, True)
    _callers()
    _event_filters()


def caller() -> Any:
    """The user (asyncua's User) of the session that calls the method in which this is asked."""
    return _caller.get()


def _callers() -> None:
    """A method is not told who calls it: the session has the user and does not pass it on. And the methods of one
    request leave no turn to anybody else.
    """
    original = internal_session.InternalSession.call

    async def call(self: Any, params: Any) -> Any:
        token = _caller.set(self.user)
        try:
            results: list[Any] = []
            for one in params:
                results += await original(self, [one])
                await asyncio.sleep(0)
            return results
        finally:
            _caller.reset(token)

    internal_session.InternalSession.call = call


def _event_filters() -> None:
    """An event filter OfType compares for equality: who asks for BaseEventType or a parent type gets nothing.

    And a filter may make the server work for ever: its elements may refer to themselves, or twice to the next one,
    which doubles the work with each element. Here each is evaluated once for an event. What cannot be evaluated is
    false, as Part 4 has it, without a traceback for each event, or a line that holds what the client has sent.
    """
    original = monitored_item_service.WhereClauseEvaluator._eval_el

    def evaluate(self: Any, event: Any) -> bool:
        if not self.elements:
            return True
        self.evaluated, self.logger = {}, _SILENT
        try:
            return len(self.elements) <= MAX_ELEMENTS and bool(self._eval_el(0, event))
        except (AttributeError, IndexError, NotImplementedError, TypeError, ValueError):
            return False

    def evaluate_element(self: Any, index: int, event: Any) -> Any:
        if index not in self.evaluated:
            self.evaluated[index] = None  # what it is worth to itself
            element = self.elements[index]
            if element.FilterOperator == ua.FilterOperator.OfType:
                wanted = self._eval_op(element.FilterOperands[0], event)
                value = any(each == wanted for each in _types_up_from(self._aspace, event.EventType))
            else:
                value = original(self, index, event)
            self.evaluated[index] = value
        return self.evaluated[index]

    monitored_item_service.WhereClauseEvaluator.eval = evaluate
    monitored_item_service.WhereClauseEvaluator._eval_el = evaluate_element


def _types_up_from(aspace: Any, type_id: ua.NodeId) -> Iterator[ua.NodeId]:
    """A type, its parent, and so on."""
    has_subtype = ua.NodeId(ua.ObjectIds.HasSubtype)
    here: ua.NodeId | None = type_id
    while here is not None and here in aspace:
        yield here
        up = (r for r in aspace[here].references if not r.IsForward and r.ReferenceTypeId == has_subtype)
        here = next((r.NodeId for r in up), None)


async def tell_apart(server: Server, types: list[ua.NodeId]) -> None:
    """A structure that adds no field gets its parent's class, and is sent under the parent's encoding id.

    The three of OPC 40100-1 (recipe and configuration ids) would all go out as BinaryIdBaseDataType.
    """
    for type_id in types:
        shared = ua.get_type(type_id)
        if shared.data_type == type_id:
            continue
        node = server.get_node(type_id)
        name = (await node.read_browse_name()).Name
        encodings = await node.get_referenced_nodes(ua.ObjectIds.HasEncoding)
        binary = [e for e in encodings if (await e.read_browse_name()).Name == "Default Binary"]
        own: type = dataclasses.dataclass(type(name, (shared,), {"data_type": type_id, "__annotations__": {}}))
        setattr(ua, name, own)
        ua.register_extension_object(name, binary[0].nodeid, own, type_id)
