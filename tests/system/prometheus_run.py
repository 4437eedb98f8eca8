"""The real program, its web service and a real Prometheus with the shipped configuration, for one run of parts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from real_station import RealStation, free_port

from edge_inspector import config

PROMETHEUS = Path(__file__).resolve().parents[2] / "deploy" / "dashboards" / "prometheus"
_STATION = """\
[plc.line]
type = "modbus_server"
port = {plc}
[publishers.plant]
type = "mqtt"
port = {broker}
[web]
port = {web}
"""


class Served:
    """A station with its PLC and its web service."""

    def __init__(self, station: RealStation, plc: int, web: int) -> None:
        self.station, self.web = station, web
        self.ledger = config.load(station.file).station.state_dir / "ledger.sqlite"
        self.plc = plc

    def produce(self, parts: int, *options: str) -> None:
        """The simulated PLC announces so many parts, and its books agree with the ledger's."""
        log = self.station.folder / f"plc-{time.monotonic_ns()}.jsonl"
        where = ("--modbus", f"127.0.0.1:{self.plc}", "--log", str(log), "--ledger", str(self.ledger))
        how = ("--parts", str(parts), "--rate", "40", "--cycle-ms", "4", "--recipe-no", "7", "--seed", "3")
        command = [sys.executable, "-m", "edge_inspector", "plc-sim", *where, *how, *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def metrics(self) -> str:
        """What /metrics answers now, "" = nothing yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/metrics", timeout=10) as answer:
                said: bytes = answer.read()
                return said.decode()
        except urllib.error.URLError:
            return ""

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        self.station.wait(what, condition)


class Watched(Served):
    """And with a Prometheus that scrapes it each second."""

    def __init__(self, served: Served, prometheus: int) -> None:
        super().__init__(served.station, served.plc, served.web)
        self._prometheus = prometheus

    @property
    def answers(self) -> bool:
        """Prometheus has opened its database."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._prometheus}/-/ready", timeout=5):
                return True
        except urllib.error.URLError:
            return False

    def ask(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """An instant query; each series as {"metric": labels, "value": [time, text]}."""
        words = {"query": query} | ({} if at is None else {"time": f"{at:.3f}"})
        url = f"http://127.0.0.1:{self._prometheus}/api/v1/query?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        result: list[dict[str, Any]] = said["data"]["result"]
        return result

    def number(self, query: str, at: float | None = None) -> float:
        """Of a query with at most one series; NaN without one."""
        found = self.ask(query, at)
        assert len(found) <= 1, f"{query}: {found}"
        return float(found[0]["value"][1]) if found else float("nan")

    def last_scrape(self) -> float:
        return self.number("timestamp(edge_inspector_up)")

    def wait_for_two_scrapes(self) -> float:
        """The time of a scrape that began after this call."""
        before = self.last_scrape()
        self.wait("two more scrapes", lambda: self.last_scrape() > before + 1.5)
        return self.last_scrape()


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    with ExitStack() as ends:
        made = _serve(folder, ends)
        made.wait("/metrics tells of a ready station", lambda: "edge_inspector_ready 1.0" in made.metrics())
        yield made


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    port = free_port()
    with ExitStack() as ends:
        station = _serve(folder, ends)
        _prometheus(folder, station.web, port, ends)
        made = Watched(station, port)
        made.wait("Prometheus has seen it ready", lambda: made.answers and made.number("edge_inspector_ready") == 1.0)
        yield made


def _serve(folder: Path, ends: ExitStack) -> Served:
    """Everything is begun and nothing is waited for."""
    plc, broker, web = (free_port() for _ in range(3))
    _broker(folder, broker, ends)
    station = RealStation(folder, _STATION.format(plc=plc, broker=broker, web=web)).start()
    ends.callback(station.kill)
    _started(["-m", "edge_inspector", "web", str(station.file)], sys.executable, folder / "web.log", ends)
    return Served(station, plc, web)


def _broker(folder: Path, port: int, ends: ExitStack) -> None:
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    _started(["-c", str(folder / "mosquitto.conf")], _found("mosquitto"), folder / "mosquitto.log", ends)


def _prometheus(folder: Path, web: int, port: int, ends: ExitStack) -> None:
    """The shipped files, but for the port of the web service and a shorter interval."""
    (folder / "prometheus").mkdir()
    shipped = (PROMETHEUS / "prometheus.yml").read_text()
    assert "127.0.0.1:8080" in shipped
    assert "scrape_interval: 15s" in shipped
    own = shipped.replace("127.0.0.1:8080", f"127.0.0.1:{web}").replace("_interval: 15s", "_interval: 1s")
    (folder / "prometheus" / "prometheus.yml").write_text(own)
    shutil.copy(PROMETHEUS / "rules.yml", folder / "prometheus" / "rules.yml")
    options = [
        f"--config.file={folder}/prometheus/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    _started(options, _found("prometheus"), folder / "prometheus.log", ends)


def _started(arguments: list[str], program: str, log: Path, ends: ExitStack) -> None:
    with log.open("wb") as out:
        process = subprocess.Popen([program, *arguments], stdout=out, stderr=out)
    ends.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _found(program: str) -> str:
    path = shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
    assert path is not None, f"{program} is not installed: apt-get install {program}"
    return path
