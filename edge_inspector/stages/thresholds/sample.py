"""What good parts of a class have scored, and what their thresholds would have hidden."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_inspector.stages.thresholds.records import Learnt

Doubles: TypeAlias = npt.NDArray[np.float64]

LOWEST, HIGHEST = 0.005, 0.9995
"""Scores beyond these count as these: below is nothing seen, above a sigmoid has no resolution left in 4 digits."""
ALIKE = 1e-9
"""Log-odds that differ by less are the same number."""
LEAST = 10
"""Of the parts judged OK, and of those that show anything of a class: with fewer of either nothing is said of it."""
TOP = 0.2
"""Share of the parts judged OK that make the tail."""
PRIOR, PRIOR_SCALE = 5, 0.5
"""Made-up excesses and the length of each, in log-odds: they keep the scale of a tail finite where the selection leaves
a flat sample of it, whose likelihood has no maximum. Chosen with samples of known laws and the tuning streams."""


@dataclass(frozen=True)
class Sample:
    """Good parts of one class in the book's order, (n,) each, in log-odds; `limit` is that by which each was judged.

    A part below its limit was judged OK: had it been above, it would not be here. One from it upwards is here because
    somebody has looked again, or because a rule let it pass.
    """

    odds: Doubles
    limit: Doubles
    seen: npt.NDArray[np.bool_]
    """Whether the part shows anything of the class."""

    @property
    def below(self) -> npt.NDArray[np.bool_]:
        judged: npt.NDArray[np.bool_] = self.odds < self.limit
        return judged


@dataclass(frozen=True)
class Tail:
    """The good parts above a level, as excesses over it.

    `cut` are those of parts judged OK, cut off at `room`. `told` are those of parts that somebody has confirmed, which
    could be seen from `start` upwards. `count` of the parts judged OK are above the level; `rooms` has one entry for
    each of those below and above: how far above the level its threshold was, 0 = below it.
    """

    cut: Doubles
    room: Doubles
    told: Doubles
    start: Doubles
    rooms: Doubles

    @property
    def count(self) -> int:
        return len(self.cut)


def log_odds(scores: npt.ArrayLike) -> Doubles:
    """Scores 0..1 -> ln(p / (1 - p)): what a network gives before its sigmoid, where tails are near exponential."""
    clipped: Doubles = np.clip(np.asarray(scores, np.float64), LOWEST, HIGHEST)
    odds: Doubles = np.log(clipped / (1.0 - clipped))
    return odds


def score(odds: float) -> float:
    """The way back."""
    return 1.0 / (1.0 + math.exp(-min(max(odds, -30.0), 30.0)))


def sample_of(parts: Sequence[Learnt], class_id: int) -> Sample:
    """The peaks of one class."""
    peaks = np.array([part.peaks[class_id] for part in parts], np.float64)
    return Sample(log_odds(peaks), log_odds([part.thresholds[class_id] for part in parts]), peaks > LOWEST)


def speaks(sample: Sample) -> bool:
    """Whether anything can be said: enough parts were judged OK, and enough parts show anything of the class at all."""
    return int(min(sample.below.sum(), sample.seen.sum())) >= LEAST


def level_of(sample: Sample) -> float:
    """Above which the tail begins: the strongest `TOP` of the parts judged OK."""
    return float(np.quantile(sample.odds[sample.below], 1.0 - TOP))


def tail_of(sample: Sample, level: float) -> Tail:
    """What of a sample lies above a level."""
    excess = sample.odds - level
    rooms = np.maximum(sample.limit - level, 0.0)
    cut = sample.below & (excess > ALIKE)
    told = ~sample.below & (excess > ALIKE)
    return Tail(excess[cut], rooms[cut], excess[told], rooms[told], rooms[sample.below])


def share_above(tail: Tail, hidden: Doubles) -> tuple[float, float]:
    """Which share p of all good parts lies above the level, and its standard error.

    `hidden` has for each of `tail.rooms` the share e of what is above the level that its threshold would have hidden.
    A part judged OK is above with probability p (1 - e) / (1 - p e), and below with (1 - p) / (1 - p e); this is the
    greatest likelihood of these.
    """
    below, above = len(hidden) - tail.count, tail.count

    def rising(p: float) -> float:  # the likelihood's falling slope, freed of its poles at 0 and 1
        return below * p - above * (1.0 - p) - p * (1.0 - p) * float(np.sum(hidden / (1.0 - p * hidden)))

    p = solved(rising, 1e-6, 1.0 - 1e-6)
    information = above / p**2 + below / (1.0 - p) ** 2 - float(np.sum((hidden / (1.0 - p * hidden)) ** 2))
    return p, 1.0 / math.sqrt(information) if information > 1.0 else 1.0


def solved(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses 0 between two numbers, to 1e-9; the nearer end when it does not.

    By the Illinois method: a secant whose standing end is halved, so that it never stands for long.
    """
    at_low, at_high = rising(low), rising(high)
    if at_low >= 0 or at_high <= 0:
        return low if at_low >= 0 else high
    side, before = 0, high
    for _ in range(100):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        value = rising(middle)
        if value == 0 or abs(middle - before) < 1e-9:
            return middle
        before = middle
        if value < 0:
            low, at_low = middle, value
            at_high *= 0.5 if side < 0 else 1.0
            side = -1
        else:
            high, at_high = middle, value
            at_low *= 0.5 if side > 0 else 1.0
            side = 1
    return before
