"""SIGKILL of the verdict core at random moments: nothing lost or doubled, the PLC's log and the ledger agree.

KILL_SEED chooses the moments, KILL_FROM the first kill.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from outage_rig import tell

from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.store.books import read_books, verdicts

pytestmark = pytest.mark.system
SEED = os.environ.get("KILL_SEED", "1")
FIRST = int(os.environ.get("KILL_FROM", "0"))
MANY = 980
TESTS = Path(__file__).parents[1]
LONGEST_S = 0.4  # a start takes about a quarter of it
OPEN_S = 0.02  # a part takes about so long
AIMED = 0.5  # the share of kills that wait for a part to be accepted


class Zygote:
    """The process that has imported everything, and the stations that it forks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "plc.log"
        self._log.touch()
        paths = os.pathsep.join(map(str, (TESTS, TESTS / "station", TESTS.parent)))
        environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(TESTS / "core_station.py"), str(folder)]
        with (folder / "station.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def start(self, first: int) -> int:
        return int(self._asked(f"run {first}"))

    def end(self, pid: int, how: signal.Signals) -> int:
        """The exit code after this signal."""
        os.kill(pid, how)
        return int(self._asked(f"wait {pid}").split()[1])

    def accepted(self) -> int:
        return self._log.read_bytes().count(b"accepted")

    def seen(self) -> tuple[list[int], list[tuple[int, str, str]]]:
        """What the PLC has seen: the parts accepted, and each result's part, id and evaluation."""
        lines = [line.split() for line in self._log.read_text().splitlines()]
        results = [(int(words[1]), words[2], words[3]) for words in lines if words[0] == "result"]
        return [int(words[1]) for words in lines if words[0] == "accepted"], results

    def _asked(self, order: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def storm(folder: Path, kills: range) -> None:
    """Kill so often, at moments that hang on the seed and the kill's number alone; then compare the books."""
    zygote = Zygote(folder)
    try:
        for number in kills:
            chance = random.Random(f"{SEED}/{number}")
            accepted = zygote.accepted()
            pid = zygote.start(1 + 1000 * (number - kills.start))
            if chance.random() < AIMED:
                end = time.monotonic() + 20
                while zygote.accepted() < accepted + chance.randrange(1, 4):
                    assert time.monotonic() < end, f"kill {number}: no part was accepted"
                    time.sleep(0.002)
                time.sleep(chance.uniform(0, OPEN_S))
            else:
                time.sleep(chance.uniform(0, LONGEST_S))
            assert zygote.end(pid, signal.SIGKILL) == -signal.SIGKILL, f"kill {number}: it had ended by itself"
        pid = zygote.start(1 + 1000 * len(kills))
        accepted, end = zygote.accepted(), time.monotonic() + 20
        while zygote.accepted() < accepted + 3:
            assert time.monotonic() < end, "no part was accepted after the last kill"
            time.sleep(0.01)
        assert zygote.end(pid, signal.SIGTERM) == 0
        compare(folder, *zygote.seen(), len(kills))
    finally:
        zygote.close()


def compare(folder: Path, accepted: list[int], told: list[tuple[int, str, str]], kills: int) -> None:
    """Each accepted part has one verdict in the ledger, the one that was told; a part is told once at most."""
    rows = verdicts(folder / "ledger.sqlite")
    of_part = Counter(row.trigger_seq for row in rows.values())
    assert set(of_part.values()) == {1}
    assert set(accepted) <= of_part.keys()
    assert max(Counter(number for number, _, _ in told).values()) == 1
    for number, result_id, evaluation in told:
        assert rows[result_id].evaluation.name == evaluation, f"part {number}"
        assert rows[result_id].trigger_seq == number
        assert evaluation != "OK" or number % 2, f"part {number} is bad"
    heard = {result_id for _, result_id, _ in told}
    for result_id, row in rows.items():
        if result_id not in heard and row.reason is not Reason.RESTART:
            # decided, and killed before or while the PLC was told: it stands as it was decided
            assert row.evaluation in (Evaluation.OK, Evaluation.NOT_OK), row
    books = read_books(folder / "ledger.sqlite")
    assert books.unknown == ()
    assert books.results == books.accepted == len(rows)
    restarts = sum(row.reason is Reason.RESTART for row in rows.values())
    tell(f"{kills} kills: {len(accepted)} parts accepted, {len(told)} told, {restarts} UNDEFINED by a restart")
    assert restarts > kills * AIMED / 10, "hardly a kill met a part in work"


def test_some_kills_of_the_verdict_core_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    storm(tmp_path, range(FIRST, FIRST + 6))


@pytest.mark.heavy
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kills", [pytest.param(MANY, id="kills")])
def test_a_thousand_kills_of_the_verdict_core_lose_nothing_and_double_nothing(tmp_path: Path, kills: int) -> None:
    storm(tmp_path, range(FIRST, MANY))
