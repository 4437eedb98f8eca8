"""Mann-Kendall and Sen's slope: against tables, against SciPy, and how often they see what is not there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edge_inspector.settings.line_rules import TrendRule
from edge_inspector.stages.trend import rising

NUMBERS = st.lists(st.sampled_from([0.0, 0.02, 0.04, 0.06, 0.08, 0.5, 1.0]), min_size=8, max_size=30)


def test_a_row_that_only_rises_is_worked_by_hand() -> None:
    """S = 45, var = 10 x 9 x 25 / 18 = 125, z = 44 / sqrt(125) = 3.9354."""
    seen = rising([n / 10 for n in range(10)])
    assert seen.chance == pytest.approx(stats.norm.sf(3.9354), rel=1e-3)
    assert seen.rise == pytest.approx(0.9)


def test_ties_make_a_rise_less_certain() -> None:
    """Four pairs of ties: var = (8 x 7 x 21 - 4 x 2 x 1 x 9) / 18 = 61.33, S = 24, z = 23 / 7.8316 = 2.9368."""
    seen = rising([1, 1, 2, 2, 3, 3, 4, 4])
    assert seen.chance == pytest.approx(stats.norm.sf(2.9368), rel=1e-3)


@pytest.mark.parametrize("values", [[0.3] * 8, [8, 7, 6, 5, 4, 3, 2, 1], [1, 2] * 4 + [1]])
def test_what_does_not_rise_is_chance(values: list[float]) -> None:
    assert rising(values).chance > 0.2


def test_fewer_than_eight_numbers_show_no_trend() -> None:
    with pytest.raises(ValueError, match="7 numbers, expected at least 8"):
        rising([1, 2, 3, 4, 5, 6, 7])


@settings(max_examples=25, deadline=None)
@given(NUMBERS)
def test_slope_and_score_are_scipys(values: list[float]) -> None:
    seen, n = rising(values), len(values)
    assert seen.rise == pytest.approx(stats.theilslopes(values, np.arange(n))[0] * (n - 1), abs=1e-12)
    tau = stats.kendalltau(np.arange(n), values, variant="b").statistic
    s = 0 if math.isnan(tau) else tau
    assert (seen.chance < 0.5) == (s > 0 and _pairs(values) > 1), "one step of S is taken off for continuity"
    assert 0 <= seen.chance <= 1


@settings(max_examples=25, deadline=None)
@given(NUMBERS)
def test_a_row_and_its_mirror_never_rise_both(values: list[float]) -> None:
    assert max(rising(values).chance, rising(values[::-1]).chance) == 1


@settings(max_examples=25, deadline=None)
@given(NUMBERS, st.integers(0, 7))
def test_a_higher_last_number_never_makes_a_rise_less(values: list[float], step: int) -> None:
    raised = [*values[:-1], values[-1] + step]
    assert rising(raised).rise >= rising(values).rise


def _pairs(values: list[float]) -> int:
    """S itself."""
    array = np.array(values)
    return int(np.sign(array[None, :] - array[:, None])[np.triu_indices(len(values), 1)].sum())


@pytest.mark.heavy
@pytest.mark.parametrize("share", [0.01, 0.02, 0.05, 0.2])
def test_the_chance_that_is_asked_for_is_the_rate_of_false_notices(share: float) -> None:
    """A row slides on by one block, so neighbours share 19 of 20 blocks; after a notice it begins anew."""
    rule = TrendRule.model_validate({"kind": "trend", "name": "t", "rise": 1e-9})
    rng = np.random.default_rng([707, round(share * 100)])
    means = (rng.random((6000, rule.block_parts)) < share).mean(1).tolist()
    row: list[float] = []
    looks = notices = 0
    for mean in means:
        row = [*row, mean][-rule.blocks :]
        if len(row) == rule.blocks:
            looks += 1
            if rising(row).chance <= rule.chance:
                notices, row = notices + 1, []
    assert notices / looks < rule.chance, f"{notices} of {looks}"
    assert notices > 0, "a test that never speaks proves nothing"
