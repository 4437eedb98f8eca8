"""The machine is looked at every few seconds; a disk that hangs hides only itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from edge_inspector.health.memory import read_memory
from edge_inspector.health.vitals import Disk, read_disk, read_vitals
from edge_inspector.interfaces import Clock
from edge_inspector.station.events import VitalsRead

PERIOD_S = 5.0
FIRST_S = 1.0
"""So long the first reading waits for the disk."""
STALE_NS = 20_000_000_000
"""A disk that has not answered for so long is not known any more."""


class VitalsWatch:
    """Two tasks of the event loop; what may block does so on a thread."""

    def __init__(self, state_dir: Path, clock: Clock, post: Callable[[VitalsRead], None]) -> None:
        self._state_dir = state_dir
        self._clock = clock
        self._post = post
        self._disk = Disk()
        self._disk_ns = 0
        self._looked = anyio.Event()

    async def disk(self) -> None:
        while True:
            self._disk = await anyio.to_thread.run_sync(partial(read_disk, self._state_dir), abandon_on_cancel=True)
            self._disk_ns = self._clock.monotonic_ns()
            self._looked.set()
            await anyio.sleep(PERIOD_S)

    async def machine(self) -> None:
        with anyio.move_on_after(FIRST_S):
            await self._looked.wait()
        while True:
            memory = await anyio.to_thread.run_sync(read_memory, abandon_on_cancel=True)
            disk = self._disk if self._clock.monotonic_ns() - self._disk_ns < STALE_NS else Disk()
            vitals = await anyio.to_thread.run_sync(partial(read_vitals, disk, memory), abandon_on_cancel=True)
            self._post(VitalsRead(vitals, disk, memory))
            await anyio.sleep(PERIOD_S)
