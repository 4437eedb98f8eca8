"""The one thread on which models live: load, submit n+1, then collect n."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import structlog

from edge_inspector.datatypes import Reason
from edge_inspector.errors import InferenceError
from edge_inspector.interfaces import Backend, Clock, Model, Progress, Ticket
from edge_inspector.station.events import Inferred, Job, LineEvent, ModelsReady, ViewFailed
from edge_inspector.station.parts import LoadedRecipe

log = structlog.get_logger()
_WAIT_S = 0.25
COLLECT_TIMEOUT_S = 10.0


class GpuThread:
    """Runs `run` on a thread of its own; `put` and `stop` may be called from any other."""

    def __init__(
        self,
        backend: Backend,
        recipes: Mapping[str, LoadedRecipe],
        clock: Clock,
        progress: Progress,
        capacity: int,
        post: Callable[[LineEvent], None],
    ) -> None:
        self._backend = backend
        self._recipes = recipes
        self._clock = clock
        self._progress = progress
        self._post = post
        self._jobs: queue.Queue[Job] = queue.Queue(maxsize=capacity)
        self._stopping = threading.Event()

    def put(self, job: Job) -> bool:
        """Queue one job; False when there is no room."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        with ExitStack() as closing:
            models = self._load(closing)
            self._post(ModelsReady())
            in_flight: tuple[Job, Model, Ticket, int] | None = None
            slot = 0
            while in_flight is not None or not self._stopping.is_set():
                job = self._next(wait=in_flight is None)
                self._progress.sign("gpu")
                submitted = None
                if job is not None:
                    submitted = self._submit(job, models[job.recipe], slot)
                    slot = 1 - slot
                if in_flight is not None:
                    self._collect(*in_flight)
                in_flight = submitted
                if in_flight is not None and self._jobs.empty():
                    self._collect(*in_flight)
                    in_flight = None

    def _load(self, closing: ExitStack) -> dict[str, Model]:
        """One model for each bundle and input; recipes that share them share the model."""
        loaded: dict[tuple[str, object], Model] = {}
        models: dict[str, Model] = {}
        for recipe in self._recipes.values():
            plan = next(iter(recipe.plans.values()))
            key = (recipe.model_file.sha256, plan.input)
            if key not in loaded:
                model = self._backend.load(recipe.model_file, plan, max_batch=1)
                closing.callback(model.close)
                loaded[key] = model
                log.info("model_loaded", recipe=recipe.name, memory_mb=round(model.memory_bytes / 1e6, 1))
            recipe.reading.decoder.check(loaded[key].output_shapes, recipe.reading.classes)
            models[recipe.name] = loaded[key]
        return models

    def _next(self, wait: bool) -> Job | None:
        try:
            return self._jobs.get(timeout=_WAIT_S) if wait else self._jobs.get_nowait()
        except queue.Empty:
            return None

    def _submit(self, job: Job, model: Model, slot: int) -> tuple[Job, Model, Ticket, int] | None:
        begun = self._clock.monotonic_ns()
        if job.deadline_ns is not None and begun >= job.deadline_ns:  # work for nobody would make the next part late
            self._post(ViewFailed(job.picture, None, Reason.DEADLINE, "waited for the model until after the deadline"))
            return None
        try:
            return job, model, model.submit(job.batch, slot), begun
        except InferenceError as exc:
            self._post(ViewFailed(job.picture, None, Reason.INFERENCE, str(exc)))
            return None

    def _collect(self, job: Job, model: Model, ticket: Ticket, begun: int) -> None:
        try:
            tensors = model.collect(ticket, COLLECT_TIMEOUT_S)
        except InferenceError as exc:
            self._post(ViewFailed(job.picture, None, Reason.INFERENCE, str(exc)))
            return
        now = self._clock.monotonic_ns()
        self._progress.sign("gpu")
        self._post(Inferred(job, tensors, wait_ns=begun - job.queued_ns, infer_ns=now - begun))
