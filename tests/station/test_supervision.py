"""Heartbeat and watchdog are given only while the verdict path shows progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from order_rig import JumpingClock, Still, quiet_line
from station_rig import FakeLink, Rig

from edge_inspector.datatypes import InspectionResult
from edge_inspector.health.memory import Memory
from edge_inspector.health.notify import Notifier, ServiceManager
from edge_inspector.health.progress import ProgressBook
from edge_inspector.health.vitals import Disk
from edge_inspector.interfaces import Alive, PlcMessage, ResultWritten, TriggerRequest, Vitals
from edge_inspector.station.cameras import StationHung
from edge_inspector.station.events import Deadline, FromPlc, ModelRefused, Pulse, VitalsRead
from edge_inspector.station.line import Line
from edge_inspector.station.output_lines import OutputLines
from edge_inspector.station.scarcity import MemorySpent
from edge_inspector.station.supervision import PULSE_S, Supervision

pytestmark = pytest.mark.anyio
WATCHDOG_S = 20.0


class Heard(Notifier):
    def __init__(self) -> None:
        super().__init__(ServiceManager("", WATCHDOG_S))
        self.fed = 0
        self.statuses: list[str] = []

    def alive(self) -> None:
        self.fed += 1

    def status(self, text: str) -> None:
        self.statuses.append(text)


class Well(Still):
    def check(self) -> None: ...


class DeafLink(FakeLink):
    """A heartbeat never gets through."""

    async def tell(self, message: PlcMessage) -> None:
        if isinstance(message, Alive):
            await asyncio.Event().wait()
        await super().tell(message)


class Watched:
    """A line whose threads are played by the test, and who looks after it."""

    def __init__(self, line: Line, clock: JumpingClock) -> None:
        line.cameras = Well()  # type: ignore[assignment]
        line.outputs = OutputLines((), lambda _: None, clock, lambda camera, text: None)
        self.line = line
        self.heard = Heard()
        self.progress = ProgressBook(clock)
        self.supervision = Supervision(line, self.progress, (), self.heard, lambda: None)
        self.gpu_runs = True
        self._clock = clock

    async def turns(self, count: int = 1, seconds: float = PULSE_S) -> None:
        """So many turns of the event loop, that far apart; the GPU thread signs in each, if it runs."""
        for _ in range(count):
            self._clock.jump(seconds)
            if self.gpu_runs:
                self.progress.sign("gpu")
            self.supervision.look()
            while not self.line.events.empty():
                event = self.line.events.get_nowait()
                if isinstance(event, Pulse):
                    await self.line.handle(event)
            await self.line._tell_status()

    async def for_seconds(self, seconds: float) -> int:
        """How often the watchdog is fed in that time."""
        before = self.heard.fed
        await self.turns(round(seconds / PULSE_S))
        return self.heard.fed - before


@asynccontextmanager
async def watched(rig: Rig) -> AsyncIterator[Watched]:
    rig.recipe("r")
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        yield Watched(line, clock)


async def test_the_watchdog_is_fed_so_often_that_an_end_by_ourselves_has_most_of_its_time(rig: Rig) -> None:
    async with watched(rig) as on:
        assert await on.for_seconds(WATCHDOG_S) in (19, 20)


async def test_it_is_not_fed_while_the_gpu_thread_stands_still_and_again_when_it_goes_on(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns()
        on.gpu_runs = False
        await on.turns(14)
        assert await on.for_seconds(9.0) == 0
        assert on.heard.statuses[-1].startswith("NO HEARTBEAT, no progress in gpu; ")
        on.gpu_runs = True
        assert await on.for_seconds(2 * PULSE_S) == 1


async def test_all_models_together_may_load_for_longer_than_one_of_them(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns()
        on.gpu_runs = False
        for _ in range(2):
            on.progress.rest("gpu")
            await on.turns(250, seconds=1.5)
        assert on.heard.fed >= 499


async def test_a_gpu_thread_that_loads_a_model_is_left_in_peace_for_ten_minutes(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns()
        on.gpu_runs = False
        on.progress.rest("gpu")
        await on.turns(390, seconds=1.5)
        assert on.heard.fed >= 390
        with pytest.raises(StationHung, match="a model has been loading for 600 s in: gpu"):
            await on.turns(11, seconds=1.5)


async def test_a_thread_that_hangs_ends_the_process_after_twelve_seconds(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns()
        on.gpu_runs = False
        await on.turns(119)
        with pytest.raises(StationHung, match="no progress for 12 s in: gpu"):
            await on.turns(2)


async def test_a_process_that_stood_still_for_a_minute_in_a_run_of_ten_seconds_goes_on(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns()
        on.gpu_runs = False
        await on.turns(20)
        await on.turns(1, seconds=60.0)
        fed = on.heard.fed
        await on.turns(80)
        assert on.heard.fed == fed, "it shows no progress yet"
        on.gpu_runs = True
        assert await on.for_seconds(WATCHDOG_S) in (19, 20)


async def test_a_process_that_stood_still_while_a_model_was_loading_lets_it_load_on(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns()
        on.gpu_runs = False
        on.progress.rest("gpu")
        await on.turns(1, seconds=3600.0)
        await on.turns(390, seconds=1.5)
        with pytest.raises(StationHung, match="loading"):
            await on.turns(11, seconds=1.5)


async def test_a_thread_that_hangs_is_found_when_the_process_had_stood_still_before(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns()
        on.gpu_runs = False
        await on.turns(1, seconds=60.0)
        await on.turns(119)
        with pytest.raises(StationHung, match="no progress for 12 s in: gpu"):
            await on.turns(2)


async def test_a_link_that_takes_no_heartbeat_is_no_progress(rig: Rig) -> None:
    rig.link = DeafLink()
    async with watched(rig) as on, anyio.create_task_group() as tasks:
        on.supervision.look()
        tasks.start_soon(on.line.handle, Pulse(alive=True))
        on.line.events.get_nowait()
        await anyio.wait_all_tasks_blocked()
        await on.turns(14)
        assert on.progress.stale(1.5) == []
        await on.turns(2)
        assert on.progress.stale(1.5) == ["line"]
        assert await on.for_seconds(9.0) == 0
        tasks.cancel_scope.cancel()


async def test_a_station_that_has_grown_too_large_ends_when_its_last_part_is_settled(rig: Rig) -> None:
    gigabyte = 10**9
    async with watched(rig) as on:
        await on.turns()
        spared: list[bool] = []
        on.line.models.spare = lambda: spared.append(True)
        await on.line.handle(FromPlc(rig.link, TriggerRequest(1, "p", on._clock.monotonic_ns(), 9)))
        (seq,) = on.line.work.open
        for own in (0, 3, 3, 3):
            memory = Memory(2.0, 8 * gigabyte, own * gigabyte)
            await on.line.handle(VitalsRead(Vitals(), Disk(), memory))
        await on.turns(12)
        assert (spared, on.line.live.resting) == ([True], True)
        status = on.line.status
        assert status is not None
        assert (status.ready, status.error_code) == (False, 601)
        assert on.heard.statuses[-1].startswith("not ready: 2 % of the memory is free; the station starts again")
        rig.link.dials = True
        await on.line.handle(Deadline(seq))
        await on.turns(3)
        assert on.line.links.telling, "its PLC has not got the result yet"
        result = await rig.link.until(InspectionResult)
        await on.line.handle(FromPlc(rig.link, ResultWritten((result.result_id,), on._clock.monotonic_ns())))
        with pytest.raises(MemorySpent):
            await on.turns()


async def test_the_status_line_changes_at_most_once_a_second_and_only_when_there_is_news(rig: Rig) -> None:
    async with watched(rig) as on:
        await on.turns(30)
        starting, told = on.heard.statuses
        assert starting == "starting"
        assert told == "READY; recipe r; 0 parts (0 OK, 0 NOT_OK, 0 UNDEFINED); PLC plc away; cameras a up"
        for number in range(12):
            await on.line.handle(ModelRefused("r", f"it is damaged in {number} places"))
            await on.turns()
        assert len(on.heard.statuses) in (3, 4)
        assert on.heard.statuses[-1].startswith("not ready: it is damaged in ")
