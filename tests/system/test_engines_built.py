"""The running program has its engine proven in a process of its own, and serves no verdict of one that is not."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import psutil
import pytest

from edge_inspector.store.books import read_books

pytestmark = pytest.mark.system
STATION = """\
schema = 1
[station]
name = "s"
recipe = "r"
state_dir = "state"
runtime_dir = "run"
{station}
[backend]
type = "openvino"
[cameras.top]
type = "folder"
path = "pictures"
loop = true
[recipes.r]
number = 1
trigger = "timer"
period_s = 0.2
bundle = "bundle"
views = [{{ camera = "top" }}]
[log]
json_lines = true
"""


class Station:
    """`edge-inspector run` in its own process."""

    def __init__(self, folder: Path, golden: int, station: str = "") -> None:
        self.folder = folder
        networks.bundle("yolo", folder / "bundle", golden=golden)
        (folder / "pictures").mkdir()
        rng = np.random.default_rng(1)
        for i, spot in enumerate((None, 250, None, 10)):
            pixels, _ = networks.picture(rng, 64, 1, spot)
            cv2.imwrite(str(folder / "pictures" / f"{i}.png"), pixels)
        (folder / "station.toml").write_text(STATION.format(station=station))

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "station.log").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge_inspector", "run", str(self.folder / "station.toml")],
                stdout=out,
                stderr=out,
            )
        self.process = process
        try:
            yield process
            if process.poll() is None:
                process.terminate()
                assert process.wait(20) == 0, self.said
        finally:
            process.kill()
            process.wait()

    @property
    def said(self) -> str:
        return (self.folder / "station.log").read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.said.splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    def status(self) -> dict[str, Any]:
        """From the control socket; empty until it listens."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(self.folder / "run" / "control.sock"))
            client.sendall(b'{"command": "status"}\n')
            return json.loads(client.makefile().readline())["status"] or {}
        return {}

    def until(self, what: str, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, f"not within {timeout_s} s: {what}; {self.status()}\n{self.said}"
            time.sleep(0.02)

    def until_ready(self) -> dict[str, Any]:
        self.until("READY", lambda: bool(self.status().get("ready")))
        return self.status()


def builders(station: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(station.pid).children() if "build" in child.cmdline()]


def test_a_station_proves_its_engine_before_it_is_ready_and_only_once(tmp_path: Path) -> None:
    station = Station(tmp_path, golden=20)
    with station.running() as process:
        station.until("a builder", lambda: bool(builders(process)))
        (builder,) = builders(process)
        score = Path(f"/proc/{builder.pid}/oom_score_adj")
        station.until("a builder that yields", lambda: (builder.nice(), score.read_text().strip()) == (19, "1000"))
        assert not station.status().get("ready")
        station.until_ready()
        station.until("verdicts", lambda: read_books(tmp_path / "state" / "ledger.sqlite").results >= 8)
    books = read_books(tmp_path / "state" / "ledger.sqlite")
    assert books.ok >= 3
    assert books.not_ok >= 3
    assert books.undefined == 0
    assert [event["outcome"] for event in station.events("engine_build_ended")] == ["passed"]
    with station.running():
        station.until_ready()
    assert station.events("engine_build_begun") == []


@pytest.mark.heavy
def test_a_builder_dies_with_its_station_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    station = Station(tmp_path, golden=20)
    with station.running() as process:
        station.until("a builder", lambda: bool(builders(process)))
        (builder,) = builders(process)
        station.until("a builder that has come far enough to be tied", lambda: builder.nice() == 19)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs([builder], timeout=20)
        assert not alive
    with station.running():
        station.until_ready()


@pytest.mark.heavy
def test_a_station_that_cannot_prove_its_engine_is_not_ready_unless_its_file_allows_it(tmp_path: Path) -> None:
    strict, lenient = tmp_path / "strict", tmp_path / "lenient"
    for folder in (strict, lenient):
        folder.mkdir()
    station = Station(strict, golden=0)
    with station.running():
        station.until("why not", lambda: "is unverified" in station.status().get("error_text", ""))
        status = station.status()
        assert not status["ready"]
        assert status["error_code"] == 201
    assert read_books(strict / "state" / "ledger.sqlite").accepted == 0
    station = Station(lenient, golden=0, station='accept_unverified = ["little-yolo"]')
    with station.running():
        assert station.until_ready()["warning"]


@pytest.mark.heavy
def test_a_damaged_passport_is_set_aside_and_the_engine_proven_again(tmp_path: Path) -> None:
    station = Station(tmp_path, golden=20)
    with station.running():
        station.until_ready()
    (passport,) = (tmp_path / "state" / "engines").glob("*/passport.json")
    passport.write_text(passport.read_text().replace('"good": 20', '"good": 21'))
    with station.running():
        station.until_ready()
    assert len(station.events("engine_build_begun")) == 1
    assert list((tmp_path / "state" / "engines").glob("*.damaged"))
