"""What the cameras see at this moment, for people who set up focus and exposure: the newest picture of each."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import structlog

from edge_inspector.datatypes import Frame, InspectionResult, Picture
from edge_inspector.interfaces import Clock, OrderAnswer
from edge_inspector.stages.prepare import BRIGHTEST_12_BIT, LAYOUTS
from edge_inspector.stages.quality import sharpness

log = structlog.get_logger()
WATCHED_NS = 3_000_000_000
"""Somebody who has not asked for this long has gone away."""
PERIOD_NS = 200_000_000
"""Five pictures a second: enough to turn a focus ring by. One of 5 MP takes 13 ms, with a Bayer filter 27 to 36 ms."""
LONG_SIDE_PX = 960
QUALITY = 80
SPARE_SLOTS = 2
"""Buffers of a camera that must be free beside this picture's: a part never finds the ring full by it."""
_WHITE_8_BIT = 255


@dataclass(frozen=True)
class Shown:
    """A picture that is ready to be looked at; `arrival_ns` is CLOCK_MONOTONIC, the last two are shares of 1."""

    arrival_ns: int
    frame_id: int
    image_hw: tuple[int, int]
    jpeg_base64: str
    sharpness: float
    mean: float
    saturated: float


class LiveView:
    """`run` is the loop of its own thread; the other methods may be called from any. Keeps pictures for nobody else.

    While nobody watches no buffer is held and nothing is computed.
    """

    def __init__(self, cameras: Iterable[str], clock: Clock) -> None:
        self._clock = clock
        self._asked_ns: dict[str, int] = {}
        self._taken_ns = dict.fromkeys(cameras, -PERIOD_NS)
        self._slots: dict[str, Frame] = {}
        self._shown: dict[str, Shown] = {}
        self.resting = False
        """Memory is short: no picture is kept, not even for who watches."""
        self._changed = threading.Condition()
        self._stopping = False

    def watched(self, camera: str) -> bool:
        """Whether somebody has asked for this camera within the last 3 s."""
        asked_ns = self._asked_ns.get(camera)
        return asked_ns is not None and self._clock.monotonic_ns() - asked_ns <= WATCHED_NS

    @property
    def anybody(self) -> bool:
        """Whether any camera is watched."""
        return any(map(self.watched, self._taken_ns))

    def look(self, camera: str) -> OrderAnswer:
        """The newest picture, as order `live` gives it; to ask is to watch."""
        if camera not in self._taken_ns:
            return OrderAnswer(done=False, text=f"camera {camera!r}: expected one of {', '.join(self._taken_ns)}")
        if self.resting:
            self._shown.clear()
            return OrderAnswer(done=False, text="the live view rests: the machine's memory is nearly used up")
        if not self.watched(camera):
            self._shown.pop(camera, None)  # of the last time that somebody watched
        self._asked_ns[camera] = now = self._clock.monotonic_ns()
        shown = self._shown.get(camera)
        if shown is None:
            return OrderAnswer(
                done=False, text=f"camera {camera} has taken no picture yet; setup mode takes some, or a part does"
            )
        height, width = shown.image_hw
        facts = {
            "jpeg": shown.jpeg_base64,
            "width": width,
            "height": height,
            "frame_id": shown.frame_id,
            "sharpness": shown.sharpness,
            "mean": shown.mean,
            "saturated": shown.saturated,
            "age_ms": (now - shown.arrival_ns) / 1e6,
        }
        return OrderAnswer(done=True, facts=facts)

    def offer(self, picture: Picture, frame: Frame) -> None:
        """Take the picture when somebody watches and the last one is old enough; a newer one replaces it."""
        camera = picture.camera
        now = self._clock.monotonic_ns()
        if self.resting or not self.watched(camera) or now - self._taken_ns[camera] < PERIOD_NS:
            return
        if frame.lease is not None and not frame.lease.retain_if_free(SPARE_SLOTS):
            return
        self._taken_ns[camera] = now
        with self._changed:
            before, self._slots[camera] = self._slots.get(camera), frame
            self._changed.notify()
        if before is not None:
            before.release()

    def belongs(self, picture: Picture, seq: int) -> None:
        """Whose it is does not matter."""

    def nobody(self, picture: Picture) -> None:
        """As `belongs`."""

    def settled(self, result: InspectionResult) -> None:
        """As `belongs`."""

    def run(self) -> None:
        while (frame := self._next()) is not None:
            try:
                shown = _shown(frame)
            finally:
                frame.release()
            if shown is not None:
                self._shown[frame.camera] = shown

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _next(self) -> Frame | None:
        """The picture that waits, of any camera; None at the end, when no buffer is held any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self._stopping)
            if not self._stopping:
                return self._slots.pop(next(iter(self._slots)))
            left, self._slots = list(self._slots.values()), {}
        for frame in left:
            frame.release()
        return None


def _shown(frame: Frame) -> Shown | None:
    """None when the pixels are not what their format says: the camera's thread tells that."""
    layout, pixels = LAYOUTS.get(frame.pixel_format), frame.pixels
    if layout is None or not pixels.size or pixels.ndim != layout.dimensions or pixels.dtype != layout.dtype:
        return None
    white = _WHITE_8_BIT if pixels.dtype == np.uint8 else BRIGHTEST_12_BIT
    picture: npt.NDArray[Any] = pixels if pixels.dtype == np.uint8 else (pixels >> 4).astype(np.uint8)
    if layout.mosaic is not None:
        picture = cv2.cvtColor(picture, layout.mosaic["bgr"])
    elif layout.order == "rgb":
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    scale = LONG_SIDE_PX / max(frame.hw)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in frame.hw[::-1])
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return Shown(
        arrival_ns=frame.arrival_ns,
        frame_id=frame.frame_id,
        image_hw=frame.hw,
        jpeg_base64=base64.b64encode(jpeg.tobytes()).decode(),
        sharpness=sharpness(pixels, frame.pixel_format),
        mean=float(pixels.mean()) / white,
        saturated=float(np.count_nonzero(pixels >= white)) / pixels.size,
    )
