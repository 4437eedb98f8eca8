"""Rules of a recipe that contradict each other: no part could be good, or one of them could never act."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from edge_inspector.config.problems import Problem, shown_value
from edge_inspector.settings import Recipe
from edge_inspector.settings.rules import (
    AnyRule,
    ClassifyRule,
    DefectRule,
    MeasureRule,
    PresenceRule,
    TolerateRule,
)


def contradictions(path: Path, key: str, recipe: Recipe) -> Iterator[Problem]:
    """What two rules say against each other; told of the later one, `key` is the recipe's."""
    for (i, one), (j, other) in combinations(enumerate(recipe.rules), 2):
        shared = [camera for camera in cameras_of(one, recipe) if camera in cameras_of(other, recipe)]
        said = _between(one, other) if shared else None
        if said is not None:
            named, value, expected = said
            yield Problem(path, f"{key}.rules.{j}.{named}", value, expected.format(other=f"rules.{i} ({one.name})"))
    for i, rule in enumerate(recipe.rules):
        if isinstance(rule, DefectRule) and rule.in_views > len(looked := cameras_of(rule, recipe)):
            expected = f"expected at most {len(looked)}: it looks at {', '.join(looked)}, and can never act"
            yield Problem(path, f"{key}.rules.{i}.in_views", str(rule.in_views), expected)
        if isinstance(rule, DefectRule) and rule.classes:
            muted = _tolerated(recipe)
            if {(name, camera) for name in rule.classes for camera in cameras_of(rule, recipe)} <= muted:
                expected = "can never act: another rule tolerates all of which it speaks; remove one of the two"
                yield Problem(path, f"{key}.rules.{i}.classes", ", ".join(map(repr, rule.classes)), expected)


def cameras_of(rule: AnyRule, recipe: Recipe) -> tuple[str, ...]:
    """On whose pictures a rule looks, in the recipe's order."""
    zones = [recipe.zones[name].camera for name in getattr(rule, "zones", ()) if name in recipe.zones]
    wanted = zones or rule.cameras or [view.camera for view in recipe.views]
    return tuple(view.camera for view in recipe.views if view.camera in wanted)


def _between(one: AnyRule, other: AnyRule) -> tuple[str, str, str] | None:
    """Key, value and what is wrong of `other`, for two rules that look at a camera both."""
    if isinstance(one, ClassifyRule) and isinstance(other, ClassifyRule):
        return "kind", "'classify'", "{other} says what is good on the same camera; make one rule of both"
    if isinstance(one, MeasureRule) and isinstance(other, MeasureRule) and one.value == other.value:
        return "value", shown_value(other.value), "has its limits from {other} already; make one rule of both"
    if isinstance(one, PresenceRule) and isinstance(other, PresenceRule):
        if set(one.classes) == set(other.classes) and set(one.zones) == set(other.zones) and not _both(one, other):
            return "classes", _listed(other.classes), "no count is good for this rule and for {other}; correct one"
        return None
    if isinstance(one, DefectRule | PresenceRule) and isinstance(other, DefectRule | PresenceRule):
        told = "no part can be good: this rule and {other} reject and ask for the same"
        return ("classes", _listed(other.classes), told) if _rejects_all(one, other) else None
    wanted, tolerated = (other, one) if isinstance(one, TolerateRule) else (one, other)
    if isinstance(tolerated, TolerateRule) and isinstance(wanted, PresenceRule | MeasureRule):
        names = wanted.classes if isinstance(wanted, PresenceRule) else (wanted.value,)
        both = [name for name in tolerated.classes if name in names]
        if both:
            what = "value" if isinstance(other, MeasureRule) else "classes"
            return what, _listed(both), "is tolerated by one rule and asked for by another: {other}; remove one of them"
    return None


def _rejects_all(one: DefectRule | PresenceRule, other: DefectRule | PresenceRule) -> bool:
    """Whether one rejects as many as the other asks for, wherever they are and however large."""
    defect, presence = (one, other) if isinstance(one, DefectRule) else (other, one)
    if not isinstance(defect, DefectRule) or not isinstance(presence, PresenceRule):
        return False
    asks = defect.zones or defect.in_views > 1 or any(size is not None for size in defect.sizes)
    return not asks and set(presence.classes) <= set(defect.classes) and defect.at_least <= _limits(presence)[0]


def _both(one: PresenceRule, other: PresenceRule) -> bool:
    """Whether some count is good for both."""
    limits = [_limits(one), _limits(other)]
    return max(least for least, _ in limits) <= min(most for _, most in limits)


def _limits(rule: PresenceRule) -> tuple[float, float]:
    if rule.exactly is not None:
        return rule.exactly, rule.exactly
    return rule.at_least or 0, math.inf if rule.at_most is None else rule.at_most


def _tolerated(recipe: Recipe) -> set[tuple[str, str]]:
    """Class and camera of what is tolerated anywhere in the picture."""
    return {
        (name, camera)
        for rule in recipe.rules
        if isinstance(rule, TolerateRule) and not rule.zones
        for name in rule.classes
        for camera in cameras_of(rule, recipe)
    }


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown_value, names))
