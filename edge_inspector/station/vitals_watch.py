"""The machine is looked at every few seconds; a disk or a sensor that hangs hides only itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import anyio

from edge_inspector.health.memory import Memory, read_memory
from edge_inspector.health.vitals import Disk, read_disk, read_vitals
from edge_inspector.interfaces import Clock, Vitals
from edge_inspector.station.events import VitalsRead

T = TypeVar("T")
PERIOD_S = 5.0
FIRST_S = 1.0
"""So long the first reading waits for the disk and the sensors."""
STALE_NS = 20_000_000_000
"""What has not answered for so long is not known any more."""


class _Slow(Generic[T]):
    """One thing that is read on a thread again and again, and may block there."""

    def __init__(self, read: Callable[[], T], unknown: T, clock: Clock) -> None:
        self._read = read
        self._unknown = unknown
        self._clock = clock
        self._seen: tuple[T, int] | None = None
        self.looked = anyio.Event()

    async def run(self) -> None:
        while True:
            found = await anyio.to_thread.run_sync(self._read, abandon_on_cancel=True)
            self._seen = found, self._clock.monotonic_ns()
            self.looked.set()
            await anyio.sleep(PERIOD_S)

    @property
    def now(self) -> T:
        if self._seen is None or self._clock.monotonic_ns() - self._seen[1] >= STALE_NS:
            return self._unknown
        return self._seen[0]


class VitalsWatch:
    """Tasks of the event loop: `disk` and `sensors` read, `tell` posts what is known."""

    def __init__(
        self,
        state_dir: Path,
        clock: Clock,
        post: Callable[[VitalsRead], None],
        sensors: Callable[[], Vitals] | None = None,
    ) -> None:
        """`sensors` None = this machine's."""
        self._post = post
        self._disk = _Slow(partial(read_disk, state_dir), Disk(), clock)
        self._sensors = _Slow(sensors or partial(read_vitals, Disk(), Memory()), Vitals(), clock)
        self.disk = self._disk.run
        self.sensors = self._sensors.run

    async def tell(self) -> None:
        with anyio.move_on_after(FIRST_S):
            await self._disk.looked.wait()
            await self._sensors.looked.wait()
        while True:
            memory = await anyio.to_thread.run_sync(read_memory, abandon_on_cancel=True)  # no disk holds these files
            disk, vitals = self._disk.now, self._sensors.now
            known = replace(vitals, disk_free_pct=disk.free_pct, memory_free_pct=memory.free_pct)
            self._post(VitalsRead(known, disk, memory))
            await anyio.sleep(PERIOD_S)
