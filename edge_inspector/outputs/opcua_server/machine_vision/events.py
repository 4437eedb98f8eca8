"""Events of OPC 40100-1: made field by field and told to who listens at VisionSystem or at Server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from asyncua import Server, ua

from edge_inspector.interfaces import Clock

JOB_STARTED = 1013
STATE_CHANGED = 1018
ERROR = 1019
ERROR_RESOLVED = 1020
RECIPE_PREPARED = 1022
READY = 1023
RESULT_READY = 1024
ACQUISITION_DONE = 1025
"""Numeric NodeIds of the event types, in the namespace of OPC 40100-1."""
NAMES = {JOB_STARTED: "JobStarted", READY: "Ready", ACQUISITION_DONE: "AcquisitionDone"}
"""Of those that say nothing but which job."""

LOW, HIGH = 200, 700
"""Severity, 1..1000: what happens all day, and what stops the line."""


class Events:
    """Sends events of one vision system; each reaches a client once for every object at which it listens."""

    def __init__(self, server: Server, namespace: int, notifier: ua.NodeId, clock: Clock) -> None:
        self._server = server
        self._namespace = namespace
        self._notifiers = (notifier, ua.NodeId(ua.ObjectIds.Server))
        self._clock = clock

    async def send(
        self,
        type_id: int,
        message: str,
        source: tuple[ua.NodeId, str],
        fields: Mapping[str, ua.Variant],
        severity: int = LOW,
    ) -> None:
        """`source` is the node from which it comes and its name; `fields` those that the type adds to BaseEventType."""
        now = utc(self._clock.utc())
        event = _Event(
            {
                "EventId": ua.Variant(uuid.uuid4().bytes, ua.VariantType.ByteString),
                "EventType": ua.Variant(ua.NodeId(type_id, self._namespace), ua.VariantType.NodeId),
                "SourceNode": ua.Variant(source[0], ua.VariantType.NodeId),
                "SourceName": ua.Variant(source[1], ua.VariantType.String),
                "Time": ua.Variant(now, ua.VariantType.DateTime),
                "ReceiveTime": ua.Variant(now, ua.VariantType.DateTime),
                "Message": ua.Variant(ua.LocalizedText(message), ua.VariantType.LocalizedText),
                "Severity": ua.Variant(severity, ua.VariantType.UInt16),
                **fields,
            }
        )
        for notifier in self._notifiers:
            event.emitting_node = notifier
            await self._server.iserver.subscription_service.trigger_event(event)


class _Event:
    """What asyncua's subscriptions ask of an event; theirs copies every value for every subscriber."""

    def __init__(self, fields: Mapping[str, ua.Variant]) -> None:
        self._fields = fields
        self.emitting_node = ua.NodeId()

    def __getattr__(self, name: str) -> Any:
        """The value of a field, for filters; None = this type of event does not have it."""
        if name == "Retain":  # by this asyncua knows a condition
            raise AttributeError(name)
        field = self._fields.get(name)
        return None if field is None else field.Value

    def to_event_fields(self, select_clauses: list[ua.SimpleAttributeOperand] | None) -> list[ua.Variant]:
        """What one client has selected, whatever it was; null where this type of event has no such field."""
        return [self._fields.get(_path(one), _NOTHING) for one in select_clauses or ()]


def _path(clause: ua.SimpleAttributeOperand) -> str:
    return "/".join(step.Name or "" for step in clause.BrowsePath or ())


_NOTHING = ua.Variant(None, ua.VariantType.Null)


def utc(text: str) -> datetime:
    """RFC 3339 as our clock writes it -> an aware datetime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
