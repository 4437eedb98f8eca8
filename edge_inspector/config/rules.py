"""The rules of a recipe: against each other, and against its bundle and its cameras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_inspector import datatypes as compiled
from edge_inspector.config.contradictions import cameras_of, contradictions
from edge_inspector.config.problems import Problem, shown_value
from edge_inspector.config.zones import zone_problems, zones_out_of_sight
from edge_inspector.datatypes import Calibration, Criteria
from edge_inspector.engine.bundle import Bundle
from edge_inspector.settings import Recipe
from edge_inspector.settings.rules import (
    AnyRule,
    ClassifyRule,
    DefectRule,
    MeasureRule,
    PresenceRule,
)
from edge_inspector.stages.nms import LIMIT_PER_CLASS
from edge_inspector.stages.rules import with_rules

_KINDS: Mapping[str, tuple[str, ...]] = {
    "detect": ("defect", "presence", "tolerate"),
    "segment": ("defect", "presence", "tolerate"),
    "anomaly": ("defect", "tolerate"),
    "classify": ("defect", "classify"),
    "measure": ("measure", "tolerate"),
}
"""The rules that each task of a bundle can be judged by."""


def crossed_rules(path: Path, key: str, recipe: Recipe) -> Iterator[Problem]:
    """What the file alone says against its zones and rules; `key` is the recipe's."""
    found = [*zone_problems(path, key, recipe), *_names(path, key, recipe)]
    yield from found
    if not found:
        yield from contradictions(path, key, recipe)


def rule_problems(
    path: Path, key: str, recipe: Recipe, bundle: Bundle, calibrations: Mapping[str, Calibration | None]
) -> Iterator[Problem]:
    """What the bundle and the cameras' calibrations say against the rules; `key` is the recipe's."""
    yield from zones_out_of_sight(path, key, recipe, calibrations)
    found = [
        problem
        for i, rule in enumerate(recipe.rules)
        for problem in _misfits(path, f"{key}.rules.{i}", rule, recipe, bundle, calibrations)
    ]
    yield from found
    if not found and not any(crossed_rules(path, key, recipe)):
        yield from _silent(path, key, recipe, with_rules(bundle.criteria, recipe, bundle.task))


def _names(path: Path, key: str, recipe: Recipe) -> Iterator[Problem]:
    """Names that are there twice, or not at all."""
    cameras = [view.camera for view in recipe.views]
    names: dict[str, int] = {}
    for i, rule in enumerate(recipe.rules):
        where = f"{key}.rules.{i}"
        if names.setdefault(rule.name, i) != i:
            expected = f"is already the name of rules.{names[rule.name]}; each needs its own"
            yield Problem(path, f"{where}.name", repr(rule.name), expected)
        for camera in rule.cameras:
            if camera not in cameras:
                expected = f"expected cameras of the recipe's views: {', '.join(cameras)}"
                yield Problem(path, f"{where}.cameras", repr(camera), expected)
        for name in getattr(rule, "zones", ()):
            if name not in recipe.zones:
                known = ", ".join(recipe.zones) or "none"
                yield Problem(path, f"{where}.zones", repr(name), f"expected zones of the recipe: {known}")


def _misfits(
    path: Path,
    where: str,
    rule: AnyRule,
    recipe: Recipe,
    bundle: Bundle,
    calibrations: Mapping[str, Calibration | None],
) -> Iterator[Problem]:
    if rule.kind not in _KINDS[bundle.task]:
        expected = (
            f"bundle {bundle.name} has task = {bundle.task!r}, for which rules are of kind "
            f"{' or '.join(map(repr, _KINDS[bundle.task]))}"
        )
        yield Problem(path, f"{where}.kind", repr(rule.kind), expected)
        return
    unknown = [*_unknown(path, where, rule, bundle.criteria)]
    if unknown:
        yield from unknown
        return
    if isinstance(rule, DefectRule):
        yield from _defect_problems(path, where, rule, recipe, bundle, calibrations)
    if isinstance(rule, DefectRule | PresenceRule):
        yield from _count_problems(path, where, rule)
    if isinstance(rule, DefectRule | PresenceRule) and bundle.task != "classify":
        yield from _grey_problems(path, where, rule, recipe, bundle)
    if isinstance(rule, MeasureRule):
        yield from _limit_problems(path, where, rule, bundle.criteria)
    if isinstance(rule, ClassifyRule) and set(rule.good) == set(bundle.classes):
        yield Problem(path, f"{where}.good", "", "names every class: nothing could be a defect; name the good ones")


def _unknown(path: Path, where: str, rule: AnyRule, criteria: Criteria) -> Iterator[Problem]:
    """Classes and values that the bundle does not have."""
    known = f"is not of the bundle; its classes are {', '.join(criteria.classes)}"
    named, wanted = "", tuple[str, ...]()
    if isinstance(rule, MeasureRule):
        named, wanted = "value", (rule.value,)
    elif isinstance(rule, ClassifyRule):
        named, wanted = "good", rule.good
    else:
        named, wanted = "classes", rule.classes
    for name in wanted:
        if name not in criteria.classes:
            yield Problem(path, f"{where}.{named}", shown_value(name), known)


