"""The board's power mode under a running station: when it changes, what the PLC sees, and what a failure costs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from order_rig import JumpingClock, audited, quiet_line
from power_rig import MAXN, MODES, W15, W30, FakeBoard, PoweredRig

from edge_inspector.datatypes import ERROR_CODE, Evaluation, InspectionResult, Reason
from edge_inspector.interfaces import PowerState, RecipeRequest, StationStatus, TriggerRefused, Vitals
from edge_inspector.station.board_watch import STALE_S
from edge_inspector.station.events import (
    LineEvent,
    ModelWarm,
    PowerChanged,
    PowerOpened,
    PowerRead,
    Pulse,
    Stop,
    VitalsRead,
)
from edge_inspector.station.line import Line
from edge_inspector.station.power import OPEN_S, OVERTIME_S
from edge_inspector.station.power_pace import FEWEST
from edge_inspector.station.power_refusals import FIRST_S

pytestmark = pytest.mark.anyio
FIXED = {"kind": "fixed", "mode": "15W"}
TAKT = {"kind": "takt", "margin": 0.2, "calm_s": 60}


@pytest.fixture
def board() -> Iterator[FakeBoard]:
    board = FakeBoard()
    yield board
    board.go_on()


@pytest.fixture
def rig(tmp_path: Path, board: FakeBoard) -> PoweredRig:
    rig = PoweredRig(tmp_path, board)
    rig.recipe("short", deadline_ms=105)
    rig.recipe("long", number=2, deadline_ms=1005)
    return rig


async def until(seen: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not seen():  # noqa: ASYNC110 - the board's thread sets no event of the loop
            await anyio.sleep(0.002)


def patient(rig: PoweredRig, deadline_ms: float = 5005) -> None:
    """Real parts may take as long as a busy machine needs; the first recipe is the active one."""
    for number, name in enumerate(tuple(rig.recipes), start=1):
        rig.recipe(name, number=number, deadline_ms=deadline_ms)


class Hands:
    """A line without threads, and what its board has been ordered."""

    def __init__(self, line: Line, rig: PoweredRig, clock: JumpingClock) -> None:
        self.line = line
        self.rig = rig
        self.clock = clock
        self.ordered: list[str] = []
        self.warmed: list[str] = []
        line.power.order = lambda mode: self.ordered.append(mode.name)
        line.models.order_load = self.warmed.append

    async def tell(self, event: LineEvent) -> StationStatus:
        await self.line.handle(event)
        await self.line._tell_status()
        assert self.line.status is not None
        return self.line.status

    async def after(self, seconds: float) -> StationStatus:
        self.clock.jump(seconds)
        return await self.tell(Pulse(alive=False))

    async def read(self, throttled: str = "") -> StationStatus:
        self.rig.board.throttled = throttled
        return await self.tell(PowerRead(self.rig.board.state()))

    async def open(self) -> StationStatus:
        return await self.tell(PowerOpened(MODES, self.rig.board.state(), self.rig.speeds()))

    async def obey(self) -> StationStatus:
        """The board does what was ordered last, and the model runs."""
        self.rig.board.mode = mode = next(one for one in MODES if one.name == self.ordered[-1])
        status = await self.tell(PowerChanged(mode, self.rig.board.state()))
        assert not status.ready
        return await self.warm()

    async def warm(self) -> StationStatus:
        return await self.tell(ModelWarm(self.line.condition.recipe.name))


@asynccontextmanager
async def hands(rig: PoweredRig) -> AsyncIterator[Hands]:
    clock = JumpingClock()
    async with quiet_line(rig, clock) as line:
        yield Hands(line, rig, clock)


async def test_a_fixed_mode_is_there_before_the_first_ready(rig: PoweredRig, board: FakeBoard) -> None:
    patient(rig)
    rig.policy = FIXED
    rig.lock_clocks = True
    async with rig.running() as link:
        await link.ready()
        assert board.orders == [W15]
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK
    assert board.clocks == [True, True]
    assert board.closed == 1
    (told,) = rig.events("power_mode")
    assert told.startswith("15W, after ")
    assert ("power:fixed", "power_mode_changed", "MAXN -> 15W: power.policy has mode '15W' fixed") in audited(rig)


async def test_nothing_is_changed_without_a_policy(rig: PoweredRig, board: FakeBoard) -> None:
    async with rig.running() as link:
        await link.ready()
        vitals = await link.until(Vitals, lambda v: v.power_mode is not None)
        assert (vitals.power_mode, vitals.gpu_load) == ("MAXN", 0.25)
    assert board.orders == []
    assert board.clocks == []


async def test_a_start_waits_for_the_board_but_not_for_ever(rig: PoweredRig) -> None:
    rig.policy = FIXED
    async with hands(rig) as on:
        status = await on.after(OPEN_S - 1)
        assert (status.ready, status.error_text) == (False, "the board is being asked for its power mode")
        assert (await on.after(1)).ready


async def test_a_board_that_is_not_there_is_a_warning_and_nothing_else(rig: PoweredRig, board: FakeBoard) -> None:
    patient(rig)
    rig.policy = FIXED
    board.absent = "power through jtop: jetson-stats is not installed"
    async with rig.running() as link:
        status = await link.ready()
        assert (status.warning, status.error_text) == (True, board.absent)
        link.trigger(1)
        assert (await link.result(1)).evaluation is Evaluation.OK
    assert rig.events("power_control") == [board.absent]


async def test_a_mode_is_changed_only_when_the_last_part_has_its_verdict(rig: PoweredRig, board: FakeBoard) -> None:
    patient(rig, 1005)
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 70, "MAXN": 30}}
    board.mode = W15
    async with rig.running() as link:
        await link.ready()
        rig.backend.slow.set()
        link.trigger(1)
        assert (await link.result(1)).reason is Reason.DEADLINE
        await link.status(lambda s: not s.ready)
        await link.status(lambda s: not s.ready and "to MAXN: a part was late in 15W" in s.error_text)
        await until(lambda: board.orders == [MAXN])
        link.trigger(2)
        assert (await link.until(TriggerRefused)).reason is Reason.NOT_READY
        rig.backend.slow.clear()
        await link.ready()
        runs = len(rig.backend.runs)
        link.trigger(3)
        assert (await link.result(3)).evaluation is Evaluation.OK
    assert len(rig.backend.runs) == runs + 1
    assert runs > 1  # the first part, and those that warmed the model up


async def test_an_open_part_keeps_the_mode_as_it_is(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 70, "MAXN": 30}}
    board.mode = W15
    async with hands(rig) as on:
        await on.open()
        seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
        on.line.power.late()
        status = await on.read()
        assert (status.ready, on.ordered) == (False, [])
        assert status.error_text.startswith("the power mode waits for the last verdict")
        await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.DEADLINE, "late", now))
        await on.read()
        assert on.ordered == ["MAXN"]
        assert (await on.obey()).ready


async def test_a_recipe_gets_its_mode_before_its_model_is_made_ready(rig: PoweredRig) -> None:
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 100, "30W": 90, "MAXN": 50}, "long": {"15W": 700, "30W": 400, "MAXN": 300}}
    async with hands(rig) as on:
        assert (await on.open()).ready
        assert on.ordered == []
        on.line._plc_orders.select(rig.recipes["long"], "test")
        await on.tell(Pulse(alive=False))
        assert (on.ordered, on.warmed) == (["15W"], [])
        rig.board.mode = W15
        status = await on.tell(PowerChanged(W15, rig.board.state()))
        assert (status.ready, on.warmed) == (False, ["long"])
        on.line.condition.setting.clear()
        assert (await on.warm()).ready
        on.line._plc_orders.select(rig.recipes["short"], "test")
        await on.tell(Pulse(alive=False))
        assert on.ordered == ["15W", "MAXN"]


async def test_a_recipe_that_follows_in_the_middle_of_a_change_is_decided_anew(rig: PoweredRig) -> None:
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 100, "30W": 90, "MAXN": 50}, "long": {"15W": 700, "30W": 400, "MAXN": 300}}
    async with hands(rig) as on:
        await on.open()
        on.line._plc_orders.select(rig.recipes["long"], "test")
        await on.tell(Pulse(alive=False))
        on.line._plc_orders.select(rig.recipes["short"], "test")
        await on.tell(Pulse(alive=False))
        rig.board.mode = W15
        await on.tell(PowerChanged(W15, rig.board.state()))
        assert (on.ordered, on.warmed) == (["15W", "MAXN"], [])
        rig.board.mode = MAXN
        await on.tell(PowerChanged(MAXN, rig.board.state()))
        assert on.warmed == ["short"]


async def test_a_long_calm_brings_one_step_down_when_the_line_pauses(rig: PoweredRig) -> None:
    rig.policy = {**TAKT, "pause_s": 5}
    rig.measured = {"short": {"15W": 50, "30W": 40, "MAXN": 30}}
    async with hands(rig) as on:
        await on.open()
        assert on.ordered == ["15W"]  # at the start
        await on.obey()
        on.line.power.late()
        await on.read()
        assert on.ordered == ["15W", "30W"]
        await on.obey()
        on.line.power.late()
        await on.read()
        assert on.ordered == ["15W", "30W", "MAXN"]
        await on.obey()
        for _ in range(20):  # the line runs
            seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
            await on.after(3)
            await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.BAD_FRAME, "dark", now))
            await on.read()
        assert on.ordered == ["15W", "30W", "MAXN"]
        await on.after(3)  # the test's own time counts, too
        assert len(on.ordered) == 3
        await on.after(3)
        await on.read()
        assert on.ordered[3:] == ["30W"]


async def test_a_mode_that_missed_a_deadline_is_left_alone_twice_as_long_each_time(rig: PoweredRig) -> None:
    rig.policy = {**TAKT, "pause_s": 0}
    rig.measured = {"short": {"15W": 50, "MAXN": 30}}
    async with hands(rig) as on:
        await on.open()
        await on.obey()
        away = []
        for _ in range(3):
            on.line.power.late()
            await on.read()
            assert on.ordered[-1] == "MAXN"
            await on.obey()
            left = on.clock.monotonic_ns()
            while on.ordered[-1] == "MAXN":
                await on.after(5)
                await on.read()
            away.append((on.clock.monotonic_ns() - left) / 1e9)
            await on.obey()
        assert [round(seconds / 60) for seconds in away] == [1, 2, 4]


async def test_a_mode_in_which_parts_take_longer_than_measured_is_left_alone_twice_as_long_each_time(
    rig: PoweredRig,
) -> None:
    rig.policy = {**TAKT, "pause_s": 0}
    rig.measured = {"short": {"15W": 50, "MAXN": 30}}
    async with hands(rig) as on:
        await on.open()
        await on.obey()
        away = []
        for _ in range(3):
            for _ in range(FEWEST):  # in time, but for the margin: the limit is 80 ms
                on.line.power._pace.part(90.0)
            await on.after(2)
            assert on.ordered[-1] == "MAXN"
            await on.obey()
            left = on.clock.monotonic_ns()
            while on.ordered[-1] == "MAXN":
                await on.after(5)
                await on.read()
            away.append((on.clock.monotonic_ns() - left) / 1e9)
            await on.obey()
        assert [round(seconds / 60) for seconds in away] == [1, 2, 4]


async def test_a_part_whose_picture_did_not_come_says_nothing_of_the_mode(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 50, "MAXN": 30}}
    board.mode = W15
    async with hands(rig) as on:
        assert (await on.open()).ready
        for owes in (True, False):
            seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
            if owes:
                on.line.work.exposing["a"] = seq
            await on.line.work.advance(seq, lambda i, now: i.on_deadline(now))
            on.line.work.exposing.clear()
            await on.read()
            assert on.ordered == ([] if owes else ["MAXN"])


async def test_a_line_that_is_too_fast_for_the_mode_brings_it_up(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = TAKT
    rig.max_open = 1
    rig.measured = {"short": {"15W": 50, "MAXN": 30}}
    board.mode = W15
    async with hands(rig) as on:
        await on.open()
        seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
        rig.link.trigger(2)
        assert on.line._why_not(rig.link, await rig.link.receive()) is Reason.OVERLOAD  # type: ignore[arg-type]
        await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.BAD_FRAME, "dark", now))
        await on.read()
        assert on.ordered == ["MAXN"]


# --- what boards do ---------------------------------------------------------------------------------------------------


async def test_a_board_that_hangs_is_left_alone_until_it_answers(rig: PoweredRig) -> None:
    rig.policy = FIXED
    async with hands(rig) as on:
        await on.open()
        assert on.ordered == ["15W"]
        assert not (await on.after(rig.timeout_s + OVERTIME_S - 1)).ready
        await on.after(2)
        status = await on.warm()
        assert (status.ready, status.warning) == (True, True)
        assert "the board has not answered for 46 s" in status.error_text
        assert on.line.power.filled(Vitals()).power_mode is None
        await on.after(3 * FIRST_S)
        assert on.ordered == ["15W"]
        rig.board.mode = W15
        status = await on.tell(PowerChanged(W15, rig.board.state()))
        assert (status.ready, status.warning) == (True, False)
        assert on.line.power.filled(Vitals()).power_mode == "15W"


async def test_a_real_thread_that_hangs_in_the_driver_holds_up_no_part(rig: PoweredRig, board: FakeBoard) -> None:
    patient(rig)
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 70, "30W": 60, "MAXN": 50}}
    board.mode = W15
    board.stop_reading()
    async with rig.running_parts(rig.parts()) as link:
        await link.status(lambda s: s.error_text == "the board is being asked for its power mode")
        board.go_on()
        await link.ready()
        board.stop_reading()
        for seq in (1, 2, 3):
            link.trigger(seq)
            assert (await link.result(seq)).evaluation is Evaluation.OK
            await link.ready()
        board.go_on()


async def test_a_mode_that_needs_a_reboot_is_refused_with_the_reason_and_not_tried_again(
    rig: PoweredRig, board: FakeBoard
) -> None:
    rig.policy = FIXED
    board.reboots = {W15}
    async with rig.running() as link:
        status = await link.ready()
        assert (status.warning, board.orders, board.mode) == (True, [W15], MAXN)
        assert "power mode 15W needs a reboot" in status.error_text
    (told,) = rig.events("power_mode_failed")
    assert told.endswith("power mode 15W needs a reboot; not tried again")
    assert not rig.events("power_mode")


async def test_a_refused_mode_is_tried_again_later(rig: PoweredRig) -> None:
    rig.policy = {**FIXED, "pause_s": 0}
    async with hands(rig) as on:
        await on.open()
        await on.tell(PowerChanged(W15, PowerState(MAXN), "nvpmodel: exit code 1"))
        assert (await on.warm()).ready
        await on.after(FIRST_S - 5)
        assert on.ordered == ["15W"]
        assert "nvpmodel: exit code 1" in (await on.after(3)).error_text
        await on.read()
        await on.after(4)
        assert on.ordered == ["15W", "15W"]
        assert (await on.obey()).error_text == ""


async def test_a_mode_that_is_refused_makes_room_for_the_next_one(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = TAKT
    patient(rig)
    rig.measured = {"short": {"15W": 4100, "30W": 3000, "MAXN": 2000}, "long": {"15W": 70}}
    board.mode, board.refuses = W15, {W30}
    async with rig.running() as link:
        await link.status(lambda s: s.ready and "nvpmodel: exit code 1 for 30W" in s.error_text)
        link.trigger(1)
        await link.result(1)
        link.ask(RecipeRequest(1, 2, ""))
        await link.status(lambda s: s.ready and s.recipe == "long")
        link.ask(RecipeRequest(2, 1, ""))
        await until(lambda: board.mode is MAXN)
    assert board.orders == [W30, MAXN]


async def test_a_board_that_confirms_and_stays_where_it_was_is_not_believed(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = FIXED
    board.lies = True
    async with rig.running() as link:
        status = await link.status(lambda s: s.ready and s.warning)
        assert "the change was confirmed, and the board is in MAXN" in status.error_text
    assert not rig.events("power_mode")


async def test_a_board_that_does_not_say_its_mode_is_not_ordered_anything(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = FIXED
    board.mute = True
    async with hands(rig) as on:
        assert (await on.open()).ready
        await on.after(5)
        assert on.ordered == []


async def test_what_the_board_said_long_ago_is_not_known_any_more(rig: PoweredRig) -> None:
    async with hands(rig) as on:
        await on.open()
        await on.after(STALE_S - 1)
        await on.tell(VitalsRead(Vitals(temp_c=50.0)))
        assert on.line.vitals == Vitals(temp_c=50.0, gpu_load=0.25, power_mode="MAXN")
        await on.after(2)
        await on.tell(VitalsRead(Vitals(temp_c=51.0)))
        assert on.line.vitals == Vitals(temp_c=51.0)


async def test_a_mode_that_somebody_else_has_set_is_told_and_set_right_when_the_line_pauses(rig: PoweredRig) -> None:
    rig.policy = {"kind": "fixed", "mode": "MAXN", "pause_s": 30}
    async with hands(rig) as on:
        await on.open()
        seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
        rig.board.mode = W30
        await on.read()
        await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.BAD_FRAME, "dark", now))
        await on.after(29)
        assert on.ordered == []
        await on.after(1.5)
        assert on.ordered == []  # what was read half a minute ago says nothing
        await on.read()
        await on.after(1.5)
        assert on.ordered == ["MAXN"]
    assert rig.events("power_mode") == ["MAXN -> 30W, which this station did not order"]


async def test_clocks_that_cannot_be_held_are_a_warning(rig: PoweredRig, board: FakeBoard) -> None:
    rig.lock_clocks = board.refuses_clocks = True
    async with rig.running() as link:
        status = await link.status(lambda s: s.ready and s.warning)
        assert status.error_text == "the clocks are not held: jetson_clocks: exit code 1"


async def test_a_damaged_table_is_a_warning(rig: PoweredRig) -> None:
    rig.damaged_table = "power.json: Invalid JSON; measure again: edge-inspector power tune"
    async with rig.running() as link:
        assert (await link.status(lambda s: s.ready and s.warning)).error_text == rig.damaged_table


# --- heat -------------------------------------------------------------------------------------------------------------

HOT = "heat: gpu-throttle-alert"


async def test_a_throttled_board_is_degraded_and_the_plc_sees_why(rig: PoweredRig) -> None:
    async with hands(rig) as on:
        await on.open()
        await on.read(HOT)
        status = await on.after(4)
        assert not status.degraded
        status = await on.read(HOT)
        assert (status.ready, status.degraded, status.warning, status.error_code) == (True, True, True, 0)
        assert status.error_text == f"the board is throttled: {HOT}"
        await on.tell(VitalsRead(Vitals()))
        assert on.line.vitals.throttled == HOT
        await on.after(29)
        assert (await on.read()).degraded
        await on.after(2)
        status = await on.read()
        assert (status.degraded, status.warning) == (False, False)
    assert rig.events("throttled") == [f"the board is throttled: {HOT}"]
    assert rig.events("throttle_ended") == ["the board is not throttled any more, after 4 s"]


async def test_over_current_that_flickers_is_nothing(rig: PoweredRig) -> None:
    async with hands(rig) as on:
        await on.open()
        for _ in range(10):
            await on.read("over-current: oc3")
            await on.after(3)
            assert not (await on.read()).degraded
            await on.after(3)


async def throttled(on: Hands) -> None:
    await on.open()
    await on.read(HOT)
    await on.after(5)
    await on.read(HOT)


async def test_a_deadline_that_heat_does_not_let_be_kept_stops_the_station(rig: PoweredRig) -> None:
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 100, "30W": 90, "MAXN": 50}}
    async with hands(rig) as on:
        await throttled(on)
        for ready in (True, True, False):
            on.line.power.late()
            status = await on.read(HOT)
            assert status.ready is ready
        assert (status.error_code, status.alarm) == (ERROR_CODE[Reason.MACHINE], True)
        assert status.error_text.startswith("the deadline cannot be kept")
        assert on.ordered == []
        await on.after(31)
        status = await on.read()
        assert (status.ready, status.error_code) == (True, 0)
    assert len(rig.events("machine_too_slow")) == 1


async def test_heat_lowers_the_mode_where_that_keeps_the_deadline(rig: PoweredRig) -> None:
    rig.policy = {**TAKT, "modes": ["30W", "MAXN"]}
    rig.measured = {"short": {"30W": 70, "MAXN": 50}}
    async with hands(rig) as on:
        rig.policy = TAKT
        await on.open()
        await on.obey()
        on.line.power.late()
        await on.read()
        await on.obey()
        assert rig.board.mode is MAXN
        await on.after(400)
        on.ordered.clear()
        await on.read(HOT)
        on.line.power.late()
        await on.after(5)
        await on.read(HOT)
        on.line.power.late()
        await on.read(HOT)
        assert on.ordered == ["30W"]
        status = await on.obey()
        assert (status.ready, status.degraded) == (True, True)


async def test_heat_of_which_nothing_is_heard_any_more_is_over_after_a_while(rig: PoweredRig) -> None:
    async with hands(rig) as on:
        await throttled(on)
        for _ in range(3):
            on.line.power.late()
        assert (await on.after(1)).error_code == ERROR_CODE[Reason.MACHINE]
        status = await on.after(31)
        assert (status.ready, status.degraded) == (True, False)
    assert len(rig.events("throttle_ended")) == 1


async def test_only_three_late_parts_of_twenty_stop_a_throttled_station(rig: PoweredRig) -> None:
    async with hands(rig) as on:
        await throttled(on)
        for _ in range(5):
            on.line.power.late()
            assert (await on.read(HOT)).ready
            for _ in range(10):
                seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
                await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.BAD_FRAME, "dark", now))


async def test_a_board_that_comes_late_changes_its_mode_in_a_pause(rig: PoweredRig) -> None:
    rig.policy = {**FIXED, "pause_s": 5}
    async with hands(rig) as on:
        assert (await on.after(OPEN_S)).ready
        seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
        await on.line._tell_status()
        await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.BAD_FRAME, "dark", now))
        assert (await on.open()).ready
        await on.after(4)
        assert on.ordered == []
        await on.after(2)
        assert on.ordered == ["15W"]


async def test_a_change_that_waits_is_forgotten_when_another_recipe_comes(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = TAKT
    rig.measured = {"short": {"15W": 70, "MAXN": 30}, "long": {"15W": 700, "MAXN": 300}}
    board.mode = W15
    async with hands(rig) as on:
        await on.open()
        seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
        on.line.power.late()
        await on.read()
        assert "to MAXN" in on.line.condition.blocked()[1]  # type: ignore[index]
        on.line._plc_orders.select(rig.recipes["long"], "test")
        await on.tell(Pulse(alive=False))
        await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.DEADLINE, "late", now))
        await on.read()
        assert (on.ordered, on.warmed) == ([], ["long"])


async def test_a_change_is_ordered_when_the_plc_has_been_told_that_ready_is_low(rig: PoweredRig) -> None:
    rig.policy = {**FIXED, "pause_s": 0}
    async with hands(rig) as on:
        seen: list[tuple[str, bool]] = []

        def ready() -> bool:
            return next(one.ready for one in reversed(rig.link.told) if isinstance(one, StationStatus))

        on.line.power.order = lambda mode: seen.append((mode.name, ready()))
        assert (await on.after(OPEN_S)).ready
        await on.open()
        await on.after(2)
        assert seen == [("15W", False)]


async def test_a_station_that_is_stopping_begins_no_change(rig: PoweredRig) -> None:
    rig.policy = FIXED
    async with hands(rig) as on:
        on.line._stop(Stop())
        await on.open()
        await on.after(10)
        assert on.ordered == []


async def test_how_long_a_fault_took_says_nothing_of_the_mode(rig: PoweredRig, board: FakeBoard) -> None:
    rig.policy = {**TAKT, "pause_s": 0}
    rig.measured = {"short": {"15W": 50, "MAXN": 30}}
    board.mode = W15
    async with hands(rig) as on:
        await on.open()
        seq = on.line._accept(1, "p", on.clock.monotonic_ns(), None, 0)
        on.clock.jump(0.095)
        await on.line.work.advance(seq, lambda i, now: i.undefined(Reason.CAMERA, "no picture", now))
        fault = next(one for one in rig.link.told if isinstance(one, InspectionResult))
        for result, ordered in ((fault, []), (replace(fault, evaluation=Evaluation.OK), ["MAXN"])):
            for _ in range(FEWEST):
                on.line.power.settled(result)
            await on.after(2)
            assert on.ordered == ordered


async def test_two_who_want_different_modes_do_not_change_it_for_ever(rig: PoweredRig) -> None:
    rig.policy = {**FIXED, "pause_s": 0}
    async with hands(rig) as on:
        await on.open()
        away = []
        for _ in range(4):
            await on.obey()
            rig.board.mode = W30  # by another station of this board
            status = await on.read()
            left, orders = on.clock.monotonic_ns(), len(on.ordered)
            assert "the power mode 15W was changed to 30W by others" in status.error_text
            while len(on.ordered) == orders:
                await on.after(2)
                await on.read()
            away.append((on.clock.monotonic_ns() - left) / 1e9)
        assert [round(seconds / 60) for seconds in away] == [1, 2, 4, 8]
        await on.obey()
        await on.after(3700)
        rig.board.mode = W30
        await on.read()
        await on.after(FIRST_S + 2)
        await on.read()
        await on.after(2)
        assert len(on.ordered) == orders + 2


async def test_a_mode_that_fails_again_and_again_is_tried_less_often_though_others_work(rig: PoweredRig) -> None:
    rig.policy = {**TAKT, "pause_s": 0, "calm_s": 1}
    rig.measured = {"short": {"15W": 50, "MAXN": 30}}
    async with hands(rig) as on:
        await on.open()
        waits = []
        for _ in range(3):
            rig.board.mode = W15
            await on.tell(PowerChanged(W15, rig.board.state(), "nvpmodel says so, but cpu4 is on"))
            await on.warm()
            assert "cpu4 is on" in (await on.read()).error_text
            left = on.clock.monotonic_ns()
            while on.ordered[-1] == "15W":
                await on.after(2)
                await on.read()
            await on.obey()
            while on.ordered[-1] == "MAXN":
                await on.after(2)
                await on.read()
            waits.append((on.clock.monotonic_ns() - left) / 1e9)
        assert [round(seconds / 60) for seconds in waits] == [1, 2, 4]


async def test_a_mode_that_a_hung_board_reached_in_the_end_is_not_left_again(rig: PoweredRig) -> None:
    rig.policy = {**TAKT, "pause_s": 0}
    rig.measured = {"short": {"15W": 50, "MAXN": 30}}
    async with hands(rig) as on:
        await on.open()
        await on.after(rig.timeout_s + OVERTIME_S + 1)
        await on.warm()
        rig.board.mode = W15
        await on.tell(PowerChanged(W15, rig.board.state()))
        await on.after(2)
        await on.read()
        assert on.ordered == ["15W"]


async def test_a_posted_picture_does_not_begin_while_the_mode_is_changed(rig: PoweredRig) -> None:
    rig.policy = FIXED
    async with hands(rig) as on:
        await on.open()
        assert on.line.power.changing
        answers: list[str] = []
        on.line.models._why_not.clear()
        on.line.manual.order("somebody", "p", {"a": None}, lambda answer: answers.append(answer.text))  # type: ignore[dict-item]
        assert answers == ["busy: the board's power mode is being changed"]
        await on.obey()
        assert not on.line.power.changing


async def test_a_model_that_ran_before_the_board_has_answered_is_not_warm_in_the_new_mode(rig: PoweredRig) -> None:
    rig.policy = FIXED
    async with hands(rig) as on:
        await on.open()
        assert not (await on.warm()).ready
        assert on.line.power.changing
        assert (await on.obey()).ready
    (told,) = rig.events("power_mode")
    assert told.startswith("15W, after ")
