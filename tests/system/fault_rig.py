"""The real station with its PLC and a panel, each in a process or thread of its own, and the ways to break it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import timed_plc
from fault_record import FaultBook, Sight, balance, read_by_plc, shown
from real_station import RealStation, free_port

from edge_inspector.datatypes import Evaluation
from edge_inspector.errors import OutputError
from edge_inspector.plc_sim.log import PlcBook, read_plc_log
from edge_inspector.plc_sim.modbus_wire import ModbusWire
from edge_inspector.store.books import Books, VerdictRow, read_books, verdicts

HERE = Path(__file__).parent
WAIT_S = 90.0  # a busy machine may need long; nothing waits for the whole of it
RATE_HZ = 10.0
JUDGED = (Evaluation.OK, Evaluation.NOT_OK)
_TAGS = ("Status.Heartbeat", "Status.BootId", "Status.TriggerReady", "Status.ErrorCode", "Status.ErrorText")
_LOOK_S = 0.01
_PLC = '[plc.line]\ntype = "modbus_server"\nport = {port}\n'


class Panel:
    """Reads the station's state over Modbus, a hundred times a second, and keeps each change."""

    def __init__(self, port: int) -> None:
        self.seen: list[Sight] = [Sight(time.monotonic_ns(), False, False, 0, "", 0, 0)]
        self._port = port
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), name="panel")

    def __enter__(self) -> Panel:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def now(self) -> Sight:
        return self.seen[-1]

    def since(self, ns: int) -> list[Sight]:
        return [sight for sight in self.seen if sight.ns >= ns]

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                async with ModbusWire(f"127.0.0.1:{self._port}") as wire:
                    while not self._stopping.is_set():
                        self._note(await wire.read(_TAGS))
                        await asyncio.sleep(_LOOK_S)
            except OutputError:
                self._note(None)
                await asyncio.sleep(_LOOK_S)

    def _note(self, tags: Mapping[str, Any] | None) -> None:
        ns = time.monotonic_ns()
        if tags is None:
            sight = replace(self.now, ns=ns, linked=False)
        else:
            beat, boot_id, ready, code, text = (tags[name] for name in _TAGS)
            sight = Sight(ns, True, ready, code, text, beat, boot_id)
        if replace(sight, ns=self.now.ns) != self.now:
            self.seen.append(sight)


