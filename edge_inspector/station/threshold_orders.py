"""What people may order of thresholds: see them, say whether a part was good, allow and stop their moving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import Field, StrictBool

from edge_inspector.engine.limits_file import LimitsFile
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.settings import Settings
from edge_inspector.stages.thresholds import LEAST_DEFECTS
from edge_inspector.station.booking import Booking
from edge_inspector.station.parts import Parts
from edge_inspector.station.threshold_book import put_down_release
from edge_inspector.station.threshold_kept import Release
from edge_inspector.station.threshold_learner import Learner
from edge_inspector.station.threshold_parts import REMEMBERED

DONE = OrderAnswer(done=True)


class OfRecipe(Settings):
    recipe: str = Field(max_length=63)


class Freeze(OfRecipe):
    on: StrictBool


class Show(Settings):
    """Of one recipe, or of all."""

    recipe: str | None = Field(None, max_length=63)


class Feedback(Settings):
    """Somebody has looked at a part again."""

    result_id: str = Field(max_length=128)
    good: StrictBool


class ThresholdOrders:
    """On the event loop. What changes something is written down with who ordered it."""

    def __init__(
        self,
        parts: Parts,
        booking: Booking,
        learners: Mapping[str, Learner],
        spoken_of: Callable[[str, bool], bool],
        put_down: Callable[[], None],
    ) -> None:
        """`spoken_of(result_id, good)` learns from what somebody says of a part, False: it is not remembered."""
        self._parts = parts
        self._booking = booking
        self.learners = learners
        self._spoken_of = spoken_of
        self._put_down = put_down

    def known(self) -> Mapping[str, Any]:
        """As `Orders` takes them: arguments and what carries it out, by name."""
        return {
            "thresholds": (Show, self._show),
            "thresholds_limits": (LimitsFile, self._audited(self._limits)),
            "thresholds_release": (OfRecipe, self._audited(self._release)),
            "thresholds_revoke": (OfRecipe, self._audited(self._revoke)),
            "thresholds_freeze": (Freeze, self._audited(self._freeze)),
            "feedback": (Feedback, self._feedback),
        }

    def _show(self, _who: str, asked: Show, _reply: object) -> OrderAnswer:
        if asked.recipe is not None and asked.recipe not in self.learners:
            return self._unknown(asked.recipe)
        wanted = [one for name, one in self.learners.items() if asked.recipe in (None, name)]
        return OrderAnswer(done=True, facts={"recipes": {one.name: facts(one) for one in wanted}})

    def _audited(self, carry_out: Callable[[str, Learner, Any], OrderAnswer]) -> Callable[..., OrderAnswer]:
        """Of a recipe that there is, and while it can be written down."""

        def ordered(who: str, asked: Any, _reply: object) -> OrderAnswer:
            if asked.recipe not in self.learners:
                return self._unknown(asked.recipe)
            if not self._parts.ledger.healthy:
                text = "the ledger cannot be written, so nobody could see who has changed it"
                return OrderAnswer(done=False, text=text, facts={"not_ready": True})
            return carry_out(who, self.learners[asked.recipe], asked)

        return ordered

    def _limits(self, who: str, learner: Learner, asked: LimitsFile) -> OrderAnswer:
        why = learner.why_not(asked)
        if why:
            text = (
                f"recipe {learner.name} as it runs now cannot take these limits: {why}; restart the station, then again"
            )
            return OrderAnswer(done=False, text=text)
        learner.set_limits(asked)
        self._put_down()
        self._booking.audit(who, "thresholds_limits", f"recipe {learner.name}: {_in_words(learner)}")
        return DONE

    def _release(self, who: str, learner: Learner, _asked: OfRecipe) -> OrderAnswer:
        if learner.limits is None:
            text = (
                f"recipe {learner.name} has no limits: run `edge-inspector thresholds limits` first, with a golden set "
                f"of at least {LEAST_DEFECTS} defects of a class"
            )
            return OrderAnswer(done=False, text=text)
        if learner.released and learner.release is not None:
            return OrderAnswer(done=True, text=f"was released by {learner.release.who} at {learner.release.utc}")
        if not loosened(learner):
            text = (
                f"recipe {learner.name}: no class has a ceiling above its threshold; that takes {LEAST_DEFECTS} golden "
                "defects of it that are found with room to spare"
            )
            return OrderAnswer(done=False, text=text)
        release = Release(limits=learner.limits.sum, who=who, utc=self._parts.clock.utc())
        learner.set_release(release)
        put_down_release(self._parts, learner.name, release)
        self._put_down()
        self._booking.audit(who, "thresholds_released", f"recipe {learner.name}: {_in_words(learner)}")
        self._booking.event("info", "thresholds_released", f"recipe {learner.name}: released by {who}")
        return DONE

    def _revoke(self, who: str, learner: Learner, _asked: OfRecipe) -> OrderAnswer:
        if learner.release is None:
            return OrderAnswer(done=True, text="was not released")
        learner.set_release(None)
        put_down_release(self._parts, learner.name, None)
        self._put_down()
        self._booking.audit(who, "thresholds_release_revoked", f"recipe {learner.name}")
        self._booking.event("info", "thresholds_release_revoked", f"recipe {learner.name}: revoked by {who}")
        return DONE

    def _freeze(self, who: str, learner: Learner, asked: Freeze) -> OrderAnswer:
        if asked.on == bool(learner.frozen_by):
            return OrderAnswer(done=True, text=f"was frozen by {learner.frozen_by}" if asked.on else "was not frozen")
        learner.freeze(who if asked.on else "")
        self._put_down()
        self._booking.audit(who, "thresholds_frozen" if asked.on else "thresholds_go_on", f"recipe {learner.name}")
        return DONE

    def _feedback(self, who: str, asked: Feedback, _reply: object) -> OrderAnswer:
        if not self._parts.ledger.healthy:
            text = "the ledger cannot be written, so nobody could see what was said"
            return OrderAnswer(done=False, text=text, facts={"not_ready": True})
        if not self._spoken_of(asked.result_id, asked.good):
            text = f"result {asked.result_id!r} is none of the last {REMEMBERED} production parts of this station"
            return OrderAnswer(done=False, text=text)
        said = "good" if asked.good else "bad"
        self._booking.audit(who, "part_feedback", f"{asked.result_id} was {said}")
        return DONE

    def _unknown(self, recipe: str) -> OrderAnswer:
        known = ", ".join(self.learners)
        return OrderAnswer(done=False, text=f"recipe {recipe!r}: the station has none of this name; it has {known}")


def loosened(learner: Learner) -> list[str]:
    """The classes whose thresholds a release lets rise above the recipe's."""
    if learner.limits is None:
        return []
    rows = zip(learner.recipe.criteria.classes, learner.recipe.thresholds.by_class, learner.limits.limits, strict=True)
    return [name for name, base, one in rows if one.ceiling > base]