def _defect_problems(
    path: Path,
    where: str,
    rule: DefectRule,
    recipe: Recipe,
    bundle: Bundle,
    calibrations: Mapping[str, Calibration | None],
) -> Iterator[Problem]:
    cameras = cameras_of(rule, recipe)
    if any(size is not None for size in rule.sizes_mm):
        for camera in cameras:
            calibration = calibrations.get(camera)
            if calibration is None or calibration.plane is None:
                expected = (
                    f"is in mm, and {camera} has {'no calibration' if calibration is None else 'a calibration'} without"
                    " an inspection plane; give `edge-inspector calibrate` a --plane, or the rule a size in px"
                )
                key = next(name for name in _SIZES_MM if getattr(rule, name) is not None)
                yield Problem(path, f"{where}.{key}", f"{getattr(rule, key):g}", expected)
    if bundle.task == "classify":
        placed = {"zones": rule.zones, "together": rule.together, "at_least": rule.at_least > 1}
        sized = [name for name in (*_SIZES_PX, *_SIZES_MM) if getattr(rule, name) is not None]
        for name in [*(name for name, given in placed.items() if given), *sized]:
            expected = f"is of no use: bundle {bundle.name} has task = 'classify', which judges a view as a whole"
            yield Problem(path, f"{where}.{name}", "", expected)


_SIZES_MM = ("longer_than_mm", "wider_than_mm", "larger_than_mm2", "total_larger_than_mm2")
_SIZES_PX = ("longer_than_px", "wider_than_px", "larger_than_px2", "total_larger_than_px2")


def _grey_problems(
    path: Path, where: str, rule: DefectRule | PresenceRule, recipe: Recipe, bundle: Bundle
) -> Iterator[Problem]:
    """A grey zone reaches down to what the model still tells."""
    if not rule.grey_score:
        return
    for name, default in zip(bundle.classes, bundle.default_thresholds, strict=True):
        threshold = recipe.thresholds.get(name, default)
        if name in (rule.classes or bundle.classes) and threshold - rule.grey_score < bundle.score_floor:
            expected = (
                f"expected at most {threshold - bundle.score_floor:.4g}: the threshold of {name} is {threshold:g}, and "
                f"below the bundle's score_floor ({bundle.score_floor:g}) nothing is seen"
            )
            yield Problem(path, f"{where}.grey_score", f"{rule.grey_score:g}", expected)
            return


def _count_problems(path: Path, where: str, rule: DefectRule | PresenceRule) -> Iterator[Problem]:
    """Of each class the most confident LIMIT_PER_CLASS findings are looked at: more cannot be counted."""
    for key in ("exactly", "at_least", "at_most"):
        count, most = getattr(rule, key, None), LIMIT_PER_CLASS - (key != "at_least")
        if count is not None and count > most:
            expected = f"expected at most {most}: a picture's {LIMIT_PER_CLASS} most confident findings are looked at"
            yield Problem(path, f"{where}.{key}", str(count), expected)


def _limit_problems(path: Path, where: str, rule: MeasureRule, criteria: Criteria) -> Iterator[Problem]:
    own = criteria.limits[criteria.classes.index(rule.value)]
    low = own.low if rule.low is None else rule.low
    high = own.high if rule.high is None else rule.high
    if low > high:
        key, value = ("low", rule.low) if rule.low is not None else ("high", rule.high)
        expected = f"no value is good: the lowest would be {low:g}, the highest {high:g}"
        yield Problem(path, f"{where}.{key}", f"{value:g}", expected)
    elif 2 * rule.grey > high - low:
        expected = f"expected at most {(high - low) / 2:g}: no value of {low:g} to {high:g} is farther from both limits"
        yield Problem(path, f"{where}.grey", f"{rule.grey:g}", expected)


def _silent(path: Path, key: str, recipe: Recipe, criteria: Criteria) -> Iterator[Problem]:
    """Rules that can never act, because all of which they speak is good; `criteria` with the compiled rules."""
    for i, rule in enumerate(criteria.rules[: len(recipe.rules)]):
        if not isinstance(rule, compiled.DefectRule):
            continue
        if all(rule.classes <= _good(criteria, camera) for camera in rule.place.cameras):
            expected = "speaks of no class that is a defect where it looks; they are good, counted or tolerated"
            yield Problem(path, f"{key}.rules.{i}.classes", "", expected)


def _good(criteria: Criteria, camera: str) -> set[int]:
    """The classes that a classified view of a camera may show."""
    rules = [
        rule for rule in criteria.rules if isinstance(rule, compiled.ClassifyRule) and camera in rule.place.cameras
    ]
    return {class_id for rule in rules for class_id in rule.good}
