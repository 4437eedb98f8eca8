"""Floors and ceilings from golden parts, worked by hand; the bound of missed defects against scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edge_inspector.stages.thresholds import LEAST_DEFECTS, ClassLimits, GoldenDefect, bounds_of, golden_limits
from edge_inspector.stages.thresholds.limits import upper_bound

BASE = (0.4, 0.5)
STRONG = [GoldenDefect(0, (0.8, 0.1))] * 39 + [GoldenDefect(1, (0.1, 0.9))] * 39


@pytest.mark.parametrize(
    ("missed", "of", "expected"),
    [(0, 30, 1 - 0.05 ** (1 / 30)), (0, 300, 1 - 0.05 ** (1 / 300)), (0, 0, 1.0), (30, 30, 1.0)],
)
def test_the_bound_of_missed_defects_by_hand(missed: int, of: int, expected: float) -> None:
    assert upper_bound(missed, of) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(of=st.integers(1, 300), share=st.floats(0, 1))
def test_the_bound_of_missed_defects_is_clopper_and_pearsons(of: int, share: float) -> None:
    missed = min(of - 1, int(share * of))
    assert upper_bound(missed, of) == pytest.approx(stats.beta.ppf(0.95, missed + 1, of - missed), abs=1e-7)


def test_a_ceiling_leaves_its_reserve_below_the_weakest_defect() -> None:
    weakest = [GoldenDefect(0, (0.6, 0.1)), GoldenDefect(1, (0.1, 0.7))]
    crack, dust = golden_limits(BASE, [], [*STRONG, *weakest], 0.25)
    assert crack.ceiling == pytest.approx(0.4 + 0.75 * 0.2 - 0.001)
    assert dust.ceiling == pytest.approx(0.5 + 0.75 * 0.2 - 0.001)
    assert (crack.defects, crack.missed) == (40, 0)
    assert crack.missed_upper == pytest.approx(0.0722, abs=1e-4)


def test_a_defect_that_another_class_sees_better_holds_that_class_down() -> None:
    crack, dust = golden_limits(BASE, [], [*STRONG, GoldenDefect(1, (0.46, 0.51))], 0.0)
    assert crack.ceiling == pytest.approx(0.459)  # 0.06 of 0.6 is further than 0.01 of 0.5
    assert dust.ceiling == pytest.approx(0.899)


def test_a_class_with_too_few_defects_of_its_own_is_never_looser() -> None:
    crack, dust = golden_limits(BASE, [], STRONG[: 39 + LEAST_DEFECTS - 1], 0.25)
    assert crack.ceiling > 0.4
    assert dust.ceiling == 0.5
    assert dust.defects == 29


def test_a_class_on_which_few_defects_rely_is_as_loose_as_the_weakest_of_all_lets_it() -> None:
    """40 parts with dust that crack sees better: what dust alone would look like nobody knows."""
    never_best = [GoldenDefect(1, (0.7, 0.6))] * 40
    crack, dust = golden_limits(BASE, [], [*STRONG[:39], *never_best], 0.0)
    assert crack.ceiling == pytest.approx(0.699)
    assert dust.ceiling == pytest.approx(0.749)  # half of the way from 0.5 to 1, as 0.7 is from 0.4 to 1


def test_a_defect_that_the_recipe_misses_is_counted_and_holds_nothing_down() -> None:
    crack, _ = golden_limits(BASE, [], [*STRONG, GoldenDefect(0, (0.39, 0.49))], 0.0)
    assert crack == ClassLimits(crack.floor, crack.ceiling, 40, 1, upper_bound(1, 40))
    assert crack.ceiling == pytest.approx(0.799)


@pytest.mark.parametrize(
    ("goods", "floor"),
    [
        ([], 0.001),
        ([(0.25, 0.0), (0.1, 0.0)], 0.251),
        ([(0.2503, 0.0)], 0.252),
        ([(0.45, 0.0)], 0.4),  # the recipe itself rejects it
    ],
)
def test_a_floor_is_just_above_what_golden_good_parts_show(goods: list[tuple[float, float]], floor: float) -> None:
    assert golden_limits(BASE, goods, STRONG, 0.25)[0].floor == pytest.approx(floor)


def test_without_golden_parts_nothing_may_loosen() -> None:
    crack, dust = golden_limits(BASE, [], [], 0.25)
    assert (crack.ceiling, dust.ceiling) == BASE
    assert crack.missed_upper == 1.0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 150),
    base=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    reserve=st.floats(0, 0.99),
)
def test_no_golden_defect_that_the_recipe_catches_is_missed_and_limits_are_bounds(
    seed: int, n: int, base: tuple[float, float, float], reserve: float
) -> None:
    rng = np.random.default_rng(seed)
    defects = [GoldenDefect(int(rng.integers(3)), tuple(rng.beta(2, 1, 3).round(4).tolist())) for _ in range(n)]
    goods = [tuple(rng.beta(1, 4, 3).round(4).tolist()) for _ in range(5)]
    limits = golden_limits(base, goods, defects, reserve)
    bounds = bounds_of(("a", "b", "c"), base, limits, {2})  # refuses a floor above a ceiling
    assert all(ceiling >= b for ceiling, b in zip(bounds.ceiling, base, strict=True))
    for defect in defects:
        if any(s >= b for s, b in zip(defect.scores, base, strict=True)):
            assert any(s >= ceiling for s, ceiling in zip(defect.scores, bounds.ceiling, strict=True))
    for good in goods:
        if all(p < b for p, b in zip(good, base, strict=True)):
            assert all(
                p < floor or floor == ceiling
                for p, floor, ceiling in zip(good, bounds.floor, bounds.ceiling, strict=True)
            )


def test_the_order_of_golden_parts_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    defects = [GoldenDefect(int(rng.integers(2)), tuple(rng.beta(2, 1, 2).tolist())) for _ in range(90)]
    assert golden_limits(BASE, [], defects, 0.25) == golden_limits(BASE, [], defects[::-1], 0.25)


def test_kept_classes_are_passed_on() -> None:
    limits = golden_limits(BASE, [], STRONG, 0.25)
    assert bounds_of(("crack", "good"), BASE, limits, {1}).kept == (False, True)
    assert bounds_of(("crack", "good"), BASE, [replace(one, floor=0.1) for one in limits]).floor == (0.1, 0.1)
