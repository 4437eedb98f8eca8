"""Which pictures the health of a camera is seen by: of parts, one after the other, and never at a part's cost."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge_inspector.datatypes import Evaluation, Frame, InspectionResult, Mode, Picture
from edge_inspector.interfaces import Clock

SPARE_SLOTS = 2
"""Buffers of a camera that must be free beside this picture's: a part never finds the ring full by it."""
KEPT = 256
"""Pictures and parts that are remembered, because the verdict may come before the picture."""
EXPIRE_NS = 10_000_000_000
"""A picture whose part has no verdict after this long is given back."""
_NOBODY = -1


@dataclass(frozen=True)
class Sample:
    """A picture with its part's recipe, mode and verdict; whoever takes it releases the frame."""

    frame: Frame
    recipe: str
    mode: Mode
    evaluation: Evaluation


class Samples:
    """Any thread. One picture of each camera is held at a time: until its part's verdict, and while it is measured."""

    def __init__(self, cameras: Iterable[str], clock: Clock, wanted: Callable[[str, int], bool]) -> None:
        """`wanted(camera, now_ns)`: whether the next picture of a camera is worth its while; must not wait."""
        self._clock = clock
        self._wanted = wanted
        self._changed = threading.Condition()
        self._held: dict[str, tuple[Picture, Frame, int]] = {}
        self._busy: set[str] = set()
        self._owners: OrderedDict[Picture, int] = OrderedDict()
        self._verdicts: OrderedDict[int, InspectionResult] = OrderedDict()
        self._ready: deque[Sample] = deque()
        self._stopping = False
        self._cameras = frozenset(cameras)

    def watch(self, cameras: Iterable[str]) -> None:
        """These, too, from now on; none is given up, because a picture of it may be held."""
        self._cameras |= frozenset(cameras)

    def offer(self, picture: Picture, frame: Frame) -> None:
        camera, now = picture.camera, self._clock.monotonic_ns()
        if camera not in self._cameras or camera in self._busy or not self._wanted(camera, now):
            return
        with self._changed:
            held = self._held.get(camera)
            if self._stopping or (held is not None and now - held[2] < EXPIRE_NS):
                return
            if frame.lease is not None and not frame.lease.retain_if_free(SPARE_SLOTS):
                return
            self._held[camera] = picture, frame, now
            self._settle(camera)
        if held is not None:
            held[1].release()

    def belongs(self, picture: Picture, seq: int) -> None:
        if picture.camera not in self._cameras:
            return
        with self._changed:
            _put(self._owners, picture, seq)
            self._settle(picture.camera)

    def nobody(self, picture: Picture) -> None:
        self.belongs(picture, _NOBODY)

    def settled(self, result: InspectionResult) -> None:
        with self._changed:
            _put(self._verdicts, result.trigger.seq, result)
            for camera in list(self._held):
                self._settle(camera)

    def next(self) -> Sample | None:
        """Waits for the next one; None at the end, when nothing is held any more. Call `done` after each."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._stopping)
            if not self._stopping:
                return self._ready.popleft()
            left = [sample.frame for sample in self._ready] + [frame for _, frame, _ in self._held.values()]
            self._ready.clear()
            self._held.clear()
        for frame in left:
            frame.release()
        return None

    def done(self, sample: Sample) -> None:
        """It is measured; another one of its camera may come."""
        sample.frame.release()
        self._busy.discard(sample.frame.camera)

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _settle(self, camera: str) -> None:
        """Hand on the held picture when its part and its verdict are known. Under the lock."""
        held = self._held.get(camera)
        if held is None:
            return
        seq = self._owners.get(held[0])
        result = None if seq is None else self._verdicts.get(seq)
        if seq != _NOBODY and result is None:
            return
        del self._held[camera]
        if result is None:
            held[1].release()
            return
        self._busy.add(camera)
        self._ready.append(Sample(held[1], result.trigger.recipe, result.trigger.mode, result.evaluation))
        self._changed.notify()


def _put(remembered: OrderedDict, key: object, value: object) -> None:  # type: ignore[type-arg]
    remembered[key] = value
    while len(remembered) > KEPT:
        remembered.popitem(last=False)
