"""Shares with the interval in which the true one lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with the Wilson interval that holds the true share in 95 of 100 such evaluations."""

    count: int
    total: int
    low: float
    high: float


def share(count: int, total: int) -> Share:
    """`count` of `total`, to four digits."""
    low, high = wilson(count, total)
    return Share(count, total, round(low, 4), round(high, 4))


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share. Wilson, JASA 22 (1927) 209-212; Newcombe, Stat. Med. 17 (1998), method 3."""
    if n == 0:
        return (0.0, 1.0)
    share, z2 = successes / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (max(0.0, middle - half), min(1.0, middle + half))


def parts_to_prove(wanted: float) -> int:
    """How many bad parts without one escape bring the upper end of the interval down to `wanted`, 0 < wanted < 1.

    Wilson's upper end for 0 of n is z^2 / (n + z^2).
    """
    return math.ceil(Z_95**2 * (1 - wanted) / wanted - 1e-9)
