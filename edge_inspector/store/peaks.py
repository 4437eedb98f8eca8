"""What thresholds learn from, as the book has it: each production part's scores and the thresholds it was judged by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edge_inspector.datatypes import Evaluation, InspectionResult

SCORED = (
    "SELECT seq, result_id, trigger_seq, plc_boot_id, recipe, evaluation, peaks, thresholds, model_hash, "
    "views_judged, views FROM results JOIN triggers USING (seq) WHERE mode = ? ORDER BY seq DESC LIMIT ?"
)
"""The rows of `scored_part`, newest first."""


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """One settled part of the line; `peaks` and `thresholds` as in `InspectionResult`, by class index."""

    seq: int
    result_id: str
    trigger_seq: int
    plc_boot_id: int
    recipe: str
    evaluation: Evaluation
    peaks: tuple[float, ...]
    thresholds: tuple[float, ...]
    model_hash: str
    whole: bool
    """Every view was measured: the peaks are those of the whole part."""

    @staticmethod
    def of(result: InspectionResult) -> ScoredPart:
        trigger = result.trigger
        return ScoredPart(
            seq=trigger.seq,
            result_id=trigger.result_id,
            trigger_seq=trigger.trigger_seq,
            plc_boot_id=trigger.plc_boot_id,
            recipe=trigger.recipe,
            evaluation=result.evaluation,
            peaks=result.peaks,
            thresholds=result.thresholds,
            model_hash=result.model_hash,
            whole=result.views_judged == result.views_expected,
        )


def scored_part(row: tuple[Any, ...]) -> ScoredPart:
    """A row of `SCORED`."""
    seq, result_id, trigger_seq, plc_boot_id, recipe, evaluation, peaks, thresholds, model_hash, judged, views = row
    return ScoredPart(
        seq=seq,
        result_id=result_id,
        trigger_seq=trigger_seq,
        plc_boot_id=plc_boot_id,
        recipe=recipe,
        evaluation=Evaluation(evaluation),
        peaks=tuple(json.loads(peaks)),
        thresholds=tuple(json.loads(thresholds)),
        model_hash=model_hash,
        whole=judged == len(json.loads(views)),
    )
