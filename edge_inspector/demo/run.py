"""A whole station for N parts: broker, station and PLC in their own processes, an independent witness, a report."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from edge_inspector.calibration.file import calibration_text
from edge_inspector.demo import broker
from edge_inspector.demo.filming import LENS, DemoPicture, Filmed, film, from_coco, generated
from edge_inspector.demo.live import ControlListener, live_view
from edge_inspector.demo.report import DemoReport, make_report
from edge_inspector.demo.station_file import station_toml
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.errors import ConfigError, EdgeInspectorError
from edge_inspector.plc_sim.log import read_plc_log
from edge_inspector.store.books import read_books

START_S = 60.0
SETTLE_S = 15.0
"""How long the last messages may take to the broker and the witness."""
_STOP_S = 20.0
_POLL_S = 0.1


class DemoError(EdgeInspectorError):
    """One of the demo's processes did not do its part; the message holds the end of what it said."""


@dataclass(frozen=True)
class DemoOptions:
    """What the user asked for. `kill_after`: SIGKILL the station after each of these numbers of results."""

    parts: int
    rate_hz: float
    cameras: int
    seed: int
    bundle: str
    deadline_ms: float
    pictures: tuple[Path, ...] = ()
    truth: Path | None = None
    kill_after: tuple[int, ...] = ()
    keep_running: bool = False
    folder: Path | None = None


def run_demo(options: DemoOptions, console: Console) -> DemoReport:
    """Run it; SIGTERM ends its processes as Ctrl-C does. ConfigError: a wrong argument. DemoError: a process failed."""
    with contextlib.ExitStack() as stack:
        before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
        stack.callback(signal.signal, signal.SIGTERM, before)
        if options.folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-inspector-demo-")))
        else:
            folder = options.folder.resolve()
            if folder.exists() and any(folder.iterdir()):
                raise ConfigError(f"folder {folder} is not empty; the demo starts with an empty one")
            folder.mkdir(parents=True, exist_ok=True)
        return _Demo(options, folder, console).run()


