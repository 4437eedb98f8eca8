"""Thousands of parts through the handshake and a shift register, with random faults of the PLC and killed stations.

SHIFT_PARTS is how many (10000), in runs of SHIFT_RUN (1000) each with a seed of its own, the first of which is
SHIFT_SEED (1). A run that fails prints its seed: SHIFT_SEED=n SHIFT_PARTS=1000 plays it again.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from real_station import OPCUA, RealStation, free_port, real_station

from edge_inspector.datatypes import Evaluation
from edge_inspector.plc_sim.faults import ALL
from edge_inspector.plc_sim.log import PlcBook, read_plc_log

PARTS = int(os.environ.get("SHIFT_PARTS", "10000"))
RUN = int(os.environ.get("SHIFT_RUN", "1000"))
SEED = int(os.environ.get("SHIFT_SEED", "1"))
SHARE = 0.01
GATE_MS = 1000
LIMIT_S = 1500
pytestmark = [pytest.mark.system]


class Hall:
    """A station, and one PLC after the other, each with its own seed."""

    def __init__(self, station: RealStation, port: int) -> None:
        self.station = station
        self.endpoint = f"opc.tcp://127.0.0.1:{port}/edge-inspector"
        self.ledger = station.folder / "state" / "ledger.sqlite"
        self.truth = station.folder / "truth.json"
        self.truth.write_text(json.dumps({"good": [True, False, True, False]}))

    def run(self, seed: int, parts: int, kill: bool) -> PlcBook:
        """Odd seeds read the slot, even ones the ring; with `kill` the station dies in the middle."""
        log = self.station.folder / f"plc-{seed}.jsonl"
        command = [
            *(sys.executable, "-m", "edge_inspector", "plc-sim", "--endpoint", self.endpoint, "--log", str(log)),
            *("--recipe-no", "7", "--parts", str(parts), "--rate", "60", "--gate-ms", str(GATE_MS)),
            *("--through", "slot" if seed % 2 else "ring", "--fault", f"all={SHARE}", "--seed", str(seed)),
            *("--ledger", str(self.ledger), "--truth", str(self.truth)),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as plc:
            try:
                if kill:
                    self.station.wait("half of the parts", lambda: len(read_plc_log(log).gate) >= parts // 2, LIMIT_S)
                    self.station.kill()
                    self.station.start()
                said, _ = plc.communicate(timeout=LIMIT_S)
            finally:
                plc.kill()
        how = "slot" if seed % 2 else "ring"
        print(f"\nSHIFT_SEED={seed}, {how}{', station killed' if kill else ''}:\n{said}")  # noqa: T201 - for a person
        assert plc.returncode == 0, f"SHIFT_SEED={seed} SHIFT_PARTS={parts} fails:\n{said}"
        return read_plc_log(log)


def assert_ledger_agrees(ledger: Path, book: PlcBook) -> None:
    """By SQL of our own, because plc-sim must not be its own only witness."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT part_id, trigger_seq, evaluation, frame_ids FROM results JOIN triggers USING (seq)"
        ).fetchall()
    booked = {
        part_id: (trigger_seq, evaluation, json.loads(frames)) for part_id, trigger_seq, evaluation, frames in rows
    }
    assert len(booked) == len(rows), "a part is booked twice"
    for part in book.passed:
        trigger_seq, evaluation, frames = booked[part.part_id]
        assert (trigger_seq, evaluation) == (part.trigger_seq, Evaluation.OK), part
        assert [number % 2 for number in frames] == [0], f"{part} passed on {frames}: odd pictures are bad"
    for told in book.results:
        assert booked[told.part_id][:2] == (told.trigger_seq, told.evaluation), told


@pytest.mark.heavy
@pytest.mark.timeout(LIMIT_S + 300)
@pytest.mark.parametrize("parts", [pytest.param(PARTS, id="shift-register")])
def test_no_bad_part_passes_and_the_log_agrees_with_the_ledger(tmp_path: Path, parts: int) -> None:
    assert_all_is_well(tmp_path, parts, RUN, kill_every=2)


@pytest.mark.timeout(180)
def test_some_dozens_of_parts_do_too(tmp_path: Path) -> None:
    assert_all_is_well(tmp_path, 80, 40, kill_every=2)


def assert_all_is_well(folder: Path, parts: int, run: int, kill_every: int) -> None:
    port, begun = free_port(), time.monotonic()
    played: Counter[str] = Counter()
    passed = rejected = 0
    with real_station(folder, OPCUA.format(port=port), port) as station:
        hall = Hall(station, port)
        for number, first in enumerate(range(0, parts, run)):
            book = hall.run(SEED + number, min(run, parts - first), kill=number % kill_every == 1)
            assert_ledger_agrees(hall.ledger, book)
            played.update(book.faults)
            passed += len(book.passed)
            rejected += len(book.gate) - len(book.passed)
        assert station.stop() in (0, -signal.SIGTERM)
    spent_s = time.monotonic() - begun
    told = f"{passed + rejected} parts in {spent_s:.0f} s: {passed} passed, {rejected} rejected; {dict(played)}"
    print(told)  # noqa: T201 - for a person
    assert passed + rejected == parts
    assert passed > parts // 4, "half of the parts are good, and most of those should have passed"
    if parts >= 1000:
        assert set(played) == set(ALL), "a fault was never played"
