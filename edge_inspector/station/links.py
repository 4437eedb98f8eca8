"""Every way to a PLC: who may command, who is told what, and which results have not reached a PLC yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import anyio
import structlog

from edge_inspector.datatypes import InspectionResult
from edge_inspector.errors import OutputError
from edge_inspector.interfaces import LinkState, PlcLink, PlcMessage, ResultWritten, StationStatus
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.booking import Booking
from edge_inspector.station.events import FromPlc, LinkHealth, OutputTrouble

log = structlog.get_logger()
_CALLING = "is being called"
_MOST_UNTOLD = 1000
"""Results that may wait for a link that is away; for one more the oldest is booked as not told."""


@dataclass(frozen=True)
class _Untold:
    """The first of these links that has brought it to its PLC counts."""

    links: Sequence[PlcLink]
    slot: int
    result: InspectionResult


class Links:
    """Owned by the line loop."""

    def __init__(self, links: Sequence[PlcLink], master: str, booking: Booking) -> None:
        self._links = links
        self._master = master
        self._booking = booking
        self._untold: dict[str, _Untold] = {}
        self.away = {link.name: _CALLING for link in links if link.dials}
        """Links that dial and have nobody at the other end, and why."""
        self._alive = {link.name: not link.asks for link in links}

    @property
    def up(self) -> dict[str, bool]:
        """By link, whether somebody is at its other end: it is reached where it dials, and its PLC shows that it lives
        where it may ask; any thread."""
        return {name: alive and name not in self.away for name, alive in self._alive.items()}

    def may_command(self, link: PlcLink) -> bool:
        """One master triggers, selects recipes and commands."""
        return link.name == self._master

    async def tell(self, message: PlcMessage, only: PlcLink | None = None) -> None:
        """Tell all of them, or one. While one link is the master, no other is READY for triggers."""
        for link in self._links if only is None else (only,):
            if isinstance(message, StationStatus) and self._master and link.asks and not self.may_command(link):
                await link.tell(replace(message, ready=False))
            else:
                await link.tell(message)

    async def tell_result(
        self, slot: int, result: InspectionResult, asker: PlcLink | None, *, asker_gone: bool = False
    ) -> bool | None:
        """Tell all of them; gives whether the PLC can read it now, None = `written` will say.

        That is the PLC that asked, or any where the station itself numbers the parts. `asker_gone`: it has restarted.
        """
        await self.tell(result)
        if asker_gone:
            return False
        concerned = self._links if asker is None else (asker,)
        if not concerned or not all(link.dials for link in concerned):
            return bool(concerned)
        if len(self._untold) >= _MOST_UNTOLD:
            self._give_up(next(iter(self._untold)))
        self._untold[result.result_id] = _Untold(concerned, slot, result)
        return None

    def written(self, link: PlcLink, request: ResultWritten) -> None:
        """A link that dials has brought results to its PLC."""
        for result_id in request.result_ids:
            waiting = self._untold.get(result_id)
            if waiting is not None and link in waiting.links:
                del self._untold[result_id]
                self._booking.told(waiting.slot, waiting.result, request.at_ns)

    def heard(self, link: PlcLink, state: LinkState) -> None:
        """The PLC behind a link lives, or not; when it has started again, what the start before it asked for reaches
        nobody any more."""
        self._alive[link.name] = state.alive
        plc_boot_id = state.plc_boot_id
        for result_id, waiting in list(self._untold.items()):
            asked_by = waiting.result.trigger.plc_boot_id
            if link in waiting.links and asked_by and asked_by != plc_boot_id:
                self._give_up(result_id)

    @property
    def telling(self) -> bool:
        """Whether a result is on its way to a PLC that is there."""
        return any(link.name not in self.away for waiting in self._untold.values() for link in waiting.links)

    def give_up(self) -> None:
        """The station stops: what has not reached a PLC by now never will."""
        for result_id in list(self._untold):
            self._give_up(result_id)

    def health(self, event: LinkHealth) -> None:
        """A link that dials has reached its PLC, or lost it."""
        name = event.link.name
        if event.connected:
            if self.away.pop(name, None) is not None:
                log.info("plc_reached", link=name)
        elif self.away.get(name) != event.text:
            log.warning("plc_away", link=name, error=event.text)
            if self.away.get(name, _CALLING) == _CALLING:
                self._booking.event("alarm", "plc_away", f"{name}: {event.text}")
            self.away[name] = event.text

    def output_trouble(self, event: OutputTrouble) -> None:
        """The output lines of a camera have failed, or obey again: like a PLC that is away."""
        key = f"outputs of camera {event.camera}"
        if not event.text:
            self.away.pop(key, None)
            return
        log.error("outputs_failed", camera=event.camera, error=event.text)
        self._booking.event("alarm", "outputs_failed", event.text)
        self.away[key] = event.text

    def _give_up(self, result_id: str) -> None:
        self._booking.not_told(self._untold.pop(result_id).result)


async def keep_open(link: PlcLink, post: Callable[[FromPlc | LinkHealth], None]) -> None:
    """Hand on what the PLC asks, for ever; a link that dials is opened here, and again when it is lost."""
    if not link.dials:
        await _receive(link, post)
    backoff = Backoff(first_s=0.5, last_s=10.0)
    while True:
        try:
            async with link:
                post(LinkHealth(link, connected=True, text=""))
                backoff.reset()
                await _receive(link, post)
        except OutputError as exc:
            post(LinkHealth(link, connected=False, text=str(exc)))
        await anyio.sleep(backoff.next_s())


async def _receive(link: PlcLink, post: Callable[[FromPlc | LinkHealth], None]) -> None:
    while True:
        post(FromPlc(link, await link.receive()))
