"""How far thresholds may go, from the scores of a golden set: floor, ceiling, and how many defects that may miss."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edge_inspector.stages.thresholds.records import Bounds

LEAST_DEFECTS = 30
"""With fewer golden defects of a class its threshold is never looser than the recipe's."""
CONFIDENCE = 0.95
STEP = 0.001
"""Limits have three digits: scores are kept with four, rounded, and a limit is never above the score that made it."""


@dataclass(frozen=True)
class GoldenDefect:
    """One labelled defect: its class, and the highest score of each class at its place, 0 = nothing seen."""

    class_id: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class ClassLimits:
    """Of one class: `missed` of its `defects` are below every ceiling.

    `missed_upper` is the upper 95 % bound of the share of such defects that are missed (C. J. Clopper, E. S. Pearson:
    The use of confidence or fiducial limits, Biometrika 26 (1934) 404-413; one-sided). 1 where there is no defect.
    """

    floor: float
    ceiling: float
    defects: int
    missed: int
    missed_upper: float


def golden_limits(
    base: Sequence[float], goods: Sequence[Sequence[float]], defects: Sequence[GoldenDefect], reserve: float
) -> tuple[ClassLimits, ...]:
    """Floor and ceiling of each class; `goods` has the peaks of each good part, all by class as `base`.

    A defect that `base` catches relies on the class that sees it furthest on the way from its threshold up to 1. A
    class may loosen as far on that way as the weakest defect that relies on it survives, less `reserve` of it. Where
    fewer than `LEAST_DEFECTS` of its own rely on it, that is as far as the weakest of all survives; where fewer are
    labelled as of it, not at all. So no golden defect that `base` catches is missed, whichever classes loosen.

    No floor is so low that it alone would reject a golden good part that `base` accepts.
    """
    ceilings = _ceilings(base, defects, reserve)
    limits = []
    for c, (own, ceiling) in enumerate(zip(base, ceilings, strict=True)):
        of_class = [d for d in defects if d.class_id == c]
        missed = sum(all(s < t for s, t in zip(d.scores, ceilings, strict=True)) for d in of_class)
        floor = min(_up(max((peaks[c] for peaks in goods), default=0.0)), own, ceiling)
        limits.append(ClassLimits(floor, ceiling, len(of_class), missed, upper_bound(missed, len(of_class))))
    return tuple(limits)


def _ceilings(base: Sequence[float], defects: Sequence[GoldenDefect], reserve: float) -> list[float]:
    survived: list[list[float]] = [[] for _ in base]
    labelled, own = [0] * len(base), [0] * len(base)
    for defect in defects:
        labelled[defect.class_id] += 1
        ways = [(s - b) / (1.0 - b) if b < 1.0 else 0.0 for s, b in zip(defect.scores, base, strict=True)]
        best = max(range(len(base)), key=ways.__getitem__)
        if defect.scores[best] >= base[best]:
            survived[best].append(ways[best])
            own[best] += best == defect.class_id
    of_all = min((way for ways in survived for way in ways), default=0.0)
    ceilings = []
    for c, threshold in enumerate(base):
        way = min(survived[c]) if own[c] >= LEAST_DEFECTS else of_all
        loosest = ceiling_below(threshold + way * (1.0 - threshold), threshold, reserve)
        ceilings.append(loosest if labelled[c] >= LEAST_DEFECTS else threshold)
    return ceilings


def ceiling_below(score: float, base: float, reserve: float) -> float:
    """The ceiling that keeps a defect of this score caught, and this part of the way from `base` up to it free."""
    return max(base, _down(base + (1.0 - reserve) * (score - base)))


def bounds_of(
    classes: Sequence[str],
    base: Sequence[float],
    limits: Sequence[ClassLimits],
    kept: Collection[int] = (),
) -> Bounds:
    """The bounds of a released recipe; `unreleased()` of it are those before."""
    return Bounds(
        tuple(classes),
        tuple(base),
        tuple(one.floor for one in limits),
        tuple(one.ceiling for one in limits),
        tuple(c in kept for c in range(len(base))),
    )


def upper_bound(missed: int, of: int) -> float:
    """The share at which `missed` or fewer of `of` would be seen once in 20 times."""
    if missed >= of:
        return 1.0
    low, high = missed / of, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if _at_most(missed, of, middle) > 1.0 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(k: int, n: int, p: float) -> float:
    """The probability of k or fewer out of n, each with probability p (0 < p < 1)."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    ]
    return math.fsum(math.exp(one) for one in logs)


def _down(score: float) -> float:
    return max(0.0, round(math.floor(score / STEP + 1e-6) * STEP - STEP, 3))


def _up(score: float) -> float:
    return min(1.0, round(math.ceil(score / STEP) * STEP + STEP, 3))
