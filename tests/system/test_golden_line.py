"""Master parts through the real program: in golden mode on request, and what production may do before and after."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from modbus_plc import ModbusPlc, wired
from real_station import RealStation, free_port

from edge_inspector.plc.function_block import Verdict

pytestmark = [pytest.mark.system, pytest.mark.anyio]
GOLDEN_RUN, SELECT_AUTOMATIC = 8, 3
GOLDEN_READY, GOLDEN_DUE = 1, 2
MASTERS = """\
[recipes.spots.golden]
parts = [{{ id = "M-good", expect = "OK" }}, {{ id = "M-bad", expect = "NOT_OK" }}]
[plc.line]
type = "modbus_server"
host = "127.0.0.1"
port = {port}
commands = true
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def show(plc: ModbusPlc, part_id: str) -> None:
    """A master part; golden mode has no TriggerReady, and its verdict opens no gate."""
    assert await plc.tags("Status.TriggerReady", until=False) is False
    assert await plc.verdict(await plc.part(part_id)) is Verdict.NOT_PRODUCTION


async def test_production_waits_for_the_master_parts_and_again_after_one_that_was_judged_wrongly(
    tmp_path: Path,
) -> None:
    port = free_port()
    station = RealStation(tmp_path, MASTERS.format(port=port)).start()
    try:
        async with wired(port) as wire:
            plc = ModbusPlc(wire, 7)
            await plc.until("the recipe is set up", lambda: plc.block.recipe_result == 0)
            assert await plc.tags("Status.ErrorCode", until=302) == 302, "no master part was shown yet"
            assert await plc.command(GOLDEN_RUN) == 0
            await plc.tags("Status.ErrorCode", until=0)
            assert await word2(plc) & (GOLDEN_READY | GOLDEN_DUE) == GOLDEN_READY | GOLDEN_DUE
            await show(plc, "M-good")
            await show(plc, "M-bad")
            assert await plc.command(SELECT_AUTOMATIC) == 0
            await plc.ready()
            assert await word2(plc) & (GOLDEN_READY | GOLDEN_DUE) == 0
            assert await plc.verdict(await plc.part("P1")) is Verdict.PASS
            assert await plc.verdict(await plc.part("P2")) is Verdict.NOT_OK
            assert await plc.command(GOLDEN_RUN) == 0
            await show(plc, "M-bad")  # the camera shows a good part: an escape
            assert await plc.command(SELECT_AUTOMATIC) == 0
            await plc.tags("Status.ErrorCode", until=302)
        station.kill()
        station.start()
        async with wired(port) as wire:
            plc.reconnected(wire)
            await plc.until("the recipe is set up", lambda: plc.block.recipe_result == 0)
            assert await plc.tags("Status.ErrorCode", until=302) == 302, "remembered over the kill"
            assert await plc.read("Status.TriggerReady") == [False]
        assert station.stop() == 0
    finally:
        if station.process is not None and station.process.poll() is None:
            station.kill()
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.sqlite")) as ledger:
        modes = [mode for (mode,) in ledger.execute("SELECT mode FROM triggers ORDER BY seq")]
        trail = [what for (what,) in ledger.execute("SELECT what FROM audit WHERE what LIKE 'golden_%' ORDER BY id")]
    assert modes == [2, 2, 1, 1, 2]
    assert [what for what in trail if what != "golden_mode"] == ["golden_passed", "golden_failed", "golden_left"]
    command = [sys.executable, "-m", "edge_inspector", "golden", "record", str(station.file)]
    record = await anyio.run_process(command, check=False)
    assert record.returncode == 0, record.stderr
    assert b"M-bad" in record.stdout


async def word2(plc: ModbusPlc) -> int:
    (word,) = await plc.read("Status.Word2")
    assert isinstance(word, int)
    return word
