"""The real program on a simulated board: what the PLC reads of it, and what its faults do to parts."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.sync import Client, SyncNode
from real_station import OPCUA, RealStation, free_port
from simulated_board import SimulatedBoard

from edge_inspector.control import ControlClient, StationAway
from edge_inspector.outputs.opcua_server.address_space import NAMESPACE

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(os.geteuid() != 0, reason="through = 'root' needs root; the helper has tests of its own"),
]
POWER = """
[power]
through = "root"
root = "{root}"
timeout_s = 3
[power.policy]
{policy}
"""
FIXED = 'kind = "fixed"\nmode = "25W"\npause_s = 0.5'
TAKT = 'kind = "takt"\nmodes = ["15W", "25W"]'


class Powered(RealStation):
    """On a board of its own."""

    def __init__(self, folder: Path, policy: str) -> None:
        self.board = SimulatedBoard(folder)
        self.port = free_port()
        power = POWER.format(root=self.board.root, policy=policy)
        super().__init__(folder, OPCUA.format(port=self.port) + power)

    @property
    def status(self) -> dict[str, Any]:
        """Empty while the station does not answer."""
        try:
            return ControlClient(self.folder / "state" / "run" / "control.sock").status() or {}
        except StationAway:
            return {}

    def is_ready(self) -> bool:
        return bool(self.status.get("ready"))

    def events(self, code: str) -> list[str]:
        book = self.folder / "state" / "ledger.sqlite"
        with closing(sqlite3.connect(f"file:{book}?mode=ro", uri=True)) as ledger:
            return [text for (text,) in ledger.execute("SELECT text FROM events WHERE code = ?", (code,))]

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            self.wait_until_listening(self.port)
            self.wait("READY", self.is_ready)
            yield
        finally:
            if self.process is not None and self.process.poll() is None:
                self.kill()


@pytest.fixture
def station(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Powered:
    made = Powered(tmp_path, request.param)
    monkeypatch.setenv("PATH", f"{made.board.tools}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.mark.parametrize("station", [FIXED], indirect=True)
def test_the_plc_reads_mode_and_load_and_sees_the_heat(station: Powered) -> None:
    with station.running():
        assert station.board.mode == "25W"
        with Client(f"opc.tcp://127.0.0.1:{station.port}/edge-inspector/") as plc:
            nodes = {name: _tag(plc, name) for name in ("Health.PowerMode", "Health.GpuLoad")}
            station.wait("PowerMode is served", lambda: nodes["Health.PowerMode"].read_value() == "25W")
            assert nodes["Health.GpuLoad"].read_value() == pytest.approx(0.423)
            station.board.heat()
            station.wait("degraded", lambda: station.status.get("degraded", False))
            assert station.is_ready()
            assert station.status["warning"]
        assert station.stop() == 0
    assert len(station.events("throttled")) == 1


@pytest.mark.parametrize("station", [FIXED], indirect=True)
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("exit", "tried again in 60 s"),
        ("reboot", "not tried again"),
        ("reverts", "25W"),
        ("lies", "25W"),
        ("hang", "25W"),
    ],
)
def test_a_change_that_fails_is_booked_and_the_station_goes_on(station: Powered, fault: str, told: str) -> None:
    station.board.fault(fault)
    with station.running():
        status = station.status
        assert status["warning"]
        assert "the power mode 25W was not reached" in status["error_text"]
        assert station.stop() == 0
    assert station.board.mode == ("25W" if fault == "lies" else "15W")
    (booked,) = station.events("power_mode_failed")
    assert told in booked
    assert not (station.board.root / "rebooted").exists()


@pytest.mark.parametrize("station", [TAKT], indirect=True)
def test_what_tune_measures_is_what_takt_chooses_by(station: Powered) -> None:
    board = station.board
    command = [sys.executable, "-m", "edge_inspector", "power", "tune", str(station.file), "--parts", "50"]
    tuned = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert tuned.returncode == 0, tuned.stderr
    assert "the policy takt uses 15W" in tuned.stdout
    assert board.mode == "15W"
    rows = json.loads((station.folder / "state" / "power.json").read_text())
    assert [(row["recipe"], row["mode"], row["power_w"]) for row in rows] == [
        ("spots", "15W", 9.0),
        ("spots", "25W", 9.0),
    ]
    with station.running():
        assert board.mode == "15W"
        assert not station.status["warning"]
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (again.returncode, again.stderr) == (
            2,
            "station bench is running; stop it first, it would be slowed down\n",
        )
        assert station.stop() == 0
    assert not station.events("power_policy")


def _tag(plc: Client, name: str) -> SyncNode:
    return plc.get_node(ua.NodeId(f"Station.{name}", plc.get_namespace_index(NAMESPACE)))
