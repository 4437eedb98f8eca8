"""What OpenCV reads from: a V4L2 device, a network stream or a video file, opened, set, read and named."""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, StringConstraints

from edge_inspector.datatypes import FeatureValue
from edge_inspector.errors import CameraError, FeatureError, FrameError
from edge_inspector.settings import CameraConfig, Features, LocalPath

DEVICES = "/dev/"
RATES_HZ = (1.0, 1000.0)
"""Frame rates that a source may be believed; FFmpeg says 90000 or 0 of some streams."""
UNKNOWN_RATE_HZ = 25.0
UNKNOWN_HOST = "..."
DAMAGED_IN_A_ROW = 5
"""FFmpeg says the same of a damaged picture and of the end; a stream that cannot give the next ones either is over."""
SAME_CLOCK_S = 60.0
"""A driver's time stamp further from CLOCK_MONOTONIC than this is of another clock."""
TOLERANCE = 0.5
"""V4L2's values are integers."""
NO_FEATURES = (
    *("BACKEND", "BUFFERSIZE", "CONVERT_RGB", "FORMAT", "FOURCC", "FPS", "FRAME_COUNT", "FRAME_HEIGHT", "FRAME_WIDTH"),
    *("MODE", "OPEN_TIMEOUT_MSEC", "POS_AVI_RATIO", "POS_FRAMES", "POS_MSEC", "READ_TIMEOUT_MSEC"),
)
"""Set by keys of their own, or not to be changed."""

Pixels = npt.NDArray[Any]
Index = Annotated[int, Field(strict=True, ge=0)]
Url = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://")]


class Config(CameraConfig):
    """A V4L2 device, a network stream or a video file."""

    type: Literal["opencv"]
    source: Index | Url | LocalPath = Field(
        union_mode="left_to_right",
        repr=False,
        description="Index of a V4L2 device, its path (/dev/v4l/by-id/... survives replugging), the URL of a stream "
        "(rtsp://, http://), or a video file. A video that holds the same picture twice needs gate.identical = false.",
    )
    trigger: Literal["software", "free"] = Field(
        default="software",
        description="software: the first picture surely exposed after the trigger (of a file: the next one); "
        "free: the newest picture, as fast as they come (of a file: all, at its rate).",
    )
    width: int | None = Field(default=None, ge=1, description="Set on a device, expected of a stream or file; px.")
    height: int | None = Field(default=None, ge=1, description="Set on a device, expected of a stream or file; px.")
    fps: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="Pictures a second: set on a device; told of a stream or file that does not tell (HTTP) or lies.",
    )
    fourcc: str | None = Field(
        default=None, pattern=r"^[ -~]{4}$", description="Format that a device shall send, such as MJPG or YUYV."
    )
    features: Features = Field(
        default_factory=dict,
        description="OpenCV properties without CAP_PROP_, such as AUTO_EXPOSURE, EXPOSURE and GAIN, in this order.",
    )
    latency_s: float | None = Field(
        default=None,
        ge=0,
        le=30,
        description="How old a picture may be when it arrives, for trigger = software: film a running clock to know. "
        "Left out: 0.1 of a device, 0.5 of a stream. Too small, and a picture of the part before is judged.",
    )
    loop: bool = Field(default=True, description="Begin a file again after its last picture.")
    open_s: float = Field(default=10.0, gt=0, le=60, description="How long a stream may take to open.")
    stall_s: float = Field(
        default=2.0, gt=0, le=60, description="A live source that gives no picture for this long is lost."
    )
    slots: int = Field(default=8, ge=1, le=256, description="Frames that may be in use at once.")


@dataclass(frozen=True)
class Fetched:
    """One picture read, not yet decoded: when, after how long a wait, and the driver's time stamp if it has one.

    All in CLOCK_MONOTONIC ns. A damaged one has no pixels.
    """

    frame_id: int
    arrival_ns: int
    waited_ns: int
    stamp_ns: int | None = None
    damaged: bool = False


