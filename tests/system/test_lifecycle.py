"""The life of the real program as the service manager hears it: start, status, watchdog, stop."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fault_rig import FAULTY_BACKEND, JSON_LOG, Scene, running, scene
from notify_socket import NotifySocket
from real_station import free_port

from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.station.restarts import NO_WORD

STRACE = shutil.which("strace")
pytestmark = pytest.mark.system


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as made:
        yield made


def test_a_station_serves_before_its_model_is_there_and_tells_a_person_what_it_does(
    tmp_path: Path, systemd: NotifySocket
) -> None:
    (systemd.runtime / "starts.json").write_text(json.dumps({"failed": 2, "why": "port 4840 is in use"}))
    made = Scene(tmp_path, JSON_LOG, env=systemd.env)
    with running(made):
        made.wait("systemd hears that it is ready", lambda: systemd.first("READY") is not None)
        made.start_plc()
        made.judged(4)
        made.wait("systemd hears of a verdict", lambda: "PLC line up" in systemd.statuses[-1])
        made.drain()
        assert made.stop() == 0
    assert systemd.first("STOPPING") is not None
    waits, opens, first, *_, last = systemd.statuses
    assert waits.startswith("start 3 in a row waits until ")
    assert waits.endswith("; the last one failed: port 4840 is in use")
    assert opens == "the books are being opened"
    assert "; recipe spots; 0 parts (0 OK, 0 NOT_OK, 0 UNDEFINED)" in first
    assert any(text.startswith("READY; recipe spots; ") for text in systemd.statuses)
    told = Counter(row.evaluation.name for row in made.rows.values())
    assert f"{len(made.rows)} parts ({told['OK']} OK, {told['NOT_OK']} NOT_OK, 0 UNDEFINED)" in last
    assert "cameras cam up" in last
    assert last.startswith("stopping, 0 parts open")
    assert systemd.count("WATCHDOG") >= 1
    assert not (systemd.runtime / "starts.json").exists()


@pytest.mark.heavy
def test_a_loop_that_is_blocked_is_ended_by_the_watchdog_and_leaves_the_stack_of_every_thread(
    tmp_path: Path, systemd: NotifySocket
) -> None:
    with scene(tmp_path, env=systemd.env) as made:
        made.sabotage("block", s=60.0)
        assert made.process is not None
        pid = made.process.pid
        while not systemd.bites(pid):
            time.sleep(0.01)
        assert made.process.wait(10) == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in made.said
        for part in ("gpu_thread.py", "camera_thread.py", "ledger.py", "Current thread"):
            assert part in made.said, part
        made.restart()
        made.judged(3)
        made.finish()
    assert booked(made, "restarted") == [f"the last run ended by itself: {NO_WORD}"]


@pytest.mark.heavy
def test_a_model_that_never_answers_makes_its_part_undefined_and_then_ends_the_process(
    tmp_path: Path, systemd: NotifySocket
) -> None:
    with scene(tmp_path, settings=[FAULTY_BACKEND], env=systemd.env) as made:
        assert made.process is not None
        made.order_fault(fault="hang")
        made.wait("the model hangs", lambda: bool(made.suffered("hang")))
        hung_ns = made.suffered("hang")[0]
        code = made.process.wait(40)
        ended_ns = time.monotonic_ns()
        assert code == 70
        assert "no progress for 12 s in: gpu" in made.said
        assert 11e9 < ended_ns - hung_ns < 40e9
        fed_ns = [one.ns for one in systemd.heard if "WATCHDOG" in one.fields]
        assert max(fed_ns) - hung_ns < 5e9, "the watchdog was fed although the model hung"
        assert systemd.first("STOPPING") is None
        made.restart()
        made.judged(3)
        made.finish()
    assert Reason.DEADLINE in {row.reason for row in made.rows.values() if row.evaluation is Evaluation.UNDEFINED}
    assert any(text.startswith("NO HEARTBEAT, no progress in gpu") for text in systemd.statuses)
    assert booked(made, "restarted") == ["the last run ended by itself: no progress for 12 s in: gpu"]


@pytest.mark.heavy
@pytest.mark.skipif(STRACE is None, reason="strace is not installed: apt-get install strace")
def test_the_watchdog_is_fed_while_ledger_images_and_broker_hang(tmp_path: Path, systemd: NotifySocket) -> None:
    mute = free_port()
    more = (
        "[images]\n",
        f'[publishers.mqtt]\ntype = "mqtt"\nhost = "127.0.0.1"\nport = {mute}\n',
    )
    with listening_and_mute(mute), scene(tmp_path, *more, env=systemd.env) as made:
        assert made.process is not None
        calls = "fdatasync,fsync,rename,renameat,renameat2"
        command = [str(STRACE), "-f", "-qq", "-o", str(tmp_path / "strace.log"), "-e", f"trace={calls}"]
        delay = ("-e", f"inject={calls}:delay_enter=20000000", "-p", str(made.process.pid))
        with subprocess.Popen([*command, *delay]) as tracer:
            begun = time.monotonic()
            fed = systemd.count("WATCHDOG")
            while time.monotonic() < begun + 6:
                assert made.process.poll() is None
                assert systemd.silent_s < systemd.watchdog_s
                time.sleep(0.05)
            assert systemd.count("WATCHDOG") >= fed + 6
            tracer.send_signal(signal.SIGKILL)
        made.kill()


@pytest.mark.heavy
def test_who_stops_a_station_again_and_again_gets_an_orderly_end(tmp_path: Path, systemd: NotifySocket) -> None:
    with scene(tmp_path, env=systemd.env) as made:
        assert made.process is not None
        made.drain()
        while made.process.poll() is None:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                made.process.send_signal(number)
            time.sleep(0.002)
        assert made.process.returncode == 0, made.said[-3000:]
        assert '"stopped"' in made.said
    assert systemd.first("STOPPING") is not None
    assert not (systemd.runtime / "starts.json").exists()


@pytest.mark.heavy
@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_a_stop_during_the_start_is_no_failure_and_a_reload_then_ends_nothing(
    tmp_path: Path, systemd: NotifySocket, wait_s: float
) -> None:
    counted = systemd.runtime / "starts.json"
    made = Scene(tmp_path, env=systemd.env).start()
    assert made.process is not None
    made.wait("the start is counted", counted.exists)
    made.process.send_signal(signal.SIGHUP)
    time.sleep(wait_s)
    assert made.process.poll() is None
    assert made.stop() == 0
    assert not counted.exists()


@pytest.mark.heavy
def test_a_stop_while_a_start_waits_ends_it_and_the_next_one_comes_at_once(
    tmp_path: Path, systemd: NotifySocket
) -> None:
    counted = systemd.runtime / "starts.json"
    counted.write_text(json.dumps({"failed": 9, "why": "a bug"}))
    made = Scene(tmp_path, env={**systemd.env, "OPENBLAS_NUM_THREADS": "2"}).start()  # its threads hear signals, too
    made.wait("the start waits", lambda: any("start 10 in a row waits" in text for text in systemd.statuses))
    assert made.stop() == 0
    assert not counted.exists()
    assert systemd.first("READY") is None


def booked(made: Scene, code: str) -> list[str]:
    """The texts of the events of this code in the ledger."""
    with closing(sqlite3.connect(f"file:{made.ledger}?mode=ro", uri=True)) as book:
        return [text for (text,) in book.execute("SELECT text FROM events WHERE code = ? ORDER BY rowid", (code,))]


@contextmanager
def listening_and_mute(port: int) -> Iterator[None]:
    """A broker that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", port)):
        yield
