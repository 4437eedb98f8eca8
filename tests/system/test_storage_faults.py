"""A disk that is full, fails, is read-only or lies: verdicts go on, nothing that was decided is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import real_station
from fault_record import FaultBook, balance

from edge_inspector.datatypes import ERROR_CODE, Reason
from edge_inspector.store.books import read_books, verdicts

STRACE = shutil.which("strace")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file system of its own for the ledger"),
]
PERIOD_S = 0.05
STORAGE = ERROR_CODE[Reason.STORAGE]
WAIT_S = 20.0


class Disk:
    """A small file system at `folder`, in a mount namespace of its own that ends with this process."""

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir()
        self.folder = folder
        script = f"mount -t tmpfs -o size={size} tmpfs {folder} && echo there && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "there\n":
            pytest.skip(f"no file system of its own here: {self._holder.communicate()[1]}")

    @property
    def inside(self) -> list[str]:
        """What goes before a command that shall see this file system."""
        return ["nsenter", f"--target={self._holder.pid}", "--mount", f"--wd={self.folder.parent}"]

    @property
    def seen_from_here(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{self.folder}")

    def run(self, *command: str) -> str:
        return subprocess.run([*self.inside, *command], check=True, capture_output=True, text=True, timeout=30).stdout

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class TimedStation(real_station.RealStation):
    """The real program on a timer, its ledger on a disk of its own; what it says of each verdict is kept."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        super().__init__(folder, "")
        text = self.file.read_text().replace('trigger = "plc"', f'trigger = "timer"\nperiod_s = {PERIOD_S}')
        self.file.write_text(
            text.replace('state_dir = "state"', f'state_dir = "{disk.folder.name}"\nruntime_dir = "r"')
        )
        self.disk = disk
        self.settled: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._listener: threading.Thread | None = None

    def start(self) -> TimedStation:
        command = [*self.disk.inside, sys.executable, "-m", "edge_inspector", "run", str(self.file)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self.wait("the control socket answers", self._answers)
        self._listener = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._listener.start()
        self.wait("it settles parts", lambda: bool(self.settled))
        return self

    @property
    def status(self) -> dict[str, Any]:
        with self._asked("status") as lines:
            answer: dict[str, Any] = json.loads(next(lines))["status"]
        return answer

    def more(self, count: int) -> list[dict[str, Any]]:
        """The next so many verdicts."""
        begin = len(self.settled)
        self.wait(f"{count} more verdicts", lambda: len(self.settled) >= begin + count, WAIT_S)
        return self.settled[begin:]

    def told(self, code: str) -> bool:
        return any(event["code"] == code for event in self.events)

    def ended(self) -> Path:
        """Stop in order; a copy of the state folder, in which the books can be read."""
        assert self.stop() == 0, self.said[-3000:]
        assert self._listener is not None
        self._listener.join(WAIT_S)
        copy = self.folder / "copy"
        shutil.copytree(self.disk.seen_from_here, copy)
        return copy

    @contextlib.contextmanager
    def _asked(self, command: str) -> Iterator[Iterator[str]]:
        """The lines of the station's answer."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.folder / "r" / "control.sock"))
            stream.sendall(json.dumps({"command": command}).encode() + b"\n")
            with stream.makefile() as lines:
                yield lines

    def _answers(self) -> bool:
        try:
            return self.status is not None
        except OSError:
            return False

    def _listen(self) -> None:
        with self._asked("events") as lines:
            for line in lines:
                said = json.loads(line)
                if said.get("event") == "result":
                    self.settled.append(said["record"])
                elif said.get("event") == "event":
                    self.events.append(said["record"])


@contextlib.contextmanager
def station_on(folder: Path, size: str) -> Iterator[TimedStation]:
    disk = Disk(folder / "disk", size)
    made = TimedStation(folder, disk)
    try:
        made.start()
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill()
        disk.close()


@contextlib.contextmanager
def failing(station: TimedStation, calls: str, error: str) -> Iterator[None]:
    """Every such call on the ledger's files fails, as strace tells the kernel."""
    assert station.process is not None
    ledger = station.disk.folder / "ledger.sqlite"
    paths = [argument for suffix in ("", "-wal") for argument in ("-P", f"{ledger}{suffix}")]
    command = [
        str(STRACE), "-f", "-qq", "-o", str(station.folder / "strace.log"), *paths,
        "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}", "-p", str(station.process.pid),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)


def assert_verdicts_go_on_although_nothing_is_booked(station: TimedStation) -> None:
    station.wait("the station says that it cannot book", lambda: station.status["error_code"] == STORAGE, WAIT_S)
    for result in station.more(15):
        assert result["reason"] in (Reason.NONE, Reason.DEFECT), result
    station.wait("it is READY all the same", lambda: bool(station.status["ready"]), WAIT_S)
    status = station.status
    assert (status["warning"], status["error_code"]) == (True, STORAGE)
    assert "cannot be written" in status["error_text"]


def assert_it_books_again(station: TimedStation) -> None:
    station.wait("it books again", lambda: station.status["error_code"] == 0, WAIT_S)
    station.more(5)


def assert_all_booked(station: TimedStation, *ledgers: Path) -> None:
    """Each verdict that was told stands in one of the books as it was told, and they have no other after it.

    The verdict on a trigger that the set aside book has accepted may stand in the new one.
    """
    booked = {result_id: row for ledger in ledgers for result_id, row in verdicts(ledger).items()}
    told = {result["trigger"]["result_id"]: result["evaluation"] for result in station.settled}
    assert {result_id: row.evaluation for result_id, row in booked.items() if result_id in told} == told
    not_heard = [row.seq for result_id, row in booked.items() if result_id not in told]
    assert all(seq < station.settled[0]["trigger"]["seq"] for seq in not_heard)
    judged = {row.seq for row in booked.values()}
    assert {seq for ledger in ledgers for seq in read_books(ledger).unknown} <= (judged if len(ledgers) > 1 else set())


def fill(disk: Disk) -> Path:
    """To the last byte."""
    ballast = disk.seen_from_here / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


DAMAGE = """
import os, sqlite3, sys
path = sys.argv[1]
book = sqlite3.connect(path, isolation_level=None)
while True:  # everything into the file; then the station waits for a moment: what it has booked is what the copy has
    book.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    book.execute("BEGIN IMMEDIATE")
    if not os.path.getsize(path + "-wal"):
        break
    book.execute("ROLLBACK")
book.execute("INSERT INTO meta VALUES ('touched', '')")  # so that it forgets what it has read
with sqlite3.connect(path) as other:
    other.execute("VACUUM INTO ?", (path + ".copy",))
size = book.execute("PRAGMA page_count").fetchone()[0] * 4096
with open(path, "r+b") as file:
    file.seek(2 * 4096)
    file.write(b"\\xa5" * (size - 2 * 4096))
book.execute("COMMIT")
"""


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: apt-get install strace")
def test_a_disk_that_is_full_fails_or_turns_read_only_stops_no_verdict_and_loses_none(
    tmp_path: Path, fault: FaultBook
) -> None:
    with station_on(tmp_path, "8m") as station:
        ballast = fill(station.disk)
        assert_verdicts_go_on_although_nothing_is_booked(station)
        ballast.unlink()
        assert_it_books_again(station)
        for calls, error in (("fdatasync", "EIO"), ("pwrite64,fdatasync,fsync", "EROFS")):
            with failing(station, calls, error):
                assert_verdicts_go_on_although_nothing_is_booked(station)
            assert_it_books_again(station)
        assert_all_booked(station, station.ended() / "ledger.sqlite")
        assert sum(event["code"] == "ledger_stopped" for event in station.events) == 3
        assert station.told("ledger_again")
        fault.tell(
            27,
            injected="a file system of 8 MB filled to the last byte; strace: fdatasync EIO; every write EROFS",
            saw=f"{len(station.settled)} verdicts; READY, Warning and ErrorCode {STORAGE} while it cannot book",
            books=f"{balance(station.folder / 'copy' / 'ledger.sqlite')}: each verdict as it was told",
        )


def test_a_book_that_is_destroyed_under_the_station_is_set_aside_and_every_verdict_is_in_one_of_the_two(
    tmp_path: Path,
) -> None:
    with station_on(tmp_path, "64m") as station:
        station.more(20)
        station.disk.run(sys.executable, "-c", DAMAGE, str(station.disk.folder / "ledger.sqlite"))
        station.wait("the damaged book is set aside", lambda: station.told("set_aside"), WAIT_S)
        assert_it_books_again(station)
        after = station.more(10)
        status = station.status
        assert (status["ready"], status["alarm"]) == (True, True)
        state = station.ended()
        assert (state / "ledger.sqlite.damaged-1").is_file()
        assert_all_booked(station, state / "ledger.sqlite.copy", state / "ledger.sqlite")
        assert {result["trigger"]["result_id"] for result in after} <= verdicts(state / "ledger.sqlite").keys()


@pytest.mark.heavy
def test_a_read_only_disk_at_the_start_is_told_and_the_next_start_works(tmp_path: Path, fault: FaultBook) -> None:
    disk = Disk(tmp_path / "disk", "64m")
    station = TimedStation(tmp_path, disk)
    try:
        disk.run("mount", "-o", "remount,ro", str(disk.folder))
        command = [*disk.inside, sys.executable, "-m", "edge_inspector", "run", str(station.file)]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode not in (0, -signal.SIGABRT)
        assert "Read-only file system" in refused.stderr or "cannot be opened" in refused.stderr
        assert "Traceback" not in refused.stderr
        disk.run("mount", "-o", "remount,rw", str(disk.folder))
        station.start()
        station.more(3)
        ledger = station.ended() / "ledger.sqlite"
        assert_all_booked(station, ledger)
        fault.tell(
            27,
            injected="mount -o remount,ro before the start",
            saw="nothing: the station ends before it is READY and says which file cannot be written",
            books=f"{balance(ledger)} after the next start",
        )
    finally:
        if station.process is not None and station.process.poll() is None:
            station.kill()
        disk.close()
