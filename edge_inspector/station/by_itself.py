"""Pictures that the station did not ask for: cameras that trigger themselves, and whose part each picture is of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from edge_inspector.datatypes import Reason, TriggerMode
from edge_inspector.errors import StorageError
from edge_inspector.interfaces import Unannounced
from edge_inspector.matching import Doubt, Match, Seen
from edge_inspector.station.announcements import Announcements, windows
from edge_inspector.station.booking import Booking
from edge_inspector.station.condition import Condition
from edge_inspector.station.events import Exposed, LineEvent, WindowClosed
from edge_inspector.station.in_work import InWork
from edge_inspector.station.links import Links
from edge_inspector.station.parts import LoadedRecipe, Parts

log = structlog.get_logger()
MOST_LOST = 100
"""Parts that are told one by one when as many pictures of a line camera are lost; the rest is a number in the books."""


class ByItself:
    """On the event loop."""

    def __init__(
        self,
        parts: Parts,
        condition: Condition,
        announcements: Announcements,
        booking: Booking,
        links: Links,
        work: InWork,
        accept: Callable[[int, LoadedRecipe | None], int],
        owner: Callable[[str, int], LoadedRecipe | None],
        reopen: Callable[[str, str], None],
        post: Callable[[LineEvent], None],
    ) -> None:
        """`accept(arrival_ns, recipe)` begins a part that the station numbers, `recipe` None = of the active one.

        `owner(recipe, arrival_ns)` is the recipe before while a changeover is under way, and None for a picture that
        came later; `reopen(camera, why)` takes a camera for lost.
        """
        self._parts = parts
        self._condition = condition
        self._announcements = announcements
        self._booking = booking
        self._links = links
        self._work = work
        self._accept = accept
        self._owner = owner
        self._reopen = reopen
        self._post = post
        self._by_line: dict[str, int | None] = {}
        self._told_out_of_step: set[str] = set()

    async def part_of(self, event: Exposed) -> int | None:
        """The number of the picture's part, None = it is nobody's, or nobody can say."""
        announced = self._prepared_for(event).settings.trigger == "announced"
        return await (self._announced(event) if announced else self._line_trigger(event))

    def announce(self, seq: int | None, at_ns: int) -> None:
        """Expect the pictures of a part, also of one that was refused (`seq` None): it passes the cameras all the same.

        For a recipe that announces nothing there is nothing to expect.
        """
        loop, now = asyncio.get_running_loop(), self._parts.clock.monotonic_ns()
        for camera, close_ns in self._announcements.announce(self._condition.recipe.settings, seq, at_ns).items():
            closed = WindowClosed(camera, seq)
            loop.call_later(max(0.0, (close_ns - now) / 1e9), self._post, closed)

    def _prepared_for(self, event: Exposed) -> LoadedRecipe:
        """The recipe by which the picture came, which may be the one before, of the same name."""
        before, now = self._condition.changeover.before, self._condition.recipe
        if before is not None and _is_of(before, event):
            return before
        return self._parts.recipes.get(event.recipe, now)

    async def _line_trigger(self, event: Exposed) -> int | None:
        """A camera's own trigger is always accepted; when the station cannot inspect, it settles UNDEFINED.

        So does each part whose picture is lost on its way: the PLC counts parts, and no later verdict may shift.
        """
        await self._lost_before(event)
        owner = self._owner(event.recipe, event.arrival_ns)
        if owner is not None and not _is_of(owner, event):
            owner = None
        blocked = None if owner is not None else self._condition.blocked()
        try:
            seq = self._accept(event.arrival_ns, owner)
        except StorageError as exc:
            log.error("trigger_not_recorded", camera=event.picture.camera, error=str(exc))
            self._booking.refused(0, "", Reason.STORAGE)
            return None
        self._work.parts_of[event.picture] = seq
        if owner is None and not _is_of(self._condition.recipe, event):
            blocked = (Reason.RECIPE, f"picture prepared for recipe {event.recipe}")
        elif blocked is None and len(self._work.open) > self._parts.limits.max_open:
            blocked = (Reason.OVERLOAD, f"more than {self._parts.limits.max_open} parts in work")
        if blocked is not None:
            reason, text = blocked
            await self._work.advance(seq, lambda i, now: i.undefined(reason, text, now))
        return seq

    async def _lost_before(self, event: Exposed) -> None:
        """Parts of which a line camera's count says that they were photographed, and whose pictures never came."""
        camera = event.picture.camera
        if camera not in self._by_line or event.frame_id is None:
            return
        last = self._by_line[camera]
        self._by_line[camera] = event.frame_id if last is None else max(last, event.frame_id)
        lost = 0 if last is None else max(0, event.frame_id - last - 1)
        if not lost:
            return
        text = f"camera {camera}: {lost} pictures before number {event.frame_id} are lost"
        log.warning("pictures_lost", camera=camera, lost=lost)
        self._booking.event("alarm", "pictures_lost", text)
        told = 0
        with contextlib.suppress(StorageError):  # the flight record is full
            while told < min(lost, MOST_LOST):
                seq = self._accept(event.arrival_ns, None)
                told += 1
                await self._work.advance(seq, lambda i, now: i.undefined(Reason.NO_FRAME, text, now))
        if told < lost:
            self._booking.refused(0, "", Reason.MISSED, lost - told)

    async def _announced(self, event: Exposed) -> int | None:
        """The announced part that this picture is of, None = nobody's, or nobody can say."""
        camera = event.picture.camera
        outcome = self._announcements.seen(camera, Seen(event.frame_id, event.line_edges, event.arrival_ns))
        if isinstance(outcome, Doubt):
            self._booking.unannounced(camera, event.frame_id, outcome.text)
            await self._links.tell(Unannounced(camera))
            await self._out_of_step(camera, outcome)
        if not isinstance(outcome, Match):
            return None
        seq = outcome.seq
        opened = self._work.open.get(seq)
        if opened is not None and not _is_of(opened.recipe, event):
            text = f"picture prepared for recipe {event.recipe}"
            await self._work.advance(seq, lambda i, now: i.undefined(Reason.RECIPE, text, now))
        return seq

    async def window_closed(self, event: WindowClosed) -> None:
        """The pictures of a part are certain now, or there is one missing."""
        camera = event.camera
        outcome = self._announcements.closed(camera, event.seq, self._parts.clock.monotonic_ns())
        if isinstance(outcome, Match):
            await self._work.advance(outcome.seq, lambda i, now: i.on_certain(camera, now))
        elif isinstance(outcome, Doubt):
            await self._out_of_step(camera, outcome)
            if self._announcements.silent(camera):
                self._reopen(camera, f"camera {camera}: announced parts brought no picture, one after the other")

    async def _out_of_step(self, camera: str, doubt: Doubt) -> None:
        """Nobody can say which picture of this camera is whose: every open part that needs one is a reject."""
        if camera not in self._told_out_of_step:
            self._told_out_of_step.add(camera)
            log.warning("camera_out_of_step", camera=camera, why=doubt.text)
            self._booking.event("alarm", "out_of_step", doubt.text)
        for seq in [seq for seq, opened in self._work.open.items() if camera in opened.recipe.cameras]:
            await self._work.advance(seq, lambda i, now: i.undefined(doubt.reason, doubt.text, now))

    def opened(self, camera: str, trigger_mode: TriggerMode) -> None:
        """The camera counts its pictures anew."""
        self._announcements.reopened(camera, self._parts.clock.monotonic_ns())
        self._by_line.pop(camera, None)
        if trigger_mode == "line":
            self._by_line[camera] = None

    def recipe_changed(self, before: LoadedRecipe) -> None:
        """Pictures that the recipe before took are not lost; what it did not announce may still pass."""
        self._by_line = dict.fromkeys(self._by_line)
        for camera in windows(self._condition.recipe.settings).keys() - windows(before.settings).keys():
            self._announcements.reopened(camera, self._parts.clock.monotonic_ns())

    def tick(self) -> None:
        """Time has passed."""
        self._announcements.tick(self._condition.recipe.settings, self._parts.clock.monotonic_ns())
        for camera in [one for one in self._told_out_of_step if not self._announcements.doubt([one])]:
            self._told_out_of_step.discard(camera)
            log.info("camera_in_step", camera=camera)


def _is_of(recipe: LoadedRecipe, event: Exposed) -> bool:
    return recipe.prepares(event.recipe, event.picture.camera, event.plan)
