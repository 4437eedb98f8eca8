"""Rules that speak of views: how many things are there, which values were measured, what a view looks like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from edge_inspector.datatypes import (
    Classification,
    ClassifyRule,
    Criteria,
    Evaluation,
    Measurement,
    MeasureRule,
    PresenceRule,
    Reason,
    ThresholdState,
)
from edge_inspector.stages.rules.findings import Look, Rows, defect, where, whole
from edge_inspector.stages.rules.objection import Objection, float32

SAME_PLACE = 0.5
"""Boxes of two classes that share more of what both cover (IoU) may be of one thing."""


def count_objections(
    rule: PresenceRule, looks: Sequence[Look], criteria: Criteria, thresholds: ThresholdState
) -> Iterator[Objection]:
    """Of each view whose count is outside the limits, or may be."""
    for look in looks:
        if look.camera not in rule.place.cameras:
            continue
        rows = look.rows_by_middle(rule.classes, rule.place)
        scores, classes = look.scores[rows], look.class_id[rows]
        sure = _places(look, rows[scores >= float32(thresholds)[classes]])
        possible = int(np.count_nonzero(scores >= float32(thresholds, rule.grey_score)[classes]))
        if rule.least <= sure and possible <= rule.most:
            continue
        names = " or ".join(criteria.classes[c] for c in sorted(rule.classes))
        said = f"{names} in {where(rule.place, look.camera)}, expected {counts(rule.least, rule.most)}"
        if possible < rule.least or sure > rule.most:
            yield Objection(Evaluation.NOT_OK, Reason.COUNT, f"{sure} {said}", rule.name)
        else:
            text = f"{sure} to {possible} {said}"
            yield Objection(Evaluation.NOT_DECIDABLE, Reason.NOT_DECIDABLE, text, rule.name)


def _places(look: Look, rows: Rows) -> int:
    """How many things there are at the least: what two classes see in one place may be one thing, seen twice.

    The model's own suppression keeps classes apart.
    """
    classes = look.class_id[rows]
    if len(np.unique(classes)) < 2:
        return len(rows)
    rows = rows[np.lexsort((*look.xyxy[rows].T, classes, -look.scores[rows]))]
    (x1, y1, x2, y2), classes = look.xyxy[rows].astype(np.float64).T, look.class_id[rows]
    across = (np.minimum.outer(x2, x2) - np.maximum.outer(x1, x1)).clip(0)
    shared, area = across * (np.minimum.outer(y2, y2) - np.maximum.outer(y1, y1)).clip(0), (x2 - x1) * (y2 - y1)
    same = (shared > SAME_PLACE * (area[:, None] + area - shared)) & (classes[:, None] != classes)
    counted = np.ones(len(rows), bool)
    for row in np.flatnonzero(same.any(axis=1)).tolist():
        counted[row] = not (same[row, :row] & counted[:row]).any()
    return int(counted.sum())


def counts(least: int, most: float) -> str:
    """Limits of a count in words."""
    if least == most:
        return f"exactly {least}"
    if math.isinf(most):
        return f"at least {least}"
    return f"{least} to {most:g}" if least else f"at most {most:g}"


def value_objections(rule: MeasureRule, looks: Sequence[Look], criteria: Criteria) -> Iterator[Objection]:
    """Of each view whose value is outside its limits, or in doubt; one that is no number is outside."""
    name, limits = criteria.classes[rule.value], rule.limits
    unit = f" {limits.unit}" if limits.unit else ""
    for look in looks:
        found = look.view.findings
        if look.camera not in rule.place.cameras or not isinstance(found, Measurement):
            continue
        value = found.values[rule.value]
        said = f"{name} {value:g}{unit} in {look.camera}"
        if not limits.low <= value <= limits.high:
            text = f"{said}, expected {limits.low:g} to {limits.high:g}"
            outside = {(look.camera, rule.value): defect(look.view, name, rule.value, 1.0, whole(look.view))}
            yield Objection(Evaluation.NOT_OK, Reason.DEFECT, text, rule.name, outside)
        elif value < limits.low + rule.grey or value > limits.high - rule.grey:
            text = (
                f"{said} is in doubt: nearer than {rule.grey:g}{unit} to a limit of {limits.low:g} to {limits.high:g}"
            )
            yield Objection(Evaluation.NOT_DECIDABLE, Reason.NOT_DECIDABLE, text, rule.name)


def doubts(
    rule: ClassifyRule, looks: Sequence[Look], criteria: Criteria, thresholds: ThresholdState
) -> Iterator[Objection]:
    """Of each classified view that does not look good enough; what makes it a defect is for defect rules to say."""
    for look in looks:
        if look.camera not in rule.place.cameras or not isinstance(look.view.findings, Classification):
            continue
        text = _doubt(look, rule, criteria, float32(thresholds).tolist())
        if text:
            yield Objection(Evaluation.NOT_DECIDABLE, Reason.NOT_DECIDABLE, text, rule.name)


def _doubt(look: Look, rule: ClassifyRule, criteria: Criteria, thresholds: Sequence[float]) -> str:
    scores, classes = look.scores.tolist(), criteria.classes
    best = max(rule.good, key=lambda c: (scores[c], -c))
    other = max((c for c in range(len(scores)) if c not in rule.good), key=lambda c: (scores[c], -c), default=None)
    if other is not None and scores[other] >= scores[best]:
        return f"{classes[other]} {scores[other]:.2f} in {look.camera}, expected {_names(rule, criteria)}"
    if scores[best] < thresholds[best]:
        return f"{classes[best]} only {scores[best]:.2f} in {look.camera}, expected {thresholds[best]:.2f}"
    if other is not None and scores[best] - scores[other] < rule.margin:
        lead = scores[best] - scores[other]
        return f"{classes[best]} leads {classes[other]} by {lead:.3f} in {look.camera}, expected {rule.margin:g}"
    return ""


def _names(rule: ClassifyRule, criteria: Criteria) -> str:
    return " or ".join(criteria.classes[c] for c in sorted(rule.good))