class _Demo:
    def __init__(self, options: DemoOptions, folder: Path, console: Console) -> None:
        self._options = options
        self._folder = folder
        self._console = console
        self._opcua_port, self._mqtt_port = _free_ports(2)
        self._station: subprocess.Popen[bytes] | None = None
        self._restarts = 0

    def run(self) -> DemoReport:
        with self._console.status("Drawing boards and filming them through the demo's lens"):
            filmed = self._write_station()
        with contextlib.ExitStack() as stack:
            stack.enter_context(_process(self._folder, "broker", "-m", "edge_inspector.demo.broker", self._mqtt_port))
            broker.wait_until_listening(self._mqtt_port, START_S)
            witness = stack.enter_context(Subscriber(self._mqtt_port))
            listener = stack.enter_context(ControlListener(self._folder / "state" / "run" / "control.sock"))
            stack.callback(self._stop_station)
            self._start_station()
            plc = stack.enter_context(_process(self._folder, "plc", *self._plc_arguments()))
            self._watch(plc, listener)
            self._wait_for_messages(witness)
            if self._options.keep_running:
                self._keep_running(listener)
            self._stop_station()
            return make_report(
                self._folder / "state" / "ledger.sqlite",
                self._folder / "plc.jsonl",
                dict(witness.results),
                filmed,
                self._restarts,
            )

    def _write_station(self) -> list[Filmed]:
        options, folder = self._options, self._folder
        pictures = self._pictures()
        filmed, roi = film(pictures, folder / "frames")
        (folder / "truth.json").write_text(json.dumps({"good": [picture.good for picture in filmed]}))
        (folder / "lens.yaml").write_text(calibration_text(LENS))
        frames = [folder / "frames"] * options.cameras
        text = station_toml(frames, roi, options.bundle, options.deadline_ms, self._opcua_port, self._mqtt_port)
        (folder / "station.toml").write_text(text)
        return filmed

    def _pictures(self) -> Sequence[DemoPicture]:
        options = self._options
        if not options.pictures:
            return generated(self._folder / "boards", options.parts, options.seed)
        if options.truth is None:
            raise ConfigError("--pictures needs --truth: a COCO file that says what is on them")
        return from_coco(options.pictures, options.truth)

    def _plc_arguments(self) -> tuple[str | int, ...]:
        endpoint = f"opc.tcp://127.0.0.1:{self._opcua_port}/edge-inspector"
        options = self._options
        gate_ms = options.deadline_ms + 1000
        return (
            *("-m", "edge_inspector", "plc-sim", "--endpoint", endpoint, "--log", str(self._folder / "plc.jsonl")),
            *("--parts", options.parts, "--rate", str(options.rate_hz), "--gate-ms", str(gate_ms)),
        )

    def _start_station(self) -> None:
        log = (self._folder / "station.log").open("ab")
        with log:
            command = [sys.executable, "-m", "edge_inspector", "run", str(self._folder / "station.toml")]
            self._station = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _stop_station(self) -> None:
        station, self._station = self._station, None
        if station is None:
            return
        station.send_signal(signal.SIGTERM)
        try:
            code = station.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            station.kill()
            station.wait()
            raise DemoError(f"the station did not stop within {_STOP_S:g} s:\n{self._said('station')}") from None
        if code != 0:
            raise DemoError(f"the station ended, {_ending(code)}:\n{self._said('station')}")

    def _watch(self, plc: subprocess.Popen[bytes], listener: ControlListener) -> None:
        """Until the PLC has done its parts; on the way, kill the station if that was asked for."""
        options = self._options
        note = f"OPC UA 127.0.0.1:{self._opcua_port}   MQTT 127.0.0.1:{self._mqtt_port}"
        kills = sorted(options.kill_after)
        if not self._console.is_terminal:
            self._console.print(f"{options.parts} parts at up to {options.rate_hz:g} a second; {note}")
        with Live(console=self._console, refresh_per_second=8, transient=not self._console.is_terminal) as live:
            while plc.poll() is None:
                live.update(live_view(listener, options.parts, note))
                if kills and len(read_plc_log(self._folder / "plc.jsonl").results) >= kills[0]:
                    kills.pop(0)
                    self._kill_station()
                if self._station is not None and self._station.poll() is not None:
                    code = self._station.returncode
                    raise DemoError(f"the station ended by itself, {_ending(code)}:\n{self._said('station')}")
                time.sleep(_POLL_S)
            live.update(live_view(listener, options.parts, note))
        if plc.returncode != 0:
            raise DemoError(f"the simulated PLC ended, {_ending(plc.returncode)}:\n{self._said('plc')}")

    def _kill_station(self) -> None:
        if self._station is None:
            return
        os.kill(self._station.pid, signal.SIGKILL)
        self._station.wait()
        self._restarts += 1
        self._start_station()

    def _wait_for_messages(self, witness: Subscriber) -> None:
        """The outbox runs empty and the witness has seen what was booked; what has not come by then counts as lost."""
        ledger = self._folder / "state" / "ledger.sqlite"
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            books = read_books(ledger)
            if books.accepted == books.results and not books.outbox_pending and len(witness.results) >= books.results:
                return
            time.sleep(_POLL_S)

    def _keep_running(self, listener: ControlListener) -> None:
        self._console.print(
            f"The station goes on: OPC UA opc.tcp://127.0.0.1:{self._opcua_port}/edge-inspector,"
            f" MQTT 127.0.0.1:{self._mqtt_port}, files in {self._folder}. Ctrl-C ends it."
        )
        with contextlib.suppress(KeyboardInterrupt):
            while self._station is not None and self._station.poll() is None:
                time.sleep(_POLL_S)

    def _said(self, name: str) -> str:
        log = self._folder / f"{name}.log"
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]) if log.exists() else ""


@contextlib.contextmanager
def _process(folder: Path, name: str, *arguments: str | int) -> Iterator[subprocess.Popen[bytes]]:
    """A child whose output goes to `<name>.log`; ended with the block."""
    with (folder / f"{name}.log").open("ab") as log:
        child = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=log, stderr=log, start_new_session=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
