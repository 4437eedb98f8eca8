"""What people ask of the station changes no verdict: the real program, with a flood of requests beside its parts."""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_station import RealStation

from edge_inspector import config
from edge_inspector.control import ControlClient, StationAway
from edge_inspector.datatypes import Evaluation, Mode

PERIOD_S = 0.05
BLOCKS = 12
BLOCK_S = 4.0


@dataclass(frozen=True)
class Part:
    evaluation: Evaluation
    cycle_ms: float


class Belt:
    """A station that takes a picture by itself each `PERIOD_S`: good and bad parts in turn."""

    def __init__(self, folder: Path) -> None:
        self.station = RealStation(folder, "")
        text = self.station.file.read_text().replace('trigger = "plc"', f'trigger = "timer"\nperiod_s = {PERIOD_S}')
        self.station.file.write_text(text.replace('state_dir = "state"', 'state_dir = "state"\nmaster = "local"'))
        self.ledger = folder / "state" / "ledger.sqlite"
        self.client = ControlClient(config.load(self.station.file).station.runtime / "control.sock")

    def run(self) -> None:
        self.station.start()
        self.station.wait("the belt runs", self._runs)

    def _runs(self) -> bool:
        with suppress(StationAway):
            status = self.client.status()
            return status is not None and bool(status["recipe_ready"]) and len(self.parts()) > 5
        return False

    def parts(self, after: int = 0, mode: Mode = Mode.PRODUCTION) -> list[Part]:
        """What was inspected, of this mode, after that number."""
        if not self.ledger.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as book:
            rows = book.execute(
                "SELECT evaluation, cycle_ms FROM results JOIN triggers USING (seq) WHERE mode = ? AND seq > ? "
                "ORDER BY seq",
                (int(mode), after),
            )
            return [Part(Evaluation(evaluation), cycle_ms) for evaluation, cycle_ms in rows]

    def last(self) -> int:
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)) as book:
            return int(book.execute("SELECT max(seq) FROM results").fetchone()[0])

    @contextmanager
    def flooded(self) -> Iterator[None]:
        """By a program of the lowest priority, as the web service is."""
        program = Path(__file__).with_name("flood.py")
        flood = subprocess.Popen(["nice", "-n", "19", sys.executable, str(program), str(self.client.path), "cam", "64"])
        try:
            yield
            assert flood.poll() is None, "the flood has dried up"
        finally:
            flood.kill()
            flood.wait()


@pytest.fixture
def belt(tmp_path: Path) -> Iterator[Belt]:
    made = Belt(tmp_path)
    made.run()
    yield made
    if made.station.process is not None and made.station.process.poll() is None:
        made.station.kill()


def in_turn(parts: list[Part]) -> bool:
    """Good and bad pictures in turn have good and bad verdicts in turn."""
    turns = itertools.pairwise(part.evaluation for part in parts)
    return all({a, b} == {Evaluation.OK, Evaluation.NOT_OK} for a, b in turns)


def test_orders_posted_pictures_live_view_and_scrapes_change_no_verdict(belt: Belt) -> None:
    before = belt.last()
    with belt.flooded():
        belt.station.wait("40 parts under the flood", lambda: len(belt.parts(before)) >= 40)
        belt.station.wait("posted pictures come through, too", lambda: len(belt.parts(before, Mode.MANUAL)) >= 2)
    parts = belt.parts(before)
    assert in_turn(parts)
    assert belt.station.stop() == 0


@pytest.mark.heavy
def test_a_flood_of_requests_makes_verdicts_no_slower(belt: Belt, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks with and without in turn; the median of the ratios of neighbours' 95th percentiles."""
    p95: list[float] = []
    for block in range(BLOCKS):
        before = belt.last()
        if block % 2:
            with belt.flooded():
                time.sleep(BLOCK_S)
        else:
            time.sleep(BLOCK_S)
        parts = belt.parts(before)
        assert in_turn(parts)
        p95.append(statistics.quantiles([part.cycle_ms for part in parts], n=20)[-1])
    ratio = statistics.median(flooded / quiet for quiet, flooded in zip(p95[::2], p95[1::2], strict=True))
    with capsys.disabled():
        figures = ", ".join(f"{one:.1f}" for one in p95)
        sys.stdout.write(f"\np95 of the blocks, ms: {figures}; median ratio {ratio:.2f}\n")
    assert ratio <= 1.5
