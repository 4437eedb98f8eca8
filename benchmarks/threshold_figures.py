"""From runs to figures: false rejects and escapes against `fixed`, with the interval of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLOCK = 50  # parts that follow one another are alike: they are drawn together
DRAWS = 4000
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One policy on one stream. Escapes are bad parts that pass; `additional` are those that `fixed` rejects.

    `missed_parts` and `missed_defects`: of the golden ones that `fixed` catches, those that were below all thresholds
    at some moment. `recovered` and `back` as in `threshold_runs.recovered`, after the drift has begun and after it has
    gone. `blocks`: good parts rejected in each block of the stream, by `fixed` and by this policy.
    """

    product: str
    kind: str
    seed: int
    policy: str
    looked_at: float
    good: int
    bad: int
    false_rejects: int
    escapes: int
    additional: int
    caught_more: int
    missed_parts: int
    missed_defects: int
    above_ceiling: bool
    recovered: int | None
    back: int | None
    alarms: int
    blocks: tuple[tuple[int, ...], tuple[int, ...]]


def in_blocks(wrong: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """How many in each block; the last one may be shorter."""
    return tuple(int(n) for n in np.add.reduceat(wrong, np.arange(0, len(wrong), BLOCK), dtype=np.int64))


def reduction(rows: Sequence[Row]) -> tuple[float, float, float] | None:
    """By which share a policy rejects fewer good parts than `fixed`, and its 95 % interval.

    None = `fixed` rejects none. Bootstrap in two steps: streams of a kind are drawn anew (by seed), and then blocks of
    parts within each.
    """
    fixed, own = (sum(sum(row.blocks[i]) for row in rows) for i in (0, 1))
    if not fixed:
        return None
    rng = np.random.default_rng(7)
    kinds = {(row.product, row.kind) for row in rows}
    drawn = np.zeros((DRAWS, 2))
    for kind in sorted(kinds):
        blocks = np.array([row.blocks for row in rows if (row.product, row.kind) == kind])  # (seeds, 2, blocks)
        seeds, n = blocks.shape[0], blocks.shape[2]
        for draw in range(DRAWS):
            for _ in range(seeds):
                drawn[draw] += blocks[rng.integers(seeds)][:, rng.integers(n, size=n)].sum(axis=1)
    drawn = drawn[drawn[:, 0] > 0]
    shares = 1.0 - drawn[:, 1] / drawn[:, 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return 1.0 - own / fixed, float(low), float(high)
