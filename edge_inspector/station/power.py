"""The board's power mode under a running station: changed only with nothing open and READY low, and then warmed up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason
from edge_inspector.health.readings import PowerReading
from edge_inspector.interfaces import PowerMode, PowerState, Vitals
from edge_inspector.settings.power import TaktPolicy
from edge_inspector.stages.power_policy import Board, Choice, choose
from edge_inspector.station.board_watch import BoardWatch
from edge_inspector.station.booking import Booking
from edge_inspector.station.events import ModelWarm, PowerChanged, PowerOpened, PowerRead, PowerTrouble
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.power_pace import PaceBook
from edge_inspector.station.power_refusals import Refusals
from edge_inspector.station.power_speeds import Speeds
from edge_inspector.station.week import Week

log = structlog.get_logger()
OPEN_S = 20.0
"""So long a start waits for the board's power control; then parts are inspected in whatever mode it is."""
OVERTIME_S = 15.0
"""A change that takes so much longer than it may hangs in the driver."""
DECIDE_NS = 1_000_000_000
"""How often the policy is asked when nothing has happened."""
_AT_ONCE = -DECIDE_NS


@dataclass(frozen=True)
class _Change:
    """One that is under way; times are CLOCK_MONOTONIC ns, None = not yet."""

    mode: PowerMode
    why: str
    begun_ns: int
    ordered_ns: int | None = None
    answer: PowerChanged | None = None


