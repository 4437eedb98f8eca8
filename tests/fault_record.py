"""What a test of the fault table testifies: one line a row, of which tools/faults.py makes docs/reference/faults.md."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.plc_sim.log import read_plc_log
from edge_inspector.plc_sim.proof import compare
from edge_inspector.store.books import read_books, verdicts

SHORT_S = 0.3
"""TriggerReady falls for each part while its camera exposes: that is no fault."""
BEAT_S = 0.5


@dataclass(frozen=True)
class Record:
    """One row of the fault table as one test has shown it; `recovery_s` None = there was nothing to wait for."""

    row: int
    test: str
    injected: str
    saw: str
    recovery_s: float | None
    books: str


class FaultBook:
    """Given to a test by the fixture `fault`; what it is told counts only when the test passes."""

    def __init__(self, test: str) -> None:
        self.records: list[Record] = []
        self._test = test

    def tell(self, row: int, *, injected: str, saw: str, books: str, recovery_s: float | None = None) -> None:
        """`injected` is how the fault was made, `saw` what the PLC read, `books` how they stood at the end."""
        assert all(text.strip() for text in (injected, saw, books)), "a row of the table with an empty cell"
        self.records.append(Record(row, self._test, injected, saw, recovery_s, books))

    def write(self, path: Path) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(record)) + "\n" for record in self.records)


def read_tests(path: Path) -> set[str]:
    """The tests whose records a file has; one that is not there has none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {json.loads(line)["test"] for line in lines}


@dataclass(frozen=True)
class Sight:
    """What a panel showed from `ns` on; `linked` False = the station did not answer. `beat` -1 = it did not look."""

    ns: int
    linked: bool
    ready: bool
    error_code: int
    error_text: str
    beat: int = -1
    boot_id: int = 0


def shown(sights: Sequence[Sight], since_ns: int, until_ns: int) -> str:
    """What the station told of itself in this time, in words."""
    ends = [sight.ns for sight in sights[1:]] + [until_ns]
    spans = [(s, max(s.ns, since_ns), min(e, until_ns)) for s, e in zip(sights, ends, strict=True)]
    spans = [(sight, begin, end) for sight, begin, end in spans if end > begin]
    said = []
    away = _seconds([(begin, end) for sight, begin, end in spans if not sight.linked])
    low = _seconds([(begin, end) for sight, begin, end in spans if sight.linked and not sight.ready])
    codes = sorted({sight.error_code for sight, _, _ in spans if sight.linked and sight.error_code})
    beats = [begin for (a, _, _), (b, begin, _) in pairwise(spans) if b.linked and a.beat != b.beat]
    still = max((after - before for before, after in pairwise([since_ns, *beats, until_ns])), default=0) / 1e9
    boots = {sight.boot_id for sight, _, _ in spans if sight.linked}
    if low > SHORT_S:
        said.append(f"not READY for {low:.1f} s" + (f", ErrorCode {', '.join(map(str, codes))}" if codes else ""))
    elif codes:
        said.append(f"ErrorCode {', '.join(map(str, codes))}")
    if away > SHORT_S:
        said.append(f"no answer for {away:.1f} s")
    if still > BEAT_S and all(sight.beat >= 0 for sight, _, _ in spans):
        said.append(f"heartbeat still for {still:.1f} s")
    if len(boots) > 1:
        said.append("a new BootId")
    return "; ".join(said) or "READY all the while"


def read_by_plc(ledger: Path, plc_log: Path, since: int = 0) -> str:
    """The results that the PLC has read from byte `since` of its log on, with the reasons that the ledger has."""
    results = read_plc_log(plc_log, since).results
    rows = {row.part_id: row for row in verdicts(ledger).values()}
    counted = Counter(Evaluation(one.evaluation).name for one in results)
    why = Counter(
        Reason(rows[one.part_id].reason).name.lower()
        for one in results
        if one.evaluation == Evaluation.UNDEFINED and one.part_id in rows
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(why.items()))
    return ", ".join(
        f"{counted[name]} {name}" + (f" ({reasons})" if name == "UNDEFINED" and reasons else "")
        for name in ("OK", "NOT_OK", "UNDEFINED", "NOT_DECIDABLE")
        if counted[name]
    )


def longest_without_verdict_s(ledger: Path) -> float | None:
    """From the trigger of a part that has become UNDEFINED to the next verdict; None = there was no such part."""
    query = "SELECT accepted_ns, settled_ns, evaluation FROM triggers JOIN results USING (seq) ORDER BY seq"
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        rows = connection.execute(query).fetchall()
    longest, since = None, None
    for accepted_ns, settled_ns, evaluation in rows:
        if evaluation == Evaluation.UNDEFINED:
            since = accepted_ns if since is None else since
        elif since is not None:
            longest, since = max(longest or 0.0, (settled_ns - since) / 1e9), None
    return None if longest is None else round(longest, 2)


def balance(ledger: Path, plc_log: Path | None = None, unknown: int = 0) -> str:
    """The books of a station that has ended, in words; fails when anything is lost, doubled or contradicts the PLC.

    `unknown` is how many parts a power cut may have left open.
    """
    books = read_books(ledger)
    assert len(books.unknown) <= unknown, books.gaps
    assert books.accepted - len(books.unknown) == books.results
    text = f"{books.accepted} accepted = {books.results} results"
    text += f" + {len(books.unknown)} unknown" if books.unknown else ""
    if plc_log is not None:
        proof = compare(read_plc_log(plc_log), verdicts(ledger))
        assert proof.good, proof
        text += f"; {proof.compared} read by the PLC, all as booked"
    assert not books.dropped, books.gaps
    return text


def _seconds(spans: Sequence[tuple[int, int]]) -> float:
    """In all, without those that are too short to count."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return sum(end - begin for begin, end in joined if end - begin > SHORT_S * 1e9) / 1e9
