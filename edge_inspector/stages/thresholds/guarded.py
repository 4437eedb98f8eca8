"""Where a threshold should be: the tail of good parts' scores, freed of what the selection of good parts does to it.

Good parts are known as such because they were judged OK, that is, below their threshold; what good parts score above it
is missing. Plain percentiles of such a sample sink with the threshold that made it. Above a level the log-odds of good
parts are taken as level + Exp(s), and each part counts only for what could have been seen of it:

- judged OK with its threshold T above the level: an exponential cut off at T. Its likelihood
  exp(-y/s) / (s (1 - exp(-T/s))) gives the equation mean(y) = s - T / (exp(T/s) - 1) (W. L. Deemer, D. F. Votaw:
  Estimation of parameters of truncated or censored exponential distributions, Ann. Math. Statist. 26 (1955) 498-504;
  here with one T a part).
- rejected and confirmed good: an exponential from T on, which has no memory: y - T is Exp(s) again. How many rejects
  are looked at again does not matter, because only what lies above T is compared with what lies above T.

A few made-up excesses (`PRIOR`) keep s finite where the cut sample is flat.
"""

from __future__ import annotations

import math

import numpy as np

from edge_inspector.stages.thresholds.records import Estimate
from edge_inspector.stages.thresholds.sample import (
    PRIOR,
    PRIOR_SCALE,
    Sample,
    Tail,
    level_of,
    score,
    share_above,
    solved,
    speaks,
    tail_of,
)

Z_95 = 1.959963984540054


def estimate(sample: Sample, alpha: float) -> Estimate | None:
    """The threshold that a share `alpha` of the good parts would reach; None = too little is known of them."""
    if not speaks(sample):
        return None
    level = level_of(sample)
    tail = tail_of(sample, level)
    scale, scale_error = scale_of(tail)
    share, share_error = share_above(tail, np.exp(-tail.rooms / scale))
    reach = max(0.0, math.log(share / alpha))
    wanted = level + scale * reach
    error = Z_95 * math.hypot(reach * scale_error, scale * share_error / share)
    return Estimate(score(wanted), score(wanted - error), score(wanted + error))


def scale_of(tail: Tail) -> tuple[float, float]:
    """The exponential's scale s and its standard error: where s^2 times the likelihood's derivative is 0."""

    def rising(log_scale: float) -> float:
        s = math.exp(log_scale)
        cut = s - tail.room / np.expm1(np.minimum(tail.room / s, 500.0)) - tail.cut
        return float(np.sum(cut) + np.sum(s - (tail.told - tail.start))) + PRIOR * (s - PRIOR_SCALE)

    s = math.exp(solved(rising, math.log(1e-3), math.log(50.0)))
    # Fisher's information of one cut exponential is (1 - (r / (2 sinh(r/2)))^2) / s^2 with r = T/s.
    half = np.clip(tail.room / s / 2.0, 1e-6, 250.0)
    information = float(np.sum(1.0 - (half / np.sinh(half)) ** 2)) + len(tail.told) + PRIOR
    return s, s / math.sqrt(information)
