"""What every policy keeps to, whatever the line shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.settings.adaptive import AdaptiveSettings, Policy
from edge_inspector.stages.thresholds import (
    Bounds,
    Estimate,
    Seen,
    State,
    Word,
    advance,
    begin,
    dumps,
    loads,
    proposals,
    rebound,
    stamp,
)
from edge_inspector.stages.thresholds.records import Learnt

RULES = AdaptiveSettings.model_validate({"window": 100, "least": 50, "lean_parts": 20})
BOUNDS = Bounds(("crack", "dust", "good"), (0.4, 0.4, 0.5), (0.2, 0.3, 0.0), (0.6, 0.7, 1.0), (False, False, True))
LEARNING: tuple[Policy, ...] = ("guarded", "tail")


def judged(state: State, seq: int, *peaks: float, hold: str = "") -> Seen:
    """A part as the line judges it by the state's own thresholds."""
    caught = any(p >= t for p, t in list(zip(peaks, state.by_class, strict=True))[:2])
    return Seen(seq, peaks, state.by_class, Word.REJECT if caught else Word.OK, hold)


def peaks_of(rng: np.random.Generator, centre: float, spread: float = 0.6) -> tuple[float, float, float]:
    """Peaks of one part around `centre` in log-odds."""
    crack, dust, good = 1 / (1 + np.exp(-rng.normal(centre, spread, 3)))
    return round(float(crack), 4), round(float(dust), 4), round(float(good), 4)


def line(policy: Policy, bounds: Bounds, centres: list[float], seed: int = 0) -> list[State]:
    """The states after each part of a line whose good parts have these centres."""
    rng, states = np.random.default_rng(seed), [begin(policy, bounds)]
    for seq, centre in enumerate(centres):
        states.append(advance(RULES, bounds, states[-1], judged(states[-1], seq, *peaks_of(rng, centre))))
    return states


