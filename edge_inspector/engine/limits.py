"""How surely a bundle's golden defects are seen, on the way that a part's pictures take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np

from edge_inspector import pipeline
from edge_inspector.datatypes import (
    Classification,
    Criteria,
    Detections,
    Findings,
    Frame,
    MeasuredView,
    PreparePlan,
    ThresholdState,
)
from edge_inspector.engine.bundle import Bundle, reading_of
from edge_inspector.engine.calibration_set import read_frame
from edge_inspector.engine.differences import iou
from edge_inspector.engine.latency import RUN_TIMEOUT_S
from edge_inspector.engine.truth import LabelledPicture, Thing, is_bad, read_truth
from edge_inspector.errors import ConfigError, FrameError
from edge_inspector.interfaces import Backend, Model, ModelFile
from edge_inspector.stages.rules import adaptable, judge
from edge_inspector.stages.thresholds import GoldenDefect

Progress: TypeAlias = Callable[[float, str], None]
PLACE_IOU = 0.3
"""A finding that overlaps a labelled defect so much, or lies with its middle inside, is at its place."""
_Condition: TypeAlias = Callable[[Frame], Frame]


@dataclass(frozen=True)
class GoldenScores:
    """`goods`: the peaks of each good part; `defects` as `golden_limits` takes them."""

    goods: tuple[tuple[float, ...], ...]
    defects: tuple[GoldenDefect, ...]


@dataclass(frozen=True)
class Seeing:
    """A recipe's model as the golden run uses it; `plans` by camera, `base` its own thresholds."""

    bundle: Bundle
    criteria: Criteria
    plans: Mapping[str, PreparePlan]
    base: ThresholdState
    model_file: ModelFile
    backend: Backend


@dataclass(frozen=True)
class _Eye:
    """One camera of the recipe, with its model loaded."""

    camera: str
    plan: PreparePlan
    model: Model
    reading: pipeline.Reading


def golden_scores(seeing: Seeing, progress: Progress = lambda share, text: None) -> GoldenScores:
    """Look at every golden picture, as each camera of the recipe would, and by light and focus that a line may have.

    A defect's scores are the lowest of all those looks: at a threshold below them it is found whatever happened. What
    the recipe's rules would pass even if it were seen perfectly is no defect of this recipe. ConfigError: there is no
    golden set, or it cannot be used for this recipe.
    """
    bundle = seeing.bundle
    if bundle.golden is None:
        raise ConfigError(
            f"bundle {bundle.name} has no golden set ([golden] in its model.toml): without one nobody knows how far a "
            "threshold may move"
        )
    if bundle.criteria.limits:
        raise ConfigError(f"bundle {bundle.name} measures values: it has limits, and no thresholds that could move")
    pictures = read_truth(bundle.golden.coco, bundle.golden.images).pictures
    goods: list[tuple[float, ...]] = []
    defects: list[GoldenDefect] = []
    with ExitStack() as stack:
        progress(0.0, "loading the model")
        eyes = {camera: _opened(stack, seeing, camera, plan) for camera, plan in seeing.plans.items()}
        for number, picture in enumerate(pictures, start=1):
            looking = [eyes[picture.camera]] if picture.camera in eyes else list(eyes.values())
            if is_bad(picture, seeing.criteria):
                defects += _defects(seeing, looking, picture)
            else:
                peaks = [_peaks(seeing, view) for eye in looking for view in _views(seeing, eye, picture, _AS_IT_IS)]
                goods.append(_each(max, peaks))
            progress(number / len(pictures), f"{number} of {len(pictures)} golden pictures")
    return GoldenScores(tuple(goods), tuple(defects))


def _opened(stack: ExitStack, seeing: Seeing, camera: str, plan: PreparePlan) -> _Eye:
    model = stack.enter_context(closing(seeing.backend.load(seeing.model_file, plan, 1)))
    reading = reading_of(seeing.bundle)
    reading.decoder.check(model.output_shapes, reading.classes)
    return _Eye(camera, plan, model, reading)


def _defects(seeing: Seeing, eyes: Sequence[_Eye], picture: LabelledPicture) -> Iterator[GoldenDefect]:
    """The labelled defects of a bad part; a class that rejects nothing sees none."""
    rejecting = adaptable(seeing.criteria)
    views = [view for eye in eyes for view in _views(seeing, eye, picture, _CONDITIONS)]
    for class_id, things in _units(seeing, views[0], picture):
        seen = [_peaks(seeing, replace(view, findings=_at(view.findings, things))) for view in views]
        yield GoldenDefect(class_id, tuple(s if c in rejecting else 0.0 for c, s in enumerate(_each(min, seen))))


