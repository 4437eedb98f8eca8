"""All cameras of a station: a thread for each, and another one in its place when its driver hangs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from edge_inspector.datatypes import CameraStatistics
from edge_inspector.health.readings import CameraReading
from edge_inspector.interfaces import Camera, Clock
from edge_inspector.station.camera_thread import CameraThread
from edge_inspector.station.events import CameraDown, LineEvent, Setting, Shot

log = structlog.get_logger()
HANGS_ALLOWED = 3
"""Calls of one camera that may hang before the process ends, so that systemd starts a clean one."""
BACK_WITHIN_S = 60.0
"""How long a camera may be away after a hang: the call that hangs may hold the device as long as the process lives."""


class StationHung(RuntimeError):
    """A part of the station makes no progress: the process must be restarted."""


@dataclass
class _Watched:
    """One camera over all its threads; `hung_ns` is when a call was given up and the camera has not come back since."""

    thread: CameraThread
    setting: Setting
    before: CameraStatistics = field(default_factory=CameraStatistics)
    opened: int = 0
    lost: int = 0
    hangs: int = 0
    overdue: bool = False
    hung_ns: int | None = None


class Cameras:
    """Owns the camera threads. All methods but `readings` and `opened` run on the event loop."""

    def __init__(
        self,
        names: Mapping[str, Setting],
        thread: Callable[[str, Setting, Iterator[int]], CameraThread],
        start: Callable[[CameraThread], None],
        clock: Clock,
        post: Callable[[LineEvent], None],
    ) -> None:
        """`names` are the cameras and the features that each begins with.

        `thread` makes the thread of one camera, which counts on as it is told, and `start` starts it.
        """
        self._thread = thread
        self._start = start
        self._clock = clock
        self._post = post
        self._all = {
            name: _Watched(thread(name, setting, itertools.count(1)), setting) for name, setting in names.items()
        }

    def start(self) -> None:
        for watched in self._all.values():
            self._start(watched.thread)

    def shoot(self, camera: str, shot: Shot) -> None:
        """Expose once for this part."""
        self._all[camera].thread.shoot(shot)

    def snap(self, camera: str) -> None:
        """Take a picture that is no part's, if the camera is open and triggered by the station."""
        self._all[camera].thread.snap()

    def snapping(self, camera: str) -> bool:
        """Whether such a picture is still to be taken."""
        return self._all[camera].thread.snapping

    def set(self, camera: str, setting: Setting) -> None:
        """Order a recipe's features; `SettingDone` answers."""
        watched = self._all[camera]
        watched.setting = setting
        watched.thread.set(setting)

    def reopen(self, camera: str, text: str) -> None:
        """Treat a camera as lost."""
        self._all[camera].thread.reopen(text)

    def opened(self, camera: str) -> Camera | None:
        """The camera itself while it is open, for threads that set its outputs."""
        return self._all[camera].thread.camera

    def came_up(self, camera: str) -> None:
        self._all[camera].hung_ns = None

    def check(self) -> None:
        """Replace threads whose driver hangs. StationHung when that does not help any more."""
        now = self._clock.monotonic_ns()
        for name, watched in self._all.items():
            call = watched.thread.overdue(now)
            twice, watched.overdue = bool(call) and watched.overdue, bool(call)
            if twice:  # once, all calls are after a stall of the whole process
                self._replace(name, watched, call, now)
            elif watched.hung_ns is not None and now - watched.hung_ns > BACK_WITHIN_S * 1e9:
                raise StationHung(f"camera {name} has not come back within {BACK_WITHIN_S:g} s of a call that hung")

    def stop(self) -> None:
        for watched in self._all.values():
            watched.thread.stop()

    def readings(self) -> tuple[CameraReading, ...]:
        """Of every camera, since the start of the process."""
        return tuple(
            CameraReading(
                name,
                watched.thread.camera is not None,
                watched.before + watched.thread.statistics,
                watched.opened + watched.thread.opened,
                watched.lost + watched.thread.lost,
                watched.hangs,
            )
            for name, watched in self._all.items()
        )

    def _replace(self, name: str, watched: _Watched, call: str, now: int) -> None:
        """The thread that hangs is left to itself; its camera object is never touched again."""
        old = watched.thread
        watched.hangs += 1
        watched.hung_ns = now
        numbers = old.abandon()
        text = f"the driver hangs in {call}; a new camera is made (hang {watched.hangs} of {HANGS_ALLOWED} allowed)"
        log.error("camera_hung", camera=name, call=call, hangs=watched.hangs)
        self._post(CameraDown(name, text))
        if watched.hangs > HANGS_ALLOWED:
            raise StationHung(f"camera {name}: the driver has hung {watched.hangs} times, now in {call}")
        watched.before, watched.opened, watched.lost = (
            watched.before + old.statistics,
            watched.opened + old.opened,
            watched.lost + old.lost + 1,
        )
        watched.thread = self._thread(name, watched.setting, numbers)
        self._start(watched.thread)
