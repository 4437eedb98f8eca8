"""What one rule has against a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_inspector.datatypes import Defect, Evaluation, Floats, Reason, ThresholdState


@dataclass(frozen=True)
class Objection:
    """Why a part is not OK; `rule` is the name of the recipe's rule that says so, empty = none of them."""

    evaluation: Evaluation
    reason: Reason
    text: str
    rule: str = ""
    defects: Mapping[tuple[str, int], Defect] = field(default_factory=dict)
    """By camera and row (or value): two rules may reject the same finding."""


def float32(thresholds: ThresholdState, below: float = 0.0) -> Floats:
    """Thresholds in the models' own precision (0.35 as a float32 is less than 0.35), by so much lower."""
    return np.array([threshold - below for threshold in thresholds.by_class], np.float32)
