"""Rows 10, 26, 28 and 32 of the fault table: model, book and station file are damaged; and how much is written."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from fault_record import FaultBook
from fault_rig import Scene, scene

from edge_inspector.cli.failures import EXIT_USER
from edge_inspector.control import ControlClient
from edge_inspector.datatypes import Evaluation
from edge_inspector.interfaces import Order

pytestmark = pytest.mark.system
STRACE = shutil.which("strace")
SYNC_US = 150_000
"""So slow is each fdatasync made: the kill comes while one is under way."""
PART_KB = 64.0
"""A part's rows are some kB; a page of 4 kB each for table, index and log is what a small transaction costs."""
_WRITE = re.compile(r"pwrite64\(\d+<(?P<path>[^>]+)>, .*, (?P<size>\d+), (?P<at>\d+)")
_SYNC = re.compile(r"f(?:data)?sync\(\d+<(?P<path>[^>]+)>\) += 0")


@pytest.mark.heavy
def test_a_damaged_model_changes_no_verdict_of_a_running_station_and_no_start_is_ready_with_it(
    tmp_path: Path, fault: FaultBook
) -> None:
    network = tmp_path / "little" / "model.onnx"
    with scene(tmp_path) as made:
        assert made.process is not None
        whole = network.read_bytes()
        flipped = bytes([*whole[:-1], whole[-1] ^ 1])
        since_ns, since = time.monotonic_ns(), made.plc_at
        network.write_bytes(flipped)
        made.judged()
        assert made.stop() == 0
        down = made.plc_at
        for damage in (flipped, whole[:1000], b"", None):
            if damage is None:
                network.unlink()
            else:
                network.write_bytes(damage)
            made.restart()
            assert made.process.wait(60) == EXIT_USER
            assert "model.onnx" in made.said[-2000:]
        assert made.plc_at == down, "the PLC has announced a part"
        network.write_bytes(whole)
        made.restart()
        up = made.judged()
        made.finish()
        made.testify(
            fault, 10, "model.onnx with a bit flipped, cut, empty, gone; then whole again", since_ns, since, up
        )


def unsynced(log: Path, book: Path) -> Iterator[tuple[int, int]]:
    """Where the book was written, and how much, after the last time that the disk said it had everything."""
    waiting: list[tuple[int, int]] = []
    pending = ""
    for line in log.read_text(errors="replace").splitlines():
        if "<unfinished ...>" in line and "sync(" in line:
            pending = line
        done = _SYNC.search(line)
        path = done["path"] if done else ""
        if not done and "sync resumed" in line and line.rstrip().endswith("= 0 (DELAYED)"):
            path = str(book) if str(book) in pending else ""
        if path == str(book):
            waiting.clear()
        elif (written := _WRITE.search(line)) and written["path"] == str(book):
            waiting.append((int(written["at"]), int(written["size"])))
    yield from waiting


@pytest.mark.heavy
@pytest.mark.skipif(STRACE is None, reason="strace is not installed: apt-get install strace")
def test_after_a_power_cut_what_the_disk_had_is_whole_and_no_number_comes_again(
    tmp_path: Path, fault: FaultBook
) -> None:
    """What was written and not synchronised is gone, and so is the runtime folder, which lies in memory."""
    with scene(tmp_path) as made:
        assert made.process is not None
        wal, log = Path(f"{made.ledger}-wal"), tmp_path / "strace.log"
        command = [
            *(str(STRACE), "-f", "-qq", "-y", "-s", "0", "-o", str(log), "-P", str(wal), "-P", str(made.ledger)),
            *("-e", "trace=pwrite64,fdatasync,fsync", "-e", f"inject=fdatasync:delay_enter={SYNC_US}"),
            *("-p", str(made.process.pid)),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE):
            made.wait("the disk is slow", lambda: log.exists() and log.read_text().count("fdatasync") > 3)
            since_ns, since = time.monotonic_ns(), made.plc_at
            made.judged(5)
            made.next_announcement()
            made.kill()
        made.end_plc()
        told = {one.result_id: one.evaluation for one in made.plc.results}
        lost = list(unsynced(log, wal))
        with wal.open("r+b") as file:
            for at, size in lost:
                file.seek(at)
                file.write(bytes(size))
        shutil.rmtree(tmp_path / "state" / "run")
        made.restart()
        made.start_plc()
        up = made.judged()
        made.drain()
        assert made.stop() == 0
        rows, books = made.rows, made.books
        assert lost, "every byte was synchronised: nothing has been shown"
        forgotten = told.keys() - rows.keys()
        assert len(forgotten) <= 5, f"{len(forgotten)} results that a PLC has read are gone"
        assert all(rows[one].evaluation == told[one] for one in told.keys() & rows.keys())
        again = [one for one, count in Counter(one.result_id for one in made.plc.results).items() if count > 1]
        assert again == []
        passed = {part.part_id for part in made.plc.passed}
        assert all(row.evaluation is Evaluation.OK for row in rows.values() if row.part_id in passed)
        saw = made.saw(since_ns, since, up)
        fault.tell(
            26,
            injected=f"kill -9 in a slow fdatasync; {len(lost)} unsynchronised writes are zeroed, tmpfs is gone",
            saw=saw,
            books=f"{books.accepted} accepted = {books.results} results + {len(books.unknown)} unknown;"
            f" {len(forgotten)} of the last parts not in the book, no number twice",
            recovery_s=round((up - since_ns) / 1e9, 2),
        )


