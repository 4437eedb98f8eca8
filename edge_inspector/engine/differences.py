"""How far apart two models are where they saw the same pictures: figures for people, no verdict hangs on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import (
    Classification,
    Criteria,
    Detections,
    Findings,
    Floats,
    Measurement,
    Tensors,
    ThresholdState,
)

IOU = 0.5  # from here on two boxes of a class are the same object


class TensorDifferences:
    """Of raw outputs, by name: the largest and the mean difference, and the largest value to measure them by."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float, int, float]] = {}
        self._strange: dict[str, str] = {}

    def add(self, reference: Tensors, engine: Tensors) -> None:
        """One picture."""
        for name in sorted(reference.by_name.keys() ^ engine.by_name.keys()):
            whose = "reference" if name in reference.by_name else "engine"
            self._strange[name] = f"not comparable: only the {whose} has this output"
        for name in reference.by_name.keys() & engine.by_name.keys():
            self._add(name, reference.by_name[name], engine.by_name[name])

    def _add(self, name: str, reference: npt.NDArray[Any], engine: npt.NDArray[Any]) -> None:
        if reference.shape != engine.shape:
            self._strange[name] = f"not comparable: {reference.shape} in the reference, {engine.shape} in the engine"
            return
        apart = np.abs(reference.astype(np.float64) - engine.astype(np.float64))
        if not np.isfinite(apart).all():
            self._strange[name] = "not comparable: it holds NaN or infinity"
            return
        worst, total, count, scale = self._sums.get(name, (0.0, 0.0, 0, 0.0))
        self._sums[name] = (
            max(worst, float(apart.max(initial=0.0))),
            total + float(apart.sum()),
            count + apart.size,
            max(scale, float(np.abs(reference.astype(np.float64)).max(initial=0.0))),
        )

    def figures(self) -> dict[str, Any]:
        """By output: largest_difference, mean_difference and largest_value, or in words why there are none."""
        measured = {
            name: {"largest_difference": worst, "mean_difference": total / max(count, 1), "largest_value": scale}
            for name, (worst, total, count, scale) in self._sums.items()
        }
        return dict(sorted({**measured, **self._strange}.items()))


class FindingDifferences:
    """Of what two models found, at the `thresholds` of each class."""

    def __init__(self, thresholds: tuple[float, ...]) -> None:
        self._limits = np.array(thresholds, np.float32)
        self._figures: dict[str, Any] = {}

    def add(self, reference: Findings, engine: Findings) -> None:
        """One picture. Two kinds of findings have nothing to compare; their verdicts have."""
        if isinstance(reference, Detections) and isinstance(engine, Detections):
            self._add_boxes(reference, engine)
        elif isinstance(reference, Classification) and isinstance(engine, Classification):
            self._most("worst_score_difference", float(np.abs(reference.scores - engine.scores).max(initial=0.0)))
            self._count("other_best_class", int(np.argmax(reference.scores) != np.argmax(engine.scores)))
        elif isinstance(reference, Measurement) and isinstance(engine, Measurement):
            apart = [abs(a - b) for a, b in zip(reference.values, engine.values, strict=True)]
            self._most("worst_value_difference", max(apart, default=0.0))

    def figures(self) -> dict[str, Any]:
        """Boxes: those that reach their threshold in one of the two. An unmatched one has no partner of IoU 0.5."""
        return dict(self._figures)

    def _add_boxes(self, reference: Detections, engine: Detections) -> None:
        pairs = matched(reference, engine)
        loud = (self._loud(reference), self._loud(engine))
        for i, j, overlap in pairs:
            if loud[0][i] or loud[1][j]:
                self._count("matched", 1)
                self._figures["worst_iou"] = min(overlap, self._figures.get("worst_iou", 1.0))
                self._most("worst_score_difference", abs(float(reference.confidence[i] - engine.confidence[j])))
        self._count("only_in_reference", int(loud[0].sum()) - sum(bool(loud[0][i]) for i, _, _ in pairs))
        self._count("only_in_engine", int(loud[1].sum()) - sum(bool(loud[1][j]) for _, j, _ in pairs))

    def _loud(self, found: Detections) -> npt.NDArray[np.bool_]:
        loud: npt.NDArray[np.bool_] = found.confidence >= self._limits[found.class_id]
        return loud

    def _most(self, name: str, value: float) -> None:
        self._figures[name] = max(value, self._figures.get(name, 0.0))

    def _count(self, name: str, more: int) -> None:
        self._figures[name] = self._figures.get(name, 0) + more


def nearest(found: Findings, criteria: Criteria, thresholds: ThresholdState) -> str:
    """What came closest to being a defect in a view that has none."""
    if isinstance(found, Measurement):
        pairs = zip(criteria.classes, found.values, criteria.limits, strict=True)
        return ", ".join(f"{name} {value:.4g} in {limits.low:g}..{limits.high:g}" for name, value, limits in pairs)
    if isinstance(found, Classification):
        best = int(np.argmax(found.scores))
        return f"{criteria.classes[best]} {found.scores[best]:.3f}"
    limits = np.array(thresholds.by_class, np.float32)[found.class_id]
    shares = np.where(np.isin(found.class_id, sorted(criteria.good)), 0, found.confidence / limits.clip(1e-6))
    if not (shares > 0).any():
        return "nothing found"
    closest = int(np.argmax(shares))
    name = criteria.classes[int(found.class_id[closest])]
    return f"{name} {found.confidence[closest]:.3f} of {limits[closest]:.2f}"


def matched(a: Detections, b: Detections) -> list[tuple[int, int, float]]:
    """(row of a, row of b, IoU) of boxes that are the same object: the most confident of `a` chooses first."""
    overlap = iou(a.xyxy, b.xyxy)
    overlap[a.class_id[:, None] != b.class_id[None]] = 0
    pairs = []
    for row in np.argsort(-a.confidence, kind="stable") if len(b) else ():
        column = int(overlap[row].argmax())
        if overlap[row, column] >= IOU:
            pairs.append((int(row), column, float(overlap[row, column])))
            overlap[:, column] = 0
    return pairs


def iou(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """(n,4), (m,4) -> (n,m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2]).astype(np.float64)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:]).astype(np.float64)
    shared = (high - low).clip(0).prod(axis=2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    overlap: npt.NDArray[np.float64] = shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)
    return overlap
