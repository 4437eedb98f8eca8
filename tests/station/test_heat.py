"""From when a throttled board counts as one, and how many late parts are too many."""

from __future__ import annotations

import pytest
from order_rig import JumpingClock

from edge_inspector.station.heat import BEGIN_S, COOL_S, TOO_MANY, WATCHED, Heat

HOT = "heat: gpu-throttle-alert"


def hot() -> tuple[Heat, JumpingClock]:
    clock = JumpingClock()
    heat = Heat(clock)
    assert heat.read(HOT) is None
    clock.jump(BEGIN_S)
    assert heat.read(HOT) == f"the board is throttled: {HOT}"
    return heat, clock


def test_heat_is_told_once_when_it_has_lasted() -> None:
    heat, clock = hot()
    clock.jump(60)
    assert heat.read("heat: another") is None
    assert heat.text == HOT


def test_heat_that_comes_back_soon_was_never_gone() -> None:
    heat, clock = hot()
    for _ in range(5):
        clock.jump(COOL_S - 1)
        assert heat.read("") is None
        assert heat.read(HOT) is None
    clock.jump(COOL_S)
    assert heat.read("") == f"the board is not throttled any more, after {BEGIN_S + 5 * (COOL_S - 1):.0f} s"
    assert heat.text == ""


def test_what_flickers_begins_anew_each_time() -> None:
    clock = JumpingClock()
    heat = Heat(clock)
    for _ in range(5):
        assert heat.read(HOT) is None
        clock.jump(BEGIN_S - 0.5)
        assert heat.read("") is None


@pytest.mark.parametrize(("between", "too_slow"), [(0, True), (WATCHED // 2 - 2, True), (WATCHED // 2 - 1, False)])
def test_late_parts_count_among_the_last_ones(between: int, too_slow: bool) -> None:
    heat, _ = hot()
    for nth in range(TOO_MANY):
        for _ in range(between if nth else 0):
            heat.part(late=False)
        heat.part(late=True)
    assert heat.too_slow is too_slow


def test_parts_of_a_cool_board_and_of_another_mode_do_not_count() -> None:
    clock = JumpingClock()
    cool = Heat(clock)
    for _ in range(WATCHED):
        cool.part(late=True)
    assert not cool.too_slow
    heat, clock = hot()
    for _ in range(TOO_MANY):
        heat.part(late=True)
    assert heat.too_slow
    heat.cooler()
    assert not heat.too_slow
    for _ in range(TOO_MANY):
        heat.part(late=True)
    clock.jump(COOL_S + 1)
    heat.read("")
    assert not heat.too_slow