def written_kb(made: Scene) -> float:
    """What the process has had written to disks, as the kernel counts it."""
    assert made.process is not None
    fields = dict(line.split(": ") for line in Path(f"/proc/{made.process.pid}/io").read_text().splitlines())
    return int(fields["write_bytes"]) / 1024


@pytest.mark.heavy
def test_a_part_costs_the_flash_a_few_kilobytes(tmp_path: Path, fault: FaultBook) -> None:
    if subprocess.run(["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True).stdout == "tmpfs\n":  # noqa: PLW1510
        pytest.skip("the folder lies in memory: nothing is written to a disk")
    with scene(tmp_path) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        before_kb, before = written_kb(made), made.books.results
        made.judged(150)
        part_kb = (written_kb(made) - before_kb) / (made.books.results - before)
        flight_mb = (tmp_path / "state" / "run" / "flight.bin").stat().st_size / 2**20
        made.finish()
        assert 0.0 < part_kb <= PART_KB
        fault.tell(
            28,
            injected=f"nothing: {part_kb:.1f} kB a part written to disk, the flight record stays at {flight_mb:.0f} MB",
            saw=made.saw(since_ns, since),
            books=made.balance(),
        )


NONSENSE: Mapping[str, Callable[[str], str]] = {
    "no TOML": lambda good: good + "[recipes\n",
    "an unknown key": lambda good: good.replace("[station]\n", "[station]\nspeed = 9\n"),
    "a deadline below 0": lambda good: good.replace("deadline_ms = 2000.0", "deadline_ms = -1.0"),
    "a recipe without its bundle": lambda good: good.replace('"little"', '"lost"'),
    "nothing": lambda good: "",
    "bytes": lambda good: "\x00\x01\x02",
    "half the file": lambda good: good[: len(good) // 2],
}


@pytest.mark.heavy
def test_a_station_file_edited_to_nonsense_is_refused_whole_and_the_station_goes_on(
    tmp_path: Path, fault: FaultBook
) -> None:
    with scene(tmp_path) as made:
        assert made.process is not None
        control = ControlClient(tmp_path / "state" / "run" / "control.sock", 60.0)
        good = made.file.read_text()
        since_ns, since = time.monotonic_ns(), made.plc_at
        for what, edited in NONSENSE.items():
            made.file.write_text(edited(good))
            answer = control.order(Order("reload", "test"))
            assert not answer.done, what
            assert str(made.file) in answer.text + str(answer.facts), f"{what}: {answer}"
        refusals = made.said.count("refused")
        made.process.send_signal(signal.SIGHUP)
        made.wait("the signal's reload is refused in the log", lambda: made.said.count("refused") > refusals)
        made.file.write_text(good)
        up = made.judged()
        made.finish()
        assert made.books.undefined == 0
        assert not any(sight.error_code for sight in made.panel.since(since_ns) if sight.ns < up)
        fault.tell(
            32,
            injected=f"the station file edited to {', '.join(NONSENSE)}; ordered by the control socket and by SIGHUP",
            saw=made.saw(since_ns, since, up),
            books=made.balance(),
        )
