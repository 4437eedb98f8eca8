"""A recipe's rules and zones as sentences, for people who answer for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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
from edge_inspector.stages.rules.others import counts
from edge_inspector.stages.zones import area, zone

_LARGER: dict[Measure, str] = {
    "length_px": "longer than {:g} px", "length_mm": "longer than {:g} mm",
    "width_px": "wider than {:g} px", "width_mm": "wider than {:g} mm",
    "area_px2": "larger than {:g} px²", "area_mm2": "larger than {:g} mm²",
}  # fmt: skip
_TOTAL: dict[Measure, str] = {"area_px2": "{:g} px²", "area_mm2": "{:g} mm²"}


def rules_in_words(recipe: Recipe, criteria: Criteria) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each rule, in order; what has no name holds where no rule speaks.

    `criteria` are the bundle's with the recipe's rules (`with_rules`). Without rules it is the bundle's word.
    """
    cameras = tuple(view.camera for view in recipe.views)
    if not criteria.rules:
        yield "", plain(_bundles_word(criteria))
    for rule in criteria.rules:
        yield rule.name, plain(_sentence(rule, criteria, cameras))
    for place, classes in _accepted(criteria, cameras):
        looks = " in a view that looks more like what is expected" if _classified(criteria) else ""
        yield "", plain(f"accept any other {_names(classes, criteria)}{_where(place, cameras)}{looks}")


