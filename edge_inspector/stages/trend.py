"""Whether a row of numbers rises: Mann and Kendall's test, and Sen's slope for how much. Free of any distribution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median


@dataclass(frozen=True)
class Trend:
    """`chance`: how often numbers without a trend rise as clearly, 0..1, one-sided. `rise`: from the first to the last
    number, by the median slope of all pairs."""

    chance: float
    rise: float


def rising(values: Sequence[float]) -> Trend:
    """Mann-Kendall with the correction for ties and for continuity (Kendall 1975; Sen 1968). At least 8 numbers.

    The normal approximation is good from 8 to 10 numbers on; the numbers must not depend on each other, which is why
    means of blocks of parts are looked at and not parts.
    """
    n = len(values)
    if n < 8:
        raise ValueError(f"{n} numbers, expected at least 8: fewer show no trend")
    s = sum((b > a) - (b < a) for a, b in combinations(values, 2))
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values).values())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if s <= 0 or variance <= 0:
        return Trend(1.0, _rise(values))
    z = (s - 1) / math.sqrt(variance)
    return Trend(0.5 * math.erfc(z / math.sqrt(2)), _rise(values))


def _rise(values: Sequence[float]) -> float:
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(values), 2)]
    return median(slopes) * (len(values) - 1)
