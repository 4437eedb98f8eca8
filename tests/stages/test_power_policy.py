"""Which power mode: by name, by the time of the week, by how long parts take. All figures are worked by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from pydantic import TypeAdapter, ValidationError

from edge_inspector.interfaces import PowerMode
from edge_inspector.settings.power import WEEK_MINUTES, FixedPolicy, PowerPolicy, SchedulePolicy, TaktPolicy
from edge_inspector.stages.power_policy import Board, Choice, Pace, by_schedule, by_takt, choose

LOW, MID, TOP = PowerMode(2, "15W"), PowerMode(1, "30W"), PowerMode(0, "MAXN")
MODES = (LOW, MID, TOP)
P99 = {"15W": 120.0, "30W": 80.0, "MAXN": 60.0}
POLICIES: TypeAdapter[PowerPolicy] = TypeAdapter(PowerPolicy)
MONDAY, TUESDAY = 0, 24 * 60


def takt(**changed: object) -> TaktPolicy:
    return TaktPolicy.model_validate({"kind": "takt", "margin": 0.2, "calm_s": 600, **changed})


@pytest.mark.parametrize(
    ("what", "now", "budget_ms", "wanted"),
    [
        ("the least that keeps 80 % of the budget", TOP, 150.0, LOW),
        ("120 of 120 ms is kept", TOP, 150.0, LOW),
        ("120 of 119.2 ms is not", TOP, 149.0, MID),
        ("it is there already", LOW, 150.0, None),
        ("up where the mode of now is too slow", LOW, 100.0, MID),
        ("only the strongest keeps it", LOW, 75.0, TOP),
        ("none keeps it: the fastest", LOW, 70.0, TOP),
        ("none keeps it, and the fastest is there", TOP, 70.0, None),
    ],
)
def test_a_new_recipe_runs_in_the_least_power_that_keeps_its_deadline(
    what: str, now: PowerMode, budget_ms: float, wanted: PowerMode | None
) -> None:
    choice = by_takt(takt(), Board(MODES, now), Pace(budget_ms, P99, fresh=True))
    assert choice.mode == wanted
    assert choice.at_once is (wanted is not None)
    assert bool(choice.warning) is (budget_ms == 70.0)


def test_what_no_mode_keeps_is_told_with_its_figures() -> None:
    choice = by_takt(takt(), Board(MODES, TOP), Pace(70.0, P99))
    assert choice.warning == "no power mode keeps 56 ms, the deadline less its margin: the fastest, MAXN, needs 60 ms"


def test_the_fastest_mode_need_not_be_the_strongest() -> None:
    choice = by_takt(takt(), Board(MODES, LOW), Pace(10.0, {"15W": 50, "30W": 20, "MAXN": 30}, fresh=True))
    assert choice.mode == MID


@pytest.mark.parametrize(
    ("live_ms", "wanted"),
    [(None, LOW), (80.0, LOW), (81.0, None), (121.0, TOP)],
    ids=["few", "as measured", "more", "much"],
)
def test_what_parts_take_longer_than_measured_they_take_longer_in_each_mode(
    live_ms: float | None, wanted: PowerMode | None
) -> None:
    """30W was measured with 80 ms, and the limit is 120: at 81 ms, 15W needs 121; at 121 ms, MAXN needs 101."""
    choice = by_takt(takt(), Board(MODES, MID), Pace(150.0, P99, live_ms, fresh=True))
    assert choice.mode == wanted


def test_parts_that_are_faster_than_measured_promise_nothing() -> None:
    assert by_takt(takt(), Board(MODES, MID), Pace(149.0, P99, 40.0, calm_s=9999)).mode is None


def test_a_late_part_brings_the_mode_up_at_once() -> None:
    choice = by_takt(takt(), Board(MODES, LOW), Pace(150.0, P99, late=True, too_slow={LOW.number}))
    assert (choice.mode, choice.at_once) == (MID, True)
    assert choice.why == "a part was late in 15W; 30W needs 80 of 120 ms"


def test_a_mode_that_only_promises_to_be_too_slow_waits_for_the_pause() -> None:
    choice = by_takt(takt(), Board(MODES, LOW), Pace(100.0, P99))
    assert (choice.mode, choice.at_once) == (MID, False)


@pytest.mark.parametrize(("calm_s", "wanted"), [(599.0, None), (600.0, MID)])
def test_a_long_calm_brings_one_step_down_in_a_pause(calm_s: float, wanted: PowerMode | None) -> None:
    choice = by_takt(takt(), Board(MODES, TOP), Pace(150.0, P99, calm_s=calm_s))
    assert (choice.mode, choice.at_once) == (wanted, False)


@pytest.mark.parametrize(
    ("too_slow", "now", "late", "wanted"),
    [
        ({LOW.number}, TOP, False, MID),
        ({MID.number}, TOP, False, None),  # 15W is slower still
        ({MID.number}, MID, True, TOP),
        ({TOP.number}, TOP, True, None),  # a part was late in the fastest: no other one helps
        ({TOP.number}, LOW, False, TOP),
        ({LOW.number, MID.number, TOP.number}, MID, True, TOP),
    ],
)
def test_what_is_no_faster_than_a_mode_that_was_too_slow_is_too_slow(
    too_slow: Collection[int], now: PowerMode, late: bool, wanted: PowerMode | None
) -> None:
    choice = by_takt(takt(), Board(MODES, now), Pace(150.0, P99, calm_s=9999, late=late, too_slow=too_slow))
    assert choice.mode == wanted
    assert choice.warning == (
        "a part was late not long ago, and no power mode is faster than MAXN" if TOP.number in too_slow else ""
    )


@pytest.mark.parametrize(
    ("measured", "fresh", "blames"),
    [(P99, False, True), (P99, True, False), ({"30W": 80.0}, False, False)],
    ids=["slower than measured", "a new recipe", "never measured"],
)
def test_a_mode_is_blamed_for_what_it_was_measured_not_to_be(
    measured: Mapping[str, float], fresh: bool, blames: bool
) -> None:
    choice = by_takt(takt(), Board(MODES, LOW), Pace(150.0, measured, 125.0, fresh=fresh))
    assert (choice.mode, choice.blames) == (MID, blames)


@pytest.mark.parametrize(("slow", "wanted"), [(LOW, MID), (MID, TOP)])
def test_a_part_that_was_late_in_a_mode_without_figures_asks_for_more_power_than_that(
    slow: PowerMode, wanted: PowerMode
) -> None:
    figures = {mode.name: ms for mode, ms in zip(MODES, (50.0, 40.0, 30.0), strict=True) if mode is not slow}
    choice = by_takt(takt(), Board(MODES, slow), Pace(150.0, figures, late=True, too_slow={slow.number}))
    assert (choice.mode, choice.at_once) == (wanted, True)


@pytest.mark.parametrize(
    ("what", "too_slow", "throttled", "budget_ms", "wanted"),
    [
        ("one step down, and it keeps the deadline", (), True, 150.0, MID),
        ("nothing below keeps it", (), True, 99.0, None),
        ("never up, because heat is not mended by more of it", (TOP.number,), True, 75.0, None),
    ],
)
def test_a_throttled_board_goes_down_or_stays(
    what: str, too_slow: Collection[int], throttled: bool, budget_ms: float, wanted: PowerMode | None
) -> None:
    choice = by_takt(takt(), Board(MODES, TOP, throttled), Pace(budget_ms, P99, 900.0, late=True, too_slow=too_slow))
    assert choice == Choice(wanted, choice.why, at_once=wanted is not None)


def test_a_throttled_board_without_figures_stays() -> None:
    assert by_takt(takt(), Board(MODES, LOW, throttled=True), Pace(100.0, late=True)).mode is None


def test_a_recipe_that_was_not_measured_gets_all_the_power() -> None:
    choice = by_takt(takt(), Board(MODES, LOW), Pace(1e6, fresh=True))
    assert (choice.mode, choice.warning) == (
        TOP,
        "no power mode was measured for this recipe: edge-inspector power tune",
    )


def test_only_modes_that_may_be_used_are_used() -> None:
    policy = takt(modes=["30W", "MAXN"])
    assert by_takt(policy, Board(MODES, TOP), Pace(1000.0, P99, fresh=True)).mode == MID
    choice = by_takt(policy, Board(MODES, LOW), Pace(1000.0, P99))
    assert (choice.mode, choice.at_once) == (MID, False)
    assert choice.why.startswith("15W is not one of the modes to be used")


def test_a_mode_that_is_not_on_the_board_is_told_with_those_that_are() -> None:
    for policy in (takt(modes=["30W", "50W"]), FixedPolicy.model_validate({"kind": "fixed", "mode": "50W"})):
        choice = choose(policy, Board(MODES, LOW), Pace(100.0, P99, fresh=True), None)
        assert choice == Choice(warning="the board has no power mode '50W', expected one of 15W, 30W, MAXN")


def test_a_refused_mode_is_not_chosen() -> None:
    choice = by_takt(takt(), Board(MODES, TOP, barred={LOW.number}), Pace(1000.0, P99, fresh=True))
    assert choice.mode == MID
    fixed = FixedPolicy.model_validate({"kind": "fixed", "mode": "15W"})
    assert choose(fixed, Board(MODES, TOP, barred={LOW.number}), Pace(1.0), None).mode is None


@pytest.mark.parametrize("policy", ["fixed", "takt", "schedule"])
def test_a_board_that_does_not_say_its_mode_is_left_alone(policy: str) -> None:
    written: dict[str, object] = {"kind": policy}
    if policy == "fixed":
        written["mode"] = "15W"
    elif policy == "schedule":
        written |= {"shifts": [{"begin": "06:00", "end": "14:00", "mode": "MAXN"}], "otherwise": "15W"}
    made = POLICIES.validate_python(written)
    assert choose(made, Board(MODES, None), Pace(100.0, P99, late=True, fresh=True), 7 * 60).mode is None
    assert "no power modes" in choose(made, Board((), None), Pace(100.0), 0).warning


def schedule(*shifts: Mapping[str, object]) -> SchedulePolicy:
    return SchedulePolicy.model_validate({"kind": "schedule", "shifts": shifts, "otherwise": "15W"})


NIGHT = {"days": ["sun", "mon"], "begin": "22:00", "end": "06:00", "mode": "30W"}
DAY = {"days": ["mon", "tue", "wed", "thu", "fri"], "begin": "06:00", "end": "22:00", "mode": "MAXN"}


@pytest.mark.parametrize(
    ("minute", "mode"),
    [
        (MONDAY + 5 * 60 + 59, MID),  # Sunday's night shift goes over the end of the week
        (MONDAY + 6 * 60, TOP),
        (MONDAY + 22 * 60 - 1, TOP),
        (MONDAY + 22 * 60, MID),
        (TUESDAY + 6 * 60 - 1, MID),
        (TUESDAY + 22 * 60, LOW),
        (5 * TUESDAY, LOW),
        (6 * TUESDAY + 22 * 60, MID),
        (WEEK_MINUTES - 1, MID),
    ],
)
def test_each_minute_of_the_week_has_its_shift(minute: int, mode: PowerMode) -> None:
    for now in MODES:
        choice = by_schedule(schedule(NIGHT, DAY), Board(MODES, now), minute, fresh=False)
        assert choice.mode == (None if now == mode else mode)
        assert choice.at_once is (MODES.index(mode) > MODES.index(now))


def test_a_clock_that_is_not_set_gives_the_strongest_of_the_modes_that_are_named() -> None:
    night = by_schedule(schedule(NIGHT), Board(MODES, LOW), None, fresh=True)
    assert (night.mode, night.at_once) == (MID, True)
    assert night.warning == "power follows no shift: the clock is not set, so nobody knows which shift it is"


@pytest.mark.parametrize(
    "shifts",
    [
        pytest.param([DAY, {"begin": "21:59", "end": "22:30", "mode": "15W"}], id="over the end of another"),
        pytest.param([NIGHT, {"days": ["mon"], "begin": "05:00", "end": "07:00", "mode": "15W"}], id="over the week"),
        pytest.param([{**DAY, "days": ["mon", "mon"]}], id="a day twice"),
        pytest.param([{"begin": "06:00", "end": "06:00", "mode": "15W"}, DAY], id="all day long"),
    ],
)
def test_shifts_that_overlap_are_refused(shifts: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError, match="expected one shift at a time"):
        schedule(*shifts)


def test_a_shift_may_last_the_whole_day() -> None:
    whole = schedule({"begin": "06:00", "end": "06:00", "mode": "30W"})
    assert {by_schedule(whole, Board(MODES, LOW), m, fresh=False).mode for m in range(0, WEEK_MINUTES, 30)} == {MID}
