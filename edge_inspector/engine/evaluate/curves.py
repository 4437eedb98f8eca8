"""How well scores tell bad from good: pure numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_inspector.engine.evaluate.records import Curve

POINTS = 200
"""Of a curve; more do not show on paper."""
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def auroc(scores: Doubles, bad: Flags) -> float | None:
    """The share of (bad, good) pairs in which the bad one has the higher score, ties half; None: one kind is missing.

    Hanley and McNeil, Radiology 143 (1982) 29-36: the area under the ROC curve is the rank-sum statistic.
    """
    positives, negatives = int(bad.sum()), int((~bad).sum())
    if not positives or not negatives:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # from 1, ties share their mean
    return float((ranks[bad].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: Doubles, bad: Flags) -> float | None:
    """The mean of the precision at each score, weighted by how much recall it adds; None: nothing is bad."""
    positives = int(bad.sum())
    if not positives:
        return None
    right, count = _steps(scores, bad)
    return float((np.diff(right, prepend=0.0) / positives * right / count).sum())


def _steps(scores: Doubles, right: Flags) -> tuple[Doubles, Doubles]:
    """How many are right, and how many there are, down to each different score."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return np.cumsum(right[order])[ends].astype(np.float64), (ends + 1).astype(np.float64)


def curve(scores: Doubles, right: Flags, labelled: int) -> tuple[Curve, float, float] | None:
    """The curve of one class, the best F1 and the confidence at which it is reached; None: no label or no detection."""
    if not labelled or not len(scores):
        return None
    found, count = _steps(scores, right)
    confidence = np.unique(scores)[::-1]
    precision, recall = found / count, found / labelled
    f1 = 2 * found / (count + labelled)
    best = int(np.argmax(f1))
    shown = np.unique(np.linspace(0, len(confidence) - 1, min(POINTS, len(confidence))).round().astype(int))
    made = Curve(*(tuple(np.round(one[shown], 6).tolist()) for one in (confidence, precision, recall, f1)))
    return made, float(f1[best]), float(confidence[best])
