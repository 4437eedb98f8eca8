"""The parts in work: which of their views may still come, and the one way to a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge_inspector.datatypes import InspectionResult, Picture, Reason
from edge_inspector.inspection import Inspection
from edge_inspector.interfaces import PlcLink
from edge_inspector.station.booking import Booking
from edge_inspector.station.links import Links
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.pictures import Pictures


@dataclass
class Open:
    """An inspection with what the line needs to follow it; `link` is None where the station numbers the parts.

    `asker_gone`: the start of the PLC that asked is over, and its successor can take nothing of this part for its own.
    """

    inspection: Inspection
    recipe: LoadedRecipe
    slot: int
    timer: asyncio.TimerHandle
    link: PlcLink | None
    exposed_told: bool = False
    asker_gone: bool = False


class InWork:
    """On the event loop. What is done is forgotten as soon as none of its views may come any more.

    `open` by number; `exposing` is the part that each camera is taking a picture of, `parts_of` the part of each
    picture that is on its way, `settled` those that have a verdict and still a view to come.
    """

    def __init__(
        self,
        parts: Parts,
        links: Links,
        booking: Booking,
        pictures: Pictures,
        then: Sequence[Callable[[InspectionResult], None]],
    ) -> None:
        """`then` are told of each verdict when the PLC and the books have it."""
        self.open: dict[int, Open] = {}
        self.exposing: dict[str, int] = {}
        self.parts_of: dict[Picture, int] = {}
        self.settled: dict[int, Inspection] = {}
        self._parts = parts
        self._links = links
        self._booking = booking
        self._pictures = pictures
        self._then = then

    def inspection(self, seq: int) -> Inspection | None:
        """The part of this number, open or not; None = it is forgotten."""
        return self.open[seq].inspection if seq in self.open else self.settled.get(seq)

    def release(self, camera: str, seq: int) -> None:
        """The camera has done with this part; it may be exposing a newer one already."""
        if self.exposing.get(camera) == seq:
            del self.exposing[camera]

    async def advance(self, seq: int, step: Callable[[Inspection, int], Inspection]) -> None:
        """Take one step of an inspection; when it settles, tell the PLC at once, then book it."""
        now = self._parts.clock.monotonic_ns()
        opened = self.open.get(seq)
        if opened is None:
            self._late(seq, step, now)
            return
        opened.inspection = step(opened.inspection, now)
        result = opened.inspection.result
        if result is None:
            return
        opened.timer.cancel()
        del self.open[seq]
        if self._expected(seq):
            self.settled[seq] = opened.inspection
        self._parts.flight.verdict(opened.slot, result)
        told = await self._links.tell_result(opened.slot, result, opened.link, asker_gone=opened.asker_gone)
        if told:
            self._parts.flight.told(opened.slot)
        told_ns = self._parts.clock.monotonic_ns()
        result = replace(result, stage_ns={**result.stage_ns, "tell": told_ns - now})
        self._booking.settled(opened.slot, result, told)
        self._pictures.settled(result)
        if told:
            self._booking.told_at(result, told_ns)
        for tell in self._then:
            tell(result)

    def _late(self, seq: int, step: Callable[[Inspection, int], Inspection], now: int) -> None:
        """A view of a part that is settled: booked as late, and it reaches nobody."""
        settled = self.settled.get(seq)
        if settled is None or settled.result is None:
            return
        after = step(settled, now)
        if after.late == settled.late:
            return
        if self._expected(seq):
            self.settled[seq] = after
        else:
            del self.settled[seq]
        self._booking.late(settled.result, now)

    async def settle_all(self, reason: Reason, text: str) -> None:
        """Every open part becomes UNDEFINED, for an abort or at the end of the time for stopping."""
        for seq in list(self.open):
            await self.advance(seq, lambda i, now: i.undefined(reason, text, now))

    def _expected(self, seq: int) -> bool:
        """Whether a view of this part may still come."""
        return seq in self.exposing.values() or seq in self.parts_of.values()