class Source:
    """One capture; `damaged` counts the pictures that could not be read. Nothing is opened before `open`.

    cv2.error is not translated here but by `translated`, around each use.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.kind = _kind(config.source)
        self.shown = f"camera {name}: {_shown(config.source)}"
        self.image_hw = (0, 0)
        self.period_ns = 1e9 / UNKNOWN_RATE_HZ
        self.count = 0
        self.damaged = 0
        self.exhausted = False
        """A file that does not loop is at its end."""
        self._config = config
        self._capture: Any = None
        self._ahead: Fetched | None = None
        self._silent_ns = 0
        self._stamped = False
        self._undecoded = False
        self._rewound_at = -1

    def open(self) -> None:
        """CameraError when it is not there or does not take its settings."""
        self._capture = self._opened()
        if not self._capture.isOpened():
            raise CameraError(f"{self.shown} cannot be opened; {self._remedy()}")
        self._set_up()

    def close(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    @contextlib.contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """CameraError for what OpenCV raises."""
        try:
            yield
        except cv2.error as exc:
            raise CameraError(f"{self.shown} {what}: {exc.err}") from exc

    def next(self, deadline_ns: int) -> Fetched | None:
        """The next picture in turn; one that was damaged comes before the one that showed that it was not the end."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            return ahead
        lost = 0
        while (fetched := self._fetch(deadline_ns)) is not None and fetched.damaged:
            lost += 1
            if lost == DAMAGED_IN_A_ROW:
                if not self._rewound():
                    return None
                lost = 0
        if fetched is None:
            return None
        first, self.count = self.count, self.count + lost + 1
        fetched = replace(fetched, frame_id=first + lost)
        if not lost:
            return fetched
        self.damaged += lost
        self._ahead = fetched
        return replace(fetched, frame_id=first, damaged=True)

    def decoded(self, fetched: Fetched) -> Pixels:
        """Height x width x 3, uint8, BGR, of the picture read last. FrameError: damaged, or of another size."""
        where = f"{self.shown}, picture {fetched.frame_id}"
        if fetched.damaged:
            raise FrameError(f"{where} is damaged; if it happens again check cable and network", fetched.frame_id)
        there, pixels = self._capture.retrieve()
        self._undecoded = False
        expected = (*self.image_hw, 3)
        if there and pixels.shape == expected and pixels.dtype == np.uint8:
            picture: Pixels = pixels
            return picture
        self.damaged += 1
        got = f"came as {pixels.dtype} {pixels.shape}, expected uint8 {expected}" if there else "cannot be decoded"
        raise FrameError(f"{where} {got}", fetched.frame_id)

    def ticks_ns(self) -> int:
        """V4L2's time stamp of the picture, or its place in the stream or file."""
        return round(float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) * 1_000_000)

    def value(self, name: str) -> float:
        """Of a property, now. FeatureError when there is no such property."""
        return float(self._capture.get(self._property(name)))

    def write(self, name: str, value: FeatureValue) -> None:
        """FeatureError when it changed nothing."""
        number = self._property(name)
        if isinstance(value, str):
            raise FeatureError(f"{self.shown}: feature {name} = {value!r}, expected a number")
        if not self._capture.set(number, float(value)):
            raise FeatureError(f"{self.shown}: feature {name} = {value} was refused; see v4l2-ctl --list-ctrls")

    def check_taken(self, name: str, value: FeatureValue) -> None:
        taken = self.value(name)
        if not abs(taken - float(value)) <= TOLERANCE:
            raise FeatureError(
                f"{self.shown}: feature {name} = {value}, but it says {taken:g}; see v4l2-ctl --list-ctrls"
            )

    def _opened(self) -> Any:
        config = self._config
        if self.kind == "device":
            return cv2.VideoCapture(
                config.source if isinstance(config.source, int) else str(config.source), cv2.CAP_V4L2
            )
        if isinstance(config.source, Path) and not config.source.is_file():
            raise CameraError(f"{self.shown} does not exist; expected a video file")
        if self.kind == "stream" and UNKNOWN_HOST in self.shown:
            raise CameraError(f"{self.shown} has no host; in user and password write / as %2F, @ as %40, : as %3A")
        timeouts = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(config.open_s * 1e3)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(config.stall_s * 1e3)),
            # each further thread of the decoder holds back one picture
            *(cv2.CAP_PROP_N_THREADS, 1),
        ]
        return cv2.VideoCapture(str(config.source), cv2.CAP_FFMPEG, timeouts)

    def _remedy(self) -> str:
        if self.kind == "device":
            return "expected a camera that no other program uses (cable, rights of the user, group video?)"
        if self.kind == "file":
            return "expected a video that FFmpeg can play"
        return f"no stream within {self._config.open_s:g} s (address, user and password, network, camera's codec?)"

    def _set_up(self) -> None:
        config, capture = self._config, self._capture
        if self.kind == "device":
            self._set_up_device()
        for name, value in config.features.items():
            self.write(name, value)
            self.check_taken(name, value)
        hw = (round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
        wanted = (config.height or hw[0], config.width or hw[1])
        if hw != wanted or min(hw) < 1:
            raise CameraError(f"{self.shown} gives {hw[1]} x {hw[0]} pixels, expected {wanted[1]} x {wanted[0]}")
        self.image_hw = hw
        rate = config.fps or float(capture.get(cv2.CAP_PROP_FPS))
        self.period_ns = 1e9 / (rate if RATES_HZ[0] <= rate <= RATES_HZ[1] else config.fps or UNKNOWN_RATE_HZ)

    def _set_up_device(self) -> None:
        """Format, then size, then rate: each starts V4L2 anew. The first picture tells of which clock its stamp is."""
        config, capture = self._config, self._capture
        if config.fourcc is not None:
            code = cv2.VideoWriter.fourcc(*config.fourcc)
            if not capture.set(cv2.CAP_PROP_FOURCC, code) or int(capture.get(cv2.CAP_PROP_FOURCC)) != code:
                raise CameraError(
                    f"{self.shown} does not take fourcc = {config.fourcc}; see v4l2-ctl --list-formats-ext"
                )
        if config.width is not None or config.height is not None:
            # V4L2 sets the two at once, when the second has been told
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width or capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height or capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if config.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, config.fps)
            if abs((taken := capture.get(cv2.CAP_PROP_FPS)) - config.fps) > TOLERANCE:
                raise CameraError(f"{self.shown}: fps = {config.fps:g}, but it says {taken:g}; set one that it has")
        if not capture.grab():
            raise CameraError(f"{self.shown} gives no picture; does another program use it?")
        self._stamped = abs(time.monotonic_ns() - self.ticks_ns()) < SAME_CLOCK_S * 1e9

    def _rewound(self) -> bool:
        """Whether a file that ended begins again. CameraError: a live source has ended, or nothing can be read."""
        if self.kind != "file":
            raise CameraError(f"{self.shown} has ended or was cut off")
        if not self._config.loop:
            self.exhausted = True
            return False
        if self._rewound_at == self.count:
            raise CameraError(f"{self.shown} cannot be played again; convert the video")
        self._rewound_at = self.count
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        return True

    def _fetch(self, deadline_ns: int) -> Fetched | None:
        """Read one picture without decoding it for us; None when a device had none in time."""
        begun_ns, busy_ns = time.monotonic_ns(), time.thread_time_ns()
        if self.kind == "device" and not self._is_ready(deadline_ns):
            return None
        there = self._capture.grab()
        arrival_ns = time.monotonic_ns()
        if not there and self.kind == "stream" and arrival_ns - begun_ns >= self._config.stall_s * 1e9:
            raise CameraError(self._silence())
        waited_ns = arrival_ns - begun_ns - (time.thread_time_ns() - busy_ns)
        stamp_ns = self.ticks_ns() if self._stamped else None
        return Fetched(self.count, arrival_ns, waited_ns, stamp_ns, damaged=not there)

    def _is_ready(self, deadline_ns: int) -> bool:
        """Whether a device has a picture before the deadline. V4L2's own wait is 10 s, and has no key to change it."""
        if self._undecoded:
            self._capture.retrieve()  # until then waitAny gives the same picture
        begun_ns, left_ns = time.monotonic_ns(), round(self._config.stall_s * 1e9) - self._silent_ns
        timeout_ns = max(1, min(deadline_ns - begun_ns, left_ns))  # 0 is for ever
        self._undecoded = cv2.VideoCapture.waitAny([self._capture], timeout_ns)[0]
        self._silent_ns = 0 if self._undecoded else self._silent_ns + time.monotonic_ns() - begun_ns
        if self._silent_ns >= self._config.stall_s * 1e9:
            raise CameraError(self._silence())
        return self._undecoded

    def _silence(self) -> str:
        return f"{self.shown} has given no picture for {self._config.stall_s:g} s (stall_s)"

    def _property(self, name: str) -> int:
        number: int | None = getattr(cv2, f"CAP_PROP_{name}", None)
        if number is None or name in NO_FEATURES:
            raise FeatureError(
                f"{self.shown}: feature {name!r} is not one; expected an OpenCV property without CAP_PROP_, such as "
                "EXPOSURE, GAIN or AUTO_EXPOSURE (size, rate and format have keys of their own)"
            )
        return number


def _kind(source: int | str | Path) -> Literal["device", "stream", "file"]:
    if isinstance(source, str):
        return "stream"
    return "device" if isinstance(source, int) or str(source).startswith(DEVICES) else "file"


def _shown(source: int | str | Path) -> str:
    """What may be told of a source: of a URL only the host, because passwords may be in every other part of it."""
    if isinstance(source, int):
        return f"{DEVICES}video{source}"
    if isinstance(source, Path):
        _, at, rest = str(source).rpartition("@")  # a mistyped URL looks like a path
        return f"...@{rest}" if at else rest
    scheme = source.partition("://")[0]
    try:
        parts = urllib.parse.urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError:
        return f"{scheme}://{UNKNOWN_HOST}"
    if "@" in parts.path + parts.query + parts.fragment:  # an unescaped / in the password: the host is not the host
        return f"{scheme}://{UNKNOWN_HOST}"
    return f"{scheme}://{host or UNKNOWN_HOST}" + (f":{port}" if port else "")
