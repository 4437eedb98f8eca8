"""What rules over many parts look at, as the book has it: each production part's verdict, its defects and scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_inspector.datatypes import Evaluation, InspectionResult

LINE_PARTS = (
    "SELECT seq, result_id, recipe, wall_utc, evaluation, reason_no, reason_text, rule, peaks, views_judged, "
    "views, (SELECT json_group_object(class_name, class_id) FROM defects WHERE defects.seq = results.seq) "
    "FROM results JOIN triggers USING (seq) WHERE mode = ? ORDER BY seq DESC LIMIT ?"
)
"""The rows of `line_part`, newest first."""


@dataclass(frozen=True)
class LinePart:
    """One settled part of the line; `defects` are class indices by name, the rest is as in `InspectionResult`."""

    seq: int
    result_id: str
    recipe: str
    wall_utc: str
    evaluation: Evaluation
    reason_no: int
    reason_text: str
    rule: str
    peaks: tuple[float, ...]
    whole: bool
    """Every view was measured."""
    defects: Mapping[str, int]

    @staticmethod
    def of(result: InspectionResult) -> LinePart:
        trigger = result.trigger
        return LinePart(
            seq=trigger.seq,
            result_id=trigger.result_id,
            recipe=trigger.recipe,
            wall_utc=trigger.wall_utc,
            evaluation=result.evaluation,
            reason_no=result.reason_no,
            reason_text=result.reason_text,
            rule=result.rule,
            peaks=result.peaks,
            whole=result.views_judged == result.views_expected,
            defects={defect.class_name: defect.class_id for defect in result.defects},
        )


def line_part(row: tuple[Any, ...]) -> LinePart:
    """A row of `LINE_PARTS`."""
    *facts, evaluation, reason_no, reason_text, rule, peaks, judged, views, defects = row
    seq, result_id, recipe, wall_utc = facts
    return LinePart(
        seq=seq,
        result_id=result_id,
        recipe=recipe,
        wall_utc=wall_utc,
        evaluation=Evaluation(evaluation),
        reason_no=reason_no,
        reason_text=reason_text,
        rule=rule,
        peaks=tuple(json.loads(peaks)),
        whole=judged == len(json.loads(views)),
        defects=json.loads(defects),
    )
