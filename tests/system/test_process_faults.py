"""Killed, stopped and restarted processes: PLC, ledger and broker must still tell the same story."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_record import FaultBook, balance, read_by_plc

from edge_inspector.calibration.file import calibration_text
from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.demo.broker import wait_until_listening
from edge_inspector.demo.filming import LENS, film, generated
from edge_inspector.demo.station_file import station_toml
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.plc_sim.log import PlcBook, read_plc_log
from edge_inspector.store.books import Books, VerdictRow, read_books, verdicts
from edge_inspector.store.flight import FlightRecord

MOSQUITTO = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
]
DEADLINE_MS = 1500.0
GATE_MS = 2500.0
ENOUGH = 100_000  # parts that no test comes to the end of


class Plant:
    """Station, PLC and broker in their own processes, and an independent witness at the broker."""

    def __init__(self, folder: Path, cameras: int) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.opcua_port, self.mqtt_port = free_port(), free_port()
        _, roi = film(generated(folder / "boards", 10, 1), folder / "frames")
        (folder / "lens.yaml").write_text(calibration_text(LENS))
        frames = [folder / "frames"] * cameras
        text = station_toml(frames, roi, "pcb-demo", DEADLINE_MS, self.opcua_port, self.mqtt_port)
        (folder / "station.toml").write_text(text)
        (folder / "mosquitto.conf").write_text(
            f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
            f"user {getpass.getuser()}\npersistence true\npersistence_location {folder}/\n"
            "autosave_interval 1\nautosave_on_changes true\n"
        )

    def start(self, name: str) -> subprocess.Popen[bytes]:
        commands = {
            "broker": [str(MOSQUITTO), "-c", str(self.folder / "mosquitto.conf")],
            "station": [sys.executable, "-m", "edge_inspector", "run", str(self.folder / "station.toml")],
            "plc": [
                *(sys.executable, "-m", "edge_inspector", "plc-sim", "--log", str(self.folder / "plc.jsonl")),
                *("--endpoint", f"opc.tcp://127.0.0.1:{self.opcua_port}/edge-inspector"),
                *("--parts", str(ENOUGH), "--rate", "20", "--gate-ms", str(GATE_MS)),
            ],
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(commands[name], stdout=log, stderr=log)
        if name == "broker":
            wait_until_listening(self.mqtt_port, 10)
        return self.running[name]

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        self.running[name].send_signal(number)

    def stop(self, name: str) -> int:
        """The exit code after SIGTERM."""
        self.running[name].terminate()
        return self.running[name].wait(20)

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = 40) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            station = self.running["station"]
            assert station.poll() is None, f"the station ended with {station.returncode}:\n{self.said('station')}"
            assert time.monotonic() < end, f"not within {timeout_s} s: {what}\n{self.said('station')}"
            time.sleep(0.02)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    @property
    def plc(self) -> PlcBook:
        return read_plc_log(self.folder / "plc.jsonl")

    @property
    def ledger(self) -> Path:
        return self.folder / "state" / "ledger.sqlite"

    @property
    def books(self) -> Books:
        return read_books(self.ledger)

    @property
    def rows(self) -> dict[str, VerdictRow]:
        return verdicts(self.ledger)

    def more_results(self, count: int, timeout_s: float = 40) -> None:
        """Wait until the PLC has read so many more."""
        wanted = len(self.plc.results) + count
        self.wait(f"{count} more results at the PLC", lambda: len(self.plc.results) >= wanted, timeout_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def plant(folder: Path, cameras: int = 1) -> Iterator[tuple[Plant, Subscriber]]:
    made = Plant(folder, cameras)
    try:
        made.start("broker")
        with Subscriber(made.mqtt_port) as witness:
            made.start("station")
            made.start("plc")
            made.more_results(3)
            yield made, witness
    finally:
        for process in made.running.values():
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


def assert_all_agree(made: Plant, witness: Subscriber) -> None:
    """After both have stopped: verdict by verdict, PLC, ledger and broker say the same."""
    rows, books, plc = made.rows, made.books, made.plc
    passed = {part.part_id for part in plc.passed}
    assert books.balanced, books.gaps
    assert books.accepted == books.results == len(rows)
    assert [n for n in Counter(row.part_id for row in rows.values()).values() if n > 1] == []
    for told in plc.results:
        row = rows[told.result_id]
        assert (row.evaluation, row.part_id, row.trigger_seq) == (told.evaluation, told.part_id, told.trigger_seq)
        assert not told.wrong_part_id
        if told.part_id in passed:
            assert row.evaluation is Evaluation.OK
            assert told.round_trip_ms is not None
            assert told.round_trip_ms <= GATE_MS
    assert [n for n in Counter(told.result_id for told in plc.results).values() if n > 1] == []
    for row in rows.values():
        if row.evaluation is Evaluation.OK:
            assert row.cycle_ms <= DEADLINE_MS
    assert set(witness.results) <= set(rows)


def finish(made: Plant) -> None:
    """The PLC gets no further parts, the station settles its last ones and hands all messages to the broker."""
    made.kill("plc")
    made.wait("every part is settled", lambda: made.books.accepted == made.books.results)
    made.wait("the outbox is empty", lambda: made.books.outbox_pending == 0)
    assert made.stop("station") == 0, made.said("station")


def assert_all_arrived(made: Plant, witness: Subscriber) -> None:
    wanted = set(made.rows)
    assert witness.wait(lambda: wanted <= set(witness.results), 20), f"{len(witness.results)} of {len(wanted)}"


@pytest.mark.heavy  # test_kill_storm.py does the like in a few seconds
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("seed", "kills", "cameras"), [(1, 4, 2), (2, 60, 2)])
def test_killed_at_random_moments_every_verdict_agrees(tmp_path: Path, seed: int, kills: int, cameras: int) -> None:
    moments = random.Random(seed)
    with plant(tmp_path, cameras) as (made, witness):
        for _ in range(kills):
            time.sleep(moments.uniform(0, 5))  # often while it is still starting
            made.kill("station")
            made.start("station")
        made.more_results(3)
        finish(made)
        assert_all_agree(made, witness)
        assert_all_arrived(made, witness)
        with FlightRecord(tmp_path / "state" / "run" / "flight.bin") as flight:
            assert flight.left() == []


@pytest.mark.parametrize("end", [pytest.param(signal.SIGTERM, marks=pytest.mark.heavy), signal.SIGKILL])
def test_a_broker_that_goes_away_delays_no_verdict_and_gets_every_message_afterwards(
    tmp_path: Path, end: signal.Signals
) -> None:
    with plant(tmp_path) as (made, witness):
        made.signal("broker", end)
        made.running["broker"].wait(20)
        made.more_results(20)
        assert made.books.outbox_pending >= 20
        made.start("broker")
        made.more_results(5)
        finish(made)
        assert_all_agree(made, witness)
        assert made.books.undefined == 0
        if end is signal.SIGTERM:  # a killed Mosquitto may have forgotten the witness: what it took is its own affair
            assert_all_arrived(made, witness)


@pytest.mark.heavy
def test_a_broker_that_stands_still_delays_no_verdict_and_no_stop(tmp_path: Path) -> None:
    with plant(tmp_path) as (made, _):
        made.signal("broker", signal.SIGSTOP)
        made.more_results(20)
        assert made.stop("station") == 0, made.said("station")
        books = made.books
        assert (books.accepted, books.unknown, books.undefined) == (books.results, (), 0)
        assert books.outbox_pending > 0


@pytest.mark.heavy
def test_a_plc_that_is_killed_and_comes_back_gets_nothing_of_the_one_before(tmp_path: Path, fault: FaultBook) -> None:
    with plant(tmp_path) as (made, witness):
        for _ in range(2):
            begun = time.monotonic()
            made.kill("plc")
            made.start("plc")
            made.more_results(1)
            back_s = time.monotonic() - begun
            made.more_results(7)
        finish(made)
        assert_all_agree(made, witness)
        assert_all_arrived(made, witness)
        plc_log = made.folder / "plc.jsonl"
        fault.tell(
            35,
            injected="the PLC is killed and started again, twice: a new PlcBootId each time",
            saw=read_by_plc(made.ledger, plc_log),
            books=balance(made.ledger, plc_log),
            recovery_s=round(back_s, 2),
        )


@pytest.mark.heavy
def test_a_station_that_stood_still_passes_no_part_that_waited(tmp_path: Path) -> None:
    with plant(tmp_path) as (made, witness):
        for _ in range(2):
            made.signal("station", signal.SIGSTOP)
            time.sleep(3)
            before = len(made.plc.results)
            made.signal("station", signal.SIGCONT)
            made.more_results(10)
            waited = made.plc.results[before]
            assert waited.part_id not in {part.part_id for part in made.plc.passed}
        finish(made)
        assert_all_agree(made, witness)
        assert_all_arrived(made, witness)
        late = [row for row in made.rows.values() if row.reason in (Reason.DEADLINE, Reason.PLC_LINK)]
        assert all(row.evaluation is Evaluation.UNDEFINED for row in late)


@pytest.mark.heavy
def test_a_second_station_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with plant(tmp_path) as (made, witness):
        text = (tmp_path / "station.toml").read_text().replace(str(made.opcua_port), str(free_port()))
        (tmp_path / "second.toml").write_text(text)
        command = [sys.executable, "-m", "edge_inspector", "run", str(tmp_path / "second.toml")]
        second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert second.returncode == 75
        assert "another station runs with this runtime folder" in second.stdout + second.stderr
        made.more_results(5)
        with socket.socket(socket.AF_UNIX) as client:  # the control socket is still the first one's
            client.settimeout(5)
            client.connect(str(tmp_path / "state" / "run" / "control.sock"))
            client.sendall(b'{"command": "status"}\n')
            assert client.recv(1000).startswith(b'{"status"')
        finish(made)
        assert_all_agree(made, witness)
        assert_all_arrived(made, witness)
