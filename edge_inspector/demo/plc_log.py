"""The simulated PLC's own book: one JSON object a line, written as things happen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO


class PlcLog:
    """Appends lines; each is on its way to the file before the PLC goes on."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, event: str, **facts: object) -> None:
        self._file.write(json.dumps({"event": event, **facts}) + "\n")

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class ToldResult:
    """A result as the PLC read it."""

    trigger_seq: int
    result_id: str
    evaluation: int
    part_id: str
    wrong_part_id: bool
    passed: bool
    round_trip_ms: float


@dataclass(frozen=True)
class PlcBook:
    """What one log adds up to; the tuples hold sequence numbers in the order in which things happened.

    `part_ids` is the part of each number.
    """

    part_ids: Mapping[int, str]
    triggered: tuple[int, ...]
    accepted: tuple[int, ...]
    refused: tuple[int, ...]
    unanswered: tuple[int, ...]
    acknowledged: tuple[int, ...]
    without_result: tuple[int, ...]
    results: tuple[ToldResult, ...]


def read_plc_log(path: Path) -> PlcBook:
    """Add one log up; a line that a killed process left half written is no line."""
    events: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        events.setdefault(record["event"], []).append(record)

    def numbers(event: str) -> tuple[int, ...]:
        return tuple(record["trigger_seq"] for record in events.get(event, ()))

    results = tuple(
        ToldResult(**{key: value for key, value in record.items() if key != "event"})
        for record in events.get("result", ())
    )
    return PlcBook(
        part_ids={record["trigger_seq"]: record["part_id"] for record in events.get("trigger", ())},
        triggered=numbers("trigger"),
        accepted=numbers("accepted"),
        refused=numbers("refused"),
        unanswered=numbers("unanswered"),
        acknowledged=numbers("acknowledged"),
        without_result=numbers("without_result"),
        results=results,
    )
