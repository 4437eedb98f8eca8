"""The honest client during a fuzz run: reads every tag all the time and keeps a subscription."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from asyncua import ua
from opcua_hostile import tag_id
from opcua_wire import Closed, Wire, connected, result

from edge_inspector.plc.tags import BY_NAME, TAGS

BEAT_S = 5.0
"""The heartbeat must go on within this, on a machine that does two other things."""
_MOVING = ("Status.Heartbeat", "Status.Block", "Status.ErrorText")  # the text names what the PLC has written wrong
_RECIPE_READY = 1 << 12
_FREE = ("Control.", "Health.")


class Watchdog:
    """`faults` is what went wrong; `slowest_s` the longest read of all tags; `changes` tag -> two values."""

    def __init__(self, port: int, may_change: tuple[str, ...] = _FREE) -> None:
        """`may_change`: what the names of the tags begin with whose values the attack may change."""
        self._port = port
        self._free = may_change
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._read_all,), name="watchdog-reads"),
            threading.Thread(target=self._guarded, args=(self._follow,), name="watchdog-follows"),
        ]
        self.faults: list[str] = []
        self.changes: dict[str, Any] = {}
        self.slowest_s = 0.0
        self.reads = 0
        self.notifications = 0

    def __enter__(self) -> Watchdog:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except (OSError, ua.UaError) as exc:
            self.faults.append(f"{work.__name__}: the honest client lost its session: {exc!r}")

    def _read_all(self) -> None:
        with connected(self._port) as wire:
            before = _values(wire)
            while not before["Status.Word"] & _RECIPE_READY and not self._stop.wait(
                0.1
            ):  # the station is still starting
                before = _values(wire)
            beat, beaten = before["Status.Heartbeat"], time.monotonic()
            while not self._stop.wait(0.05):
                asked = time.monotonic()
                now = _values(wire)
                self.slowest_s = max(self.slowest_s, time.monotonic() - asked)
                self.reads += 1
                if now["Status.Heartbeat"] != beat:
                    beat, beaten = now["Status.Heartbeat"], time.monotonic()
                elif time.monotonic() - beaten > BEAT_S:
                    self.faults.append(f"the heartbeat stood at {beat} for more than {BEAT_S} s")
                    return
                for name, value in now.items():
                    free = name in _MOVING or name.startswith(self._free)
                    if not free and value != before[name] and name not in self.changes:
                        self.changes[name] = (before[name], value)

    def _follow(self) -> None:
        """A subscription of the heartbeat: its notifications must not stop."""
        with connected(self._port) as wire:
            _subscribe(wire)
            publish = ua.PublishRequest()
            publish.Parameters.SubscriptionAcknowledgements = []
            while not self._stop.is_set():
                answer = wire.ask(publish)
                if result(answer) != "Good":
                    self.faults.append(f"the honest client's subscription ended: {result(answer)}")
                    return
                self.notifications += len(answer.Parameters.NotificationMessage.NotificationData or [])


def _subscribe(wire: Wire) -> None:
    create = ua.CreateSubscriptionRequest()
    create.Parameters.RequestedPublishingInterval = 100.0
    create.Parameters.RequestedLifetimeCount = 300
    create.Parameters.RequestedMaxKeepAliveCount = 10
    create.Parameters.PublishingEnabled = True
    monitor = ua.CreateMonitoredItemsRequest()
    monitor.Parameters.SubscriptionId = wire.ask(create).Parameters.SubscriptionId
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor = ua.ReadValueId(NodeId=tag_id("Status.Heartbeat"), AttributeId=ua.AttributeIds.Value)
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle = 1
    item.RequestedParameters.SamplingInterval = 100.0
    item.RequestedParameters.QueueSize = 1
    monitor.Parameters.ItemsToCreate = [item]
    if not wire.ask(monitor).Results[0].StatusCode.is_good():
        raise Closed("the heartbeat cannot be monitored")


def _values(wire: Wire) -> Mapping[str, Any]:
    """Every tag's value; ValueError when one is not of the type and the length of the table."""
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
    request.Parameters.NodesToRead = [
        ua.ReadValueId(NodeId=tag_id(tag.name), AttributeId=ua.AttributeIds.Value) for tag in TAGS
    ]
    answer = wire.ask(request)
    if result(answer) != "Good":
        raise Closed(f"reading all tags: {result(answer)}")
    out = {}
    for tag, data in zip(TAGS, answer.Results, strict=True):
        value = data.Value.Value
        length = len(value) if isinstance(value, list) else 0
        if (data.Value.VariantType.name, length) != (tag.type, BY_NAME[tag.name].length):
            raise Closed(f"{tag.name} has become {data.Value.VariantType.name}[{length}]: {value!r}")
        out[tag.name] = value
    return out
