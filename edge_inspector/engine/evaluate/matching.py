"""Labelled boxes and detections of the same pictures, matched at the thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Detections
from edge_inspector.engine.differences import iou as iou_of
from edge_inspector.engine.evaluate.records import BoxFigures, Confusion


def matches(
    truths: Sequence[Detections], founds: Sequence[Detections], iou: float, classes: int
) -> npt.NDArray[np.int64]:
    """(class, 3): labelled, detected, matched. The most confident chooses first, the label of its class it fits."""
    counts = np.zeros((classes, 3), np.int64)
    for truth, found in zip(truths, founds, strict=True):
        counts[:, 0] += np.bincount(truth.class_id, minlength=classes)
        counts[:, 1] += np.bincount(found.class_id, minlength=classes)
        overlap = iou_of(found.xyxy, truth.xyxy)
        overlap[found.class_id[:, None] != truth.class_id[None]] = 0
        for row in np.argsort(-found.confidence, kind="stable"):
            if len(truth) and overlap[row].max() >= iou:
                counts[found.class_id[row], 2] += 1
                overlap[:, overlap[row].argmax()] = 0
    return counts


def confusion(
    truths: Sequence[Detections], founds: Sequence[Detections], names: Sequence[str], iou: float
) -> Confusion:
    """What was labelled and what was seen there; "nothing" has what was missed, and what was seen where nothing is."""
    nothing = len(names)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for truth, found in zip(truths, founds, strict=True):
        overlap = iou_of(found.xyxy, truth.xyxy)
        left = np.ones(len(truth), np.bool_)
        for row in np.argsort(-found.confidence, kind="stable"):
            best = int(overlap[row].argmax()) if len(truth) else -1
            if best < 0 or overlap[row, best] < iou:
                counts[nothing, found.class_id[row]] += 1
                continue
            counts[truth.class_id[best], found.class_id[row]] += 1
            left[best] = False
            overlap[:, best] = 0
        counts[:nothing, nothing] += np.bincount(truth.class_id[left], minlength=nothing)
    return Confusion((*names, "nothing"), tuple(tuple(row) for row in counts.tolist()))


def box_figures(counts: npt.NDArray[np.int64]) -> BoxFigures:
    """One row of `matches`, or several of them added up."""
    labelled, detected, matched = (int(n) for n in counts)
    return BoxFigures(
        labelled=labelled,
        detected=detected,
        matched=matched,
        recall=matched / labelled if labelled else None,
        precision=matched / detected if detected else None,
    )
