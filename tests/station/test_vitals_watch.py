"""A disk or a sensor that hangs hides itself after a while, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio
import pytest
from order_rig import JumpingClock

from edge_inspector.health.vitals import Disk
from edge_inspector.interfaces import Vitals
from edge_inspector.station import vitals_watch
from edge_inspector.station.events import VitalsRead
from edge_inspector.station.vitals_watch import STALE_NS, VitalsWatch

pytestmark = pytest.mark.anyio


async def told(watch: VitalsWatch, posted: list[VitalsRead]) -> VitalsRead:
    """What is told next."""
    count = len(posted)
    with anyio.fail_after(10), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.tell)
            while len(posted) == count:  # noqa: ASYNC110 - a list has no event
                await anyio.sleep(0.005)
            scope.cancel()
    return posted[-1]


async def test_a_sensor_that_hangs_is_unknown_after_a_while_and_disk_and_memory_are_still_told(tmp_path: Path) -> None:
    hangs, end, clock = threading.Event(), threading.Event(), JumpingClock()
    posted: list[VitalsRead] = []

    def sensors() -> Vitals:
        if hangs.is_set():
            end.wait()
        hangs.set()
        return Vitals(temp_c=61.0)

    watch = VitalsWatch(tmp_path, clock, posted.append, sensors)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.disk)
        tasks.start_soon(watch.sensors)
        first = await told(watch, posted)
        assert first.vitals.temp_c == 61.0
        assert first.disk.free_pct is not None
        assert first.vitals.disk_free_pct == first.disk.free_pct
        clock.jump(STALE_NS / 2e9)
        assert (await told(watch, posted)).vitals.temp_c == 61.0
        clock.jump(STALE_NS / 2e9)
        later = await told(watch, posted)
        assert (later.vitals.temp_c, later.disk) == (None, Disk()), "the disk has not been read since either"
        assert later.memory.free_pct is not None
        assert later.vitals.memory_free_pct == later.memory.free_pct
        tasks.cancel_scope.cancel()
    end.set()


async def test_what_this_machine_tells_is_posted_with_the_disk_of_the_state_folder(tmp_path: Path) -> None:
    posted: list[VitalsRead] = []
    watch = VitalsWatch(tmp_path, JumpingClock(), posted.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.disk)
        tasks.start_soon(watch.sensors)
        seen = await told(watch, posted)
        tasks.cancel_scope.cancel()
    assert seen.memory.free_pct == seen.vitals.memory_free_pct
    assert seen.memory.own_bytes is not None
    assert seen.disk.inodes_free_pct is None or seen.disk.inodes_free_pct > 0
    assert vitals_watch.PERIOD_S * 1e9 < STALE_NS
