"""Where a policy puts a threshold: against laws whose quantiles are known, and scipy's own likelihoods."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from edge_inspector.stages.thresholds import guarded, pareto, tail
from edge_inspector.stages.thresholds.percentile import rolling
from edge_inspector.stages.thresholds.records import Estimate, Learnt
from edge_inspector.stages.thresholds.sample import (
    PRIOR,
    PRIOR_SCALE,
    Doubles,
    Sample,
    Tail,
    log_odds,
    sample_of,
    score,
    share_above,
)

ALPHA = 0.001
Estimated = Callable[[Sample, float], Estimate | None]
BOTH = pytest.mark.parametrize("estimate", [guarded.estimate, tail.estimate], ids=["guarded", "tail"])


def a_tail(seed: int, scale: float = 0.7, told: int = 5) -> Tail:
    """Excesses of an exponential law, cut off at thresholds that moved."""
    rng = np.random.default_rng(seed)
    room = rng.uniform(0.3, 1.5, 60)
    cut = -scale * np.log1p(-rng.uniform(size=60) * (1 - np.exp(-room / scale)))
    start = rng.uniform(0.2, 1.0, told)
    return Tail(
        cut, room, start + rng.exponential(scale, told), start, np.concatenate([room, rng.uniform(0, 1.5, 240)])
    )


def selected(odds: Doubles, limit: float, review: float, rng: np.random.Generator) -> Sample:
    """What a line knows of good parts: those below its limit, and a share of the others, looked at again."""
    known = odds[(odds < limit) | (rng.random(len(odds)) < review)]
    return Sample(known, np.full(len(known), limit), np.full(len(known), True))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.2] * 9, 0.5),  # too few
        ([0.2] * 10, 0.3),
        ([i / 1000 for i in range(100)], 0.0891 + 0.1),  # numpy's 90th percentile of 0 .. 0.099, by hand
        ([0.85] * 50, 0.9),  # never above
        ([0.7] * 100 + [0.1] * 100, 0.2),  # the last 100 count
    ],
)
def test_the_plain_rule_is_the_one_that_was_asked_for(scores: list[float], expected: float) -> None:
    assert rolling(scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("told", [0, 5])
def test_the_scale_has_the_greatest_likelihood_by_scipy(told: int) -> None:
    of = a_tail(1, told=told)

    def loss(log_s: float) -> float:
        s = math.exp(log_s)
        cut = np.sum(stats.truncexpon.logpdf(of.cut, of.room / s, scale=s))
        seen = np.sum(stats.expon.logpdf(of.told - of.start, scale=s))
        made_up = np.sum(stats.expon.logpdf(np.full(PRIOR, PRIOR_SCALE), scale=s))
        return -float(cut + seen + made_up)

    best = optimize.minimize_scalar(loss, (-1, 1), options={"xtol": 1e-10})
    s, error = guarded.scale_of(of)
    assert math.log(s) == pytest.approx(best.x, abs=1e-5)
    # Expected information, so only near to the observed curvature.
    h = 1e-3
    curvature = (loss(best.x + h) - 2 * best.fun + loss(best.x - h)) / h**2
    assert error / s == pytest.approx(1 / math.sqrt(curvature), rel=0.25)


@pytest.mark.parametrize("at", [(-0.5, 0.12), (0.3, -0.09), (0.1, 0.0)])
def test_the_pareto_likelihood_is_scipys(at: tuple[float, float]) -> None:
    of, (log_s, g) = a_tail(2), at
    law = stats.genpareto(g, scale=math.exp(log_s))
    cut = law.logpdf(of.cut) - law.logcdf(of.room)
    told = law.logpdf(of.told) - law.logsf(of.start)
    made_up = stats.expon.logpdf(np.full(PRIOR, PRIOR_SCALE), scale=math.exp(log_s))
    shape = stats.norm.logpdf(g, scale=pareto.SHAPE_SPREAD) - stats.norm.logpdf(0, scale=pareto.SHAPE_SPREAD)
    value, slopes = pareto.loss(np.array(at), of)
    assert value == pytest.approx(-(cut.sum() + told.sum() + made_up.sum() + shape), abs=1e-6)
    step = np.eye(2) * 1e-5
    by_hand = [(pareto.loss(np.array(at) + d, of)[0] - pareto.loss(np.array(at) - d, of)[0]) / 2e-5 for d in step]
    assert slopes == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_pareto_fit_has_the_greatest_likelihood(seed: int) -> None:
    of = a_tail(seed, scale=0.3 + 0.2 * seed, told=seed)
    fitted, covariance = pareto.fit(of)
    here = pareto.loss(fitted, of)[0]
    for step in (0.01, 0.1, 0.3):
        for way in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)):
            assert pareto.loss(fitted + step * np.array(way), of)[0] > here
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_the_share_above_counts_what_thresholds_hid() -> None:
    """1000 parts, 300 of them above the level, and half of these hidden by their thresholds: seen are 150 of 850."""
    of = Tail(np.ones(150), np.ones(150), np.zeros(0), np.zeros(0), np.ones(850))
    share, error = share_above(of, np.full(850, 0.5))
    assert share == pytest.approx(0.3, abs=1e-6)
    assert 0.01 < error < 0.03  # somewhat above the 0.0145 of 300 of 1000 that are all seen


@BOTH
@pytest.mark.parametrize("review", [0.0, 0.1, 1.0])
def test_the_selection_of_good_parts_is_taken_back(estimate: Estimated, review: float) -> None:
    """A fifth of the good parts is rejected; whatever share of these somebody looks at, the quantile comes out."""
    scale, limit = 0.5, -1.0
    level = limit - scale * math.log(0.5 / 0.2)  # half of the parts are above it, a fifth above the limit
    true = level + scale * math.log(0.5 / ALPHA)
    found, plain = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        away = rng.exponential(scale, 1000)
        sample = selected(np.where(rng.random(1000) < 0.5, level + away, level - away), limit, review, rng)
        one = estimate(sample, ALPHA)
        assert one is not None
        found.append(float(log_odds(one.wanted)))
        plain.append(float(np.quantile(sample.odds, 1 - ALPHA)))
    assert np.mean(found) == pytest.approx(true, abs=0.5)
    if review == 0.0:
        assert max(plain) < limit  # the plain quantile sees nothing of it, and would reject still more


@BOTH
def test_the_interval_holds_the_true_threshold_about_19_times_in_20(estimate: Estimated) -> None:
    """Of an exponential tail that is all seen; 100 samples, of which 95 % would give 90 to 99."""
    rng = np.random.default_rng(4)
    true = score(-3 + 0.5 * math.log(1 / ALPHA))
    held = 0
    for _ in range(100):
        found = estimate(Sample(-3 + rng.exponential(0.5, 300), np.full(300, 5.0), np.full(300, True)), ALPHA)
        assert found is not None
        assert found.low <= found.wanted <= found.high
        held += found.low <= true <= found.high
    assert 90 <= held <= 100


@BOTH
def test_parts_that_are_all_alike_have_a_threshold_just_above_them(estimate: Estimated) -> None:
    found = estimate(Sample(log_odds([0.3] * 100), log_odds([0.5] * 100), np.full(100, True)), ALPHA)
    assert found is not None
    assert 0.3 <= found.wanted <= 0.31


@BOTH
@pytest.mark.parametrize(
    ("peaks", "limits"),
    [
        ([0.0] * 300, [0.5] * 300),  # nothing of the class is seen
        ([0.0] * 291 + [0.3] * 9, [0.5] * 300),  # hardly anything
        ([0.6] * 300, [0.5] * 300),  # all of them confirmed, none judged OK
        ([0.3] * 9, [0.5] * 9),
        ([0.3] * 41, [0.5] * 41),
        ([], []),
    ],
)
def test_where_little_is_known_nothing_is_said(estimate: Estimated, peaks: list[float], limits: list[float]) -> None:
    parts = [Learnt(seq, (peak,), (limit,)) for seq, (peak, limit) in enumerate(zip(peaks, limits, strict=True))]
    found = estimate(sample_of(parts, 0), ALPHA)
    assert found is None or (len(peaks) == 41 and estimate is guarded.estimate)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 200),
    alpha=st.floats(1e-6, 0.1),
    extremes=st.lists(st.sampled_from([0.0, 0.005, 0.5, 0.9995, 1.0]), max_size=30),
)
def test_no_sample_is_too_odd(seed: int, n: int, alpha: float, extremes: list[float]) -> None:
    """Whatever was seen: an answer in order and between 0 and 1, or none."""
    rng = np.random.default_rng(seed)
    peaks, limits = (
        [*rng.beta(0.5, 2, n).round(4), *extremes],
        rng.choice([0.0, 0.02, 0.4, 0.9, 1.0], n + len(extremes)),
    )
    parts = [Learnt(seq, (p,), (t,)) for seq, (p, t) in enumerate(zip(peaks, limits, strict=True))]
    for estimate in (guarded.estimate, tail.estimate):
        found = estimate(sample_of(parts, 0), alpha)
        assert found is None or 0.0 <= found.low <= found.wanted <= found.high <= 1.0
