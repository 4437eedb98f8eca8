"""Rows 12 to 14 and 34 of the fault table: the device that runs the models fails, or a stop meets a part in work."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from fault_record import FaultBook
from fault_rig import FAULTY_BACKEND, Scene, scene

from edge_inspector.cli.run import EXIT_BUG, EXIT_LATER
from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.store.books import VerdictRow

pytestmark = pytest.mark.system
DEADLINE = ("deadline_ms = 2000.0", "deadline_ms = 400.0")
STOP_S = 1.0
LASTS_S = {"a run": STOP_S / 2, "a run longer than a stop may take": 3 * STOP_S}
STOP = ('state_dir = "state"', f'state_dir = "state"\nstop_timeout_s = {STOP_S}')


def refused(made: Scene, reason: Reason) -> list[VerdictRow]:
    return [row for row in made.rows.values() if row.reason == reason]


def assert_never_ok(made: Scene, rows: list[VerdictRow]) -> None:
    assert rows
    assert {row.evaluation for row in rows} == {Evaluation.UNDEFINED}
    assert not {row.part_id for row in rows} & {part.part_id for part in made.plc.passed}


@pytest.mark.parametrize("how", ["error", pytest.param("memory", marks=pytest.mark.heavy)])
def test_a_run_that_the_device_refuses_costs_its_part_and_no_other(tmp_path: Path, fault: FaultBook, how: str) -> None:
    with scene(tmp_path, settings=[FAULTY_BACKEND]) as made:
        since_ns, since = made.order_fault(fault=how, n=2), made.plc_at
        made.wait("two runs have failed", lambda: len(made.suffered(how)) == 2)
        up = made.judged()
        made.finish()
        lost = refused(made, Reason.INFERENCE)
        assert len(lost) == 2
        assert_never_ok(made, lost)
        assert made.books.undefined == 2
        row, text = (13, "out of GPU memory") if how == "memory" else (12, "CUDA error that passes")
        made.testify(fault, row, f"backend plugin, two runs: {text}", since_ns, since, up)


@pytest.mark.heavy
def test_a_lost_cuda_context_ends_the_process_after_its_part_is_told_and_the_next_start_goes_on(
    tmp_path: Path, fault: FaultBook
) -> None:
    with scene(tmp_path, settings=[FAULTY_BACKEND]) as made:
        assert made.process is not None
        since_ns, since = made.order_fault(fault="lost"), made.plc_at
        assert made.process.wait(30) == EXIT_LATER
        assert "CUDA context is lost" in made.said
        made.restart()
        up = made.judged()
        made.finish()
        lost = refused(made, Reason.INFERENCE)
        assert_never_ok(made, lost)
        made.testify(fault, 12, "backend plugin: illegal address, every later call fails", since_ns, since, up)


@pytest.mark.heavy
def test_a_device_that_hangs_makes_parts_undefined_in_time_and_the_process_end(
    tmp_path: Path, fault: FaultBook
) -> None:
    with scene(tmp_path, settings=[FAULTY_BACKEND, DEADLINE]) as made:
        assert made.process is not None
        since_ns, since = made.order_fault(fault="hang"), made.plc_at
        assert made.process.wait(60) == EXIT_BUG
        assert "gpu" in made.said[-3000:]
        lost = refused(made, Reason.DEADLINE)
        assert_never_ok(made, lost)
        assert all(row.cycle_ms <= 400.0 for row in lost)
        hung_ns = made.suffered("hang")[0]
        assert any(not sight.ready and sight.ns > hung_ns for sight in made.panel.since(since_ns))
        made.restart()
        up = made.judged()
        made.finish()
        made.testify(fault, 12, "backend plugin: a run that never comes back", since_ns, since, up)


@pytest.mark.heavy
def test_a_model_slower_than_the_deadline_is_a_reject_in_time_and_its_late_result_reaches_nobody(
    tmp_path: Path, fault: FaultBook
) -> None:
    with scene(tmp_path, settings=[FAULTY_BACKEND, DEADLINE]) as made:
        since_ns, since = made.order_fault(fault="slow", s=0.6), made.plc_at
        made.wait("a run was slow", lambda: bool(made.suffered("slow")))
        made.wait("it was booked as late", lambda: made.books.late >= 1)
        up = made.judged()
        made.finish()
        lost = refused(made, Reason.DEADLINE)
        assert_never_ok(made, lost)
        assert all(row.cycle_ms <= 400.0 for row in lost)
        told = {one.part_id: one for one in made.plc.results}
        assert all(told[row.part_id].evaluation == Evaluation.UNDEFINED for row in lost if row.part_id in told)
        made.testify(fault, 14, "backend plugin: one run 0.6 s long, deadline 0.4 s", since_ns, since, up)


def stop_while(made: Scene, state: str) -> None:
    """SIGTERM in that state of a part."""
    assert made.process is not None
    before = len(made.suffered("slow"))
    if state in LASTS_S:
        made.order_fault(fault="slow", s=LASTS_S[state])
        made.wait("the run has begun", lambda: len(made.suffered("slow")) > before)
    elif state == "an announcement":
        made.next_announcement()
    elif state == "rest":
        made.drain()
    made.process.send_signal(signal.SIGTERM)


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_stop_in_any_state_settles_what_is_open_tells_the_plc_and_ends_in_time(
    tmp_path: Path, fault: FaultBook
) -> None:
    states = ("an announcement", *LASTS_S, "rest")
    longest, down = 0.0, 0.0
    with scene(tmp_path, settings=[FAULTY_BACKEND, STOP]) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        for state in states:
            stop_while(made, state)
            assert made.process is not None
            begun = time.monotonic()
            assert made.process.wait(STOP_S + 20.0) == 0, (state, made.said[-3000:])
            longest = max(longest, time.monotonic() - begun)
            books = made.books
            assert books.unknown == (), (state, books.gaps)
            assert books.accepted == books.results
            assert not made.panel.now.ready or not made.panel.now.linked
            made.restart()
            if state == "rest":
                made.start_plc()
            made.judged(1)
            down = max(down, time.monotonic() - begun)
        made.finish()
        assert_never_ok(made, refused(made, Reason.SHUTDOWN))
        fault.tell(
            34,
            injected=f"SIGTERM during {', '.join(states)}: the longest end took {longest:.1f} s",
            saw=made.saw(since_ns, since),
            books=made.balance(),
            recovery_s=round(down, 2),
        )
