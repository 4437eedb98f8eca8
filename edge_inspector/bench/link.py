"""A PLC that does nothing but ask for parts and note the time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType

from edge_inspector.datatypes import InspectionResult
from edge_inspector.interfaces import (
    Clock,
    PlcMessage,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
)


@dataclass(frozen=True)
class Part:
    """One part's way: when its trigger was seen, when its verdict was told (CLOCK_MONOTONIC ns).

    `result` is None when the trigger was refused; `refusal` says why.
    """

    seen_ns: int
    told_ns: int
    result: InspectionResult | None
    refusal: str = ""

    @property
    def latency_ns(self) -> int:
        return self.told_ns - self.seen_ns

    @property
    def stage_ns(self) -> dict[str, int]:
        """Where the time went; "tell" is from the settled verdict until the link has it."""
        if self.result is None:
            return {}
        return {**self.result.stage_ns, "tell": self.told_ns - self.result.settled_ns}


class TimingLink:
    """Triggers parts as the station allows; its own work for a part is a few records."""

    name = "plc"
    acknowledges = False
    dials = False
    asks = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = asyncio.Event()
        self._finished = asyncio.Event()
        self._station_ready = False
        self._station_busy = False
        self._asking = False
        self._one_at_a_time = True
        self._wanted = 0
        self._trigger_seq = 0
        self._seen_ns: dict[int, int] = {}
        self._parts: list[Part] = []

    async def __aenter__(self) -> TimingLink:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def serial(self, parts: int) -> list[Part]:
        """Each part is triggered when the one before it is told."""
        return await self._run(parts, one_at_a_time=True)

    async def pipelined(self, parts: int) -> list[Part]:
        """Each part is triggered as soon as the station is ready for another one."""
        return await self._run(parts, one_at_a_time=False)

    async def receive(self) -> TriggerRequest:
        while not self._may_trigger():
            self._changed.clear()
            await self._changed.wait()
        self._wanted -= 1
        self._asking = True
        self._trigger_seq += 1
        now = self._clock.monotonic_ns()
        self._seen_ns[self._trigger_seq] = now
        return TriggerRequest(self._trigger_seq, "", now, plc_boot_id=1)

    async def tell(self, message: PlcMessage) -> None:
        if isinstance(message, InspectionResult):
            self._finish(message.trigger.trigger_seq, message)
        elif isinstance(message, TriggerRefused):
            self._answered()
            self._finish(message.trigger_seq, None, message.reason.name.lower())
        elif isinstance(message, TriggerAccepted):
            self._answered()
        elif isinstance(message, StationStatus):
            self._station_ready, self._station_busy = message.ready, message.busy
            self._changed.set()

    async def _run(self, parts: int, one_at_a_time: bool) -> list[Part]:
        self._finished.clear()
        self._parts, self._one_at_a_time, self._wanted = [], one_at_a_time, parts
        self._changed.set()
        await self._finished.wait()
        return self._parts

    def _may_trigger(self) -> bool:
        waits = self._one_at_a_time and (self._station_busy or bool(self._seen_ns))
        return self._wanted > 0 and self._station_ready and not self._asking and not waits

    def _answered(self) -> None:
        """The trigger has reached the station: only what it says from now on speaks of the next one."""
        self._asking = self._station_ready = False
        self._changed.set()

    def _finish(self, trigger_seq: int, result: InspectionResult | None, refusal: str = "") -> None:
        now = self._clock.monotonic_ns()
        self._parts.append(Part(self._seen_ns.pop(trigger_seq), now, result, refusal))
        if not self._wanted and not self._seen_ns:
            self._finished.set()
