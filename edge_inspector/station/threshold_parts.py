"""The parts that thresholds learn from: in the order of their numbers, and found again when somebody speaks of one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from edge_inspector.store.peaks import ScoredPart

REMEMBERED = 10_000
"""Of so many parts somebody can still say whether they were good; 10 MB at most with a few classes."""


class InOrder:
    """Verdicts are given in any order, and learnt from in the order of acceptance, which a replay can repeat."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, ScoredPart | None] = OrderedDict()

    def accepted(self, seq: int) -> None:
        """A part that will be settled."""
        self._open[seq] = None

    def settled(self, part: ScoredPart) -> list[ScoredPart]:
        """Those before which no part is open any more, this one among them or not."""
        self._open[part.seq] = part
        due: list[ScoredPart] = []
        for first in self._open.values():
            if first is None:
                break
            due.append(first)
        for done in due:
            del self._open[done.seq]
        return due


class Remembered:
    """The last `REMEMBERED` parts, by the names that people and PLCs have for them."""

    def __init__(self, parts: Iterable[ScoredPart] = ()) -> None:
        self._by_seq: OrderedDict[int, ScoredPart] = OrderedDict()
        self._by_trigger: dict[tuple[int, int], int] = {}
        for part in parts:
            self.add(part)

    def add(self, part: ScoredPart) -> None:
        """The newest of them."""
        self._by_seq[part.seq] = part
        self._by_trigger[part.plc_boot_id, part.trigger_seq] = part.seq
        if len(self._by_seq) > REMEMBERED:
            seq, gone = self._by_seq.popitem(last=False)
            key = gone.plc_boot_id, gone.trigger_seq
            if self._by_trigger[key] == seq:  # else a newer part has the number
                del self._by_trigger[key]

    def of_trigger(self, trigger_seq: int, plc_boot_id: int) -> ScoredPart | None:
        """The newest part of this number of the PLC's."""
        seq = self._by_trigger.get((plc_boot_id, trigger_seq))
        return None if seq is None else self._by_seq[seq]

    def of_result(self, result_id: str) -> ScoredPart | None:
        """The part of this result."""
        seq = result_id.rpartition(".")[2]
        found = self._by_seq.get(int(seq)) if seq.isascii() and seq.isdecimal() and len(seq) < 20 else None
        return found if found is not None and found.result_id == result_id else None
