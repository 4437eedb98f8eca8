"""A camera that plays the pictures of a folder, or a video file."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import CameraStatistics, FeatureValue, Frame, PixelFormat, TriggerMode
from edge_inspector.errors import CameraError, FeatureError, FrameError
from edge_inspector.settings import CameraConfig, LocalPath, PictureGate

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_12_BIT = 4095
"""Brightest value of a 12-bit format."""
BAYER_BGR_PLANES: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "BayerRG": ((2, 1), (1, 0)),
    "BayerGB": ((1, 0), (2, 1)),
    "BayerGR": ((1, 2), (0, 1)),
    "BayerBG": ((0, 1), (1, 2)),
}
"""Which plane of a BGR picture the top-left four pixels of the filter let through."""

Pixels = npt.NDArray[Any]


class Config(CameraConfig):
    """A folder of pictures or a video file in place of a camera."""

    type: Literal["folder"]
    path: LocalPath = Field(description="Folder of png, jpg, bmp or tif pictures, one such picture, or a video file.")
    loop: bool = Field(default=True, description="Begin again after the last picture.")
    trigger: Literal["software", "rate"] = Field(
        default="software", description="software: a picture for each trigger; rate: rate_hz pictures a second."
    )
    rate_hz: float = Field(default=5.0, gt=0, le=1000, description="Pictures a second, for trigger = rate.")
    pixel_format: PixelFormat | None = Field(
        default=None,
        description="What the camera delivers; left out: gray files Mono8 or Mono12, colour files BGR8. A 12-bit "
        "format needs 16-bit files of values up to 4095.",
    )
    slots: int = Field(default=8, ge=1, le=256, description="Frames that may be in use at once.")
    gate: PictureGate = Field(
        default=PictureGate(identical=False),
        description="Which pictures are refused. Left out: identical ones are allowed, because a folder may repeat.",
    )


class FolderCamera:
    """Plays the files in natural order (img2 before img10); `frame_id` counts them from 0, unreadable ones included.

    In rate mode `camera_ticks` is when the picture was due, in ns since opening: exact multiples of the period. A
    caller that is late gets what it missed at once, one a call, so nothing is lost and the rate holds.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.trigger_mode: TriggerMode = "software" if config.trigger == "software" else "free"
        self.serial = ""
        self.image_hw: tuple[int, int] | None = None
        """None for good: the files may differ in size."""
        self.statistics = CameraStatistics()
        self.exhausted = False
        """No picture will come any more: the last one was played and `loop` is off."""
        self._config = config
        self._ring = FrameRing(config.slots)
        self._triggers = threading.Semaphore(0)
        self._source: _Source = _Pictures([])
        self._opened_ns = 0
        self._played = 0

    def __enter__(self) -> FolderCamera:
        """Find the pictures. CameraError when the path is missing or holds none."""
        self._source = _opened(self.name, self._config.path)
        self._opened_ns = time.monotonic_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def apply(self, features: Mapping[str, FeatureValue]) -> None:
        """FeatureError when any feature is given: files have none."""
        if features:
            raise FeatureError(
                f"camera {self.name}: a folder has no features; take {', '.join(features)} out of the recipe"
            )

    def trigger(self) -> None:
        """Make the next picture available to `grab`."""
        self._triggers.release()

    def grab(self, timeout_s: float) -> Frame | None:
        """The next picture; None when none was due or triggered in time, and for ever when `exhausted`.

        FrameError: the file is unusable, or a triggered picture found every slot held; the next call goes on after it.
        """
        if self.exhausted:
            time.sleep(timeout_s)
            return None
        ticks_ns = self._wait(timeout_s)
        if ticks_ns is None:
            return None
        frame_id, self._played = self._played, self._played + 1
        try:
            picture = self._next_picture()
            if picture is None:
                self.exhausted = True
                return None
            pixels, pixel_format = _as_format(picture, self._config.pixel_format)
        except FrameError as exc:
            self.statistics = replace(self.statistics, failed_buffers=self.statistics.failed_buffers + 1)
            where = f"camera {self.name}, picture {frame_id}, {self._source.where}"
            raise FrameError(f"{where}: {exc}", frame_id) from exc
        arrival_ns = time.monotonic_ns()
        held = self._ring.copy_in(pixels, pixels.shape, pixels.dtype)
        if held is None:
            self.statistics = replace(self.statistics, dropped_no_slot=self.statistics.dropped_no_slot + 1)
            if self.trigger_mode == "free":
                return None
            where = f"camera {self.name}, picture {frame_id}"
            raise FrameError(f"{where}: all {self._ring.slots} slots are held; raise slots", frame_id)
        self.statistics = replace(self.statistics, frames=self.statistics.frames + 1)
        return Frame(self.name, frame_id, ticks_ns, arrival_ns, held[0], pixel_format, held[1])

    def _wait(self, timeout_s: float) -> int | None:
        """Camera time of the next picture, when it is due or triggered; None when that is not before the time-out."""
        if self.trigger_mode == "software":
            if not self._triggers.acquire(timeout=timeout_s):
                return None
            return time.monotonic_ns() - self._opened_ns
        ticks_ns = round(self._played * 1e9 / self._config.rate_hz)
        wait_s = (self._opened_ns + ticks_ns - time.monotonic_ns()) / 1e9
        time.sleep(max(0.0, min(wait_s, timeout_s)))
        return ticks_ns if wait_s <= timeout_s else None

    def _next_picture(self) -> Pixels | None:
        picture = self._source.read()
        if picture is None and self._config.loop:
            self._source.rewind()
            picture = self._source.read()
            if picture is None:
                raise CameraError(f"camera {self.name}: {self._config.path} cannot be played again; convert the video")
        return picture


