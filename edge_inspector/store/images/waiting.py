"""Pictures that wait for their verdict, and then for the disk: a bounded amount of memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edge_inspector.datatypes import Frame, InspectionResult, Picture
from edge_inspector.store.images.policy import RANKS, Wanted

SPARE_SLOTS = 2
"""Buffers of a camera that are never taken: one that is being filled, one that is being prepared."""
UNCLAIMED_NS = 60_000_000_000
"""A picture of which the line has not said whose it is: it never will; a line loop that hangs ends sooner."""
UNSETTLED_NS = 700_000_000_000
"""Every part has its verdict by then: deadlines are at most 600 s."""
NOBODY = 0


@dataclass(frozen=True, eq=False)
class Task:
    """One picture to be stored, in every kind that is wanted; `number` is 2 for a camera's second one of a part."""

    result: InspectionResult
    wanted: tuple[Wanted, ...]
    frame: Frame
    number: int

    @property
    def rank(self) -> int:
        return max(one.rank for one in self.wanted)


@dataclass
class _Verdict:
    """`of_camera` counts the pictures that were taken for it. Nothing is `wanted` of most parts."""

    result: InspectionResult
    wanted: tuple[Wanted, ...]
    at_ns: int
    of_camera: dict[str, int] = field(default_factory=dict)