def _units(
    seeing: Seeing, view: MeasuredView, picture: LabelledPicture
) -> Iterator[tuple[int, Sequence[Thing] | None]]:
    """What has to be found: each thing that is rejected by itself, and all the others of a class if together they are.

    None instead of things: the label is of the whole picture.
    """
    criteria = seeing.criteria
    for class_id in sorted({criteria.classes.index(name) for name in _names(picture)} & adaptable(criteria)):
        name = criteria.classes[class_id]
        things = [thing for thing in picture.things or () if thing.class_name == name]
        if not things or isinstance(view.findings, Classification):
            yield class_id, None
            continue
        alone = [thing for thing in things if _rejected(seeing, view, class_id, [thing])]
        for thing in alone:
            yield class_id, [thing]
        others = [thing for thing in things if thing not in alone]
        if others and _rejected(seeing, view, class_id, others):
            yield class_id, others


def _names(picture: LabelledPicture) -> set[str]:
    return {*picture.classes, *(thing.class_name for thing in picture.things or ())}


def _rejected(seeing: Seeing, view: MeasuredView, class_id: int, things: Sequence[Thing]) -> bool:
    """Whether the recipe's rules reject these things when they are seen perfectly."""
    n = len(things)
    boxes = np.array([thing.xyxy for thing in things], np.float32)
    perfect = Detections(boxes, np.ones(n, np.float32), np.full(n, class_id, np.int64))
    return _peaks(seeing, replace(view, findings=perfect))[class_id] > 0


def _peaks(seeing: Seeing, view: MeasuredView) -> tuple[float, ...]:
    return judge([view.camera], seeing.criteria, seeing.base, [view]).peaks


def _at(found: Findings, things: Sequence[Thing] | None) -> Findings:
    """The findings at the place of these things."""
    if things is None or not isinstance(found, Detections):
        return found
    boxes = np.array([thing.xyxy for thing in things], np.float32)
    middle = (found.xyxy[:, None, :2] + found.xyxy[:, None, 2:]) / 2
    inside = ((middle >= boxes[None, :, :2]) & (middle <= boxes[None, :, 2:])).all(axis=2)
    there = (iou(found.xyxy, boxes) >= PLACE_IOU) | inside
    return found.pick(np.flatnonzero(there.any(axis=1)))


def _views(
    seeing: Seeing, eye: _Eye, picture: LabelledPicture, conditions: Sequence[_Condition]
) -> Iterator[MeasuredView]:
    """The picture as the camera's view, once for each condition. ConfigError: it cannot be this camera's."""
    frame = replace(read_frame(picture.path), camera=eye.camera)
    way = pipeline.prepare_on_device if seeing.backend.prepares_on_device else pipeline.prepare
    for condition in conditions:
        try:
            batch = way(condition(frame), eye.plan)
        except FrameError as exc:
            raise ConfigError(
                f"{picture.path} is no picture as camera {eye.camera} of this recipe takes it: {exc}; make a golden "
                "set with the station's cameras, or name the camera of each picture (`camera` in the COCO file)"
            ) from exc
        found = pipeline.finish(eye.model.collect(eye.model.submit(batch, 0), RUN_TIMEOUT_S), batch, eye.reading)
        plane = None if eye.plan.calibration is None else eye.plan.calibration.plane
        yield MeasuredView(eye.camera, found, batch.bounds, plane=plane)


def _each(best: Callable[[Sequence[float]], float], rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(best(column) for column in zip(*rows, strict=True))


def _as_it_is(frame: Frame) -> Frame:
    return frame


def _lit(factor: float) -> _Condition:
    def lit(frame: Frame) -> Frame:
        pixels = np.clip(frame.pixels.astype(np.float32) * factor, 0, 255).astype(np.uint8)
        return replace(frame, pixels=pixels)

    return lit


def _defocused(frame: Frame) -> Frame:
    return replace(frame, pixels=cv2.GaussianBlur(frame.pixels, (0, 0), DEFOCUS_SIGMA_PX))


DIM, BRIGHT, DEFOCUS_SIGMA_PX = 0.85, 1.15, 0.7
"""What camera health finds, and alarms for: 15 % of the light, and a fifth of the sharpness."""
_AS_IT_IS: tuple[_Condition, ...] = (_as_it_is,)
_CONDITIONS: tuple[_Condition, ...] = (_as_it_is, _lit(DIM), _lit(BRIGHT), _defocused)
