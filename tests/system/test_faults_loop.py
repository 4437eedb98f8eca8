"""Rows 22, 24 and 31 of the fault table: the event loop stands still, a start fails again and again, Python pauses."""

from __future__ import annotations

import signal
import socket
import statistics
import time
from pathlib import Path

import pytest
from fault_record import FaultBook
from fault_rig import JSON_LOG, Scene, running, scene, until
from notify_socket import NotifySocket

from edge_inspector.cli.run import EXIT_LATER
from edge_inspector.datatypes import Evaluation
from edge_inspector.station.stalls import STALL_NS

pytestmark = pytest.mark.system
WATCHDOG_S = 3.0
PARTS = 40
RATIO = 8.0
"""A part takes some 10 ms, so that a turn of 0.5 ms for each of its steps is no multiple of that."""
OBJECTS = 3_000_000
DEADLINE_MS = 2000.0


@pytest.mark.heavy
def test_a_loop_that_stands_still_feeds_no_watchdog_and_its_end_leaves_every_stack(
    tmp_path: Path, fault: FaultBook
) -> None:
    with NotifySocket(tmp_path, WATCHDOG_S) as manager, scene(tmp_path, env=manager.env) as made:
        assert made.process is not None
        made.wait("the watchdog is fed", lambda: manager.count("WATCHDOG") > 3)
        since_ns, since = time.monotonic_ns(), made.plc_at
        made.sabotage("block", s=600)
        pid = made.process.pid
        until("the watchdog has had enough", lambda: manager.bites(pid))
        assert made.process.wait(20) == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in made.said
        assert "gpu_thread.py" in made.said
        assert "camera_thread.py" in made.said
        made.restart()
        up = made.judged()
        made.finish()
        made.testify(
            fault, 22, f"time.sleep in the event loop; WatchdogSec={WATCHDOG_S:g}, then SIGABRT", since_ns, since, up
        )


@pytest.mark.heavy
def test_a_start_that_fails_again_and_again_waits_ever_longer_says_why_and_is_never_ready(
    tmp_path: Path, fault: FaultBook
) -> None:
    fails = 4
    made = Scene(tmp_path, JSON_LOG)
    with NotifySocket(tmp_path, WATCHDOG_S) as manager:
        made.env = manager.env
        with running(made):
            made.start_plc()
            made.judged(3)
            assert made.process is not None
            since_ns, since = time.monotonic_ns(), made.plc_at
            made.kill()
            until("its last words are heard", lambda: manager.silent_s > 1.0)
            dead_ns = time.monotonic_ns()
            with socket.socket() as other:
                until("the port is free", lambda: bound(other, made.port))
                lasted = []
                for _ in range(fails):
                    begun = time.monotonic()
                    made.restart()
                    assert made.process.wait(60) == EXIT_LATER
                    lasted.append(time.monotonic() - begun)
            down_ns = time.monotonic_ns()
            meanwhile = [one for one in manager.heard if dead_ns < one.ns < down_ns]
            assert not any({"READY", "WATCHDOG"} & one.fields.keys() for one in meanwhile)
            waits = [text for one in meanwhile if "waits until" in (text := one.fields.get("STATUS", ""))]
            assert waits
            assert all(f"cannot listen on 127.0.0.1:{made.port}" in text for text in waits[1:]), waits
            assert lasted[-1] - lasted[0] > 2.0, f"0, 1, 2 and 4 s were due: {lasted}"
            assert not any(sight.linked and sight.ready for sight in made.panel.since(since_ns))
            made.end_plc()
            made.start_plc()  # it had given the station up
            made.restart()
            up = made.judged(3, timeout_s=90)
            made.finish()
            assert sum("READY" in one.fields for one in manager.heard if one.ns > down_ns) == 1
        seconds = ", ".join(f"{one:.0f}" for one in lasted)
        made.testify(fault, 24, f"its port is taken: {fails} starts that took {seconds} s", since_ns, since, up)


def bound(other: socket.socket, port: int) -> bool:
    """Have the port, and let nobody connect."""
    try:
        other.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def cycles_ms(made: Scene, parts: int) -> list[float]:
    """Of the next so many parts, as the ledger has them."""
    known = set(made.rows)
    made.wait(f"{parts} more parts", lambda: len(set(made.rows) - known) >= parts)
    return [row.cycle_ms for result_id, row in made.rows.items() if result_id not in known]


@pytest.mark.heavy
def test_a_busy_thread_and_a_long_collection_make_no_verdict_late_and_are_told(
    tmp_path: Path, fault: FaultBook
) -> None:
    with scene(tmp_path) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        idle = statistics.median(cycles_ms(made, PARTS))
        made.sabotage("busy", s=20)
        busy = statistics.median(cycles_ms(made, PARTS))
        assert busy <= RATIO * idle, f"{busy:.1f} ms beside a busy thread, {idle:.1f} ms without it"
        assert made.books.undefined == 0
        made.sabotage("garbage", s=4, n=OBJECTS)
        made.wait("a pause is told", lambda: bool(made.log("loop_stalled")))
        made.judged()
        made.finish()
        longest = max(line["ms"] for line in made.log("loop_stalled"))
        assert longest >= STALL_NS / 1e6
        assert all(row.cycle_ms <= DEADLINE_MS for row in made.rows.values() if row.evaluation is Evaluation.OK)
        fault.tell(
            31,
            injected=(
                f"a thread of pure Python: the median of a part {busy / idle:.1f} times that without it;"
                f" collections over {OBJECTS // 1000000} million objects: the loop stood for {longest} ms"
            ),
            saw=made.saw(since_ns, since),
            books=made.balance(),
        )