def facts(learner: Learner) -> dict[str, Any]:
    """All that there is to say of a recipe's thresholds, as JSON has it."""
    recipe, limits = learner.recipe, learner.limits
    return {
        "policy": recipe.settings.adaptive.policy,
        "shadow": recipe.settings.adaptive.shadow,
        "classes": list(recipe.criteria.classes),
        "fixed": list(recipe.thresholds.by_class),
        "now": list(learner.now().by_class),
        "released": learner.released,
        "release": None if learner.release is None else {"who": learner.release.who, "utc": learner.release.utc},
        "lapsed": learner.lapsed,
        "frozen_by": learner.frozen_by,
        "limits": None if limits is None else {"utc": limits.utc, "good": limits.good, "by_class": limits.by_class},
        "policies": [asdict(one) for one in learner.shown()],
    }


def _in_words(learner: Learner) -> str:
    """What a release would allow, class by class, and what it may cost: for the audit trail."""
    if learner.limits is None:
        return "no limits"
    recipe = learner.recipe
    rows = zip(recipe.criteria.classes, recipe.thresholds.by_class, learner.limits.limits, strict=True)
    words = [
        f"{name} {base:.3f}, from {one.floor:.3f} to {one.ceiling:.3f}: {one.missed} of {one.defects} golden defects "
        f"missed at the ceiling, at most {one.missed_upper:.1%} (95 %)"
        for name, base, one in rows
        if one.defects
    ]
    return f"limits {learner.limits.sum[:12]}; " + ("; ".join(words) or "no golden defect")
