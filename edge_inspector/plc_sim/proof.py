"""Whether the PLC's log and the station's ledger tell the same story, verdict by verdict."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.datatypes import Evaluation
from edge_inspector.errors import ConfigError
from edge_inspector.plc_sim.log import AtGate, PlcBook, ToldResult
from edge_inspector.store.books import VerdictRow, read_books, verdicts

SETTLE_S = 10.0
"""How long the ledger may take to book what the PLC has read already."""
_POLL_S = 0.1


@dataclass(frozen=True)
class Truth:
    """Which pictures show a good part, by the camera's picture number; after the last one they begin again."""

    good: tuple[bool, ...]

    def bad(self, row: VerdictRow) -> bool:
        """Whether one of the part's pictures shows a bad one; what was never pictured cannot be good."""
        return any(number < 0 or not self.good[number % len(self.good)] for number in row.frame_ids)


@dataclass(frozen=True)
class Proof:
    """`compared` is how many results were read by the PLC and looked up, `unread` how many of its parts the station
    told a verdict that the PLC never read (it was away, or had started again): each of them must be a reject.
    """

    compared: int
    unread: int
    bad_passed: tuple[str, ...]
    wrong_ids: tuple[str, ...]
    disagreements: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not (self.bad_passed or self.wrong_ids or self.disagreements)


def read_truth(path: Path) -> Truth:
    """A JSON file {"good": [true, false, ...]}. ConfigError when it is something else."""
    try:
        good = json.loads(path.read_text(encoding="utf-8"))["good"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f'truth file {path}: expected JSON {{"good": [true, false, ...]}} ({exc!r})') from exc
    if not (isinstance(good, list) and good and all(isinstance(one, bool) for one in good)):
        raise ConfigError(f'truth file {path}: "good" must be a list of true and false, one for each picture')
    return Truth(tuple(good))


def settled_verdicts(ledger: Path, book: PlcBook) -> dict[str, VerdictRow]:
    """Every result of the ledger, once it has booked what the PLC has read, or after `SETTLE_S`. StorageError."""
    end = time.monotonic() + SETTLE_S
    while True:
        books, rows = read_books(ledger), verdicts(ledger)
        parts = {row.part_id for row in rows.values()}
        if time.monotonic() >= end or (
            books.accepted == books.results and all(told.part_id in parts for told in book.results)
        ):
            return rows
        time.sleep(_POLL_S)


def compare(book: PlcBook, rows: Mapping[str, VerdictRow], truth: Truth | None = None) -> Proof:
    """Look every part of the PLC's log up in the ledger; other PLCs' parts in it do not matter."""
    by_part: dict[str, list[VerdictRow]] = {part_id: [] for part_id in book.part_ids.values()}
    for row in rows.values():
        if row.part_id in by_part:
            by_part[row.part_id].append(row)
    found = [text for told in book.results if (text := _told(told, rows, by_part))]
    found += [f"{part_id} is booked {len(its)} times" for part_id, its in by_part.items() if len(its) > 1]
    accepted = {book.part_ids[seq] for seq in book.accepted}
    refused = {book.part_ids[seq] for seq in book.refused}
    found += [f"the PLC saw {part} accepted, which the ledger does not know" for part in accepted if not by_part[part]]
    found += [f"the PLC saw {part} refused, which the ledger has accepted" for part in refused if by_part[part]]
    read = {told.part_id for told in book.results}
    unread = {part for part, its in by_part.items() if its and part not in read and any(row.told for row in its)}
    return Proof(
        compared=len(book.results),
        unread=len(unread),
        bad_passed=tuple(text for part in book.passed if (text := _bad(part, by_part, read, truth))),
        wrong_ids=tuple(
            f"{told.result_id or told.trigger_seq}: names {told.part_id!r}, the PLC's part is"
            f" {book.part_ids.get(told.trigger_seq)!r}"
            for told in book.results
            if told.wrong_part_id
        ),
        disagreements=tuple(found),
    )


def _told(told: ToldResult, rows: Mapping[str, VerdictRow], by_part: Mapping[str, list[VerdictRow]]) -> str:
    """What is wrong with one result that the PLC has read; empty = nothing."""
    row = rows.get(told.result_id) if told.result_id else next(iter(by_part.get(told.part_id, ())), None)
    name = told.result_id or f"result of {told.part_id}"
    if row is None:
        return f"the PLC read {name}, which the ledger does not know"
    shown = row.evaluation if told.mode == 1 else Evaluation.UNDEFINED
    if (told.evaluation, told.part_id, told.trigger_seq) == (shown, row.part_id, row.trigger_seq):
        return ""
    return (
        f"{name}: PLC read {Evaluation(told.evaluation).name} for {told.part_id!r} (trigger {told.trigger_seq}),"
        f" ledger has {row.evaluation.name} for {row.part_id!r} (trigger {row.trigger_seq})"
    )


def _bad(part: AtGate, by_part: Mapping[str, list[VerdictRow]], read: set[str], truth: Truth | None) -> str:
    """Why a part that passed should not have; empty = it is good."""
    its = by_part.get(part.part_id, [])
    if [row.evaluation for row in its] != [Evaluation.OK]:
        booked = ", ".join(row.evaluation.name for row in its) or "nothing"
        return f"{part.part_id} passed, the ledger has {booked}"
    if part.part_id not in read:
        return f"{part.part_id} passed without a result"
    if truth is not None and truth.bad(its[0]):
        return f"{part.part_id} passed, its picture shows a bad part"
    return ""
