"""The same threshold from an extreme-value model: what lies above a level has a generalised Pareto law (GPD).

As SPOT and DSPOT do it (A. Siffer, P.-A. Fouque, A. Termier, C. Largouet: Anomaly Detection in Streams with Extreme
Value Theory, KDD 2017): scores are taken relative to the mean of the parts before, which follows a drift, and the
threshold is level + s/g ((p/alpha)^g - 1). Unlike there, each part counts only for what its own threshold let be seen
of it, as in `guarded`. A few dozen excesses say little of the shape g: a prior holds it near 0, the exponential.
"""

from __future__ import annotations

import importlib
import math

import numpy as np

from edge_inspector.errors import ConfigError
from edge_inspector.settings.adaptive import Policy
from edge_inspector.stages.thresholds import pareto
from edge_inspector.stages.thresholds.records import Estimate
from edge_inspector.stages.thresholds.sample import Doubles, Sample, level_of, score, share_above, speaks, tail_of

LOCAL_PARTS = 40
"""Mean of so many good parts before a part is what its score is relative to."""
Z_95 = 1.959963984540054


def needed(policy: Policy) -> None:
    """ConfigError when a policy needs a package that is not installed."""
    if policy != "tail":
        return
    try:
        importlib.import_module("scipy.optimize")
    except ImportError as exc:
        raise ConfigError(
            f"the threshold policy tail needs scipy, which is not installed ({exc});"
            " pip install 'edge-inspector[thresholds]', or use policy = \"guarded\""
        ) from exc


def estimate(sample: Sample, alpha: float) -> Estimate | None:
    """The threshold that a share `alpha` of the good parts would reach now; None = too little is known of them."""
    if len(sample.odds) <= LOCAL_PARTS:
        return None
    relative, now = relative_to_before(sample)
    if not speaks(relative):
        return None
    level = level_of(relative)
    tail = tail_of(relative, level)
    fitted, covariance = pareto.fit(tail)
    depth, _, _ = pareto.depths(tail.rooms / math.exp(fitted[0]), float(fitted[1]))
    share, share_error = share_above(tail, np.exp(-depth))
    height = pareto.above(fitted, share, alpha)
    error = _log_error(fitted, covariance, share, share_error, alpha)
    # Of ln(height), so that the interval stays above the level and is longer upwards, as profile likelihoods are.
    low, high = height * math.exp(-error), height * math.exp(min(error, 5.0))
    return Estimate(score(now + level + height), score(now + level + low), score(now + level + high))


def relative_to_before(sample: Sample) -> tuple[Sample, float]:
    """Each part but the first `LOCAL_PARTS`, relative to the mean of as many before it; and that mean at the end."""
    sums = np.concatenate([[0.0], np.cumsum(sample.odds)])
    means = (sums[LOCAL_PARTS:] - sums[:-LOCAL_PARTS]) / LOCAL_PARTS
    before = means[:-1]
    after = slice(LOCAL_PARTS, None)
    relative = Sample(sample.odds[after] - before, sample.limit[after] - before, sample.seen[after])
    return relative, float(means[-1])


def _log_error(fitted: Doubles, covariance: Doubles, share: float, share_error: float, alpha: float) -> float:
    """Half of the 95 % interval of ln(height), by the delta method."""

    def log_ratio(step: Doubles, part: float) -> float:
        there, back = pareto.above(fitted + step, share * part, alpha), pareto.above(fitted - step, share / part, alpha)
        return math.log(there / back) / 2e-4

    slopes = np.array([log_ratio(step, 1.0) for step in np.eye(2) * 1e-4])
    of_share = log_ratio(np.zeros(2), math.exp(1e-4)) * share_error / share
    return Z_95 * math.sqrt(max(0.0, float(slopes @ covariance @ slopes)) + of_share**2)