class Power:
    """On the event loop. `order` has the board's thread change the mode; nothing here waits."""

    def __init__(
        self,
        parts: Parts,
        booking: Booking,
        select_model: Callable[[str], None],
        exposing: Callable[[int], bool],
        recipe: Callable[[], LoadedRecipe],
    ) -> None:
        """`select_model` has a recipe's model loaded and warm; `exposing(part)`: a camera still owes its picture;
        `recipe` is the active one."""
        self.order: Callable[[PowerMode], None]
        self._plan = parts.power
        self._clock = parts.clock
        self._booking = booking
        self._select_model = select_model
        self._exposing = exposing
        self._recipe = recipe
        self._policy = None if parts.power is None else parts.power.settings.policy
        self._board = BoardWatch(parts.clock, booking)
        self._speeds = Speeds((), "")
        self._opened = False
        self._part_ns = self._started_ns = parts.clock.monotonic_ns()
        self._decided_ns = _AT_ONCE
        self._week = Week(parts.clock)
        self._change: _Change | None = None
        self._to_order: PowerMode | None = None
        self._reached: PowerMode | None = None
        self._hangs = False
        self._wanted_model = ""
        self._fresh = True
        self._refusals = Refusals(parts.clock)
        self._advice = ""
        self._pace = PaceBook(parts.clock, self._policy.calm_s if isinstance(self._policy, TaktPolicy) else 0.0)
        self._changes = 0

    # --- what it says -------------------------------------------------------------------------------------------------

    def why_not(self) -> tuple[Reason, str] | None:
        """Why no part can be inspected now because of the board, None = nothing of it is in the way."""
        change = self._change
        if change is not None:
            doing = "is being changed" if change.ordered_ns else "waits for the last verdict to be changed"
            doing = "was changed, and the model is being warmed up" if change.answer else doing
            return Reason.NOT_READY, f"the power mode {doing}, to {change.mode.name}: {change.why}"
        if self._starting:
            return Reason.NOT_READY, "the board is being asked for its power mode"
        if self._board.too_slow:
            return Reason.MACHINE, f"the deadline cannot be kept while the board is throttled: {self._board.heat}"
        return None

    @property
    def warning(self) -> str:
        """What a person should know of the board, empty = nothing."""
        heat = f"the board is throttled: {self._board.heat}" if self.throttled else ""
        return heat or self._refusals.text or self._board.trouble or self._advice

    @property
    def throttled(self) -> bool:
        return bool(self._board.heat)

    @property
    def changing(self) -> bool:
        """Whether the mode is being changed, or is about to be: nothing may begin now."""
        return self._change is not None

    def filled(self, vitals: Vitals) -> Vitals:
        """With what the board says of itself."""
        return self._board.filled(vitals)

    def reading(self) -> PowerReading | None:
        """For the metrics, on any thread; None = nobody looks at the board."""
        if self._plan is None:
            return None
        return PowerReading(self.throttled, self._changes, self._refusals.count)

    # --- what it is told ----------------------------------------------------------------------------------------------

    def opened(self, event: PowerOpened) -> None:
        self._opened, self._speeds = True, event.speeds
        self._heeds(self._board.opened(event))

    def read(self, event: PowerRead) -> None:
        """A mode that nobody here has ordered is told, too: times change with it."""
        before = self._board.mode
        self._read(event.state)
        now = self._board.mode
        if before is not None and now is not None and before.number != now.number:
            self._pace.begin()
            self._booking.event("info", "power_mode", f"{before.name} -> {now.name}, which this station did not order")
            if self._reached is not None and self._reached.number == before.number:
                self._refusals.contested(before, f"the power mode {before.name} was changed to {now.name} by others")
            self._reached = None

    def changed(self, event: PowerChanged) -> None:
        """The board has done what was ordered, or not; an answer that comes late is a reading like others."""
        change = self._change
        if change is None or change.ordered_ns is None or change.answer is not None:
            self._hangs = False
            self.read(PowerRead(event.state))
            if not event.error:
                self._refusals.reached(event.mode)
            return
        before = self._board.mode
        self._read(event.state)
        self._change = replace(change, answer=event)
        self._book(change, before, event)
        if not self._wanted_model:
            self._select_model(self._recipe().name)

    def trouble(self, event: PowerTrouble) -> None:
        self._board.troubled(event)

    def settled(self, result: InspectionResult) -> None:
        """A verdict; only production shows what the line asks of the board."""
        if result.trigger.mode is not Mode.PRODUCTION or result.trigger.recipe != self._recipe().name:
            return
        late = result.reason in (Reason.DEADLINE, Reason.OVERLOAD)
        if late and not self._exposing(result.trigger.seq):
            self.late()
        elif not late:
            self._board.part(late=False)
            if result.evaluation is not Evaluation.UNDEFINED:  # what was not judged took as long as its fault
                self._pace.part(result.cycle_ms)

    def late(self) -> None:
        """A part was not judged in time, or was refused for want of room."""
        self._pace.late(self._recipe().name, self._board.mode, blame=not self._board.heat_suspected)
        self._board.part(late=True)
        self._decided_ns = _AT_ONCE

    def select_model(self, recipe: str) -> None:
        """Have the recipe's model loaded and warm, in the power mode that the recipe is to run in."""
        self._pace.begin()
        if self._change is not None and self._change.ordered_ns is None:  # it was meant for the recipe before
            self._change = None
        if self._policy is None:
            self._select_model(recipe)
        else:  # `look` does it
            self._wanted_model, self._fresh, self._decided_ns = recipe, True, _AT_ONCE

    def warm(self, event: ModelWarm) -> None:
        """A model has run."""
        change = self._change
        if change is not None and change.answer is not None and event.recipe == self._recipe().name:
            self._end(change)

    def look(self, busy: bool, changeover: bool, refused: bool) -> None:
        """After every event. `busy`: a part is open; `changeover`: the recipe's model is still being made ready;
        `refused`: it will not be."""
        now, change = self._clock.monotonic_ns(), self._change
        if busy:
            self._part_ns = now
        self._heeds(self._board.look(asked=change is not None and change.ordered_ns is not None))
        if change is not None and change.answer is not None and (self._wanted_model or refused):
            self._end(change)
        elif change is not None and change.ordered_ns is not None:
            self._give_up(change, now)
        if self._change is None:
            self._decide(now)
        if self._change is not None and not busy and (self._wanted_model or not changeover):
            self._begin(self._change, now)
        if self._wanted_model and self._change is None and not self._starting:
            recipe, self._wanted_model = self._wanted_model, ""
            self._select_model(recipe)
        if not self._wanted_model and not self._starting:  # parts come: what was not decided by now can wait
            self._fresh = False

    def told(self) -> None:
        """PLC and broker know what `look` has come to: a change is ordered when READY is low."""
        mode, self._to_order = self._to_order, None
        if mode is not None:
            self.order(mode)

    # --- how ----------------------------------------------------------------------------------------------------------

    @property
    def _starting(self) -> bool:
        """The policy has not been asked yet, because the board's power control is being opened."""
        late = self._clock.monotonic_ns() - self._started_ns > OPEN_S * 1e9
        return self._policy is not None and not self._opened and not self._board.trouble and not late

    def _read(self, state: PowerState) -> None:
        self._heeds(self._board.read(state))
        self._refusals.seen(self._board.mode)

    def _heeds(self, heat: bool) -> None:
        """Heat has begun or ended: times are not what they were."""
        if heat:
            self._pace.begin()
            self._decided_ns = _AT_ONCE

    def _decide(self, now: int) -> None:
        """Ask the policy, and begin what it wants as soon as it may."""
        policy = self._policy
        if policy is None or not self._opened or self._hangs or now - self._decided_ns < DECIDE_NS:
            return
        self._decided_ns = now
        recipe = self._recipe()
        mode = self._board.mode
        pace = self._pace.pace(recipe, mode, self._speeds.p99_ms(recipe), fresh=self._fresh)
        board = Board(self._board.modes, mode, self.throttled, self._refusals.barred())
        choice = choose(policy, board, pace, self._week.minute())
        self._fresh = False
        self._advise(choice)
        if choice.mode is not None and (choice.at_once or now - self._part_ns >= policy.pause_s * 1e9):
            self._change = _Change(choice.mode, choice.why, now)
            if choice.blames and mode is not None:
                self._pace.hold(recipe.name, mode)
            log.info("power_mode_change", mode=choice.mode.name, why=choice.why)

    def _advise(self, choice: Choice) -> None:
        if choice.warning and not self._advice:
            self._booking.event("warning", "power_policy", choice.warning)
        self._advice = choice.warning

    def _begin(self, change: _Change, now: int) -> None:
        """Nothing is open any more."""
        if change.ordered_ns is None:
            self._change = replace(change, ordered_ns=now)
            self._to_order = change.mode

    def _give_up(self, change: _Change, now: int) -> None:
        """The thread hangs in the driver: parts are inspected in whatever mode the board is."""
        if change.ordered_ns is None or change.answer is not None or self._plan is None:
            return
        settings = self._plan.settings
        timeout_s = settings.timeout_s * (2 if settings.lock_clocks else 1)
        if now - change.ordered_ns <= (timeout_s + OVERTIME_S) * 1e9:
            return
        self._hangs = True
        text = f"the board has not answered for {(now - change.ordered_ns) / 1e9:.0f} s; its mode stays until it does"
        self.changed(PowerChanged(change.mode, PowerState(), text))

    def _book(self, change: _Change, before: PowerMode | None, event: PowerChanged) -> None:
        was = "unknown" if before is None else before.name
        self._pace.begin()
        self._board.changed()
        if event.error:
            text = f"the power mode {change.mode.name} was not reached ({change.why}): {event.error}"
            there = event.state.mode is not None and event.state.mode.number == change.mode.number
            again = self._refusals.refused(change.mode, text, for_good=event.for_good, there=there)
            self._booking.event("warning", "power_mode_failed", f"{text}; {again}")
            return
        self._changes += 1
        self._refusals.reached(change.mode)
        self._reached = change.mode
        who = "" if self._policy is None else f":{self._policy.kind}"
        self._booking.audit(f"power{who}", "power_mode_changed", f"{was} -> {change.mode.name}: {change.why}")

    def _end(self, change: _Change) -> None:
        self._change = None
        self._decided_ns = _AT_ONCE if self._wanted_model else self._clock.monotonic_ns()
        if change.answer is not None and not change.answer.error:
            seconds = (self._clock.monotonic_ns() - change.begun_ns) / 1e9
            text = f"{change.mode.name}, after {seconds:.1f} s without READY: {change.why}"
            self._booking.event("info", "power_mode", text)
