"""The golden-sample check: known parts must be judged rightly before production goes on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import Field, StrictBool

from edge_inspector.datatypes import InspectionResult, Mode, Reason
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.settings import Settings
from edge_inspector.station import golden_book
from edge_inspector.station.booking import Booking
from edge_inspector.station.golden_run import MasterRun
from edge_inspector.station.golden_shift import longest_shift_s, shift_has_begun
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.store.periods import parsed
from edge_inspector.store.records import BookKept

if TYPE_CHECKING:
    from edge_inspector.station.condition import Condition

log = structlog.get_logger()
LOOK_NS = 1_000_000_000
"""How often it is looked whether a shift has begun."""
_NOBODYS = ""
MOST_CLOSED = 8
"""Showings that are over whose last parts may still fail the check."""
MOST_DETAIL = 4000
"""Characters of a line of the record."""


class GoldenMode(Settings):
    """Begin or end to take what is triggered for master parts."""

    on: StrictBool


class Pictures(Settings):
    """Stored pictures were judged, outside the daemon: what was wrong, empty = nothing; `proof` is what judged them."""

    recipe: str = Field(max_length=64)
    proof: str = Field(max_length=64)
    faults: str = Field(max_length=1000)
    detail: str = Field(max_length=2000)


class Golden:
    """Owned by the line loop."""

    def __init__(self, parts: Parts, booking: Booking) -> None:
        self._parts = parts
        self._booking = booking
        self._software = parts.identity.software_version
        kept = golden_book.read_book(parts.ledger.kept(golden_book.NAME))
        triggers = [entry.trigger for entry in parts.flight.left() if entry.trigger is not None]
        left = Counter(one.recipe for one in triggers if one.mode is Mode.PRODUCTION)
        shown = {one.recipe for one in triggers if one.mode is Mode.GOLDEN}
        self._book = golden_book.after_start(kept, parts.recipes[parts.active_recipe], parts.recipes, left, shown)
        self._closed: deque[MasterRun] = deque(maxlen=MOST_CLOSED)
        """The newest first."""
        self._judged_before: set[int] = set()
        """Parts in work whose recipe has changed under its name: they prove nothing of the one that it is now."""
        self._left_ns: int | None = None
        """When golden mode ended last."""
        self._passed_ns: dict[str, int] = {}
        """When a recipe passed in this process: an age that no clock can make wrong."""
        self._shift: dict[str, tuple[int, bool]] = {}
        self._proofs: dict[str, tuple[LoadedRecipe, str]] = {}
        self._told = ("", 0)
        """The recipe, and 1 = a check is due, 2 = no part may be judged before it."""
        if self._book != kept:
            self._keep()
        if kept.run is not None:
            self._record(kept.run.who, "golden_left", kept.run, "left by a restart")

    def orders(self, condition: Condition) -> Mapping[str, Any]:
        """What people may order of it, as `Orders` takes them."""

        def golden(who: str, asked: GoldenMode, _: object) -> OrderAnswer:
            return self._order_mode(condition, who, asked.on)

        return {"golden": (GoldenMode, golden), "golden_pictures": (Pictures, self._order_pictures)}

    def due(self, recipe: LoadedRecipe) -> bool:
        """Whether somebody should bring the master parts: Status.Word2 GoldenDue."""
        return bool(self._why(recipe)[0])

    def why_not(self, recipe: LoadedRecipe) -> tuple[Reason, str] | None:
        """Why production may not go on, None = it may."""
        why, blocks = self._why(recipe)
        settings = recipe.settings.golden
        if settings is None or not blocks:
            return None
        advice = "show the master parts in golden mode" if settings.parts else "run `edge-inspector golden run`"
        return Reason.GOLDEN, f"{why}; {advice}"

    def tick(self, recipe: LoadedRecipe) -> None:
        """Time has passed: tell that a check has become due, and that no part may be judged before it."""
        why, blocks = self._why(recipe)
        told, self._told = self._told, (recipe.name, bool(why) + blocks)
        if why and (told[0] != recipe.name or self._told[1] > told[1]):
            follows = "the station is not ready" if blocks else "master parts should be shown"
            self._booking.event("warning", "golden_due", f"recipe {recipe.name}: {why}; {follows}")

    def selected(self, recipe: LoadedRecipe) -> None:
        """A recipe has become the active one; in golden mode the parts that come are its master parts from now on."""
        run = self._book.run
        if run is not None and run.recipe != recipe.name:
            self._leave(run, f"left for recipe {recipe.name}")
            self._begin(recipe, run.who)
        self._now(golden_book.selected(self._book, recipe))

    def renewed(self, changed: Collection[str], recipe: LoadedRecipe) -> None:
        """These recipes are others now, or gone: what was shown of master parts proves nothing any more.

        `recipe` is the active one.
        """
        run = self._book.run
        if run is not None and run.recipe in changed:
            self._leave(run, "left because the recipe was changed")
            self._begin(recipe, run.who)
        for nth, one in enumerate(self._closed):
            if one.recipe in changed:
                self._closed[nth] = replace(one, recipe=_NOBODYS)

    def mode_on(self, recipe: LoadedRecipe, who: str) -> None:
        """Golden mode begins, or begins again: the parts that come are master parts."""
        if self._book.run is not None:
            self._leave(self._book.run, "begun again")
        self._begin(recipe, who)

    def mode_off(self) -> None:
        """Golden mode ends; parts of it that are still in work count."""
        self._left_ns = self._parts.clock.monotonic_ns()
        if self._book.run is not None:
            self._leave(self._book.run, "ended")

    def mode_of(self, at_ns: int, now: Mode) -> Mode:
        """Of a part whose picture came at `at_ns`: no master part is production because the mode ended meanwhile."""
        return Mode.GOLDEN if self._left_ns is not None and at_ns <= self._left_ns else now

    def by_recipe_before(self, seq: int) -> None:
        """A part begins that is judged by the recipe before, which may have the same name."""
        self._judged_before.add(seq)

    def settled(self, result: InspectionResult) -> None:
        """A part has its verdict: a master part, or one more of production."""
        if result.trigger.seq in self._judged_before:
            self._judged_before.remove(result.trigger.seq)
        elif result.trigger.mode is Mode.GOLDEN:
            self._master(result)
        elif result.trigger.mode is Mode.PRODUCTION:
            self._counted(result.trigger.recipe)

    def _begin(self, recipe: LoadedRecipe, who: str) -> None:
        first = self._parts.ledger.next_seq
        run = MasterRun(recipe.name, who, self._parts.clock.utc(), first)
        self._now(replace(self._book, run=run))

    def _leave(self, run: MasterRun, how: str) -> None:
        """The showing is over; passed is passed, and what was begun and not ended leaves a check due."""
        self._closed.appendleft(run)
        book = replace(self._book, run=None)
        settings = self._parts.recipes[run.recipe].settings.golden
        word = "incomplete" if settings is None else run.word(settings)
        if settings is not None and word != "passed":
            self._record(run.who, "golden_left", run, f"{how}, {word}")
            if word == "incomplete" and run.shown:
                standing = book.of(run.recipe)
                book = book.now(run.recipe, replace(standing, owed="master parts were shown, but not all of them"))
        self._now(book)

    def _master(self, result: InspectionResult) -> None:
        run = self._run_of(result)
        recipe = self._parts.recipes.get(result.trigger.recipe)
        if run is None or recipe is None:
            return
        settings = recipe.settings.golden
        if settings is None or not settings.parts:
            return
        known, book = run, self._book
        newest = known is (book.run or self._closed[0])  # one before it may still fail, and proves nothing any more
        run = run.after(settings, result)
        before, after = known.word(settings), run.word(settings)
        if known is book.run:
            book = replace(book, run=run)
        else:
            self._closed[self._closed.index(known)] = run
        if newest and after == "passed" != before:
            clock = self._parts.clock
            book = golden_book.passed(book, recipe, self._software, clock.utc(), clock.synced())
            self._passed(recipe.name)
            self._record(run.who, "golden_passed", run, "passed")
            self._booking.event("info", "golden_passed", f"recipe {recipe.name}: all master parts were judged rightly")
        elif after == "failed":
            book = book.now(recipe.name, replace(book.of(recipe.name), failed=run.faults))
            if before != "failed":
                self._record(run.who, "golden_failed", run, "failed")
                text = f"recipe {recipe.name}: {run.faults}"
                self._booking.event("alarm", "golden_failed", text, [result.result_id])
        self._now(book)

    def _run_of(self, result: InspectionResult) -> MasterRun | None:
        """The showing that the part was accepted in: the one that goes on, or one before it."""
        for run in (self._book.run, *self._closed):
            if run is not None and result.trigger.seq >= run.first_seq:
                return run if run.recipe == result.trigger.recipe else None
        return None

    def _counted(self, name: str) -> None:
        """One more production part. They are booked a few at a time."""
        recipe = self._parts.recipes.get(name)
        settings = recipe.settings.golden if recipe is not None else None
        if recipe is None or settings is None:
            return
        before = self._book.of(name)
        late = before.late + 1 if self.due(recipe) else 0
        self._book = self._book.now(name, replace(before, parts=before.parts + 1, late=late))
        if (before.parts + 1) % golden_book.at_once(settings) == 0 or bool(late) != bool(before.late):
            self._keep()

    def _passed(self, recipe: str) -> None:
        """Now: an age that no clock can make wrong."""
        self._passed_ns[recipe] = self._parts.clock.monotonic_ns()
        self._shift.pop(recipe, None)
        self._told = (recipe, 0)

    def _order_mode(self, condition: Condition, who: str, on: bool) -> OrderAnswer:
        master = condition.parts.master
        if master:
            text = f"golden mode is the PLC's of link {master!r} (station.master): it sends GoldenRun"
            return OrderAnswer(done=False, text=text)
        if condition.stopping:
            return OrderAnswer(done=False, text="the station is stopping")
        if on == (condition.mode is Mode.GOLDEN):
            if not on:
                return OrderAnswer(done=True, text="was not in golden mode")
            text = "golden mode was on: the master parts are shown from the first on"
        else:
            text = ""
        golden = condition.recipe.settings.golden
        if on and not (golden and golden.parts):
            name = condition.recipe.name
            text = f"golden mode is on, but nothing is checked: no list of master parts in recipes.{name}.golden.parts"
        condition.mode = Mode.GOLDEN if on else Mode.PRODUCTION
        self._booking.audit(who, "golden_mode", "on" if on else "off")
        if on:
            self.mode_on(condition.recipe, who)
        else:
            self.mode_off()
        return OrderAnswer(done=True, text=text)

    def _order_pictures(self, who: str, asked: Pictures, _: object) -> OrderAnswer:
        recipe = self._parts.recipes.get(asked.recipe)
        if recipe is None:
            known = ", ".join(self._parts.recipes)
            return OrderAnswer(done=False, text=f"recipe {asked.recipe!r:.100}: expected one of {known}")
        if asked.proof != self._proof(recipe):
            text = f"recipe {recipe.name} as it runs now has another model, other settings or other software"
            return OrderAnswer(done=False, text=f"{text}; restart the station, then judge the pictures again")
        self._booking.audit(who, "golden_failed" if asked.faults else "golden_passed", asked.detail)
        if asked.faults:
            self._booking.event("alarm", "golden_failed", f"recipe {recipe.name}, stored pictures: {asked.faults}")
        clock, before = self._parts.clock, self._book.of(recipe.name)
        now = golden_book.pictures_judged(self._book, recipe, asked.faults, self._software, clock.utc(), clock.synced())
        if now.of(recipe.name).passed_utc != before.passed_utc:
            self._passed(recipe.name)
        self._now(now)
        return OrderAnswer(done=True)

    def _why(self, recipe: LoadedRecipe) -> tuple[str, bool]:
        """Why a check is due, empty = it is not, and whether no part may be judged before it."""
        settings = recipe.settings.golden
        if settings is None:
            return "", False
        standing = self._book.of(recipe.name)
        blocked = golden_book.why_blocked(standing, self._proof(recipe))
        if blocked:
            return blocked, True
        why = golden_book.why_due(settings, standing, settings.shift_start and self._new_shift(recipe.name, standing))
        return (f"a golden-sample check is due: {why}" if why else ""), bool(
            why
        ) and standing.late >= settings.grace_parts

    def _proof(self, recipe: LoadedRecipe) -> str:
        known = self._proofs.get(recipe.name)
        if known is None or known[0] is not recipe:
            known = self._proofs[recipe.name] = recipe, golden_book.proof_of(recipe, self._software)
        return known[1]

    def _new_shift(self, name: str, standing: golden_book.Standing) -> bool:
        now_ns = self._parts.clock.monotonic_ns()
        looked = self._shift.get(name)
        if looked is None or now_ns - looked[0] >= LOOK_NS:
            looked = self._shift[name] = now_ns, self._shift_has_begun(name, standing, now_ns)
        return looked[1]

    def _shift_has_begun(self, name: str, standing: golden_book.Standing, now_ns: int) -> bool:
        """By the clock where it is set; otherwise what is older than a shift, or than this process, is too old."""
        clock, starts = self._parts.clock, self._parts.ledger.settings.shifts
        passed_ns = self._passed_ns.get(name)
        age = None if passed_ns is None else timedelta(microseconds=(now_ns - passed_ns) / 1000)
        if not clock.synced():
            return age is None or age.total_seconds() > longest_shift_s(starts)
        now = parsed(clock.utc())
        if age is not None:
            return shift_has_begun(now - age, now, starts)
        return not standing.passed_synced or shift_has_begun(parsed(standing.passed_utc), now, starts)

    def _now(self, book: golden_book.GoldenBook) -> None:
        if book != self._book:
            self._book = book
            self._keep()

    def _keep(self) -> None:
        self._parts.ledger.submit(BookKept(golden_book.NAME, self._book.to_json(), self._parts.clock.utc()))

    def _record(self, who: str, what: str, run: MasterRun, how: str) -> None:
        """One line of the audit trail."""
        recipe = self._parts.recipes.get(run.recipe)
        settings = None if recipe is None else recipe.settings.golden
        detail = f"recipe {run.recipe}" if settings is None else run.detail(settings)
        self._booking.audit(who, what, f"{how}: {detail}"[:MOST_DETAIL])
