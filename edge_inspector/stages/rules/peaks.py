"""From which threshold of each class on a part would pass: what thresholds learn from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from edge_inspector.datatypes import Criteria, DefectRule, Floats, Place, PresenceRule, ThresholdState
from edge_inspector.stages.rules.defects import Group, fired, loud
from edge_inspector.stages.rules.findings import Look
from edge_inspector.stages.rules.objection import float32

DIGITS = 4


def peaks_by_rules(
    looks: Sequence[Look],
    meant: Mapping[int, Sequence[Group]],
    criteria: Criteria,
    thresholds: ThresholdState,
) -> tuple[float, ...]:
    """For each class the highest threshold at which a rule still rejects, while other classes keep theirs; 0 = none.

    For a rule that any one finding breaks that is the highest score that it speaks of; for one that allows two it is
    the third highest. Classes of which no defect rule speaks have the highest score that is counted, or seen. `meant`
    are the findings of which each defect rule speaks, by its position.
    """
    peaks = [0.0] * len(criteria.classes)
    rejecting: set[int] = set()
    limits = float32(thresholds)
    for i, rule in enumerate(criteria.rules):
        if isinstance(rule, DefectRule):
            rejecting |= rule.classes
            groups = meant[i]
            for class_id in {int(c) for group in groups for c in group.look.class_id[group.rows]}:
                peaks[class_id] = max(peaks[class_id], _decisive(rule, groups, class_id, limits))
    for class_id in set(range(len(peaks))) - rejecting:
        places = [rule.place for rule in criteria.rules if isinstance(rule, PresenceRule) and class_id in rule.classes]
        for look in looks:
            for place in places or [Place((look.camera,))]:
                seen = look.scores[look.rows_by_middle({class_id}, place)]
                peaks[class_id] = max(peaks[class_id], float(seen.max(initial=0.0)))
    return tuple(round(peak, DIGITS) for peak in peaks)


def _decisive(rule: DefectRule, groups: Sequence[Group], class_id: int, limits: Floats) -> float:
    """The highest of the class's scores that, taken as its threshold, makes the rule reject; 0 = none does.

    Found by halving: a lower threshold never makes a rule reject less.
    """
    scores = {
        score
        for group in groups
        for score, c in zip(group.look.scores[group.rows].tolist(), group.look.class_id[group.rows], strict=True)
        if c == class_id
    }
    own = sorted(scores, reverse=True)
    at = limits.copy()

    def rejects(score: float) -> bool:
        at[class_id] = score
        return bool(fired(rule, [loud(group, at) for group in groups]))

    first = bisect_left(own, True, key=rejects)
    return own[first] if first < len(own) else 0.0
