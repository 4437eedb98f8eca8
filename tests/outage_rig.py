"""A whole site for outages: the real station, its PLC, a TLS broker behind a fault proxy, a witness at the broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import timed_plc
from fault_proxy import FaultProxy
from mqtt_witness import Arrival, Witness
from real_station import RealStation, free_port
from tls_broker import BASE, WAIT_S, WITNESS, TlsBroker

from edge_inspector.plc_sim.log import PlcBook, read_plc_log
from edge_inspector.store.books import Books, read_books

ACK_TIMEOUT_S = 1.0
RATE = 50.0
_PLC = """\
[plc.line]
type = "modbus_server"
port = {plc}
"""
_WEB = """\
[web]
port = {web}
"""
_BROKER = """\
[publishers.broker]
type = "mqtt"
host = "127.0.0.1"
port = {proxy}
prefix = "plant/site/area/line/cell"
username = "station"
password_file = "password"
keepalive_s = 4
ack_timeout_s = {ack_timeout_s}
connect_timeout_s = 2.0
tls = {{ ca_file = "ca.crt" }}
"""


class Site:
    """The station and all around it; `plc_log`, `ledger` and the witness are three books on the same parts."""

    def __init__(self, folder: Path, broker: TlsBroker, proxy: FaultProxy, witness: Witness) -> None:
        self.broker, self.proxy, self.witness = broker, proxy, witness
        self.plc_port, self.web_port = free_port(), free_port()
        self.plc_log = folder / "plc.jsonl"
        self._folder = folder
        self._plc: subprocess.Popen[bytes] | None = None
        self._web: subprocess.Popen[bytes] | None = None
        text = _PLC.format(plc=self.plc_port) + _WEB.format(web=self.web_port)
        text += _BROKER.format(proxy=proxy.port, ack_timeout_s=ACK_TIMEOUT_S)
        self.station = RealStation(folder, text)
        self.ledger = folder / "state" / "ledger.sqlite"

    def start_plc(self, rate: float = RATE) -> None:
        command = [sys.executable, timed_plc.__file__, f"127.0.0.1:{self.plc_port}", str(self.plc_log), str(rate)]
        with (self._folder / "plc.out").open("ab") as out:
            self._plc = subprocess.Popen(command, stdout=out, stderr=out)

    def end_plc(self) -> None:
        if self._plc is not None:
            self._plc.kill()
            self._plc.wait()
            self._plc = None

    def start_web(self) -> None:
        """The web service, until it listens."""
        command = [sys.executable, "-m", "edge_inspector", "web", str(self.station.file)]
        with (self._folder / "web.log").open("ab") as log:
            self._web = subprocess.Popen(command, stdout=log, stderr=log)
        self.station.wait_until_listening(self.web_port)

    def kill_web(self) -> None:
        if self._web is not None:
            self._web.kill()
            self._web.wait()
            self._web = None

    @property
    def plc(self) -> PlcBook:
        return read_plc_log(self.plc_log)

    @property
    def books(self) -> Books:
        return read_books(self.ledger)

    @property
    def results(self) -> list[Arrival]:
        """What the witness got on the topic of results, in the order of arrival, each as often as it came."""
        return [one for one in self.witness.look() if one.topic == f"{BASE}/result"]

    @property
    def unpublished(self) -> int:
        """How many results of the book the witness has not got."""
        return self.books.results - len({one.payload for one in self.results})

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        assert self._plc is None or self._plc.poll() is None, (self._folder / "plc.out").read_text()[-2000:]
        self.station.wait(what, condition, timeout_s)

    def more_parts(self, count: int) -> None:
        """Wait until the PLC has read so many more results."""
        begin, wanted = self.plc_log.stat().st_size if self.plc_log.exists() else 0, count
        self.wait(f"{count} more results at the PLC", lambda: len(read_plc_log(self.plc_log, begin).results) >= wanted)

    def next_announcement(self, after: int) -> None:
        """Wait until the PLC has read so many more results, then for the moment in which it announces one more."""
        self.more_parts(after)
        with self.plc_log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            end = time.monotonic() + WAIT_S
            while b'"trigger"' not in log.readline():
                assert time.monotonic() < end, "the PLC announces nothing"
                time.sleep(0.0005)

    def more_published(self, count: int = 1) -> None:
        """Wait until the witness has got so many more."""
        wanted = len(self.results) + count
        self.wait(f"{count} more results at the witness", lambda: len(self.results) >= wanted)

    def drain(self, timeout_s: float = WAIT_S) -> None:
        """No further parts: wait until the last ones are settled and every message is at the broker."""
        self.end_plc()
        self.wait("every part is settled", lambda: self.books.accepted == self.books.results)
        self.wait("the outbox is empty", lambda: self.books.outbox_pending == 0, timeout_s)

    def stop_balanced(self) -> None:
        """Stop the station in peace; `edge-inspector ledger reconcile` must then find that nothing is missing."""
        assert self.station.stop() == 0, self.station.said[-3000:]
        command = [sys.executable, "-m", "edge_inspector", "ledger", "reconcile", str(self.station.file)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def kill_broker(self) -> None:
        """SIGKILL. It is stopped first, until the witness has read what it was sent: see `Witness.drained`."""
        self.broker.process.send_signal(signal.SIGSTOP)
        self.wait("the witness has read all", lambda: self.witness.drained)
        self.broker.process.kill()
        self.broker.process.wait(WAIT_S)


def tell(figures: str) -> None:
    """A figure of a heavy test, for who runs it with -s."""
    sys.stdout.write(figures + "\n")
    sys.stdout.flush()


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Broker, witness and station run, the PLC does not yet; all are ended with the block."""
    broker = TlsBroker(folder)
    with ExitStack() as stack:
        broker.start()
        stack.callback(broker.stop, signal.SIGKILL)
        proxy = stack.enter_context(FaultProxy(broker.port))
        witness = stack.enter_context(
            Witness(broker.witness_port, f"{BASE}/#", folder / "witness.jsonl", WITNESS, WITNESS)
        )
        made = Site(folder, broker, proxy, witness)
        made.station.start()
        stack.callback(_end, made)
        made.station.wait_until_listening(made.plc_port)
        made.wait("the witness listens", lambda: bool(made.witness.look() or made.witness.subscribed))
        broker.remember()
        yield made


def _end(made: Site) -> None:
    made.end_plc()
    made.kill_web()
    process = made.station.process
    if process is not None and process.poll() is None:
        made.station.kill()
