"""Rows 15 to 17 of the fault table: a board that is hot, says nothing of itself, or does not change its power mode."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from fault_record import FaultBook
from fault_rig import FAULTY_BACKEND, JSON_LOG, Scene, running, scene
from simulated_board import SimulatedBoard

from edge_inspector.datatypes import ERROR_CODE, Reason

pytestmark = [pytest.mark.system, pytest.mark.heavy]
DEADLINE = ("deadline_ms = 2000.0", "deadline_ms = 500.0")
READ_ONLY = '[power]\nthrough = "none"\nroot = "board"\n'
FIXED = """\
[power]
through = "root"
root = "board"
timeout_s = 2.0
policy = { kind = "fixed", mode = "25W", pause_s = 0.0 }
"""
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root sets a power mode without a helper")


def events(made: Scene, code: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{made.ledger}?mode=ro", uri=True)) as book:
        return [text for (text,) in book.execute("SELECT text FROM events WHERE code = ? ORDER BY id", (code,))]


@pytest.mark.timeout(240)
def test_a_hot_board_is_told_and_the_station_is_not_ready_while_it_cannot_keep_the_deadline(
    tmp_path: Path, fault: FaultBook
) -> None:
    board = SimulatedBoard(tmp_path)
    with scene(tmp_path, READ_ONLY, settings=[FAULTY_BACKEND, DEADLINE]) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        board.heat("gpu-throttle-alert")
        made.order_fault(fault="slow", s=0.6, n=100)
        machine = ERROR_CODE[Reason.MACHINE]
        made.wait("the deadline cannot be kept", lambda: made.panel.now.error_code == machine, 60)
        assert not made.panel.now.ready
        assert "gpu-throttle-alert" in made.panel.now.error_text
        made.order_fault(fault="slow", s=0.0)
        board.heat("gpu-throttle-alert", state=0)
        up = made.judged(3, timeout_s=90)
        made.finish()
        assert [row for row in made.rows.values() if row.reason == Reason.DEADLINE]
        made.testify(fault, 15, "gpu-throttle-alert in sysfs, each run 0.6 s, deadline 0.5 s", since_ns, since, up)


def test_a_board_of_which_jtop_says_nothing_inspects_as_any_other(tmp_path: Path, fault: FaultBook) -> None:
    SimulatedBoard(tmp_path)
    table = READ_ONLY.replace('"none"', '"jtop"')
    with scene(tmp_path, table) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        made.wait("it is told", lambda: bool(events(made, "power_control")))
        made.judged(10)
        made.finish()
        assert "jtop" in events(made, "power_control")[0]
        assert made.books.undefined == 0
        fault.tell(
            16,
            injected="power through jtop, of which there is no service",
            saw=made.saw(since_ns, since),
            books=f"{made.balance()}; event power_control, once",
        )


@ROOT
@pytest.mark.parametrize("how", ["exit", "hang", "reboot"])
def test_a_power_mode_that_cannot_be_had_is_told_and_the_station_goes_on_in_the_one_it_has(
    tmp_path: Path, fault: FaultBook, how: str
) -> None:
    board = SimulatedBoard(tmp_path)
    board.fault(how)
    made = Scene(tmp_path, FIXED, JSON_LOG, env={"PATH": f"{board.tools}{os.pathsep}{os.environ['PATH']}"})
    with running(made):
        since_ns = time.monotonic_ns()
        made.start_plc()
        up = made.judged()
        made.wait("the failed change is told", lambda: bool(events(made, "power_mode_failed")), 60)
        made.judged()
        made.finish()
        assert board.mode == "15W"
        assert not (board.root / "rebooted").exists()
        assert "nvpmodel -m 1" in board.calls
        assert made.books.undefined == 0
        words = {"exit": "ends with 255", "hang": "hangs", "reboot": "asks for a reboot"}
        made.testify(fault, 17, f"nvpmodel -m 1 {words[how]}", since_ns, 0, up)
