"""Rules that speak of findings: which findings they mean, and when those are enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_inspector.datatypes import (
    Classification,
    Criteria,
    DefectRule,
    Evaluation,
    Floats,
    Measure,
    Reason,
    ThresholdState,
)
from edge_inspector.stages.rules.findings import Look, Rows, where
from edge_inspector.stages.rules.objection import Objection, float32

_UNITS: Mapping[Measure, str] = {
    "length_px": "px long", "width_px": "px wide", "area_px2": "px² large",
    "length_mm": "mm long", "width_mm": "mm wide", "area_mm2": "mm² large",
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Findings of one view."""

    look: Look
    rows: Rows

    def total(self, measure: Measure) -> float:
        return math.fsum(self.look.sizes(self.rows, measure).tolist())


def objection(
    rule: DefectRule,
    groups: Sequence[Group],
    looks: Sequence[Look],
    criteria: Criteria,
    thresholds: ThresholdState,
) -> Objection | None:
    """What the rule has against the part: NOT_OK, or NOT_DECIDABLE for what its grey zones alone make a defect.

    `groups` are the findings that it means, outside of its grey zone.
    """
    certain = fired(rule, [loud(group, float32(thresholds)) for group in groups])
    if certain:
        found = {
            (group.look.camera, row): group.look.defect(row, criteria)
            for group in certain
            for row in group.rows.tolist()
        }
        return Objection(Evaluation.NOT_OK, Reason.DEFECT, _told(rule, certain, criteria), rule.name, found)
    if not rule.grey_score and not rule.grey_size:
        return None
    lower = float32(thresholds, rule.grey_score)
    doubtful = fired(rule, [loud(group, lower) for group in meant(rule, looks, rule.grey_size)], rule.grey_size)
    if not doubtful:
        return None
    text = f"{_told(rule, doubtful, criteria)} is in doubt"
    return Objection(Evaluation.NOT_DECIDABLE, Reason.NOT_DECIDABLE, text, rule.name)


def meant(rule: DefectRule, looks: Sequence[Look], grey: float = 0.0) -> list[Group]:
    """Of which findings the rule speaks, whatever their scores: class, place and size. A size that is no number counts.

    `grey` is by which part of them the limits are lower.
    """
    groups = []
    for look in looks:
        rows = look.rows(rule.classes, rule.place)
        rows = rows[~look.good[rows]]
        for measure, limit in rule.larger_than:
            rows = rows[~(look.sizes(rows, measure) <= limit * (1 - grey))]
        groups.append(Group(look, rows))
    return groups


def loud(group: Group, thresholds: Floats) -> Group:
    """Those that reach their class's threshold.

    And what a classified view looks like most, however unsure: a tie is a doubt.
    """
    look, rows = group.look, group.rows
    scores = look.scores[rows]
    reached = scores >= thresholds[look.class_id[rows]]
    if isinstance(look.view.findings, Classification):
        reached |= scores == look.scores.max()
    return Group(look, rows[reached])


def fired(rule: DefectRule, groups: Sequence[Group], grey: float = 0.0) -> list[Group]:
    """The groups that together are what the rule rejects; empty = it does not."""
    if rule.together:
        return [group for group in groups if len(group.rows)] if _enough(rule, groups, grey) else []
    hits = [group for group in groups if _enough(rule, [group], grey)]
    return hits if len(hits) >= rule.in_views else []


def _enough(rule: DefectRule, groups: Sequence[Group], grey: float) -> bool:
    """Enough in number and, summed up, in size; a sum that is no number is enough."""
    if sum(len(group.rows) for group in groups) < rule.at_least:
        return False
    return not any(
        sum(group.total(measure) for group in groups) <= limit * (1 - grey) for measure, limit in rule.total_larger_than
    )


def _told(rule: DefectRule, groups: Sequence[Group], criteria: Criteria) -> str:
    """The strongest finding with the sizes that the rule asks for; or how many, and how large together."""
    places = " and ".join(where(rule.place, group.look.camera) for group in groups)
    if rule.at_least == 1 and not rule.total_larger_than:
        group, row = max(
            ((group, row) for group in groups for row in group.rows.tolist()), key=lambda one: _strength(*one)
        )
        name, score = criteria.classes[int(group.look.class_id[row])], float(group.look.scores[row])
        sizes = "".join(f", {group.look.sizes(np.array([row]), m)[0]:.4g} {_UNITS[m]}," for m, _ in rule.larger_than)
        return f"{name} {score:.2f}{sizes} in {places if rule.in_views > 1 else where(rule.place, group.look.camera)}"
    counts = Counter(int(c) for group in groups for c in group.look.class_id[group.rows])
    found = " and ".join(f"{n} {criteria.classes[c]}" for c, n in sorted(counts.items()))
    totals = "".join(
        f", {sum(group.total(m) for group in groups):.4g} {_UNITS[m]} together," for m, _ in rule.total_larger_than
    )
    return f"{found}{totals} in {places}"


def _strength(group: Group, row: int) -> tuple[float, ...]:
    """By score, and where scores are equal by what does not depend on the order of findings."""
    return (float(group.look.scores[row]), -int(group.look.class_id[row]), *group.look.xyxy[row].tolist())
