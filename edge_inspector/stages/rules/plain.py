"""The bundle's own word on a part, for recipes without rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_inspector.datatypes import (
    SEVERITY,
    Classification,
    Criteria,
    Defect,
    Evaluation,
    Judgement,
    MeasuredView,
    Measurement,
    Reason,
    ThresholdState,
)
from edge_inspector.stages.rules.findings import defect, whole
from edge_inspector.stages.rules.peaks import DIGITS


def judge(
    expected: Sequence[str], criteria: Criteria, thresholds: ThresholdState, views: Sequence[MeasuredView]
) -> Judgement:
    """The word on one part: the worst view decides, and a view that is missing or failed can never be OK.

    A detection is a defect when its confidence reaches its class's threshold; defects come strongest first. So does a
    class of a classified view; that view is OK only when its best class is good and reaches its threshold. A measured
    value outside its limits is a defect.
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
            found = defects_in(view, criteria, thresholds)
            doubt = "" if found else _doubt(view, criteria, thresholds)
            defects += found
            if found:
                words.append((Evaluation.NOT_OK, Reason.DEFECT, ""))
            elif doubt:
                words.append((Evaluation.NOT_DECIDABLE, Reason.NOT_DECIDABLE, doubt))
            else:
                words.append((Evaluation.OK, Reason.NONE, ""))
    judged = sum(1 for word in words if word[0] is not Evaluation.UNDEFINED)
    defects.sort(key=lambda d: -d.score)
    if not words:
        text = "the recipe asks for no picture"
        return Judgement(Evaluation.UNDEFINED, Reason.MISSING_VIEW, text, peaks=_peaks((), criteria))
    evaluation, reason, text = max(words, key=lambda word: SEVERITY.index(word[0]))
    if reason is Reason.DEFECT:
        text = _word(defects[0], by_camera[defects[0].camera], criteria)
    seen = [view for view in by_camera.values() if view.camera in expected and view.failure is None]
    margin = min((near for view in seen for near in _distances(view, criteria, thresholds)), default=None)
    return Judgement(evaluation, reason, text, tuple(defects), judged, margin, peaks=_peaks(seen, criteria))


def _peaks(seen: Sequence[MeasuredView], criteria: Criteria) -> tuple[float, ...]:
    """The highest score of each class in any of the views."""
    peaks = np.zeros(len(criteria.classes), np.float32)
    for view in seen:
        found = view.findings
        if isinstance(found, Classification):
            np.maximum(peaks, found.scores, out=peaks)
        elif not isinstance(found, Measurement):
            np.maximum.at(peaks, found.class_id, found.confidence)
    return tuple(round(peak, DIGITS) for peak in peaks.tolist())


def _distances(view: MeasuredView, criteria: Criteria, thresholds: ThresholdState) -> list[float]:
    """How far each score that bears on the verdict is from its class's threshold; measured values have none.

    Those are the scores of defects, below their thresholds too, and of what a classified view looks like most.
    """
    found = view.findings
    if isinstance(found, Measurement):
        return []
    limits = np.array(thresholds.by_class, np.float32)
    if isinstance(found, Classification):
        classes, scores = np.arange(len(found.scores)), found.scores
        bears = (scores == scores.max()) | ~np.isin(classes, list(criteria.good))
    else:
        classes, scores = found.class_id, found.confidence
        bears = ~np.isin(classes, list(criteria.good))
    return [round(float(d), 4) for d in np.abs(scores - limits[classes])[bears]]


def defects_in(view: MeasuredView, criteria: Criteria, thresholds: ThresholdState) -> tuple[Defect, ...]:
    """What of one view is a defect, strongest first."""
    found = view.findings
    # In float32, as the model gives it: 0.35 as a float32 is less than 0.35.
    limits = np.array(thresholds.by_class, np.float32)
    if isinstance(found, Measurement):
        return _outside(view, found, criteria)
    if isinstance(found, Classification):
        loud = np.flatnonzero(found.scores >= limits)
        best = np.flatnonzero(found.scores == found.scores.max())
        loud = np.union1d(loud, best)  # what it looks like most is no good part, however unsure: a tie is a doubt
        seen = [(int(c), float(found.scores[c]), whole(view)) for c in loud if c not in criteria.good]
    else:
        rows = np.flatnonzero(found.confidence >= limits[found.class_id]).tolist()
        seen = [
            (int(found.class_id[i]), float(found.confidence[i]), found.xyxy[i].tolist())
            for i in rows
            if int(found.class_id[i]) not in criteria.good
        ]
    seen.sort(key=lambda one: -one[1])
    return tuple(defect(view, criteria.classes[c], c, score, xyxy) for c, score, xyxy in seen)


def _word(defect: Defect, view: MeasuredView, criteria: Criteria) -> str:
    """What a person should read of a defect: its score, or the value that is outside its limits."""
    if not isinstance(view.findings, Measurement):
        return f"{defect.class_name} {defect.score:.2f} in {defect.camera}"
    value, limits = view.findings.values[defect.class_id], criteria.limits[defect.class_id]
    unit = f" {limits.unit}" if limits.unit else ""
    return f"{defect.class_name} {value:g}{unit} in {defect.camera}, expected {limits.low:g} to {limits.high:g}"


def _doubt(view: MeasuredView, criteria: Criteria, thresholds: ThresholdState) -> str:
    """Why a view without a defect is still not OK, empty = it is OK."""
    if not isinstance(view.findings, Classification):
        return ""
    best = int(np.argmax(view.findings.scores))
    score, threshold = view.findings.scores[best], np.float32(thresholds.by_class[best])
    if score >= threshold:
        return ""
    return f"{criteria.classes[best]} only {score:.2f} in {view.camera}, expected {threshold:.2f}"


def _outside(view: MeasuredView, found: Measurement, criteria: Criteria) -> tuple[Defect, ...]:
    """Values that are not within their limits; one that is no number is outside."""
    return tuple(
        defect(view, name, i, 1.0, whole(view))
        for i, (name, value, limits) in enumerate(zip(criteria.classes, found.values, criteria.limits, strict=True))
        if not limits.low <= value <= limits.high
    )
