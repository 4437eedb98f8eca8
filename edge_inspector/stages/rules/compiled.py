"""A recipe's rules, ready to judge by, and what holds where they say nothing."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from edge_inspector.datatypes import (
    ClassifyRule,
    Criteria,
    DefectRule,
    Limits,
    Measure,
    MeasureRule,
    Place,
    PresenceRule,
    Rule,
    TolerateRule,
    Zone,
)
from edge_inspector.settings import Recipe
from edge_inspector.settings import rules as written
from edge_inspector.stages.zones import zone

_SIZES: Sequence[tuple[str, Measure]] = (
    ("longer_than_px", "length_px"),
    ("longer_than_mm", "length_mm"),
    ("wider_than_px", "width_px"),
    ("wider_than_mm", "width_mm"),
    ("larger_than_px2", "area_px2"),
    ("larger_than_mm2", "area_mm2"),
)
_TOTALS: Sequence[tuple[str, Measure]] = (
    ("total_larger_than_px2", "area_px2"),
    ("total_larger_than_mm2", "area_mm2"),
)


def with_rules(criteria: Criteria, recipe: Recipe, task: str) -> Criteria:
    """The criteria of a bundle of this task with the rules of a recipe, which `check` has found to be right.

    Without rules they are the bundle's. With them the recipe's come first, in its order; then, without a name, for each
    camera what holds for classes of which none of them speaks there: a defect rejects, a value has the bundle's limits.
    """
    if not recipe.rules:
        return criteria
    cameras = tuple(view.camera for view in recipe.views)
    rules = tuple(_rule(rule, criteria, recipe, cameras) for rule in recipe.rules)
    return replace(criteria, rules=(*rules, *_rest(rules, recipe, criteria, task)), stand_ins=task == "anomaly")


def adaptable(criteria: Criteria) -> frozenset[int]:
    """The classes whose thresholds may follow the line: those that reject.

    Not what is good, and not what is counted: to find screws with less confidence is to find screws that are not there.
    """
    if criteria.limits:
        return frozenset()
    classes = frozenset(range(len(criteria.classes)))
    counted = {c for rule in criteria.rules if isinstance(rule, PresenceRule) for c in rule.classes}
    good = criteria.good.union(*(rule.good for rule in criteria.rules if isinstance(rule, ClassifyRule)))
    if criteria.rules:
        classes &= {c for rule in criteria.rules if isinstance(rule, DefectRule) for c in rule.classes}
    return classes - good - counted


def fingerprint(recipe: Recipe) -> str:
    """SHA-256 of what the recipe's zones and rules say; the same for all that judge alike."""
    said = recipe.model_dump(mode="json", include={"zones", "rules"})
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _rule(rule: written.AnyRule, criteria: Criteria, recipe: Recipe, cameras: tuple[str, ...]) -> Rule:
    if isinstance(rule, written.MeasureRule):
        place = Place(rule.cameras or cameras)
        value = criteria.classes.index(rule.value)
        own = criteria.limits[value]
        low = own.low if rule.low is None else rule.low
        high = own.high if rule.high is None else rule.high
        return MeasureRule(rule.name, value, place, Limits(low, high, own.unit), rule.grey)
    if isinstance(rule, written.ClassifyRule):
        good = _indices(rule.good, criteria) or criteria.good
        return ClassifyRule(rule.name, good, Place(rule.cameras or cameras), rule.margin)
    place = _place(rule, recipe)
    if isinstance(rule, written.TolerateRule):
        return TolerateRule(rule.name, _indices(rule.classes, criteria), place)
    if isinstance(rule, written.PresenceRule):
        least = rule.at_least or 0 if rule.exactly is None else rule.exactly
        most = math.inf if rule.at_most is None else rule.at_most
        classes = _indices(rule.classes, criteria)
        return PresenceRule(
            rule.name, classes, place, least, most if rule.exactly is None else rule.exactly, rule.grey_score
        )
    return DefectRule(
        rule.name,
        _indices(rule.classes, criteria) or _defects(recipe, criteria, place.cameras),
        place,
        tuple((measure, limit) for key, measure in _SIZES if (limit := getattr(rule, key)) is not None),
        tuple((measure, limit) for key, measure in _TOTALS if (limit := getattr(rule, key)) is not None),
        rule.at_least,
        rule.together,
        rule.in_views,
        rule.grey_score,
        rule.grey_size,
    )


def _indices(names: Sequence[str], criteria: Criteria) -> frozenset[int]:
    return frozenset(criteria.classes.index(name) for name in names)


def _place(rule: written.DefectRule | written.PresenceRule | written.TolerateRule, recipe: Recipe) -> Place:
    cameras = tuple(view.camera for view in recipe.views)
    if not rule.zones:
        return Place(rule.cameras or cameras)
    outside = isinstance(rule, written.TolerateRule)
    zones = tuple(_zone(name, recipe.zones[name], outside) for name in rule.zones)
    with_zones = {one.camera for one in zones}
    return Place(tuple(camera for camera in cameras if camera in with_zones), zones)


@lru_cache(maxsize=256)
def _zone(name: str, one: written.Zone, outside: bool) -> Zone:
    return zone(name, one.camera, one.include, one.exclude, outside)


def _good(recipe: Recipe, criteria: Criteria, camera: str) -> frozenset[int]:
    """The classes that are no defect on a camera's pictures."""
    good = criteria.good
    for rule in recipe.rules:
        if isinstance(rule, written.ClassifyRule) and rule.good and camera in (rule.cameras or [camera]):
            good = _indices(rule.good, criteria)
    return good


def _defects(recipe: Recipe, criteria: Criteria, cameras: Sequence[str]) -> frozenset[int]:
    """Every class that is a defect on any of these cameras: not good there, not counted, not tolerated."""
    found: set[int] = set()
    for camera in cameras:
        classes = set(range(len(criteria.classes))) - _good(recipe, criteria, camera)
        for rule in recipe.rules:
            here = camera in (rule.cameras or [camera])
            if isinstance(rule, written.PresenceRule) or (
                isinstance(rule, written.TolerateRule) and here and not rule.zones
            ):
                classes -= _indices(rule.classes, criteria)
        found |= classes
    return frozenset(found)


def _rest(rules: Sequence[Rule], recipe: Recipe, criteria: Criteria, task: str) -> Iterator[Rule]:
    """What holds where no rule speaks: by camera, and cameras for which the same holds in one rule."""
    cameras_of: dict[frozenset[int], list[str]] = {}
    for view in recipe.views:
        silent = _defects(recipe, criteria, [view.camera]) - _spoken(rules, view.camera)
        cameras_of.setdefault(silent, []).append(view.camera)
    for silent, cameras in cameras_of.items():
        place = Place(tuple(cameras))
        if task == "measure":
            yield from (MeasureRule("", value, place, criteria.limits[value]) for value in sorted(silent))
        elif silent:
            yield DefectRule("", silent, place)
    if task == "classify":
        told = {camera for rule in rules if isinstance(rule, ClassifyRule) for camera in rule.place.cameras}
        cameras = [view.camera for view in recipe.views if view.camera not in told]
        if cameras:
            yield ClassifyRule("", criteria.good, Place(tuple(cameras)))


def _spoken(rules: Sequence[Rule], camera: str) -> frozenset[int]:
    """The classes, or values, of which a rule speaks on a camera."""
    spoken: set[int] = set()
    for rule in rules:
        if isinstance(rule, DefectRule) and camera in rule.place.cameras:
            spoken |= rule.classes
        elif isinstance(rule, MeasureRule) and camera in rule.place.cameras:
            spoken.add(rule.value)
    return frozenset(spoken)