@settings(max_examples=8, deadline=None)
@given(
    policy=st.sampled_from(LEARNING),
    seed=st.integers(0, 2**32 - 1),
    centres=st.lists(st.floats(-6, 6), min_size=2, max_size=4),
    floors=st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)),
    ceilings=st.tuples(st.floats(0.4, 1), st.floats(0.4, 1)),
)
def test_no_threshold_leaves_its_limits_or_is_faster_than_it_may_be(
    policy: Policy, seed: int, centres: list[float], floors: tuple[float, float], ceilings: tuple[float, float]
) -> None:
    bounds = replace(BOUNDS, floor=(*floors, 0.0), ceiling=(*ceilings, 1.0))
    rng = np.random.default_rng(seed)
    state = begin(policy, bounds)
    for seq in range(160):
        seen = judged(state, seq, *peaks_of(rng, centres[seq * len(centres) // 160], 1.5))
        if rng.random() < 0.2:
            seen = replace(seen, word=Word.GOOD if rng.random() < 0.7 else Word.BAD)
        after = advance(RULES, bounds, state, seen)
        for now, before, floor, ceiling in zip(
            after.by_class, state.by_class, bounds.floor, bounds.ceiling, strict=True
        ):
            assert floor <= now <= ceiling
            assert now - before <= RULES.loosen_per_100 / 100 + 1e-12
            if seen.word is not Word.BAD:  # an escape is answered at once
                assert before - now <= RULES.tighten_per_100 / 100 + 1e-12
        assert after.by_class[2] == bounds.base[2]
        state = after


@pytest.mark.parametrize("policy", LEARNING)
@pytest.mark.parametrize("word", [None, Word.OK, Word.GOOD])
def test_a_burst_of_100_true_defects_moves_nothing_above_its_ceiling(policy: Policy, word: Word | None) -> None:
    """None: as the line judges them; OK, GOOD: even when they pass, or are confirmed good by mistake."""
    rng = np.random.default_rng(3)
    state = line(policy, BOUNDS, [-1.2] * 80)[-1]
    for seq in range(100, 200):
        seen = judged(state, seq, *peaks_of(rng, 2.5, 1.5))
        state = advance(RULES, BOUNDS, state, seen if word is None else replace(seen, word=word))
        assert all(now <= ceiling for now, ceiling in zip(state.by_class, BOUNDS.ceiling, strict=True))


def test_rejected_parts_teach_nothing() -> None:
    before = line("guarded", BOUNDS, [-3.0] * 60)[-1]
    after = advance(RULES, BOUNDS, before, Seen(60, (0.95, 0.9, 0.0), before.by_class, Word.REJECT))
    assert after.parts == before.parts


@pytest.mark.parametrize("policy", LEARNING)
def test_it_follows_good_parts_up_and_comes_back(policy: Policy) -> None:
    states = line(policy, BOUNDS, [-2.5] * 80 + [-0.9] * 160 + [-3.5] * 320)
    assert states[240].by_class[0] > BOUNDS.base[0] + 0.1
    assert states[-1].by_class[0] < BOUNDS.base[0]


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_state_that_is_put_away_and_read_again_goes_on_as_if_nothing_had_been(policy: Policy) -> None:
    rng = np.random.default_rng(5)
    through = put_away = begin(policy, BOUNDS)
    for seq in range(90):
        seen = judged(through, seq, *peaks_of(rng, -1.0))
        through, put_away = advance(RULES, BOUNDS, through, seen), loads(dumps(advance(RULES, BOUNDS, put_away, seen)))
        assert put_away == through


@pytest.mark.parametrize("policy", LEARNING)
def test_the_order_of_classes_does_not_matter(policy: Policy) -> None:
    """With one verdict more each, because classes take turns in being estimated."""
    turned = Bounds(*(getattr(BOUNDS, f)[::-1] for f in ("classes", "base", "floor", "ceiling", "kept")))
    rng = np.random.default_rng(8)
    one, other = begin(policy, BOUNDS), begin(policy, turned)
    calm = AdaptiveSettings.model_validate({"window": 100, "least": 50, "loosen_per_100": 1, "tighten_per_100": 1})
    peaks = [peaks_of(rng, -2.0) for _ in range(80)]
    for seq in range(160):
        three = peaks[min(seq, 79)]
        seen = Seen(min(seq, 79), three, BOUNDS.base, Word.OK)
        one = advance(calm, BOUNDS, one, seen)
        other = advance(calm, turned, other, replace(seen, peaks=three[::-1], thresholds=BOUNDS.base[::-1]))
    assert one.estimates == other.estimates[::-1]
    assert one.by_class == pytest.approx(other.by_class[::-1], abs=1e-12)


def test_the_order_in_which_feedback_comes_does_not_matter() -> None:
    before = line("guarded", BOUNDS, [-1.0] * 70)[-1]
    words = [Seen(seq, (0.55, 0.1, 0.9), BOUNDS.base, Word.GOOD) for seq in (12, 65, 40)]
    one, other = before, before
    for a, b in zip(words, reversed(words), strict=True):
        one, other = advance(RULES, BOUNDS, one, a), advance(RULES, BOUNDS, other, b)
    assert one == other
    assert [part.seq for part in one.parts] == sorted(part.seq for part in one.parts)
    assert {12, 40, 65} <= {part.seq for part in one.parts if part.peaks[0] == 0.55}


@pytest.mark.parametrize("policy", LEARNING)
def test_rejects_that_are_confirmed_good_loosen_a_threshold(policy: Policy) -> None:
    plain = told = line(policy, BOUNDS, [-2.0] * 60)[-1]
    for seq in range(60, 100):
        seen = Seen(
            seq, (0.55 if seq % 4 == 0 else 0.12, 0.1, 0.9), BOUNDS.base, Word.REJECT if seq % 4 == 0 else Word.OK
        )
        plain, told = advance(RULES, BOUNDS, plain, seen), advance(RULES, BOUNDS, told, seen)
        if seen.word is Word.REJECT:
            told = advance(RULES, BOUNDS, told, replace(seen, word=Word.GOOD))
    assert told.estimates[0] is not None
    assert plain.estimates[0] is not None
    assert told.estimates[0].wanted > plain.estimates[0].wanted


def test_a_part_that_was_bad_after_all_is_not_learnt_from() -> None:
    before = line("guarded", BOUNDS, [-2.0] * 60)[-1]
    bad = before.parts[30]
    after = advance(RULES, BOUNDS, before, Seen(bad.seq, bad.peaks, bad.thresholds, Word.BAD))
    assert [part.seq for part in after.parts] == [part.seq for part in before.parts if part.seq != bad.seq]
    assert after.alarm == ""  # the recipe's own threshold would have let it pass, too


def test_an_escape_by_a_looser_threshold_never_passes_again() -> None:
    state = line("guarded", BOUNDS, [-0.7] * 150)[-1]
    assert state.by_class[0] > 0.5
    state = advance(RULES, BOUNDS, state, Seen(3, (0.48, 0.1, 0.9), state.by_class, Word.BAD))
    assert state.capped == (0.459, 1.0, 1.0)  # 0.4 and three quarters of the way from there to 0.48, rounded down
    assert state.by_class[0] == 0.459
    assert "part 3 was bad" in state.alarm
    assert "crack 0.48" in state.alarm
    for seq in range(300, 400):
        state = advance(RULES, BOUNDS, state, judged(state, seq, 0.39, 0.1, 0.9))
        assert state.by_class[0] <= 0.459
    assert "part 3 was bad" in state.alarm
    assert proposals(BOUNDS, state)[0].ceiling == 0.459


def test_an_escape_tightens_while_the_thresholds_are_held_too() -> None:
    state = line("guarded", BOUNDS, [-0.7] * 150)[-1]
    state = advance(RULES, BOUNDS, state, Seen(3, (0.48, 0.1, 0.9), state.by_class, Word.BAD, "the light is low"))
    assert state.by_class[0] == 0.459
    assert state.frozen == "the light is low"


def test_a_reject_that_is_confirmed_bad_is_a_golden_part_from_then_on() -> None:
    state = advance(RULES, BOUNDS, begin("guarded", BOUNDS), Seen(3, (0.42, 0.6, 0.9), BOUNDS.base, Word.BAD))
    assert state.capped == (1.0, 0.549, 1.0)  # dust sees it most
    assert state.alarm == ""


def test_a_bad_part_that_the_recipes_own_thresholds_miss_changes_no_limit() -> None:
    before = line("guarded", BOUNDS, [-0.7] * 60)[-1]
    after = advance(RULES, BOUNDS, before, Seen(3, (0.39, 0.3, 0.99), before.by_class, Word.BAD))
    assert after.capped == before.capped
    assert after.alarm == before.alarm


@pytest.mark.parametrize("policy", ["percentile", "guarded", "tail"])
def test_while_it_is_held_nothing_moves_and_nothing_is_learnt(policy: Policy) -> None:
    before = line(policy, BOUNDS, [-1.0] * 80)[-1]
    state = before
    for seq in range(80, 120):
        state = advance(
            RULES, BOUNDS, state, judged(state, seq, 0.1, 0.1, 0.9, hold="camera left is darker than it was")
        )
        assert state.by_class == before.by_class
        assert state.parts == before.parts
        assert state.frozen == state.alarm == "camera left is darker than it was"
    state = advance(RULES, BOUNDS, state, judged(state, 120, 0.1, 0.1, 0.9))
    assert state.frozen == state.alarm == ""
    assert state.parts != before.parts


def test_a_threshold_that_leans_on_its_ceiling_is_frozen_with_an_alarm_until_it_has_been_free_as_long() -> None:
    states = line("guarded", BOUNDS, [-2.0] * 60 + [0.0] * 200 + [-4.0] * 200)
    leaning = next(i for i, state in enumerate(states) if state.stuck[0])
    first = next(i for i, state in enumerate(states) if state.by_class[0] == BOUNDS.ceiling[0])
    assert leaning - first >= RULES.lean_parts - 1
    assert states[leaning].frozen == states[leaning].alarm
    assert "crack: the threshold leans on its ceiling of 0.60" in states[leaning].alarm
    free = next(i for i in range(leaning, len(states)) if not states[i].stuck[0])
    for before, after in zip(states[leaning:free], states[leaning + 1 : free], strict=False):
        assert after.by_class[0] <= before.by_class[0]
    assert free > 260
    assert states[free].leaning[0] == 0
    assert "crack" not in states[free].alarm


def test_a_threshold_that_leans_on_its_floor_asks_for_a_look_at_the_picture() -> None:
    state = line("guarded", BOUNDS, [-4.5] * 250)[-1]
    assert state.by_class[:2] == BOUNDS.floor[:2]
    assert "dust: the threshold leans on its floor of 0.30" in state.alarm
    assert "dark or blurred" in state.frozen


def test_without_a_release_it_only_tightens_and_leans_on_nothing() -> None:
    states = line("guarded", BOUNDS.unreleased(), [-2.0] * 60 + [0.0] * 150)
    assert max(state.by_class[0] for state in states) == BOUNDS.base[0]
    assert {state.alarm for state in states} == {""}


def test_a_revoked_release_is_obeyed_at_once_and_forgets_nothing() -> None:
    loose = line("guarded", BOUNDS, [-0.7] * 250)[-1]
    assert loose.by_class[0] > BOUNDS.base[0]
    tight = rebound(BOUNDS.unreleased(), loose)
    assert tight.by_class == BOUNDS.base
    assert tight.parts == loose.parts


def test_too_few_parts_propose_nothing() -> None:
    states = line("guarded", BOUNDS, [-3.0] * 55)
    assert {state.by_class for state in states[: RULES.least]} == {BOUNDS.base}
    assert all(one.estimate is None for one in proposals(BOUNDS, states[RULES.least - 1]))
    assert states[-1].by_class != BOUNDS.base


def test_fixed_stays_where_the_recipe_has_it() -> None:
    assert {state.by_class for state in line("fixed", BOUNDS, [0.0] * 50)} == {BOUNDS.base}


def test_a_recipe_whose_classes_are_all_kept_never_moves() -> None:
    kept = replace(BOUNDS, kept=(True, True, True))
    for policy in get_args(Policy):
        assert {state.by_class for state in line(policy, kept, [0.0] * 70)} == {BOUNDS.base}


def test_the_stamp_says_which_policy_made_the_thresholds() -> None:
    stamped = stamp(begin("guarded", BOUNDS))
    assert stamped.policy == "guarded"
    assert stamped.by_class == BOUNDS.base


@pytest.mark.parametrize(
    ("peaks", "thresholds", "text"),
    [
        ((0.1, 0.1), BOUNDS.base, "peaks at part 7: 2 classes, expected 3"),
        ((0.1, 0.1, 0.1), (0.5,), "thresholds at part 7: 1 classes, expected 3"),
    ],
)
def test_a_part_of_another_model_is_refused(peaks: tuple[float, ...], thresholds: tuple[float, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        advance(RULES, BOUNDS, begin("guarded", BOUNDS), Seen(7, peaks, thresholds, Word.OK))


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.1])
def test_a_score_that_is_none_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"Seen\.peaks of part 1 has .*, expected scores from 0 to 1"):
        Seen(1, (0.1, score), (0.4, 0.4), Word.OK)


def known(policy: Policy, by_class: tuple[float, float, float], peak: float, **more: Any) -> State:
    """A state that knows 60 good parts, all with the same peak of each class."""
    parts = tuple(Learnt(seq, (peak, peak, 0.9), BOUNDS.base) for seq in range(60))
    return replace(begin(policy, BOUNDS), by_class=by_class, parts=parts, **more)


@pytest.mark.parametrize(("stuck", "expected"), [(False, 0.505), (True, 0.5)])
def test_a_frozen_threshold_goes_no_further_from_the_recipes(stuck: bool, expected: float) -> None:
    """It wants 0.55, which is within its limits; parts that free it are counted all the same."""
    estimates = (
        Estimate(0.55, 0.5, 0.6),
        None,
        None,
    )  # not estimated anew: one part in five is, and this is the second
    before = known(
        "tail", (0.5, 0.4, 0.5), 0.1, steps=1, estimates=estimates, stuck=(stuck, False, False), leaning=(9, 0, 0)
    )
    after = advance(RULES, BOUNDS, before, judged(before, 60, 0.1, 0.1, 0.9))
    assert after.by_class[0] == pytest.approx(expected)
    assert after.leaning[0] == 8


def test_a_class_that_shows_nothing_any_more_goes_back_to_the_recipes_threshold() -> None:
    before = known("guarded", (0.55, 0.35, 0.5), 0.0)
    after = advance(RULES, BOUNDS, before, judged(before, 60, 0.0, 0.0, 0.9))
    assert after.by_class == pytest.approx((0.549, 0.355, 0.5))


def test_the_false_rejects_that_are_allowed_are_shared_out_among_the_classes_that_move() -> None:
    alone = replace(BOUNDS, kept=(False, True, True))
    half = AdaptiveSettings.model_validate({"least": 50, "target_per_thousand": RULES.target_per_thousand / 2})
    rng = np.random.default_rng(1)
    parts = tuple(Learnt(seq, peaks_of(rng, -2.0), BOUNDS.base) for seq in range(60))
    state = replace(begin("guarded", BOUNDS), parts=parts)
    seen = Seen(60, (0.1, 0.1, 0.9), BOUNDS.base, Word.OK)
    one, other = advance(RULES, BOUNDS, state, seen), advance(half, alone, state, seen)
    assert one.estimates[0] is not None
    assert one.estimates[0] == other.estimates[0]


def test_the_plain_rule_remembers_100_parts_and_no_more() -> None:
    state = line("percentile", BOUNDS, [-4.0] * 120)[-1]
    assert [part.seq for part in state.parts] == list(range(20, 120))
    assert state.by_class[0] == state.by_class[1] < 0.2
    assert state.by_class[2] == BOUNDS.base[2]