def zones_in_words(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each zone."""
    for name, one in recipe.zones.items():
        cut = zone(name, one.camera, one.include, one.exclude)
        size = f", {area(cut):.6g} px²" if one.include else ""
        inside = f"inside {_polygons(one.include)}" if one.include else "the whole picture"
        without = f", without {_polygons(one.exclude)}" if one.exclude else ""
        yield name, f"of {one.camera}: {inside}{without}{size}"


def plain(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey: names come out of other people's files."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _sentence(rule: Rule, criteria: Criteria, cameras: Sequence[str]) -> str:
    where = _where(rule.place, cameras)
    if isinstance(rule, TolerateRule):
        wholly = " (what lies in it wholly)" if rule.place.zones else ""
        return f"ignore {_names(rule.classes, criteria)}{where}{wholly}"
    if isinstance(rule, PresenceRule):
        each = "" if len(rule.place.cameras) == 1 else ", in each picture"
        doubt = _doubts([f"up to {rule.grey_score:g} below their threshold"] if rule.grey_score else [])
        return f"expect {counts(rule.least, rule.most)} {_names(rule.classes, criteria)}{where}{each}{doubt}"
    if isinstance(rule, MeasureRule):
        return _measured(rule, criteria, where)
    if isinstance(rule, ClassifyRule):
        lead = f", ahead of every other class by {rule.margin:g} or more, else not decidable" if rule.margin else ""
        return f"expect {_names(rule.good, criteria)}{where}{lead}"
    return _rejected(rule, criteria, cameras)


def _rejected(rule: DefectRule, criteria: Criteria, cameras: Sequence[str]) -> str:
    names = _names(rule.classes, criteria)
    sizes = " and ".join(_LARGER[measure].format(limit) for measure, limit in rule.larger_than)
    found = f"{names} {sizes}".rstrip()
    if rule.total_larger_than:
        total = " and ".join(_TOTAL[measure].format(limit) for measure, limit in rule.total_larger_than)
        number = f", {rule.at_least} or more of them," if rule.at_least > 1 else ""
        what = f"all {found}{number} together cover more than {total}"
    else:
        what = f"any {found}" if rule.at_least == 1 else f"{rule.at_least} or more {found}"
    where = _where(rule.place, cameras)
    looked = rule.place.cameras
    if rule.together and len(looked) > 1:
        where = f"{where}, over all pictures of the part"
    elif rule.in_views > 1:
        where = f"{where}, in at least {rule.in_views} of {_listed(looked, 'and')}"
    elif len(looked) > 1 and (rule.at_least > 1 or rule.total_larger_than):
        where = f"{where}, in one picture"
    grey = [f"up to {rule.grey_score:g} below its threshold"] if rule.grey_score else []
    grey += [f"from {1 - rule.grey_size:.4g} of its size limits on"] if rule.grey_size else []
    return f"reject if {what}{where}{_doubts(grey)}"


def _measured(rule: MeasureRule, criteria: Criteria, where: str) -> str:
    own = criteria.limits[rule.value]
    unit = f" {rule.limits.unit}" if rule.limits.unit else ""
    bundles = "" if own == rule.limits else f" (the bundle says {_span(own)})"
    doubt = _doubts([f"nearer than {rule.grey:g}{unit} to a limit"] if rule.grey else [])
    return f"expect {criteria.classes[rule.value]} {_span(rule.limits)}{unit}{where}{bundles}{doubt}"


def _span(limits: Limits) -> str:
    return f"{limits.low:g} to {limits.high:g}"


def _doubts(grey: Sequence[str]) -> str:
    return f"; not decidable {' and '.join(grey)}" if grey else ""


def _bundles_word(criteria: Criteria) -> str:
    """What a recipe without rules judges by."""
    if criteria.limits:
        values = zip(criteria.classes, criteria.limits, strict=True)
        return "expect " + ", ".join(f"{name} {_span(one)} {one.unit}".rstrip() for name, one in values)
    bad = [name for i, name in enumerate(criteria.classes) if i not in criteria.good]
    return f"reject if any {_listed(bad, 'or')}" if bad else "every class is good: nothing is rejected"


def _accepted(criteria: Criteria, cameras: Sequence[str]) -> list[tuple[Place, frozenset[int]]]:
    """Where classes that rules reject are good all the same, because each of those rules asks for more.

    And where classes are seen that are counted elsewhere alone: what is counted is no defect.
    """
    counting = [rule for rule in criteria.rules if isinstance(rule, PresenceRule)]
    cameras_of: dict[frozenset[int], list[str]] = {}
    for camera in cameras:
        rules = [rule for rule in criteria.rules if isinstance(rule, DefectRule) and camera in rule.place.cameras]
        always = {c for rule in rules if _unconditional(rule) for c in rule.classes}
        here = [rule for rule in counting if camera in rule.place.cameras and not rule.place.zones]
        always |= {c for rule in here for c in rule.classes}
        spoken = {c for rule in rules for c in rule.classes} | {c for rule in counting for c in rule.classes}
        sometimes = frozenset(spoken - always)
        cameras_of.setdefault(sometimes, []).append(camera)
    return [(Place(tuple(group)), classes) for classes, group in cameras_of.items() if classes]


def _classified(criteria: Criteria) -> bool:
    """Whether views are judged as a whole."""
    return any(isinstance(rule, ClassifyRule) for rule in criteria.rules)


def _unconditional(rule: DefectRule) -> bool:
    asks = rule.place.zones or rule.larger_than or rule.total_larger_than
    return not asks and rule.at_least == 1 and rule.in_views == 1


def _where(place: Place, cameras: Sequence[str]) -> str:
    """Where a rule looks; nothing where that is everywhere."""
    if place.zones:
        return f" in {_listed(_zone_names(place.zones), 'or')}"
    return "" if set(place.cameras) == set(cameras) else f" in {_listed(place.cameras, 'or')}"


def _zone_names(zones: Iterable[Zone]) -> list[str]:
    return [f"zone {one.name}" for one in zones]


def _names(classes: Iterable[int], criteria: Criteria) -> str:
    return _listed([criteria.classes[c] for c in sorted(classes)], "or")


def _listed(names: Sequence[str], last: str) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _polygons(polygons: Sequence[Sequence[tuple[float, float]]]) -> str:
    """Each by the rectangle around it."""
    spans = []
    for polygon in polygons:
        xs, ys = zip(*polygon, strict=True)
        spans.append(f"x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g} ({len(polygon)} corners)")
    return " and ".join(spans)
