"""A model looks at every picture of a truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector import pipeline
from edge_inspector.datatypes import Batch, Detections, Findings, MeasuredView, PixelFormat, PreparePlan, Reason, Roi
from edge_inspector.engine.bundle import reading_of
from edge_inspector.engine.evaluate.subject import Subject
from edge_inspector.engine.truth import LabelledPicture
from edge_inspector.errors import ConfigError, DeviceLostError, FrameError, InferenceError
from edge_inspector.interfaces import Backend, Model
from edge_inspector.stages.prepare import prepare, prepare_plain

Chain = Literal["fused", "plain"]
Progress: TypeAlias = Callable[[int, int], None]
"""How many pictures are done, of how many."""
_Preparation: TypeAlias = Callable[[npt.NDArray[Any], PixelFormat, PreparePlan], Batch]
_CHAINS: Mapping[Chain, _Preparation] = {"fused": prepare, "plain": prepare_plain}
RUN_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Seen:
    """What the model made of one picture; `failure` says why it gave no answer (then `findings` is empty).

    `bounds` is the part of the picture that was looked at, `hw` its size.
    """

    picture: LabelledPicture
    findings: Findings
    bounds: Roi
    hw: tuple[int, int]
    stage_ms: Mapping[str, float]
    failure: str = ""

    def view(self, camera: str, plan: PreparePlan) -> MeasuredView:
        """As the station would have measured it."""
        plane = None if plan.calibration is None else plan.calibration.plane
        failure = Reason.INFERENCE if self.failure else None
        return MeasuredView(camera, self.findings, self.bounds, failure, self.failure, plane=plane)


def look(
    subject: Subject, backend: Backend, pictures: Sequence[LabelledPicture], chain: Chain, progress: Progress
) -> list[Seen]:
    """All pictures, in their order.

    ConfigError: pictures that cannot be read or do not fit, all of them named. BundleError: the model is not the
    bundle's. InferenceError: it gave no answer to any picture.
    """
    reading = reading_of(subject.bundle)
    model = backend.load(subject.bundle.model_file(), next(iter(subject.plans.values())), 1)
    seen: list[Seen] = []
    unusable: list[str] = []
    try:
        for number, picture in enumerate(pictures, start=1):
            plan = subject.plans[picture.camera if picture.camera in subject.plans else next(iter(subject.plans))]
            try:
                seen.append(_seen(model, plan, _CHAINS[chain], reading, picture, first=all(s.failure for s in seen)))
            except FrameError as exc:
                unusable.append(f"{picture.path} ({exc})")
            progress(number, len(pictures))
    finally:
        model.close()
    if unusable:
        raise ConfigError(f"pictures cannot be evaluated: {', '.join(unusable)}; replace or remove them")
    if all(one.failure for one in seen):
        raise InferenceError(f"{subject.bundle.name} gave no answer to any picture: {seen[0].failure}")
    return seen


def _seen(
    model: Model,
    plan: PreparePlan,
    prepared_by: _Preparation,
    reading: pipeline.Reading,
    picture: LabelledPicture,
    first: bool,
) -> Seen:
    """FrameError: the picture cannot be used."""
    pixels, pixel_format = read_picture(picture)
    start = time.perf_counter()
    batch = prepared_by(pixels, pixel_format, plan)
    prepared = inferred = time.perf_counter()
    found: Findings = Detections.none()
    failure = ""
    try:
        tensors = model.collect(model.submit(batch, 0), RUN_TIMEOUT_S)
        inferred = time.perf_counter()
        if first:
            shapes = {name: array.shape for name, array in tensors.by_name.items()}
            reading.decoder.check(shapes, reading.classes)
        found = pipeline.finish(tensors, batch, reading)
    except DeviceLostError:
        raise
    except InferenceError as exc:
        failure = str(exc)
    finished = time.perf_counter()
    times = {"prepare": prepared - start, "model": inferred - prepared, "finish": finished - inferred}
    stage_ms = {stage: 1000 * seconds for stage, seconds in times.items()}
    return Seen(picture, found, batch.bounds, (int(pixels.shape[0]), int(pixels.shape[1])), stage_ms, failure)


def read_picture(picture: LabelledPicture) -> tuple[npt.NDArray[Any], PixelFormat]:
    """FrameError: not a picture, or not as it was labelled."""
    pixels = cv2.imread(str(picture.path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise FrameError("not a picture")
    formats: dict[tuple[int, ...], PixelFormat] = {(): "Mono8", (3,): "BGR8"}
    pixel_format = formats.get(pixels.shape[2:])
    if pixel_format is None or pixels.dtype != np.uint8:
        raise FrameError(f"{pixels.dtype} {pixels.shape}, expected 8-bit gray or colour")
    if picture.hw not in {None, pixels.shape[:2]}:
        raise FrameError(f"{pixels.shape[:2]} pixels high and wide, but labelled at {picture.hw}")
    return pixels, pixel_format