class Scene(RealStation):
    """A station that can be broken; `settings` are changes of its file: (what stands there, what shall)."""

    def __init__(
        self, folder: Path, *more: str, settings: Sequence[tuple[str, str]] = (), env: Mapping[str, str] | None = None
    ) -> None:
        """`more` are further tables of the station file, `env` is for the station alone."""
        self.port = free_port()
        super().__init__(folder, _PLC.format(port=self.port) + "".join(more))
        text = self.file.read_text()
        for old, new in settings:
            assert old in text, old
            text = text.replace(old, new)
        self.file.write_text(text)
        self.panel = Panel(self.port)
        self.env = dict(env or {})
        self.before: tuple[str, ...] = ()
        self.plc_log = folder / "plc.jsonl"
        self.ledger = folder / "state" / "ledger.sqlite"
        self._plc: subprocess.Popen[bytes] | None = None
        self._orders = 0

    def start(self) -> Scene:
        """Begin a process; it does not wait for anything."""
        path = os.pathsep.join(str(HERE / one) for one in ("saboteur", "faulty_backend"))
        env = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH", "")))),
            "SABOTEUR": str(self.folder / "saboteur"),
            **self.env,
        }
        command = [*self.before, sys.executable, "-m", "edge_inspector", "run", str(self.file)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        return self

    def restart(self) -> None:
        """What systemd does with a process that has ended."""
        assert self.process is not None
        assert self.process.poll() is not None, "it runs"
        self.start()

    def start_plc(self, rate_hz: float = RATE_HZ) -> None:
        command = [sys.executable, timed_plc.__file__, f"127.0.0.1:{self.port}", str(self.plc_log), str(rate_hz)]
        with (self.folder / "plc.out").open("ab") as out:
            self._plc = subprocess.Popen(command, stdout=out, stderr=out)

    def end_plc(self) -> None:
        if self._plc is not None:
            self._plc.kill()
            self._plc.wait()
            self._plc = None

    def order_fault(self, **order: object) -> int:
        """Of the plugin backend, for runs to come; CLOCK_MONOTONIC ns before any of them."""
        before = time.monotonic_ns()
        fresh = self.folder / "orders.new"
        fresh.write_text(json.dumps(order) + "\n")
        fresh.replace(self.folder / "orders")
        return before

    def suffered(self, fault: str) -> list[int]:
        """When the plugin backend did so, CLOCK_MONOTONIC ns."""
        path = self.folder / "orders.did"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line["ns"] for line in lines if line["fault"] == fault]

    def sabotage(self, do: str, **order: object) -> Any:
        """What saboteur/sitecustomize.py answers; the station must run."""
        self._orders += 1
        did = self.folder / "saboteur.did"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(
                json.dumps({"do": do, "number": self._orders, **order}).encode(), str(self.folder / "saboteur")
            )
        answers: list[Any] = []

        def answered() -> bool:
            lines = did.read_text().splitlines() if did.exists() else []
            answers[:] = [one["did"] for one in map(json.loads, lines) if one["order"] == self._orders]
            return bool(answers)

        self.wait(f"the saboteur does {do}", answered)
        return answers[-1]

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        assert self._plc is None or self._plc.poll() is None, (self.folder / "plc.out").read_text()[-2000:]
        super().wait(what, condition, timeout_s)

    @property
    def plc(self) -> PlcBook:
        return read_plc_log(self.plc_log)

    @property
    def plc_at(self) -> int:
        """Where the PLC's log ends now, in bytes."""
        return self.plc_log.stat().st_size if self.plc_log.exists() else 0

    @property
    def books(self) -> Books:
        return read_books(self.ledger)

    @property
    def rows(self) -> dict[str, VerdictRow]:
        return verdicts(self.ledger)

    def log(self, event: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.said.splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == event]

    def judged(self, count: int = 3, timeout_s: float = WAIT_S) -> int:
        """Wait until the PLC has read so many more verdicts, OK or NOT_OK; CLOCK_MONOTONIC ns."""
        begin = self.plc_at

        def enough() -> bool:
            results = read_plc_log(self.plc_log, begin).results
            return sum(one.evaluation in JUDGED for one in results) >= count

        self.wait(f"{count} more verdicts at the PLC", enough, timeout_s)
        return time.monotonic_ns()

    def next_announcement(self) -> None:
        """Wait for the moment in which the PLC announces a part."""
        begin = self.plc_at
        self.wait("a part is announced", lambda: bool(read_plc_log(self.plc_log, begin).triggered))

    def drain(self) -> None:
        """No further parts: wait until the last ones have their result."""
        self.end_plc()
        self.wait("every part is settled", lambda: self.books.accepted == self.books.results)

    def finish(self) -> None:
        """The last parts are settled, the station ends in order."""
        self.drain()
        assert self.stop() == 0, self.said[-3000:]

    def saw(self, since_ns: int, since: int, up_ns: int | None = None) -> str:
        """What the PLC has read, from byte `since` of its log on, and the panel, until `up_ns` or now; in words."""
        panel = shown(self.panel.seen, since_ns, up_ns or time.monotonic_ns())
        return "; ".join(filter(None, (read_by_plc(self.ledger, self.plc_log, since), panel)))

    def balance(self, unknown: int = 0) -> str:
        """The books of the station that has ended, in words; see `fault_record.balance`."""
        return balance(self.ledger, self.plc_log, unknown)

    def testify(self, fault: FaultBook, row: int, injected: str, since_ns: int, since: int, up_ns: int) -> None:
        """Tell the table of a fault that began at `since_ns` and was over at `up_ns`."""
        saw, recovery_s = self.saw(since_ns, since, up_ns), round((up_ns - since_ns) / 1e9, 2)
        fault.tell(row, injected=injected, saw=saw, books=self.balance(), recovery_s=recovery_s)


def until(what: str, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """For what may hold while no station runs."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


JSON_LOG = "[log]\njson_lines = true\n"
FAULTY_BACKEND = ('type = "onnxruntime"', 'type = "faulty"\norders = "orders"')


@contextmanager
def scene(
    folder: Path, *more: str, settings: Sequence[tuple[str, str]] = (), env: Mapping[str, str] | None = None
) -> Iterator[Scene]:
    """At work: the PLC has read some verdicts."""
    made = Scene(folder, *more, JSON_LOG, settings=settings, env=env)
    with running(made):
        made.start_plc()
        made.judged(3)
        yield made


@contextmanager
def running(made: Scene) -> Iterator[Scene]:
    """Started and watched; all is ended with the block."""
    with made.panel:
        try:
            made.start()
            made.wait_until_listening(made.port)
            yield made
        finally:
            made.end_plc()
            if made.process is not None and made.process.poll() is None:
                made.kill()
