"""From the parts that were kept to all parts of the time: weighted shares with their intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_inspector.store.kept_parts import Kind

Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""


@dataclass(frozen=True)
class Stratum:
    """Parts whose pictures were kept for the same reason: `parts` in the book, of which `sample` were run.

    `every_nth`: it was meant that one of so many is kept.
    """

    kind: Kind
    every_nth: int
    parts: float
    sample: int


@dataclass(frozen=True)
class Estimate:
    """Of all parts: the share to which something holds, and its 95 % interval; `seen` of the `sample` parts did.

    `share` None = of some parts nothing is known, and the interval says all that is possible.
    """

    share: float | None
    low: float
    high: float
    seen: int
    sample: int
    parts: float


def estimate(strata: Sequence[Stratum], hits: Sequence[int], others: float = 0.0) -> Estimate:
    """The share of all parts, `hits` having been seen in the sample of each stratum.

    `others` are so many parts more to which it cannot hold.
    Each stratum's share has Wilson's interval, narrowed as far as the sample is most of a finite number of parts; they
    are added by recovered variances (Zou and Donner, Stat. Med. 27 (2008) 1693). A stratum of which all was run has no
    error, and one of which nothing was run may be anything. ValueError: more hits than were run.
    """
    total = sum(one.parts for one in strata) + others
    sample = sum(one.sample for one in strata)
    if not total:
        return Estimate(None, 0.0, 1.0, sum(hits), sample, 0.0)
    share, below, above, unknown, least, most = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for one, seen in zip(strata, hits, strict=True):
        if seen > one.sample:
            raise ValueError(f"{seen} hits among {one.sample} parts of {one.kind}, expected at most as many")
        weight = one.parts / total
        least += seen / total
        most += (one.parts - (one.sample - seen)) / total
        if not one.parts:
            continue
        if not one.sample:
            unknown += weight
            continue
        part = seen / one.sample
        low, high = _wilson(part, _effective(one))
        share += weight * part
        below += (weight * (part - low)) ** 2
        above += (weight * (high - part)) ** 2
    low = max(share - math.sqrt(below), least, 0.0)
    high = min(share + unknown + math.sqrt(above), most, 1.0)
    return Estimate(None if unknown else share, min(low, high), high, sum(hits), sample, total)


def _effective(one: Stratum) -> float:
    """The size of a sample of an endless number of parts that would be as sure as this one of a finite number."""
    if one.sample >= one.parts:
        return math.inf
    return one.sample * (one.parts - 1) / (one.parts - one.sample)


def _wilson(share: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a share; `n` need not be whole. Wilson, JASA 22 (1927) 209-212."""
    if math.isinf(n):
        return share, share
    z2 = Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
