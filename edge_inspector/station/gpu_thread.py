"""The one thread on which models live: load, submit n+1, then collect and finish n."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import takewhile

from edge_inspector import pipeline
from edge_inspector.datatypes import Reason, Tensors
from edge_inspector.errors import DeviceLostError, InferenceError
from edge_inspector.interfaces import Backend, Clock, Progress, Ticket
from edge_inspector.station.batching import Durations, joinable, split, together
from edge_inspector.station.engines import Engines
from edge_inspector.station.events import Inferred, Job, LineEvent, ModelsReady, RecipesTaken, ViewFailed
from edge_inspector.station.model_room import Loaded, ModelRoom, Renewal
from edge_inspector.station.parts import LoadedRecipe

_WAIT_S = 0.25
COLLECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class InFlight:
    """Views that went into one run together."""

    jobs: tuple[Job, ...]
    loaded: Loaded
    ticket: Ticket
    begun_ns: int


class GpuThread:
    """Runs `run` on a thread of its own; `put`, `order_load` and `stop` may be called from any other."""

    def __init__(
        self,
        backend: Backend,
        engines: Engines,
        recipes: Mapping[str, LoadedRecipe],
        clock: Clock,
        progress: Progress,
        capacity: int,
        post: Callable[[LineEvent], None],
        active: str = "",
        budget_bytes: int | None = None,
    ) -> None:
        """`active` is the recipe whose model is loaded first, empty = the first one; the budget is `ModelRoom`'s."""
        self._recipes = recipes
        self._active = active or next(iter(recipes))
        self._room = ModelRoom(backend, engines, recipes, budget_bytes, post)
        self._clock = clock
        self._progress = progress
        self._post = post
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=capacity)
        self._waiting: deque[Job] = deque()
        self._loads: queue.SimpleQueue[str | Renewal] = queue.SimpleQueue()
        self._durations = Durations()
        self._sparing = threading.Event()
        self._stopping = threading.Event()

    def put(self, job: Job) -> bool:
        """Queue one job; False when there is no room."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def order_renewal(self, renewal: Renewal) -> None:
        """Have other recipes when every picture that is queued now is through; `RecipesTaken` tells."""
        self._order(renewal)

    def order_load(self, recipe: str) -> None:
        """Have a recipe's model loaded and warm when every picture that is queued now is through.

        The newest order counts: what was ordered before it is not wanted any more.
        """
        self._order(recipe)

    def order_spare(self) -> None:
        """Have every model given back but that of the recipe in use, when there is time for it."""
        self._sparing.set()

    def _order(self, what: str | Renewal) -> None:
        self._loads.put(what)
        with suppress(queue.Full):  # then it does not sleep
            self._jobs.put_nowait(None)

    @property
    def waiting(self) -> int:
        """Pictures that no run has taken yet; any thread."""
        return self._jobs.qsize() + len(self._waiting)

    def loaded(self) -> dict[str, int]:
        """The recipes whose model is loaded, and how many bytes it tells that it holds; any thread."""
        return self._room.memory_bytes()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        with closing(self._room):
            # to load may take longer than a run ever may, and many models longer than one
            self._room.preload(self._active, lambda: self._progress.rest("gpu"))
            self._post(ModelsReady())
            self._serve()

    def _serve(self) -> None:
        in_flight: InFlight | None = None
        slot = 0
        while in_flight is not None or not self._stopping.is_set():
            job = self._next(wait=in_flight is None)
            self._progress.sign("gpu")
            submitted = None
            loaded = None if job is None else self._loaded(job)
            if job is not None and loaded is not None:
                submitted = self._submit(job, loaded, slot)
                slot = 1 - slot
            elif job is not None:  # a camera that triggers itself does not ask whether the station is ready
                self._fail((job,), Reason.NOT_READY, f"the model of recipe {job.recipe} is not loaded")
            elif in_flight is None:
                self._room.keep_warm()
            if in_flight is not None:
                self._collect(in_flight)
            in_flight = submitted
            if in_flight is not None and not self._waiting and self._jobs.empty():
                self._collect(in_flight)
                in_flight = None
            # not only when it is idle: a camera that triggers itself brings pictures all the while
            if in_flight is None and not self._waiting and self._jobs.empty():
                self._load_ordered()

    def _load_ordered(self) -> None:
        """Nothing waits and nothing runs: there is time for what would hold a part up."""
        if self._sparing.is_set():
            self._sparing.clear()
            self._room.spare()
        recipe = ""
        with suppress(queue.Empty):
            while True:
                order = self._loads.get_nowait()
                if isinstance(order, Renewal):
                    self._room.renew(order)
                    self._recipes, self._durations = order.recipes, Durations()  # those of models that may be gone
                    recipe = recipe if recipe in order.recipes else ""
                    self._post(RecipesTaken(order.number))
                else:
                    recipe = order
        if recipe:
            self._progress.rest("gpu")
            self._room.select(recipe)

    def _loaded(self, job: Job) -> Loaded | None:
        """The model for a picture; None when there is none, or one of another recipe that has the name by now."""
        own = self._recipes.get(job.recipe)
        there = own is not None and own.prepares(job.recipe, job.picture.camera, job.plan)
        return self._room.get(job.recipe) if there else None

    def _next(self, wait: bool) -> Job | None:
        if self._waiting:
            return self._waiting.popleft()
        try:
            return self._jobs.get(timeout=_WAIT_S) if wait else self._jobs.get_nowait()
        except queue.Empty:
            return None

    def _together(self, first: Job, loaded: Loaded) -> tuple[Job, ...]:
        """The job and those right behind it that share its run: of the same model, and none late because of another."""
        with suppress(queue.Empty):
            while len(self._waiting) < loaded.batch_sizes[-1] - 1:
                if (job := self._jobs.get_nowait()) is not None:
                    self._waiting.append(job)
        fitting = takewhile(lambda job: joinable(job) and self._loaded(job) == loaded, self._waiting)
        jobs = (first, *fitting) if joinable(first) else (first,)
        now = self._clock.monotonic_ns()
        sizes = (n for n in loaded.batch_sizes if n == 1 or n <= len(jobs))
        size = max(n for n in sizes if n == 1 or self._durations.in_time(id(loaded.model), jobs[:n], now))
        for _ in range(size - 1):
            self._waiting.popleft()
        return jobs[:size]

    def _submit(self, first: Job, loaded: Loaded, slot: int) -> InFlight | None:
        """Start a run; None when there is none to be waited for."""
        begun = self._clock.monotonic_ns()
        if first.deadline_ns is not None and begun >= first.deadline_ns:  # work for nobody makes the next part late
            self._fail((first,), Reason.DEADLINE, "waited for the model until after the deadline")
            return None
        jobs = self._together(first, loaded)
        try:
            batch = first.batch if len(jobs) == 1 else together(jobs)
            return InFlight(jobs, loaded, loaded.model.submit(batch, slot), begun)
        except InferenceError as exc:
            self._failed(jobs, exc)
            return None

    def _collect(self, run: InFlight) -> None:
        try:
            tensors = run.loaded.model.collect(run.ticket, COLLECT_TIMEOUT_S)
        except InferenceError as exc:
            self._failed(run.jobs, exc)
            return
        now = self._clock.monotonic_ns()
        self._progress.sign("gpu")
        count, spent = len(run.jobs), now - run.begun_ns
        self._durations.note(id(run.loaded.model), count, spent)
        for job, one in zip(run.jobs, [tensors] if count == 1 else split(tensors, count), strict=True):
            self._finish(job, one, run.begun_ns - job.queued_ns, spent)

    def _finish(self, job: Job, tensors: Tensors, wait_ns: int, infer_ns: int) -> None:
        """Decode, undo, NMS: here, where the next run is under way, because a busy map of regions takes 0.1 s."""
        begun = self._clock.monotonic_ns()
        try:
            findings = pipeline.finish(tensors, job.batch, self._recipes[job.recipe].reading)
        except InferenceError as exc:
            self._fail((job,), Reason.INFERENCE, str(exc))
            return
        self._post(Inferred(job, findings, wait_ns, infer_ns, self._clock.monotonic_ns() - begun))

    def _failed(self, jobs: tuple[Job, ...], error: InferenceError) -> None:
        """These parts are UNDEFINED; a lost device ends the process as soon as they are told."""
        self._fail(jobs, Reason.INFERENCE, str(error))
        if isinstance(error, DeviceLostError):
            raise error

    def _fail(self, jobs: tuple[Job, ...], reason: Reason, text: str) -> None:
        for job in jobs:
            self._post(ViewFailed(job.picture, None, reason, text))
