"""The real program between two products: a PLC on Modbus orders recipes while parts are in work."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import networks
import pytest
from modbus_plc import ModbusPlc, wired
from real_station import RealStation, free_port

from edge_inspector.datatypes import Reason
from edge_inspector.plc.function_block import Verdict

pytestmark = [pytest.mark.system, pytest.mark.anyio]
TWO_RECIPES = """\
[recipes.lids]
number = 8
deadline_ms = 2000.0
bundle = "other"
views = [{{ camera = "cam" }}]
[plc.line]
type = "modbus_server"
host = "127.0.0.1"
port = {port}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_parts_keep_their_recipe_and_a_killed_station_is_ready_with_the_ordered_one(tmp_path: Path) -> None:
    port = free_port()
    station = RealStation(tmp_path, TWO_RECIPES.format(port=port))
    networks.bundle("yolo", tmp_path / "other", seed=3)
    station.start()
    try:
        async with wired(port) as wire:
            plc = ModbusPlc(wire, 7)
            await plc.ready()
            in_flight = await plc.part("lid 1")
            assert await plc.order(8) == 0
            assert await plc.verdict(in_flight) is Verdict.PASS, "a good part of recipe 7, judged by recipe 7"
            await plc.ready()
            assert await plc.read("Status.ActiveRecipeNo") == [8]
            assert await plc.verdict(await plc.part("box 1")) is Verdict.NOT_OK, "a bad one of recipe 8"
            assert await plc.order(9) == Reason.RECIPE
            assert await plc.read("Status.TriggerReady", "Status.ErrorCode") == [False, 301]
            assert await plc.order(8) == 0
            await plc.ready()
        station.kill()
        station.start()
        async with wired(port) as wire:
            plc.reconnected(wire)
            await plc.ready()
            assert await plc.read("Status.ActiveRecipeNo") == [8]
            await plc.verdict(await plc.part("box 2"))
        assert station.stop() == 0
    finally:
        if station.process is not None and station.process.poll() is None:
            station.kill()
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.sqlite")) as ledger:
        rows = "SELECT part_id, recipe, model_hash FROM triggers JOIN results USING (seq) ORDER BY seq"
        parts = {part_id: (recipe, model) for part_id, recipe, model in ledger.execute(rows)}
        events = [text for (text,) in ledger.execute("SELECT text FROM events WHERE code = 'changeover' ORDER BY id")]
    assert {part: recipe for part, (recipe, _) in parts.items()} == {"lid 1": "spots", "box 1": "lids", "box 2": "lids"}
    assert parts["lid 1"][1] != parts["box 1"][1] == parts["box 2"][1]
    assert events[-1].startswith("recipe lids is set up "), "after the last start: the kill may have lost one before"
    assert "s after plc:line ordered it" in events[-1]
