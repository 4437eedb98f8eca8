"""Each kind of rule over many parts as a small state machine: one part in, and at times a finding out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.settings.line_rules import ConsecutiveRule, RejectRateRule, TrendRule
from edge_inspector.stages.trend import rising
from edge_inspector.store.line_parts import LinePart

MOST_PARTS = 100
"""Parts that an event names: the newest of those that caused it."""
AGAIN = 0.8
"""A rate is told again only after it had fallen to this share of its limit: one that sways about it is told once."""
_MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class Finding:
    """`parts` are the result_ids that caused it; `reason_no` is the PLC's number of it, where the line should stop."""

    text: str
    parts: tuple[str, ...]
    reason_no: int = 0


class AnyReject:
    """So many parts in a row that are not OK, whatever it was: `station.line_stop_after`."""

    def __init__(self, parts: int) -> None:
        self._wanted = parts
        self._row: list[str] = []

    def settled(self, part: LinePart) -> Finding | None:
        if part.evaluation is Evaluation.OK:
            self._row.clear()
            return None
        self._row = [*self._row, part.result_id][-self._wanted :]
        if len(self._row) < self._wanted:
            return None
        last = f"the last one by {part.reason_text}" if part.reason_text else "the last one without a word why"
        text = f"{self._wanted} parts in a row were not OK, {last}"
        return Finding(f"{text}: {', '.join(self._row[-MOST_PARTS:])}", tuple(self._row), part.reason_no)

    def again(self) -> None:
        """Count from the next part on."""
        self._row.clear()


class SameDefect:
    """So many parts in a row with one defect, or rejected by one rule; what could not be judged is passed over."""

    def __init__(self, rule: ConsecutiveRule) -> None:
        self._rule = rule
        self._rows: dict[str, list[str]] = {}

    def settled(self, part: LinePart) -> Finding | None:
        if part.evaluation is Evaluation.OK:
            self._rows.clear()
        if part.evaluation is not Evaluation.NOT_OK:
            return None
        wanted, causes = self._rule.parts, self._causes(part)
        self._rows = {cause: [*self._rows.get(cause, ()), part.result_id][-wanted:] for cause in causes}
        for cause, row in self._rows.items():
            if len(row) >= wanted:
                return Finding(f"{wanted} parts in a row with {cause}", tuple(row), causes[cause])
        return None

    def again(self) -> None:
        """Count from the next part on."""
        self._rows.clear()

    def _causes(self, part: LinePart) -> dict[str, int]:
        """In words, and the PLC's number of each."""
        wanted = self._rule.classes
        causes = {
            f"the defect {name}": int(Reason.DEFECT) + number
            for name, number in part.defects.items()
            if not wanted or name in wanted
        }
        if part.rule and not wanted:
            causes[f"a reject by rule {part.rule}"] = part.reason_no
        return causes


class RejectRate:
    """The share of rejects among the last parts; `raised` from the part that made it too high until it has fallen."""

    def __init__(self, rule: RejectRateRule) -> None:
        self._rule = rule
        self._last: deque[tuple[int, str, bool]] = deque(maxlen=rule.parts)
        self._bad = 0
        self.raised = False

    def settled(self, part: LinePart, at_ns: int) -> None:
        """`at_ns` is when the part was there, CLOCK_MONOTONIC."""
        if len(self._last) == self._last.maxlen:
            self._bad -= self._last[0][2]
        bad = is_reject(part, self._rule.classes)
        self._last.append((at_ns, part.result_id, bad))
        self._bad += bad
        self.look(at_ns)

    def look(self, at_ns: int) -> None:
        """What is too old by now is forgotten."""
        rule = self._rule
        if rule.minutes is not None:
            while self._last and at_ns - self._last[0][0] > rule.minutes * _MINUTE_NS:
                self._bad -= self._last.popleft()[2]
        size = rule.parts or len(self._last)  # rejects that are too many for a full window need not wait for it
        if self.raised:
            full = rule.parts is None or len(self._last) == rule.parts
            self.raised = not full or self._bad > AGAIN * rule.above * size
        else:
            self.raised = self._bad > rule.above * size and (rule.parts is not None or size >= rule.least)

    def finding(self) -> Finding:
        """What there is to say of the parts that are looked at now."""
        rule, rejected = self._rule, [name for _, name, bad in self._last if bad]
        among = f"the last {len(self._last)} parts" if rule.minutes is None else f"those of {rule.minutes:g} minutes"
        what = f" by {' or '.join(rule.classes)}" if rule.classes else ""
        share = self._bad / max(1, rule.parts or len(self._last))
        text = f"{self._bad} rejects{what} among {among}: {share:.1%} of a whole window, more than {rule.above:.1%}"
        return Finding(text, tuple(rejected[-MOST_PARTS:]))


class RisingTrend:
    """Means of blocks of parts of one recipe, and whether they rise; another recipe begins anew."""

    def __init__(self, rule: TrendRule, score: Callable[[LinePart, Sequence[str]], float | None]) -> None:
        """`score` is the highest of a part's scores of these classes, None = it has none."""
        self._rule = rule
        self._score = score
        self._recipe = ""
        self._block: list[tuple[float, str]] = []
        self._means: deque[float] = deque(maxlen=rule.blocks)
        self._parts: deque[list[str]] = deque(maxlen=rule.blocks)

    def settled(self, part: LinePart) -> Finding | None:
        rule = self._rule
        if part.recipe != self._recipe:
            self._recipe = part.recipe
            self._begin()
        value = self._value(part)
        if value is None:
            return None
        self._block.append((value, part.result_id))
        if len(self._block) < rule.block_parts:
            return None
        self._means.append(fmean(one for one, _ in self._block))
        self._parts.append(self._telling())
        self._block.clear()
        if len(self._means) < rule.blocks:
            return None
        seen = rising(self._means)
        if seen.chance > rule.chance or seen.rise < rule.rise:
            return None
        first, last = self._means[0], self._means[-1]
        what = "the share of rejects" if rule.of == "rejects" else "the parts' highest score"
        text = (
            f"{what} of recipe {part.recipe} rises: by {seen.rise:.3f} over {rule.blocks} blocks of "
            f"{rule.block_parts} parts (first {first:.3f}, last {last:.3f}; by chance {seen.chance:.2g})"
        )
        named = tuple(name for block in self._parts for name in block)
        self._begin()  # told once, and again when it goes on rising
        return Finding(text, named[-MOST_PARTS:])

    def _value(self, part: LinePart) -> float | None:
        if self._rule.of == "rejects":
            return float(is_reject(part, self._rule.classes))
        return self._score(part, self._rule.classes) if part.whole else None

    def _telling(self) -> list[str]:
        """The parts of a block by which somebody can see it: the rejects, or those with the highest scores."""
        if self._rule.of == "rejects":
            return [name for value, name in self._block if value]
        highest = sorted(range(len(self._block)), key=lambda i: self._block[i][0])[-5:]
        return [self._block[i][1] for i in sorted(highest)]

    def _begin(self) -> None:
        self._block.clear()
        self._means.clear()
        self._parts.clear()


def is_reject(part: LinePart, classes: Sequence[str]) -> bool:
    """Everything but OK is one; with `classes`, only a part that shows one of them."""
    if part.evaluation is Evaluation.OK:
        return False
    return not classes or any(name in part.defects for name in classes)
