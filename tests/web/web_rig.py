"""The real station with a timer, and the real web service beside it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
from real_station import RealStation, free_port, listens

from edge_inspector.web.tokens import ROLES, Role, token_file

TABLES = """\
[images]
overlays = {{ every_nth = 1 }}
min_free_pct = 0
[web]
port = {port}
requests_per_s = 2000
"""


class Rig:
    """A part every quarter of a second, good and bad in turn; `web` at `url`; a token for each role."""

    def __init__(self, folder: Path, period_s: float = 0.25, more: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.station = RealStation(folder, TABLES.format(port=self.port) + more)
        text = self.station.file.read_text()
        self.station.file.write_text(text.replace('trigger = "plc"', f'trigger = "timer"\nperiod_s = {period_s}'))
        now = datetime.now(timezone.utc)
        self.tokens = {role: token_file(self.state).add(role, role, 1, now)[1] for role in ROLES}
        self.web: subprocess.Popen[bytes] | None = None

    @property
    def file(self) -> Path:
        return self.station.file

    @property
    def state(self) -> Path:
        return self.station.folder / "state"

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.sqlite"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, role: Role = "reader") -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=bearer(self.tokens[role]), timeout=20)

    def start_web(self) -> None:
        with (self.station.folder / "web.log").open("ab") as log:
            command = [sys.executable, "-m", "edge_inspector", "web", str(self.file)]
            self.web = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        web = self.web
        until("the web service listens", lambda: listens(self.port) or web.poll() is not None, self.log)
        assert web.poll() is None, self.log()

    def stop_web(self) -> int:
        assert self.web is not None
        self.web.send_signal(signal.SIGTERM)
        return self.web.wait(20)

    def log(self) -> str:
        log = self.station.folder / "web.log"
        return (log.read_text(errors="replace") if log.exists() else "") + self.station.said

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read by ourselves, past the service."""
        with contextlib.closing(sqlite3.connect(self.ledger.as_uri() + "?mode=ro", uri=True)) as book:
            return book.execute(query, values).fetchall()

    def wait_for_results(self, count: int) -> None:
        def booked() -> bool:
            try:
                return bool(self.rows("SELECT count(*) >= ? FROM results", count)[0][0])
            except sqlite3.OperationalError:  # the station is just making its book
                return False

        until(f"{count} results", booked, self.log)


@contextlib.contextmanager
def running(folder: Path, results: int = 4, period_s: float = 0.25, more: str = "") -> Iterator[Rig]:
    """Both processes, until the end of the block."""
    rig = Rig(folder, period_s, more)
    rig.station.start()
    try:
        rig.start_web()
        rig.wait_for_results(results)
        yield rig
    finally:
        for process in (rig.web, rig.station.process):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def until(what: str, condition: Callable[[], object], said: Callable[[], str] = str, timeout_s: float = 40.0) -> None:
    """Until the condition holds; fails when the time is over."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}\n{said()[-3000:]}"
        time.sleep(0.02)


def messages(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    """Kind, id and content of each server-sent event."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}
        else:
            fields = {}
