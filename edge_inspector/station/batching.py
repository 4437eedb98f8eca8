"""Views of several cameras in one run of a model, where that makes none of them late: pure but for what it measured."""

from __future__ import annotations

from collections.abc import Sequence

from edge_inspector.datatypes import Batch, Tensors
from edge_inspector.pipeline import joined
from edge_inspector.station.events import Job

RESERVE = 2
"""A run may take this many times as long as the last one of its size before a view is late by it."""


class Durations:
    """How long runs of each size have taken, ns: the last of each."""

    def __init__(self) -> None:
        self._ns: dict[tuple[int, int], int] = {}

    def note(self, model: int, size: int, spent_ns: int) -> None:
        self._ns[model, size] = spent_ns

    def in_time(self, model: int, jobs: Sequence[Job], now_ns: int) -> bool:
        """Whether all of them would be through before the first of their deadlines; False also when nobody knows."""
        single = self._ns.get((model, 1))
        if single is None or any(job.deadline_ns is None for job in jobs):
            return False
        expected = self._ns.get((model, len(jobs)), single * len(jobs))
        return all(now_ns + RESERVE * expected < job.deadline_ns for job in jobs if job.deadline_ns is not None)


def joinable(job: Job) -> bool:
    """One tile, prepared here: what several tiles or a device's own preparation need is a run of its own."""
    return isinstance(job.batch, Batch) and len(job.batch.tiles) == 1


def together(jobs: Sequence[Job]) -> Batch:
    """The pictures of joinable jobs in one batch."""
    return joined([job.batch for job in jobs if isinstance(job.batch, Batch)])


def split(tensors: Tensors, count: int) -> list[Tensors]:
    """The outputs of each picture of a joined batch of `count`."""
    return [Tensors({name: array[i : i + 1] for name, array in tensors.by_name.items()}) for i in range(count)]
