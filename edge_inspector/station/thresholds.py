"""The thresholds of every recipe: who makes them, what they have learnt, and that it is never forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edge_inspector.datatypes import InspectionResult, Mode, ThresholdState, Trigger
from edge_inspector.engine.limits_file import LimitsFile, read_limits
from edge_inspector.errors import ConfigError
from edge_inspector.health.readings import ThresholdReading
from edge_inspector.interfaces import PartFeedback
from edge_inspector.stages.thresholds import needed
from edge_inspector.station import threshold_book
from edge_inspector.station.booking import Booking
from edge_inspector.station.changes import Configuration
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.threshold_learner import Learner
from edge_inspector.station.threshold_orders import ThresholdOrders
from edge_inspector.station.threshold_parts import InOrder
from edge_inspector.store.peaks import ScoredPart

MOST_GONE = 32
"""Recipes that are not in the file any more, and of which is known what they had learnt."""


class Thresholds:
    """Owned by the line loop; learns from each production part once, in the order of their numbers."""

    def __init__(self, parts: Parts, booking: Booking, drift: Callable[[LoadedRecipe], str]) -> None:
        """Reads the books and the state folder; before the ledger runs. `drift`: what is wrong with the pictures."""
        self._parts = parts
        self._booking = booking
        self._drift = drift
        self._order = InOrder()
        self._since = 0
        self._alarms: dict[str, str] = {}
        self._left: Mapping[str, Learner] = {}
        """Of the recipes before: a picture that was there when others came is still judged by them."""
        self._gone: dict[str, Learner] = {}
        """Of recipes that a reload has taken away: it may bring them back."""
        self._limits: dict[str, LimitsFile] = {}
        """Of each recipe the newest that there are, which may hold again when the recipe is as it was."""
        self.learners: Mapping[str, Learner] = {
            name: Learner(recipe, parts.configuration.values.get(f"recipes.{name}.golden", ""))
            for name, recipe in parts.recipes.items()
        }
        for learner in self.learners.values():
            self._bound(learner)
        self._remembered, anew = threshold_book.take_up(parts, self.learners)
        for name, learner in self.learners.items():
            adaptive = learner.recipe.settings.adaptive
            for policy in (adaptive.policy, adaptive.shadow):
                needed(policy)
            if name in anew:
                booking.event("info", "thresholds_anew", f"recipe {name} learns its thresholds anew: {anew[name]}")
            if learner.lapsed and adaptive.policy != "fixed":
                booking.event("warning", "thresholds_release_lapsed", f"recipe {name}: {learner.lapsed}")
            self._alarms[name] = learner.alarm
        self._orders = ThresholdOrders(parts, booking, self.learners, self._spoken_of, self._now_put_down)
        threshold_book.put_down(parts, self.learners.values())

    def now(self, recipe: LoadedRecipe) -> ThresholdState:
        """Those by which a part that is accepted now is judged; its recipe may be one that the station had before."""
        for learners in (self.learners, self._left):
            learner = learners.get(recipe.name)
            if learner is not None and learner.recipe is recipe:
                return learner.now()
        return recipe.thresholds

    def renewed(self, configuration: Configuration) -> None:
        """The station has other recipes: what was learnt goes on wherever it still holds."""
        self._now_put_down()
        before, last = self.learners, self._parts.ledger.next_seq - 1
        learners = {}
        for name, recipe in self._parts.recipes.items():
            old = before.get(name) or self._gone.pop(name, None)
            same = old is not None and old.recipe is recipe
            learners[name] = old if old is not None and same else self._follower(recipe, old, configuration, last)
        self._gone |= {name: one for name, one in before.items() if name not in learners}
        while len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._left = before
        self.learners = self._orders.learners = learners
        self._alarms = {name: learner.alarm for name, learner in learners.items()}
        threshold_book.put_down(self._parts, learners.values())

    def warning(self, recipe: LoadedRecipe) -> str:
        """What is not as it should be with the thresholds of a recipe, empty = nothing."""
        learner = self.learners[recipe.name]
        adapts = recipe.settings.adaptive.policy != "fixed"
        return learner.alarm or (learner.lapsed if adapts else "")

    def readings(self) -> tuple[ThresholdReading, ...]:
        """Every class that rejects, of every recipe; any thread."""
        return tuple(one for learner in self.learners.values() for one in learner.readings())

    def held(self) -> dict[str, bool]:
        """By recipe, whether its thresholds may not move or need a look; any thread."""
        return {name: learner.held for name, learner in self.learners.items()}

    def orders(self) -> Mapping[str, Any]:
        """What people may order of it, as `Orders` takes them."""
        return self._orders.known()

    def accepted(self, trigger: Trigger) -> None:
        """A part has begun; it will be settled."""
        if trigger.mode is Mode.PRODUCTION:
            self._order.accepted(trigger.seq)

    def settled(self, result: InspectionResult) -> None:
        """A part has its verdict: learn from it, when those before it have theirs."""
        if result.trigger.mode is not Mode.PRODUCTION:
            return
        for part in self._order.settled(ScoredPart.of(result)):
            self._remembered.add(part)
            self._learn(part)
            self._since += 1
        if self._since >= threshold_book.EVERY:
            self._now_put_down()

    def feedback(self, feedback: PartFeedback) -> None:
        """A PLC says that a part was good or bad; one that nobody remembers teaches nothing."""
        part = self._remembered.of_trigger(feedback.trigger_seq, feedback.plc_boot_id)
        if part is not None:
            self._hear(part, feedback.good)

    def _spoken_of(self, result_id: str, good: bool) -> bool:
        """A person says it; False: nobody remembers this part."""
        part = self._remembered.of_result(result_id)
        if part is None:
            return False
        self._booking.feedback(PartFeedback(part.trigger_seq, part.plc_boot_id, good))
        self._hear(part, good)
        return True

    def _learn(self, part: ScoredPart) -> None:
        learner = self.learners.get(part.recipe)
        if learner is not None:  # else the station file has the recipe no more
            self._told(learner, part, learner.see(part, self._drift(learner.recipe)))

    def _hear(self, part: ScoredPart, good: bool) -> None:
        learner = self.learners.get(part.recipe)
        if learner is not None:
            self._told(learner, part, learner.hear(part, good))

    def _told(self, learner: Learner, part: ScoredPart, noted: bool) -> None:
        alarm, before = learner.alarm, self._alarms[learner.name]
        self._alarms[learner.name] = alarm
        if alarm and not before:
            self._booking.event("alarm", "thresholds", f"recipe {learner.name}: {alarm}", [part.result_id])
        if noted and learner.crowded:
            threshold_book.put_down(self._parts, [learner])
        elif noted:
            threshold_book.put_down_noted(self._parts, learner)

    def _follower(self, recipe: LoadedRecipe, old: Learner | None, configuration: Configuration, last: int) -> Learner:
        """Learns for a recipe that is another one now, or new; `last` is the newest part that was accepted before."""
        learner = Learner(recipe, configuration.values.get(f"recipes.{recipe.name}.golden", ""))
        learner.seq = last
        if old is not None:
            learner.set_release(old.release)
            self._limit(learner, old.limits or self._limits.get(recipe.name))
        why = "" if old is None else learner.take_up(old.put_down()(), None, ())
        if why:
            learner.seq = last
            self._booking.event("info", "thresholds_anew", f"recipe {recipe.name} learns its thresholds anew: {why}")
        if learner.lapsed and recipe.settings.adaptive.policy != "fixed":
            self._booking.event("warning", "thresholds_release_lapsed", f"recipe {recipe.name}: {learner.lapsed}")
        return learner

    def _now_put_down(self) -> None:
        self._since = 0
        threshold_book.put_down(self._parts, self.learners.values())

    def _bound(self, learner: Learner) -> None:
        """Take the limits that lie in the state folder, if they hold, and the release that the book has."""
        learner.set_release(threshold_book.release_of(self._parts, learner.name))
        try:
            self._limit(learner, read_limits(self._parts.state_dir, learner.name))
        except ConfigError as exc:
            self._booking.event("warning", "thresholds_limits", str(exc))

    def _limit(self, learner: Learner, limits: LimitsFile | None) -> None:
        """Take these limits, if they hold."""
        if limits is not None:
            self._limits[learner.name] = limits
        why = "" if limits is None else learner.why_not(limits)
        if why:
            text = f"recipe {learner.name}: its limits do not hold: {why}; run `edge-inspector thresholds limits` again"
            self._booking.event("warning", "thresholds_limits", text)
        else:
            learner.set_limits(limits)