class WaitingRoom:
    """Safe from any thread; `offer`, `belongs`, `nobody` and `settled` take microseconds.

    Owns a lease on each frame that it holds. `unload`, `take` and `sweep` are the writer's.
    """

    def __init__(
        self, limit_bytes: int, wanted: Callable[[InspectionResult], tuple[Wanted, ...]], now_ns: Callable[[], int]
    ) -> None:
        self.skipped = [0] * len(RANKS)
        """Pictures that were wanted and for which there was no room, by their rank."""
        self._limit = limit_bytes
        self._wanted = wanted
        self._now_ns = now_ns
        self._changed = threading.Condition()
        self._bytes = 0
        self._offered: dict[Picture, tuple[Frame | None, int]] = {}  # no frame: there was no room for it
        self._owner: dict[Picture, tuple[int, int]] = {}
        self._open: dict[int, list[Picture]] = {}
        self._verdicts: dict[int, _Verdict] = {}
        self._tasks: list[Task] = []
        self._woken = True  # the first `wait` does not wait: the folder is looked at

    def offer(self, picture: Picture, frame: Frame) -> None:
        with self._changed:
            owner = self._owner.get(picture)
            verdict = None if owner is None else self._verdicts.get(owner[0])
            if owner is not None and (owner[0] == NOBODY or (verdict and not verdict.wanted)):
                del self._owner[picture]
                return
            self._offered[picture] = (self._held(frame), self._now_ns())
            if verdict is not None:
                self._decide(picture, verdict)

    def belongs(self, picture: Picture, seq: int) -> None:
        with self._changed:
            verdict = self._verdicts.get(seq)
            if verdict is not None and picture in self._offered:
                self._decide(picture, verdict)
                return
            self._owner[picture] = (seq, self._now_ns())
            if verdict is None:
                self._open.setdefault(seq, []).append(picture)

    def nobody(self, picture: Picture) -> None:
        with self._changed:
            if picture in self._offered:
                self._drop(picture)
            else:
                self._owner[picture] = (NOBODY, self._now_ns())

    def settled(self, result: InspectionResult) -> None:
        with self._changed:
            seq = result.trigger.seq
            verdict = self._verdicts[seq] = _Verdict(result, self._wanted(result), self._now_ns())
            for picture in self._open.pop(seq, ()):
                if picture in self._offered:
                    self._decide(picture, verdict)

    def wait(self, timeout_s: float) -> None:
        """Until something new is to be stored, or `wake` was called, since the last `wait`."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken, timeout_s)
            self._woken = False

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def unload(self) -> None:
        """Copy what is to be stored out of the cameras' buffers."""
        while True:
            with self._changed:
                leased = next((task for task in self._tasks if task.frame.lease is not None), None)
                if leased is None or leased.frame.lease is None:
                    return
                leased.frame.lease.retain()  # the task may be given up meanwhile
            own = _copied(leased)
            with self._changed:
                leased.frame.release()
                at = next((i for i, task in enumerate(self._tasks) if task is leased), None)
                if at is not None:
                    self._tasks[at] = own
                    leased.frame.release()

    def take(self) -> Task | None:
        """The most important picture that is to be stored, among equals the oldest; no lease is left on it."""
        with self._changed:
            if not self._tasks:
                return None
            task = max(self._tasks, key=lambda one: one.rank)
            self._tasks.remove(task)
            self._bytes -= task.frame.pixels.nbytes
        own = _copied(task)
        task.frame.release()
        return own

    def put_back(self, task: Task) -> None:
        """It could not be stored now."""
        with self._changed:
            self._bytes += task.frame.pixels.nbytes
            self._tasks.insert(0, task)

    def sweep(self) -> None:
        """Let go of what nobody has claimed, and forget what never came."""
        with self._changed:
            now = self._now_ns()
            for picture, (_, since_ns) in list(self._offered.items()):
                if now - since_ns > (UNSETTLED_NS if picture in self._owner else UNCLAIMED_NS):
                    self._drop(picture)
            for picture, (seq, since_ns) in list(self._owner.items()):
                if now - since_ns > UNSETTLED_NS or (
                    now - since_ns > UNCLAIMED_NS and (seq == NOBODY or seq in self._verdicts)
                ):
                    self._forget(picture)
            while self._verdicts:
                seq, oldest = next(iter(self._verdicts.items()))
                if now - oldest.at_ns <= UNCLAIMED_NS:
                    break
                del self._verdicts[seq]

    def give_up(self) -> None:
        """Let go of everything."""
        with self._changed:
            while self._tasks:
                task = self._tasks.pop()
                self.skipped[task.rank] += 1
                self._release(task.frame)
            for picture in list(self._offered):
                self._drop(picture)

    def limit(self, limit_bytes: int) -> None:
        """So much may wait from now on; what is too much already is given up, what matters least first."""
        with self._changed:
            self._limit = limit_bytes
            while self._bytes > self._limit and self._tasks:
                self._skip(min(self._tasks, key=lambda task: task.rank))

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def _held(self, frame: Frame) -> Frame | None:
        """The frame with a lease of ours on it, None = there is no room, also not by giving up what matters less."""
        if frame.lease is not None and not frame.lease.retain_if_free(SPARE_SLOTS):
            return None
        self._bytes += frame.pixels.nbytes
        while self._bytes > self._limit:
            least = min(self._tasks, key=lambda task: task.rank, default=None)
            if least is None or least.rank == len(RANKS) - 1:
                self._release(frame)
                return None
            self._skip(least)
        return frame

    def _skip(self, task: Task) -> None:
        self._tasks.remove(task)
        self._release(task.frame)
        self.skipped[task.rank] += 1

    def _decide(self, picture: Picture, verdict: _Verdict) -> None:
        """The verdict on the part of an offered picture is known."""
        if not verdict.wanted:
            self._drop(picture)
            return
        frame, _ = self._offered.pop(picture)
        self._owner.pop(picture, None)
        if frame is None:
            self.skipped[max(one.rank for one in verdict.wanted)] += 1
            return
        number = verdict.of_camera[frame.camera] = verdict.of_camera.get(frame.camera, 0) + 1
        self._tasks.append(Task(verdict.result, verdict.wanted, frame, number))
        self._woken = True
        self._changed.notify_all()

    def _drop(self, picture: Picture) -> None:
        frame, _ = self._offered.pop(picture)
        self._forget(picture)
        if frame is not None:
            self._release(frame)

    def _forget(self, picture: Picture) -> None:
        seq, _ = self._owner.pop(picture, (NOBODY, 0))
        others = [one for one in self._open.pop(seq, ()) if one != picture]
        if others:
            self._open[seq] = others

    def _release(self, frame: Frame) -> None:
        self._bytes -= frame.pixels.nbytes
        frame.release()


def _copied(task: Task) -> Task:
    if task.frame.lease is None:
        return task
    return replace(task, frame=replace(task.frame, pixels=task.frame.pixels.copy(), lease=None))
