"""Views of several cameras share a run of the model where verdicts are proven the same and nobody is late by it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from station_rig import SIDE, FakeBackend, Rig

from edge_inspector.datatypes import Batch, Detections, Letterbox, Roi, Tensors, ThresholdState
from edge_inspector.health.clock import SystemClock
from edge_inspector.health.progress import ProgressBook
from edge_inspector.interfaces import ModelFile
from edge_inspector.station.batching import Durations, joinable, split, together
from edge_inspector.station.engines import Chosen
from edge_inspector.station.events import Inferred, Job, LineEvent, ModelsReady, Picture, ViewFailed
from edge_inspector.station.gpu_thread import GpuThread

WHOLE = Roi(0, 0, SIDE, SIDE)
HOUR_NS = 3_600_000_000_000


class Always:
    """Every recipe's engine is there, proven at these batch sizes."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes

    def choose(self, recipe: str, model_file: ModelFile, thresholds: ThresholdState) -> Chosen:
        return Chosen(model_file, batch_sizes=self._sizes)


def a_job(number: int, deadline_ns: int | None, gray: float = 0.0, tiles: int = 1) -> Job:
    pixels = np.full((tiles, 1, SIDE, SIDE), gray, np.float32)
    batch = Batch(pixels, (Letterbox(1.0, 0.0, 0.0),) * tiles, WHOLE, (WHOLE,) * tiles)
    return Job(Picture(f"camera-{number}", number), "r", batch, number, 0, 0, deadline_ns)


def ran(folder: Path, sizes: tuple[int, ...], jobs: list[Job]) -> tuple[list[int], list[LineEvent]]:
    """How many pictures went into each run when all jobs wait at once, after a first one alone; and what was told."""
    rig, backend = Rig(folder), FakeBackend()
    rig.recipe("r")
    clock, first, last = SystemClock(), threading.Event(), threading.Event()
    events: list[LineEvent] = []

    def post(event: LineEvent) -> None:
        events.append(event)
        if len(events) == 2 and isinstance(event, ModelsReady):
            assert thread.put(a_job(0, clock.monotonic_ns() + HOUR_NS))
        answered = sum(isinstance(one, Inferred | ViewFailed) for one in events)
        if answered == 1:
            first.set()
        if answered == 2 + len(jobs):
            last.set()

    thread = GpuThread(backend, Always(sizes), rig.recipes, clock, ProgressBook(clock), 64, post)  # type: ignore[arg-type]
    running = threading.Thread(target=thread.run)
    running.start()
    assert first.wait(10)
    backend.slow.set()  # the next run waits in `collect`: all that is queued meanwhile waits with it
    assert thread.put(a_job(1, clock.monotonic_ns() + HOUR_NS))
    while len(backend.runs) < 2:
        pass
    for job in jobs:
        assert thread.put(job)
    backend.slow.clear()
    assert last.wait(10)
    thread.stop()
    running.join(10)
    assert not running.is_alive()
    return backend.runs[2:], events


def soon(clock: SystemClock) -> int:
    return clock.monotonic_ns() + HOUR_NS


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        pytest.param((1,), [1, 1, 1, 1], id="never without a proof"),
        pytest.param((1, 2), [2, 2], id="as many as were proven"),
        pytest.param((1, 3), [3, 1], id="two were not proven"),
        pytest.param((1, 2, 3, 4, 5), [4], id="all that wait"),
    ],
)
def test_views_share_runs_of_the_proven_sizes(tmp_path: Path, sizes: tuple[int, ...], runs: list[int]) -> None:
    clock = SystemClock()
    jobs = [a_job(n, soon(clock), gray=n / 10) for n in range(2, 6)]
    happened, events = ran(tmp_path, sizes, jobs)
    assert happened == runs
    seen = {
        e.job.picture.number: e.findings.confidence.tolist()
        for e in events
        if isinstance(e, Inferred) and isinstance(e.findings, Detections)
    }
    each_its_own = {0: [], 1: [], 2: [0.2], 3: [0.3], 4: [0.4], 5: [0.5]}
    assert seen == {number: pytest.approx(scores) for number, scores in each_its_own.items()}


def test_a_view_without_a_known_deadline_runs_alone(tmp_path: Path) -> None:
    clock = SystemClock()
    runs, _ = ran(tmp_path, (1, 2), [a_job(2, None), a_job(3, soon(clock))])
    assert runs == [1, 1]


def test_a_view_in_tiles_is_a_run_of_its_own(tmp_path: Path) -> None:
    clock = SystemClock()
    runs, _ = ran(tmp_path, (1, 2), [a_job(2, soon(clock), tiles=2), a_job(3, soon(clock)), a_job(4, soon(clock))])
    assert runs == [2, 2]


@pytest.mark.parametrize(
    ("single_ns", "pair_ns", "left_ns", "in_time"),
    [
        pytest.param(None, None, 1000, False, id="nobody knows how long a run takes"),
        pytest.param(10, None, 41, True, id="a pair is taken for twice a single one, with as much in reserve"),
        pytest.param(10, None, 40, False, id="the reserve is not touched"),
        pytest.param(10, 12, 25, True, id="what a pair took is known"),
        pytest.param(10, 300, 500, False, id="a pair takes far longer than two"),
    ],
)
def test_a_run_is_shared_only_when_all_are_in_time(
    single_ns: int | None, pair_ns: int | None, left_ns: int, in_time: bool
) -> None:
    durations = Durations()
    for size, spent in ((1, single_ns), (2, pair_ns)):
        if spent is not None:
            durations.note(7, size, spent)
    jobs = [a_job(1, 5000 + HOUR_NS), a_job(2, 5000 + left_ns)]
    assert durations.in_time(7, jobs, 5000) is in_time


def test_a_joined_batch_is_split_into_what_each_picture_would_have_given() -> None:
    jobs = [a_job(n, None, gray=n) for n in (1, 2, 3)]
    assert all(map(joinable, jobs))
    batch = together(jobs)
    assert batch.pixels.shape == (3, 1, SIDE, SIDE)
    outputs = split(Tensors({"a": batch.pixels[:, 0, 0, 0], "b": batch.pixels}), 3)
    assert [one.by_name["a"].tolist() for one in outputs] == [[1.0], [2.0], [3.0]]
    assert [one.by_name["b"].shape for one in outputs] == [(1, 1, SIDE, SIDE)] * 3
