"""From measured views to one judgement: pure, and doubt is never an OK."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_inspector.datatypes import (
    SEVERITY,
    Defect,
    Evaluation,
    Homography,
    Judgement,
    MeasuredView,
    Reason,
    ThresholdState,
)
from edge_inspector.stages.geometry import box_size_mm


def judge(
    expected: Sequence[str], classes: Sequence[str], thresholds: ThresholdState, views: Sequence[MeasuredView]
) -> Judgement:
    """The word on one part: the worst view decides, and a view that is missing or failed can never be OK.

    A detection is a defect when its confidence reaches its class's threshold; defects come strongest first.
    """
    by_camera = {view.camera: view for view in views}
    defects: list[Defect] = []
    words: list[tuple[Evaluation, Reason, str]] = []
    for camera in expected:
        view = by_camera.get(camera)
        if view is None:
            words.append((Evaluation.UNDEFINED, Reason.MISSING_VIEW, f"no picture of {camera}"))
        elif view.failure is not None:
            words.append((Evaluation.UNDEFINED, view.failure, view.failure_text))
        else:
            found = defects_in(view, classes, thresholds)
            defects += found
            if found:
                words.append((Evaluation.NOT_OK, Reason.DEFECT, ""))
            else:
                words.append((Evaluation.OK, Reason.NONE, ""))
    judged = sum(1 for word in words if word[0] is not Evaluation.UNDEFINED)
    defects.sort(key=lambda d: -d.score)
    if not words:
        return Judgement(Evaluation.UNDEFINED, Reason.MISSING_VIEW, "the recipe asks for no picture")
    evaluation, reason, text = max(words, key=lambda word: SEVERITY.index(word[0]))
    if reason is Reason.DEFECT:
        text = f"{defects[0].class_name} {defects[0].score:.2f} in {defects[0].camera}"
    return Judgement(evaluation, reason, text, tuple(defects), judged)


def defects_in(view: MeasuredView, classes: Sequence[str], thresholds: ThresholdState) -> tuple[Defect, ...]:
    """The detections of one view that reach the threshold of their class, strongest first."""
    found = view.detections
    # In float32, as the model gives it: 0.35 as a float32 is less than 0.35.
    limits = np.array(thresholds.by_class, np.float32)[found.class_id]
    rows = np.flatnonzero(found.confidence >= limits).tolist()
    rows.sort(key=lambda i: -float(found.confidence[i]))
    return tuple(
        Defect(
            class_name=classes[found.class_id[i]],
            class_id=int(found.class_id[i]),
            score=round(float(found.confidence[i]), 4),
            box=_xywh(found.xyxy[i].tolist()),
            camera=view.camera,
            size_mm=None if view.plane is None else _size_mm(found.xyxy[i].tolist(), view.plane),
        )
        for i in rows
    )


def _size_mm(xyxy: Sequence[float], plane: Homography) -> tuple[float, float]:
    x1, y1, x2, y2 = xyxy
    width, height = box_size_mm((x1, y1, x2 - x1, y2 - y1), plane)
    return (round(width, 3), round(height, 3))


def _xywh(xyxy: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = xyxy
    return (round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1))
