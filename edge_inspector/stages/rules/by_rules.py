"""The word of a recipe's rules on a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from edge_inspector.datatypes import (
    SEVERITY,
    Classification,
    ClassifyRule,
    Criteria,
    Defect,
    DefectRule,
    Evaluation,
    Judgement,
    MeasuredView,
    MeasureRule,
    PresenceRule,
    Reason,
    ThresholdState,
)
from edge_inspector.stages.rules import defects
from edge_inspector.stages.rules.findings import Look
from edge_inspector.stages.rules.objection import Objection, float32
from edge_inspector.stages.rules.others import count_objections, doubts, value_objections
from edge_inspector.stages.rules.peaks import DIGITS, peaks_by_rules

Meant = Mapping[int, Sequence[defects.Group]]
"""By the position of each defect rule the findings of which it speaks."""
_NONE = Objection(Evaluation.OK, Reason.NONE, "")


def judge(
    expected: Sequence[str], criteria: Criteria, thresholds: ThresholdState, views: Sequence[MeasuredView]
) -> Judgement:
    """The worst objection decides, and among equals the rule that stands first.

    The defects of the deciding rule come first, strongest first; then all others, strongest first.
    """
    by_camera = {view.camera: view for view in views}
    looks = [
        Look(by_camera[camera], criteria)
        for camera in dict.fromkeys(expected)
        if camera in by_camera and by_camera[camera].failure is None
    ]
    meant = {i: defects.meant(rule, looks) for i, rule in enumerate(criteria.rules) if isinstance(rule, DefectRule)}
    objections = [*_missing(expected, by_camera), *_objections(looks, meant, criteria, thresholds)]
    worst = max(objections, key=lambda one: SEVERITY.index(one.evaluation), default=_NONE)
    others = {key: defect for one in objections for key, defect in one.defects.items() if key not in worst.defects}
    found = (_strongest_first(some.values(), expected) for some in (worst.defects, others))
    return Judgement(
        worst.evaluation,
        worst.reason,
        worst.text,
        tuple(chain.from_iterable(found)),
        len(looks),
        _margin(looks, meant, criteria, thresholds),
        worst.rule,
        peaks_by_rules(looks, meant, criteria, thresholds),
    )


def _strongest_first(found: Iterable[Defect], cameras: Sequence[str]) -> list[Defect]:
    """In an order that does not depend on the order in which they were found."""
    return sorted(found, key=lambda d: (-d.score, cameras.index(d.camera), d.class_id, d.box))


def _missing(expected: Sequence[str], by_camera: dict[str, MeasuredView]) -> Iterator[Objection]:
    """Views without which a part can never be OK."""
    for camera in expected:
        view = by_camera.get(camera)
        if view is None:
            yield Objection(Evaluation.UNDEFINED, Reason.MISSING_VIEW, f"no picture of {camera}")
        elif view.failure is not None:
            yield Objection(Evaluation.UNDEFINED, view.failure, view.failure_text)
    if not expected:
        yield Objection(Evaluation.UNDEFINED, Reason.MISSING_VIEW, "the recipe asks for no picture")


def _objections(
    looks: Sequence[Look], meant: Meant, criteria: Criteria, thresholds: ThresholdState
) -> Iterator[Objection]:
    for i, rule in enumerate(criteria.rules):
        if isinstance(rule, DefectRule):
            found = defects.objection(rule, meant[i], looks, criteria, thresholds)
            yield from () if found is None else (found,)
        elif isinstance(rule, PresenceRule):
            yield from count_objections(rule, looks, criteria, thresholds)
        elif isinstance(rule, MeasureRule):
            yield from value_objections(rule, looks, criteria)
        elif isinstance(rule, ClassifyRule):
            yield from doubts(rule, looks, criteria, thresholds)


def _margin(looks: Sequence[Look], meant: Meant, criteria: Criteria, thresholds: ThresholdState) -> float | None:
    """How near the nearest score that bears on the verdict is to its class's threshold, below it or above.

    Those are the scores of findings of which a rule speaks, and of what a classified view looks like most.
    """
    limits = float32(thresholds)
    bearing = [(group.look, group.rows) for groups in meant.values() for group in groups]
    for look in looks:
        counted = [rule for rule in criteria.rules if isinstance(rule, PresenceRule)]
        bearing += [(look, look.rows_by_middle(rule.classes, rule.place)) for rule in counted]
        if isinstance(look.view.findings, Classification):
            bearing.append((look, np.flatnonzero(look.scores == look.scores.max())))
    near = np.concatenate([np.abs(look.scores[rows] - limits[look.class_id[rows]]) for look, rows in bearing] or [[]])
    return round(float(near.min()), DIGITS) if len(near) else None
