"""In which order a new image goes into the PLC's memory, so that no mixture of two results can ever pass a part."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias, cast

from edge_inspector.plc.tags import RING_WORDS, Value

Step: TypeAlias = tuple[tuple[str, Value], ...]
"""What goes into one write list, in its order; the next step begins when the server has answered."""
RESULT_BITS = 1 << 6 | 1 << 8 | 1 << 9
"""ResultsValid, OverallOK and OverallNotOK in Status.Word."""
_WORD_IN_BLOCK = 2
_RING = "Result.Ring"
_LAST = (*(_RING, "Result.TriggerSeq", "Status.Block", "Status.Word", "Status.ResultsValid", "Status.TriggerReady"),)
"""Behind all data, in this order."""


def steps(held: Mapping[str, Value], target: Mapping[str, Value], untried: Collection[str] = ()) -> tuple[Step, ...]:
    """What brings a PLC that holds `held` to `target`; a tag that is not in `held` may hold anything.

    A result that changes is taken back first: flags down, number and evaluation 0, its row of the ring empty. Only
    then the data follow, and behind them number and flags; meanwhile the number is 0, which is no part's. While
    anything is unknown, or for values that the server may refuse (`untried`), data and flags are two steps: the flags
    rise only when the server has taken all data.
    """
    changed = [tag for tag, value in target.items() if held.get(tag) != value]
    low: dict[str, Value] = {}
    if any(tag.startswith("Result.") and tag != _RING for tag in changed):
        low = lowered(held, target)
    if _RING in changed:
        low[_RING] = _emptied(held.get(_RING), target[_RING])
    down = tuple((tag, value) for tag, value in low.items() if held.get(tag) != value)
    now = {**held, **dict(down)}
    data = tuple((tag, value) for tag, value in target.items() if tag not in _LAST and now.get(tag) != value)
    flags = tuple((tag, target[tag]) for tag in _LAST if tag in target and now.get(tag) != target[tag])
    doubt = any(tag not in held for tag in target) or any(tag in untried for tag, _ in data)
    up = (data, flags) if doubt else ((*data, *flags),)
    return tuple(step for step in (down, *up) if step)


def lowered(held: Mapping[str, Value], target: Mapping[str, Value]) -> dict[str, Value]:
    """What of the image says that there is no result in the slot, as far as it is mapped, flags first."""
    low: dict[str, Value] = {"Status.ResultsValid": False}
    low["Status.Word"] = cast("int", _either("Status.Word", held, target)) & ~RESULT_BITS
    block = list(cast("Sequence[int]", _either("Status.Block", held, target)))
    if block:
        block[_WORD_IN_BLOCK] &= ~RESULT_BITS
    low |= {"Status.Block": tuple(block), "Result.TriggerSeq": 0, "Result.Evaluation": 0}
    return {tag: value for tag, value in low.items() if tag in target}


def _either(tag: str, held: Mapping[str, Value], target: Mapping[str, Value]) -> Value:
    return held.get(tag, target.get(tag, () if tag == "Status.Block" else 0))


def _emptied(held: Value | None, target: Value) -> tuple[int, ...]:
    """The ring without the rows that change: half a row must not look like one."""
    new = cast("tuple[int, ...]", target)
    old = cast("tuple[int, ...]", held) if held is not None else (0,) * len(new)
    rows: list[int] = []
    for start in range(0, len(new), RING_WORDS):
        row = old[start : start + RING_WORDS]
        rows += row if row == new[start : start + RING_WORDS] else [0] * RING_WORDS
    return tuple(rows)