class _Source(Protocol):
    where: str
    """What was read last, for messages."""

    def read(self) -> Pixels | None:
        """The next picture, None at the end. FrameError when it is unreadable; the one after it comes next."""
        ...

    def rewind(self) -> None: ...
    def close(self) -> None: ...


def _opened(name: str, path: Path) -> _Source:
    if not path.exists():
        raise CameraError(f"camera {name}: {path} does not exist; expected a folder of pictures or a video file")
    if path.is_file():
        return _Pictures([path]) if path.suffix.lower() in PICTURES else _Video(name, path)
    files = [p for p in path.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")]
    if not files:
        raise CameraError(
            f"camera {name}: folder {path} has no picture; expected files ending in {', '.join(PICTURES)}"
        )
    return _Pictures(sorted(files, key=_natural))


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


class _Pictures:
    def __init__(self, files: list[Path]) -> None:
        self.where = ""
        self._files = files
        self._next = 0

    def read(self) -> Pixels | None:
        if self._next == len(self._files):
            return None
        path = self._files[self._next]
        self._next += 1
        self.where = path.name
        return _decoded(path)

    def rewind(self) -> None:
        self._next = 0

    def close(self) -> None:
        self._next = len(self._files)


class _Video:
    def __init__(self, name: str, path: Path) -> None:
        self.where = path.name
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise CameraError(
                f"camera {name}: {path} cannot be opened as a video; expected a file that OpenCV can play"
            )

    def read(self) -> Pixels | None:
        there, picture = self._capture.read()
        return picture if there else None

    def rewind(self) -> None:
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)

    def close(self) -> None:
        self._capture.release()


def _decoded(path: Path) -> Pixels:
    """The file's own pixels, neither turned nor converted."""
    try:
        content = path.read_bytes()
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as exc:
        raise FrameError(f"cannot be read: {exc}") from exc
    except cv2.error as exc:
        raise FrameError(f"not a picture: {exc.err}") from exc
    if picture is None or _is_cut_jpeg(content):
        raise FrameError("not a picture, or only a part of one; replace the file")
    return picture


def _is_cut_jpeg(content: bytes) -> bool:
    """Whether a JPEG's last scan has no end: OpenCV 4 makes a half gray picture of it."""
    start_of_image, start_of_scan, end_of_image = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
    return content.startswith(start_of_image) and content.rfind(end_of_image) < content.rfind(start_of_scan)


def _as_format(picture: Pixels, wanted: PixelFormat | None) -> tuple[Pixels, PixelFormat]:
    """The decoded picture in the wanted format, or in its own. FrameError when that would invent or lose depth."""
    if picture.dtype == np.uint16:
        return _from_deep(picture, wanted)
    deep = wanted is not None and wanted.endswith("12")
    if picture.dtype != np.uint8 or deep:
        expected = f"a 16-bit file for pixel_format {wanted}" if deep else "8-bit gray or colour, or 12-bit gray"
        raise FrameError(f"shape {picture.shape}, {picture.dtype}, expected {expected}")
    if picture.ndim == 2:
        return _from_gray(picture, wanted)
    return _from_bgr(_without_alpha(picture), wanted)


def _from_deep(picture: Pixels, wanted: PixelFormat | None) -> tuple[Pixels, PixelFormat]:
    """A gray file for a Bayer camera is taken as its raw mosaic; a colour one is seen through the filter."""
    pixel_format: PixelFormat = wanted or "Mono12"
    if not pixel_format.endswith("12"):
        raise FrameError(
            f"16-bit file, expected an 8-bit one for pixel_format {wanted}; use a 12-bit format or convert it"
        )
    if picture.ndim == 3 and pixel_format == "Mono12":
        raise FrameError(f"shape {picture.shape}, uint16, expected 8-bit colour, 12-bit gray, or a 12-bit Bayer format")
    if int(picture.max()) > MAX_12_BIT:
        raise FrameError(f"16-bit file up to {int(picture.max())}, expected at most {MAX_12_BIT} (12 bit); rescale it")
    return (_mosaic(_without_alpha(picture), pixel_format) if picture.ndim == 3 else picture), pixel_format


def _without_alpha(colour: Pixels) -> Pixels:
    return cv2.cvtColor(colour, cv2.COLOR_BGRA2BGR) if colour.shape[2] == 4 else colour


def _from_gray(gray: Pixels, wanted: PixelFormat | None) -> tuple[Pixels, PixelFormat]:
    """A gray file for a Bayer camera is taken as its raw mosaic."""
    if wanted in ("BGR8", "RGB8"):
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), wanted
    return gray, wanted or "Mono8"


def _from_bgr(bgr: Pixels, wanted: PixelFormat | None) -> tuple[Pixels, PixelFormat]:
    if wanted is None or wanted == "BGR8":
        return bgr, "BGR8"
    if wanted == "RGB8":
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), wanted
    if wanted == "Mono8":
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), wanted
    return _mosaic(bgr, wanted), wanted


def _mosaic(bgr: Pixels, pixel_format: PixelFormat) -> Pixels:
    """What a sensor behind that colour filter sees."""
    raw = np.empty(bgr.shape[:2], bgr.dtype)
    for row, planes in enumerate(BAYER_BGR_PLANES[pixel_format.rstrip("0123456789")]):
        for column, plane in enumerate(planes):
            raw[row::2, column::2] = bgr[row::2, column::2, plane]
    return raw
