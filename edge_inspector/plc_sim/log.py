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
        self.begin = self._file.tell()
        """Where this run's lines begin, in bytes."""

    def write(self, event: str, **facts: object) -> None:
        self._file.write(json.dumps({"event": event, **facts}) + "\n")

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class ToldResult:
    """A result as the PLC read it; `part_id` is the PLC's own for this number when `wrong_part_id` is not set.

    `result_id` is empty where it was read from the ring. `round_trip_ms` is None when the part did not wait for it any
    more. `mode` is the result's: outside Production (1) a PLC reads evaluation 0.
    """

    trigger_seq: int
    result_id: str
    evaluation: int
    part_id: str
    wrong_part_id: bool
    round_trip_ms: float | None
    mode: int = 1


@dataclass(frozen=True)
class AtGate:
    """What became of a part at its gate, and why; it has no `trigger_seq` when it was never announced."""

    trigger_seq: int | None
    part_id: str
    passed: bool
    why: str


@dataclass(frozen=True)
class PlcBook:
    """What one log adds up to; the tuples hold sequence numbers in the order in which things happened.

    `part_ids` is the part of each number, `faults` how often each fault was played.
    """

    part_ids: Mapping[int, str]
    triggered: tuple[int, ...]
    accepted: tuple[int, ...]
    refused: tuple[int, ...]
    unanswered: tuple[int, ...]
    acknowledged: tuple[int, ...]
    without_result: tuple[int, ...]
    results: tuple[ToldResult, ...]
    gate: tuple[AtGate, ...]
    faults: Mapping[str, int]

    @property
    def passed(self) -> tuple[AtGate, ...]:
        return tuple(part for part in self.gate if part.passed)


def read_plc_log(path: Path, begin: int = 0) -> PlcBook:
    """Add one log up, from byte `begin` on; a line that a killed process left half written is no line."""
    events: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_bytes()[begin:].decode().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        events.setdefault(record.pop("event"), []).append(record)

    def numbers(event: str) -> tuple[int, ...]:
        return tuple(record["trigger_seq"] for record in events.get(event, ()))

    faults = [record["name"] for record in events.get("fault", ())]
    return PlcBook(
        part_ids={record["trigger_seq"]: record["part_id"] for record in events.get("trigger", ())},
        triggered=numbers("trigger"),
        accepted=numbers("accepted"),
        refused=numbers("refused"),
        unanswered=numbers("unanswered"),
        acknowledged=numbers("acknowledged"),
        without_result=numbers("without_result"),
        results=tuple(ToldResult(**record) for record in events.get("result", ())),
        gate=tuple(AtGate(**record) for record in events.get("gate", ())),
        faults={name: faults.count(name) for name in dict.fromkeys(faults)},
    )
