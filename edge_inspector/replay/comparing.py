"""Whether a replay is the same as the book in every number, and what else it may lack. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edge_inspector.datatypes import InspectionResult, Reason
from edge_inspector.replay.records import Lack
from edge_inspector.replay.setups import Setup
from edge_inspector.store.reading import StoredImage, StoredResult

FROM_PICTURES = {Reason.NONE, Reason.DEFECT, Reason.NOT_DECIDABLE, Reason.COUNT}
"""Reasons that whole views alone lead to; all others tell of the line, a camera, the time or the picture before."""


def differences(booked: StoredResult, again: InspectionResult) -> tuple[str, ...]:
    """The names of the numbers that are not the same: verdict, reason, rule, defects, margin, scores, views.

    Defects are compared with camera, class, score, box and size, as the book has them: scores to 4 digits, boxes to a
    tenth of a pixel. A result of older software, without scores, is compared without them.
    """
    pairs = {
        "verdict": (booked.evaluation, again.evaluation),
        "reason": (booked.reason, again.reason),
        "rule": (booked.rule, again.rule),
        "defects": (booked.defects, again.defects),
        "margin": (booked.margin, again.margin),
        "scores": (booked.peaks, again.peaks if booked.peaks else ()),
        "views": (booked.views_judged, again.views_judged),
    }
    return tuple(name for name, (then, now) in pairs.items() if then != now)


def lacks_of(booked: StoredResult, setup: Setup, pictures: list[StoredImage]) -> Iterator[Lack]:
    """What keeps a replay by the part's own recipe from being exact, besides what the history knows."""
    if not all(picture.lossless for picture in pictures):
        yield Lack.LOSSY
    if booked.model_hash != setup.recipe.model_hash:
        yield Lack.MODEL
    if not booked.thresholds:
        yield Lack.THRESHOLDS
    if setup.engine.batch_sizes != (1,):
        yield Lack.BATCH
    if booked.reason not in FROM_PICTURES or booked.views_judged < len(booked.views):
        yield Lack.CAUSE
