"""`edge-inspector ledger` beside the real station: while it works, and after a power cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import real_station

from edge_inspector.errors import StorageError
from edge_inspector.store.books import read_books

PROGRAM = "from edge_inspector.cli.ledger import ledger; ledger()"
EXIT_BALANCE = 3


def reconciled(station: real_station.RealStation) -> tuple[int, dict[str, Any]]:
    """The exit code and what a process of its own says."""
    command = [sys.executable, "-c", PROGRAM, "reconcile", str(station.file), "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    (period,) = json.loads(done.stdout)["periods"]
    return done.returncode, period


def results(station: real_station.RealStation) -> int:
    try:
        return read_books(station.folder / "state" / "ledger.sqlite").results
    except StorageError:  # it has not made its book yet
        return 0


def test_the_books_balance_while_parts_are_open_and_never_again_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timer = real_station.STATION.replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 0.02')
    monkeypatch.setattr(real_station, "STATION", timer)
    station = real_station.RealStation(tmp_path, "").start()
    try:
        station.wait("the first results", lambda: results(station) > 5)
        code, working = reconciled(station)
        assert (code, working["balanced"], working["power_cuts"]) == (0, True, [])
        seen = results(station)
        station.wait("more results", lambda: results(station) > seen + 20)
        code, more = reconciled(station)
        assert (code, more["balanced"]) == (0, True)
        assert more["equations"][1]["total"] > working["equations"][1]["total"]
        station.kill()
        (tmp_path / "state" / "run" / "flight.bin").unlink()  # it lies in memory: a power cut takes it
        last = results(station)
        station.start()
        station.wait("results after the power cut", lambda: results(station) > last)
        assert station.stop() == 0
        code, after = reconciled(station)
        assert code == EXIT_BALANCE
        assert [cut["proven"] for cut in after["power_cuts"]] == [False]
        accepted = after["equations"][1]
        assert accepted["total"] == read_books(tmp_path / "state" / "ledger.sqlite").accepted
        assert {gap["term"] for gap in accepted["gaps"]} <= {"unknown"}  # what was open at that moment, if anything was
        cut_at = after["power_cuts"][0]["after_seq"]
        assert last <= cut_at <= last + station_max_open(station)
    finally:
        if station.process is not None and station.process.poll() is None:
            station.kill()


def station_max_open(station: real_station.RealStation) -> int:
    assert "max_open" not in station.file.read_text()
    return 8  # the default: so many parts can have been open
