"""Rows 21, 36 and 39 of the fault table: a PLC is late, restarts with the station, orders what is not there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import anyio
import networks
import pytest
from fault_record import FaultBook
from fault_rig import FAULTY_BACKEND, JSON_LOG, Scene, running, scene
from modbus_plc import ModbusPlc, wired

from edge_inspector.datatypes import ERROR_CODE, Evaluation, Reason
from edge_inspector.plc.function_block import Verdict
from edge_inspector.plc_sim.faults import ALL

pytestmark = pytest.mark.system
PARTS, RATE_HZ, SHARE = 150, 15, 0.05
TOGETHER = 3
WRONG = {99: "the PLC ordered recipe 99", 8: "the device has no room for it"}
"""By number, with a word of what is told then: there is no such recipe; its model cannot be loaded."""
BROKEN = """\
[recipes.lids]
number = 8
deadline_ms = 2000.0
bundle = "broken"
views = [{ camera = "cam" }]
"""


@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_a_plc_that_is_late_doubles_or_forgets_gets_no_part_twice_and_no_bad_one_through(
    tmp_path: Path, fault: FaultBook
) -> None:
    made = Scene(tmp_path, JSON_LOG)
    with running(made):
        since_ns = time.monotonic_ns()
        command = [
            *(sys.executable, "-m", "edge_inspector", "plc-sim", "--modbus", f"127.0.0.1:{made.port}"),
            *("--parts", str(PARTS), "--rate", str(RATE_HZ), "--recipe-no", "7", "--gate-ms", "2500"),
            *("--log", str(made.plc_log), "--fault", f"all={SHARE}", "--ledger", str(made.ledger)),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        played = made.plc.faults
        assert set(played) == set(ALL), f"with more parts each would have been played: {played}"
        made.finish()
        assert made.books.unknown == ()
        counted = ", ".join(f"{name} {count}" for name, count in played.items())
        fault.tell(
            21,
            injected=f"plc-sim on {PARTS} parts: {counted}",
            saw=made.saw(since_ns, 0),
            books=made.balance(),
        )


@pytest.mark.heavy
def test_station_and_plc_that_restart_together_pass_nothing_on_old_data(tmp_path: Path, fault: FaultBook) -> None:
    chance = random.Random(36)
    longest = 0.0
    with scene(tmp_path) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        for _ in range(TOGETHER):
            made.next_announcement()
            begun = time.monotonic()
            for end in chance.sample((made.kill, made.end_plc), 2):
                end()
            for begin in chance.sample((made.restart, made.start_plc), 2):
                begin()
            made.judged(1)
            longest = max(longest, time.monotonic() - begun)
        made.finish()
        open_then = {result_id for result_id, row in made.rows.items() if row.reason == Reason.RESTART}
        told = {one.result_id for one in made.plc.results}
        assert not open_then & told, "a part of the life before was told to the new PLC"
        passed = {part.part_id for part in made.plc.passed}
        booked = {row.part_id: row.evaluation for row in made.rows.values()}
        assert {booked[part] for part in passed} <= {Evaluation.OK}
        fault.tell(
            36,
            injected=f"SIGKILL of both at an announcement, {TOGETHER} times, started again in either order",
            saw=made.saw(since_ns, since),
            books=f"{made.balance()}; {len(open_then)} closed as restart and told to nobody",
            recovery_s=round(longest, 2),
        )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def texts(made: Scene, since_ns: int) -> list[str]:
    """What was told as the error since then."""
    return sorted({sight.error_text for sight in made.panel.since(since_ns) if sight.error_code})


@pytest.mark.heavy
@pytest.mark.anyio
async def test_a_recipe_that_is_not_there_or_cannot_be_loaded_keeps_the_station_not_ready_until_a_valid_one(
    tmp_path: Path, fault: FaultBook
) -> None:
    made = Scene(tmp_path, BROKEN, JSON_LOG, settings=[FAULTY_BACKEND])
    networks.bundle("yolo", tmp_path / "broken", seed=3)
    (tmp_path / "unloadable").write_text("broken")
    with running(made):
        async with wired(made.port) as wire:
            plc = ModbusPlc(wire, 7)
            await plc.ready()
            assert await plc.verdict(await plc.part("good 1")) is Verdict.PASS
            since_ns = time.monotonic_ns()
            for recipe_no, told in WRONG.items():
                await plc.order(recipe_no)
                with anyio.fail_after(20):
                    while not any(told in text for text in texts(made, since_ns)):  # noqa: ASYNC110 - another process
                        await anyio.sleep(0.05)
                await plc.tags("Status.ErrorCode", until=ERROR_CODE[Reason.RECIPE])
                assert await plc.read("Status.TriggerReady") == [False]
            assert await plc.order(7) == 0
            await plc.ready()
            up_ns = time.monotonic_ns()
            assert await plc.verdict(await plc.part("bad 1")) is Verdict.NOT_OK
        assert made.stop() == 0
        assert {row.part_id for row in made.rows.values()} == {"good 1", "bad 1"}
        text = "; ".join(texts(made, since_ns)).replace(f"{tmp_path}/", "")
        fault.tell(
            39,
            injected="RecipeReqNo 99, which there is not, and 8, whose model cannot be loaded",
            saw=f"not READY, ErrorCode {ERROR_CODE[Reason.RECIPE]}: {text}",
            books=f"{made.books.accepted} accepted = {made.books.results} results",
            recovery_s=round((up_ns - since_ns) / 1e9, 2),
        )
