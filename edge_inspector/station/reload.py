"""The station file is read again while the station runs: all of it is taken over, or nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from edge_inspector import log as logging
from edge_inspector.config import last_good
from edge_inspector.health.notify import Notifier
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.station.booking import Booking
from edge_inspector.station.condition import Condition
from edge_inspector.station.events import FileRead, LineEvent, RecipesTaken
from edge_inspector.station.in_work import InWork
from edge_inspector.station.manual import Manual
from edge_inspector.station.model_room import Renewal
from edge_inspector.station.parts import RecipeSet, calibrations_of
from edge_inspector.station.renewal import Differences
from edge_inspector.station.rereading import FileNow, read_again
from edge_inspector.store.records import BookConfiguration

log = structlog.get_logger()
MOST_TEXT = 4000
"""Characters of what is booked and published."""
MOST_WAITING = 4
"""Orders that wait while a file is being read; each is answered by a reading of its own."""
BY_SIGNAL = "signal"
"""Who has ordered it by SIGHUP; the kernel does not tell us."""
NO_FILE = OrderAnswer(done=False, text="this station runs by no file that could be read again")
Done = Callable[[OrderAnswer], None]


class Reload:
    """On the event loop. A file that is refused changes nothing at all.

    Parts in work keep their recipe, thresholds and model. What judges parts is another one from the next part on; where
    the active recipe has another model or other pictures, a changeover comes before that next part.
    """

    def __init__(
        self, condition: Condition, booking: Booking, work: InWork, manual: Manual, post: Callable[[LineEvent], None]
    ) -> None:
        self.order_renewal: Callable[[Renewal], None]
        self.forget_builds: Callable[[Collection[str]], None]
        self.refused = ""
        """Why the file was refused when it was read last, empty = it was not."""
        self._condition = condition
        self._booking = booking
        self._work = work
        self._manual = manual
        self._post = post
        self._asked: asyncio.Queue[tuple[str, Done]] = asyncio.Queue(MOST_WAITING)
        self._waiting: FileRead | None = None
        self._to_come: Renewal | None = None
        self._ordered: Renewal | None = None
        self._sets = 0
        self._good: asyncio.Queue[bytes] = asyncio.Queue()
        self._unkept = b""
        if condition.parts.file is not None:
            self._now = condition.parts.file.now
            self._unkept = self._now.content

    def order(self, who: str, _asked: object, done: Done) -> OrderAnswer | None:
        """Read the file again; `done` is called with the outcome, or this is it."""
        if self._condition.parts.file is None:
            return NO_FILE
        try:
            self._asked.put_nowait((who, done))
        except asyncio.QueueFull:
            return OrderAnswer(done=False, text=f"{MOST_WAITING} reloads wait already", facts={"busy": True})
        return None

    async def run(self, notifier: Notifier) -> None:
        """Read the file whenever somebody asks, one reading after the other."""
        parts, file = self._condition.parts, self._condition.parts.file
        while file is not None:
            who, done = await self._asked.get()
            notifier.reloading()
            answered: asyncio.Future[OrderAnswer] = asyncio.get_running_loop().create_future()
            reading = partial(read_again, file.again, self._now, parts.clock, proven=parts.backend.proof != "none")
            outcome = await anyio.to_thread.run_sync(reading, abandon_on_cancel=True)
            self._post(FileRead(who, outcome, answered.set_result))
            answer = await answered
            if not self._condition.stopping:  # of which the service manager knows
                notifier.ready()
            done(answer)

    async def keep(self) -> None:
        """Keep every file with which the station has become READY."""
        while True:
            content = await self._good.get()
            await anyio.to_thread.run_sync(_keep, self._condition.parts.state_dir, content, abandon_on_cancel=True)

    def file_read(self, event: FileRead) -> None:
        """What the file says is there: it is taken over as soon as no changeover has parts in work."""
        self._waiting = event

    def recipes_taken(self, event: RecipesTaken) -> None:
        """The GPU thread has them, too."""
        renewal, self._ordered = self._ordered, None
        if renewal is not None and renewal.number == event.number:
            self._condition.models.renewed(renewal.recipes, renewal.outdated)

    @property
    def models_follow(self) -> bool:
        """Whether the GPU thread has the recipes that the line has."""
        return self._to_come is None and self._ordered is None

    def look(self) -> None:
        """After every event: do what has become possible."""
        read = self._waiting
        if read is not None and self.models_follow and not self._condition.changeover.waits_for_parts:
            self._waiting = None
            answer = self._decided(read.who, read.outcome)
            self.refused = "" if answer.done else answer.text
            read.done(answer)
        if self._unkept and self._condition.blocked() is None:
            self._good.put_nowait(self._unkept)
            self._unkept = b""
        renewal = self._to_come
        if renewal is not None and not self._in_use(renewal.outdated):
            self._to_come, self._ordered = None, renewal
            self.forget_builds(renewal.outdated)
            self.order_renewal(renewal)

    def _decided(self, who: str, file: FileNow | tuple[str, ...]) -> OrderAnswer:
        """All of it is taken over, or nothing."""
        if self._condition.stopping:
            return OrderAnswer(done=False, text="the station is stopping", facts={"not_ready": True})
        if isinstance(file, tuple):
            count = len(file)
            text = f"the station file has {count} mistake{'s'[: count != 1]}: {'; '.join(file)}"
            return self._refused(who, text, {"problems": file})
        if file.fixed:
            text = f"these keys need a restart: {', '.join(file.fixed)}"
            return self._refused(who, text, {"restart": file.fixed})
        active = self._condition.recipe.name
        if active not in file.now.recipes:
            text = f"recipe {active} is the active one and is not in the file any more; select another one first"
            return self._refused(who, text, {"active": active})
        self._unkept = file.now.content
        if not file.live:
            return OrderAnswer(done=True, text="nothing has changed", facts={"changed": ()})
        self._take(who, file.now, file.found)
        parts = self._condition.parts
        parts.ledger.submit(BookConfiguration(file.now.configuration.values, file.entries))
        text = f"{len(file.live)} key{'s'[: len(file.live) != 1]} taken over: {', '.join(file.live)}"[:MOST_TEXT]
        self._booking.audit(who, "reloaded", text)
        self._booking.event("info", "reloaded", text)
        log.info("reloaded", who=who, keys=file.live)
        return OrderAnswer(done=True, text=text, facts={"changed": file.live})

    def _refused(self, who: str, why: str, facts: Mapping[str, object]) -> OrderAnswer:
        text = f"nothing was taken over, the station goes on as before: {why}"[:MOST_TEXT]
        self._booking.audit(who, "reload_refused", text)
        self._booking.event("warning", "reload_refused", text)
        log.warning("reload_refused", who=who, why=why)
        return OrderAnswer(done=False, text=text, facts=facts)

    def _take(self, who: str, now: RecipeSet, found: Differences) -> None:
        """Swap everything, between two events of the line."""
        condition, parts, before = self._condition, self._condition.parts, self._now
        fit, old = condition.blocked() is None, condition.recipe
        parts.recipes.swap(now.recipes, now.bundles)
        active = now.recipes[old.name]
        if active is not old:
            if active.name in found.outdated or condition.changeover.under_way:
                condition.changeover.begins(old, active, who, fit=fit)  # first: cameras' threads ask it whose picture
            condition.recipe = active
        self._now = now
        self._sets += 1
        self._to_come = Renewal(self._sets, now.recipes, now.bundles, found.outdated)
        condition.thresholds.renewed(now.configuration)
        condition.golden.renewed(found.changed | (before.recipes.keys() - now.recipes.keys()), active)
        condition.camera_health.renewed()
        condition.line_rules.renewed(now.line_rules)
        parts.ledger.renew(now.settings.ledger)
        if parts.images is not None and now.settings.images is not None:
            parts.images.renew(now.settings.images, calibrations_of(now.recipes))
        logging.set_level(now.settings.log.level)

    def _in_use(self, outdated: Collection[str]) -> bool:
        """Whether a part is in work that needs a model which will not be there any more."""
        now, posted = self._condition.parts.recipes, self._manual.recipe
        inspected = [opened.recipe for opened in self._work.open.values()] + ([] if posted is None else [posted])
        return any(one.name in outdated and now.get(one.name) is not one for one in inspected)


async def hangups(reload: Reload, stop: Callable[[], None]) -> None:
    """SIGHUP orders a reload; but when the terminal that the station was started on is gone, it means the end."""
    on_terminal = sys.stderr.isatty()
    try:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            async for _ in signals:
                if on_terminal and not os.isatty(sys.stderr.fileno()):
                    stop()
                else:
                    reload.order(BY_SIGNAL, None, lambda _: None)
    finally:  # it would end the process before the books are closed
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _keep(state_dir: Path, content: bytes) -> None:
    try:
        last_good.keep(state_dir, content)
    except OSError as exc:  # a full or read-only disk is told by others, and this file is for people
        log.warning("last_good_file_not_kept", folder=str(state_dir), error=str(exc))
