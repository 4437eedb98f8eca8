"""Frames through the model and the recipe, on the way that they take through a station."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from edge_inspector import pipeline
from edge_inspector.datatypes import (
    Detections,
    Frame,
    InspectionResult,
    MeasuredView,
    Mode,
    PreparePlan,
    Reason,
    Roi,
    ThresholdState,
    Trigger,
)
from edge_inspector.errors import DeviceLostError, FrameError, InferenceError
from edge_inspector.inspection import Inspection, Job
from edge_inspector.interfaces import Backend, Model
from edge_inspector.replay.setups import Setup
from edge_inspector.settings import PictureGate
from edge_inspector.stages import quality
from edge_inspector.store.reading import StoredResult

RUN_TIMEOUT_S = 60.0
_NO_DEADLINE_NS = 1 << 62
"""Nothing is late in a replay."""
_NOWHERE = Roi(0, 0, 0, 0)


@dataclass(frozen=True)
class Seen:
    """All views of one part, and the milliseconds of each stage: the slowest view's, as in a result."""

    views: tuple[MeasuredView, ...]
    times_ms: Mapping[str, float]


class Runner:
    """Holds the models that are needed; a context. All on one thread, one view in a run."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._models: dict[tuple[str, str, object, int], Model] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def load(self, setup: Setup) -> None:
        """Load its model and what its first view would wait for. ConfigError: it cannot be, and why."""
        for plan in setup.recipe.plans.values():
            model = self._model(setup, plan)
            setup.recipe.reading.decoder.check(model.output_shapes, setup.recipe.reading.classes)
            model.rehearse(plan)
            pipeline.warm_up(plan)

    def look(self, setup: Setup, frames: Mapping[str, Frame]) -> Seen:
        """Measure each view; what cannot be measured is a view with its failure. DeviceLostError: nothing more can."""
        views = [self._view(setup, camera, frames[camera]) for camera in setup.recipe.cameras]
        stages = dict.fromkeys(stage for view in views for stage in view.stage_ns)
        slowest = {stage: max(view.stage_ns.get(stage, 0) for view in views) / 1e6 for stage in stages}
        return Seen(tuple(views), slowest)

    def _view(self, setup: Setup, camera: str, frame: Frame) -> MeasuredView:
        recipe, plan = setup.recipe, setup.recipe.plans[camera]
        model = self._model(setup, plan)
        try:
            begun = time.perf_counter_ns()
            way = pipeline.prepare_on_device if self._backend.prepares_on_device else pipeline.prepare
            batch = way(frame, plan)
            _check(frame, setup.gates[camera])
        except FrameError as exc:
            return _failed(camera, Reason.BAD_FRAME, str(exc))
        prepared = time.perf_counter_ns()
        try:
            tensors = model.collect(model.submit(batch, 0), RUN_TIMEOUT_S)
            inferred = time.perf_counter_ns()
            findings = pipeline.finish(tensors, batch, recipe.reading)
        except DeviceLostError:
            raise
        except InferenceError as exc:
            return _failed(camera, Reason.INFERENCE, str(exc))
        finished = time.perf_counter_ns()
        stages = {"prepare": prepared - begun, "infer": inferred - prepared, "finish": finished - inferred}
        plane = None if plan.calibration is None else plan.calibration.plane
        return MeasuredView(camera, findings, batch.bounds, None, "", frame.frame_id, stages, plane)

    def _model(self, setup: Setup, plan: PreparePlan) -> Model:
        file, most = setup.recipe.model_file, setup.engine.batch_sizes[-1]
        key = (file.sha256, file.engine_dir, plan.input, most)
        if key not in self._models:
            self._models[key] = model = self._backend.load(file, plan, most)
            self._closing.callback(model.close)
        return self._models[key]


def judged(setup: Setup, thresholds: ThresholdState, seen: Seen, booked: StoredResult) -> InspectionResult:
    """The verdict on views, by the same state machine as in the station; it cannot be late."""
    recipe = setup.recipe
    trigger = Trigger(
        seq=booked.seq,
        result_id=booked.result_id,
        trigger_seq=booked.trigger_seq,
        part_id=booked.part_id,
        attempt=booked.attempt,
        mode=Mode.SIMULATION,
        recipe=recipe.name,
        recipe_no=recipe.settings.number,
        boot_id=booked.boot_id,
        plc_boot_id=0,
        accepted_ns=0,
        deadline_ns=_NO_DEADLINE_NS,
        wall_utc=booked.wall_utc,
        clock_synced=booked.clock_synced,
    )
    inspection = Inspection(trigger, Job(recipe.cameras, recipe.criteria, thresholds, recipe.model_hash, 0))
    for view in seen.views:
        inspection = inspection.on_view(view, 0)
    if inspection.result is None:
        raise ValueError(f"part {booked.result_id} has views of {[view.camera for view in seen.views]}, expected all")
    return inspection.result


def _check(frame: Frame, gate: PictureGate) -> None:
    """As the camera's thread does, but for the comparison with the picture before. FrameError."""
    fault = quality.fault(frame.pixels, frame.pixel_format, gate)
    if fault:
        raise FrameError(f"camera {frame.camera}, picture {frame.frame_id}: {fault}")


def _failed(camera: str, reason: Reason, text: str) -> MeasuredView:
    return MeasuredView(camera, Detections.none(), _NOWHERE, reason, text)
