"""A short session of the real program in which the k-th system call of a kind fails, and what must hold after it.

strace counts calls for each thread by itself: the k-th one of every thread that gets so far fails.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import networks
from modbus_plc import ModbusPlc
from real_station import STATION, free_port

from edge_inspector.datatypes import Evaluation
from edge_inspector.errors import OutputError
from edge_inspector.plc.function_block import Verdict
from edge_inspector.plc_sim.modbus_wire import ModbusWire
from edge_inspector.store.book_file import connect_read_only
from edge_inspector.store.books import read_books, verdicts
from edge_inspector.store.periods import between
from edge_inspector.store.reconcile import reconcile

TESTS = Path(__file__).parent
STRACE = shutil.which("strace")
PARTS = 3
RECIPE_NO = 7
RECOVERY_S = 60.0
"""Within this, on a busy machine, a station that did not end judges parts again."""
MAY_END = (0, 75)
"""As it was told to, or `EXIT_LATER`: the service manager starts it again."""
_ESCAPED = re.compile(
    r'^(Traceback|Exception|Fatal).*|.*"(station_died|task_died|thread_died)".*|.*never retrieved.*', re.M
)
_MORE = """\
[plc.line]
type = "modbus_server"
port = {plc}
[images]
min_free_pct = 0
[publishers.broker]
type = "mqtt"
host = "127.0.0.1"
port = {broker}
prefix = "plant/site"
"""
_OPENED = re.compile(r'openat\([^"]*"([^"]+)", [A-Z_|]*(?:O_WRONLY|O_RDWR|O_CREAT)')


@dataclass(frozen=True)
class Fault:
    """The `k`-th of these system calls fails; with `paths`, of those that concern one of them. k = 0: none does.

    uvloop wakes itself by an eventfd and takes a failure of that for its own end: where calls without a path fail, the
    loop is asyncio's.
    """

    calls: str
    error: str
    k: int
    paths: tuple[Path, ...] = ()
    loop: str = "uvloop"
    late: bool = False
    """It counts from the first verdict on, not from the start."""

    @property
    def options(self) -> list[str]:
        """For strace."""
        inject = ["-e", f"inject={self.calls}:error={self.error}:when={self.k}"] if self.k else []
        return ["-e", f"trace={self.calls}", *inject, *(word for path in self.paths for word in ("-P", str(path)))]


@dataclass(frozen=True)
class Outcome:
    """`injected` are the calls that failed, `codes` how the sessions ended until the books were whole again."""

    injected: tuple[str, ...]
    codes: tuple[int, ...]
    judged_s: float


class Nursery:
    """The process that has imported everything, and the stations that it forks: see forked_station.py."""

    def __enter__(self) -> Nursery:
        paths = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
        environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(TESTS / "forked_station.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.communicate(timeout=20)

    def ask(self, *order: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, order)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Bench:
    """One station that is run again and again; every picture that its camera takes shows a bad part."""

    def __init__(self, folder: Path, nursery: Nursery, broker: int) -> None:
        self.state, self.log, self._used = folder / "state", folder / "station.log", folder / "used"
        self._folder, self._nursery, self._plc_starts = folder, nursery, 0
        self._plc = free_port()
        self._told: dict[str, Evaluation] = {}
        networks.bundle("yolo", folder / "little", golden=4)
        (folder / "pictures").mkdir()
        for number in range(4):
            shutil.copy(folder / "little" / "golden" / f"bad_00{number}.png", folder / "pictures" / f"{number}.png")
        self.file = folder / "station.toml"
        self.file.write_text(STATION + _MORE.format(plc=self._plc, broker=broker))

    def prepare(self) -> tuple[Path, ...]:
        """Make the state of a station that has run; the files that a session on it opens to write, and its log."""
        self._forget()
        self.session(Fault("openat", "", 0))
        self.state.rename(self._used)
        self.begin(used=True)
        trace = self.session(Fault("openat", "", 0))[1]
        return (*sorted({Path(path) for path in _OPENED.findall(trace) if path.startswith(str(self.state))}), self.log)

    def begin(self, *, used: bool) -> None:
        """From the same state each time: that of a station that has never run, or of one that has."""
        self._forget()
        if used:
            shutil.copytree(self._used, self.state, ignore=shutil.ignore_patterns("*.sock"))

    def fail(self, fault: Fault) -> Outcome:
        """One session with the fault, and one without it where the books need that; AssertionError: it was not safe."""
        begin = time.monotonic()
        code, trace = self.session(fault)
        judged_s, codes = time.monotonic() - begin, [code]
        if code or not self._whole():
            codes.append(self.session(Fault("none", "", 0))[0])
        said = self.log.read_text(errors="replace")
        assert not _ESCAPED.search(said), f"{fault}: an exception escaped:\n{said[-6000:]}"
        assert set(codes) <= set(MAY_END), f"{fault}: ended with {codes}:\n{said[-4000:]}"
        assert codes[-1] == 0, f"{fault}: the next start has not recovered, {codes}:\n{said[-4000:]}"
        self._compare(fault)
        return Outcome(tuple(line for line in trace.splitlines() if "(INJECTED)" in line), tuple(codes), judged_s)

    def session(self, fault: Fault) -> tuple[int, str]:
        """Start, judge some parts, stop: the exit code, and what strace saw of these calls."""
        seen = self._folder / "strace.log"
        pid = self._nursery.ask("fork", self.file, self.log, fault.loop)
        command = [str(STRACE), "-f", "-qq", "-o", str(seen), "-e", "signal=none", *fault.options, "-p", str(pid)]
        try:
            if fault.late:
                self._nursery.ask("go", pid)
                assert asyncio.run(self._judged(pid, fault, 1)), f"it has ended: {self._said[-4000:]}"
            with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
                try:
                    while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                        assert tracer.poll() is None, tracer.communicate()[1]
                        time.sleep(0.002)
                    if not fault.late:
                        self._nursery.ask("go", pid)
                    ended = not asyncio.run(self._judged(pid, fault, PARTS))
                    os.kill(pid, signal.SIGTERM)
                    tracer.wait(RECOVERY_S)
                except BaseException:
                    os.kill(pid, signal.SIGKILL)
                    raise
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            code = self._nursery.ask("wait", pid)
        assert code or not ended, f"{fault}: nobody has stopped the station, and it ended with 0:\n{self._said[-4000:]}"
        return code, seen.read_text(errors="replace")

    async def _judged(self, pid: int, fault: Fault, parts: int) -> bool:
        """Wait until the PLC has read some verdicts; False = the station has ended by itself."""
        end, plc, wanted = time.monotonic() + RECOVERY_S, None, len(self._told) + parts
        self._plc_starts += 1
        while len(self._told) < wanted and not _ended(pid):
            assert time.monotonic() < end, f"{fault}: no parts within {RECOVERY_S} s:\n{self._said[-4000:]}"
            try:
                async with ModbusWire(f"127.0.0.1:{self._plc}") as wire:
                    if plc is None:
                        plc = ModbusPlc(wire, RECIPE_NO)
                        plc.block = replace(plc.block, plc_boot_id=self._plc_starts)
                    plc.reconnected(wire)
                    while len(self._told) < wanted and time.monotonic() < end:
                        await plc.ready()
                        await self._part(plc)
            except OutputError:
                await asyncio.sleep(0.02)
        return len(self._told) >= wanted

    async def _part(self, plc: ModbusPlc) -> None:
        part_id = f"{self._plc_starts}-{plc.block.seq + 1}"
        verdict = await plc.verdict(await plc.part(part_id))
        assert verdict is not Verdict.PASS, f"{part_id} is bad, and has passed"
        if verdict is Verdict.NOT_OK:
            told = next(one for one in plc.block.taken if one.names(part_id))
            self._told[part_id] = Evaluation(told.evaluation)

    def _whole(self) -> bool:
        """Whether all that was accepted stands in the book, and nothing in the flight record alone."""
        books = read_books(self.state / "ledger.sqlite")
        return books.balanced and books.accepted == books.results

    def _compare(self, fault: Fault) -> None:
        ledger = self.state / "ledger.sqlite"
        books, rows = read_books(ledger), list(verdicts(ledger).values())
        assert books.unknown == (), fault
        assert books.balanced, f"{fault}: {books.gaps}"
        assert books.results == books.accepted == len(rows), fault
        assert Evaluation.OK not in {row.evaluation for row in rows}, f"{fault}: a bad part is OK in the ledger"
        booked = [(row.part_id, row.evaluation) for row in rows if row.part_id in self._told]
        assert sorted(booked) == sorted(self._told.items()), f"{fault}: the ledger has another verdict than the PLC"
        with closing(connect_read_only(ledger)) as connection:
            balance = reconcile(connection, [between(None, None)], "2100-01-01T00:00:00.000Z")
        assert all(one.balanced for one in balance), f"{fault}: {balance}"
        aside = [path.name for path in self.state.rglob("*") if "damaged" in path.name or "set-aside" in path.name]
        assert not aside, f"{fault}: a call that failed is no damage, but {aside} was set aside"

    @property
    def _said(self) -> str:
        return self.log.read_text(errors="replace")

    def _forget(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        self._told.clear()


def _ended(pid: int) -> bool:
    """Whether it waits for its parent to ask how."""
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
