"""When a camera that is away is worth an alarm: once for each absence."""

from __future__ import annotations

from edge_inspector.interfaces import Clock
from edge_inspector.station.camera_thread import STEADY_NS

HELD_NS = 5_000_000_000
"""A GigE camera stays with a process that was killed for its heartbeat time-out, 3 s unless changed."""


class CameraAlarms:
    """On the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun_ns = clock.monotonic_ns()
        self._up_ns: dict[str, int] = {}
        self._ever_up: set[str] = set()
        self._raised: set[str] = set()

    def up(self, camera: str) -> None:
        self._up_ns[camera] = self._clock.monotonic_ns()
        self._ever_up.add(camera)

    def due(self, camera: str) -> bool:
        """Whether this absence has to be told now; one that comes and goes within `STEADY_NS` is still away.

        At the start the process that was killed may still hold the camera: that is waited for.
        """
        now = self._clock.monotonic_ns()
        if now - self._up_ns.pop(camera, now) >= STEADY_NS:
            self._raised.discard(camera)
        if camera in self._raised or (camera not in self._ever_up and now - self._begun_ns < HELD_NS):
            return False
        self._raised.add(camera)
        return True
