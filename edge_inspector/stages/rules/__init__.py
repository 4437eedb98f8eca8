"""From measured views to one judgement: pure, and doubt is never an OK."""

from __future__ import annotations

from collections.abc import Sequence

from edge_inspector.datatypes import Criteria, Judgement, MeasuredView, ThresholdState
from edge_inspector.stages.rules import by_rules, plain
from edge_inspector.stages.rules.compiled import adaptable, fingerprint, with_rules
from edge_inspector.stages.rules.plain import defects_in

__all__ = ["adaptable", "defects_in", "fingerprint", "judge", "with_rules"]


def judge(
    expected: Sequence[str], criteria: Criteria, thresholds: ThresholdState, views: Sequence[MeasuredView]
) -> Judgement:
    """The word on one part: the worst of what speaks against it decides.

    A view that is missing or failed can never be OK. Without rules the bundle's word on each view is all: see `plain`;
    with them see `by_rules`. `expected` are the recipe's cameras.
    """
    how = by_rules.judge if criteria.rules else plain.judge
    return how(expected, criteria, thresholds, views)
