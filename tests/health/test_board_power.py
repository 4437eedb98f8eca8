"""What doctor says of a board's power mode, clocks, throttling and heat."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_board import SimulatedBoard

from edge_inspector.health.board_power import control_finding, power_findings
from edge_inspector.health.finding import Finding
from edge_inspector.health.power.sensors import BoardSensors, over_current_counts
from edge_inspector.interfaces import PowerMode, PowerState

MAXN, MEDIUM = PowerMode(0, "MAXN"), PowerMode(2, "15W")
CALM = PowerState(mode=MEDIUM, clocks_locked=True, temperatures_c={"cpu-thermal": 61.5, "gpu-thermal": 84.9})


def told(state: PowerState, counts: dict[str, int] | None = None, wanted: str | None = None) -> dict[str, Finding]:
    return {one.check: one for one in power_findings(state, [MEDIUM, MAXN], counts or {}, wanted)}


def test_a_cool_board_in_the_right_mode_is_in_order() -> None:
    found = told(CALM, {"oc1": 0}, "15W")
    assert {one.level for one in found.values()} == {"ok"}
    assert found["power.mode"].found == "2 15W (of 2 15W, 0 MAXN)"
    assert (found["power.temperature"].subject, found["power.temperature"].found) == (
        "gpu-thermal",
        "84.9 degrees Celsius",
    )


@pytest.mark.parametrize(("wanted", "level"), [("MAXN", "warn"), ("15W", "ok"), ("2", "ok"), (None, "ok")])
def test_another_mode_than_the_files_is_a_warning(wanted: str | None, level: str) -> None:
    one = told(CALM, wanted=wanted)["power.mode"]
    assert one.level == level
    assert one.remedy == ("edge-inspector power set MAXN" if level == "warn" else "")


def test_a_board_that_is_held_down_is_a_warning_in_its_own_words() -> None:
    one = told(PowerState(throttled="heat: gpu-thermal"))["power.throttled"]
    assert (one.level, one.found) == ("warn", "heat: gpu-thermal")


def test_over_current_since_the_start_is_told_by_its_alarm() -> None:
    one = told(CALM, {"oc1": 0, "oc3": 813})["power.over_current"]
    assert (one.level, one.found) == ("warn", "oc3 813 times since the start")


@pytest.mark.parametrize(("degrees", "level"), [(84.9, "ok"), (85.0, "warn"), (101.0, "warn")])
def test_a_hot_board_is_a_warning(degrees: float, level: str) -> None:
    assert told(PowerState(temperatures_c={"cpu": 20.0, "tj": degrees}))["power.temperature"].level == level


def test_what_a_machine_does_not_tell_is_not_judged() -> None:
    found = {one.check: one for one in power_findings(PowerState(), [], {}, None)}
    assert {name: one.level for name, one in found.items()} == {
        "power.mode": "note",
        "power.clocks": "note",
        "power.throttled": "ok",
        "power.temperature": "note",
    }
    assert found["power.mode"].found == "this machine has no power modes"


@pytest.mark.parametrize(("way", "level"), [("helper", "ok"), ("jtop", "ok"), ("root", "warn"), ("none", "warn")])
def test_a_policy_that_the_service_cannot_carry_out_is_a_warning(way: str, level: str) -> None:
    one = control_finding(way)
    assert (one.check, one.level) == ("power.control", level)
    assert bool(one.remedy) is (level == "warn")


def test_a_board_laid_out_as_linux_does_is_told_as_it_is(tmp_path: Path) -> None:
    board = SimulatedBoard(tmp_path)
    board.heat()
    sensors = BoardSensors(board.root)
    found = {
        one.check: one
        for one in power_findings(sensors.read(), sensors.modes(), over_current_counts(board.root), "MAXN")
    }
    assert (found["power.mode"].level, found["power.mode"].remedy) == ("warn", "edge-inspector power set MAXN")
    assert (found["power.throttled"].level, "heat" in found["power.throttled"].found) == ("warn", True)
    assert found["power.over_current"].found == "oc3 813 times since the start"
    assert found["power.temperature"].found == "51.7 degrees Celsius"


def test_clocks_that_follow_the_load_are_only_noted() -> None:
    assert told(PowerState(clocks_locked=False))["power.clocks"].level == "note"
