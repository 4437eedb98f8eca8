"""The simulated day of benchmarks/power_policies.py: the station's own code decides, and its books agree."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.heavy
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ALL_DAY = {"kind": "fixed", "mode": "MAXN"}
TAKT = {"kind": "takt", "pause_s": 0}


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("power_day")


def run(day: ModuleType, policy: dict[str, Any], minutes: float, **changed: Any) -> Any:
    product = day.Product("gears", base_ms=55.0, deadline_ms=150.0, period_s=0.4)
    made = day.Day(policy, [day.Stretch(24, product, **changed)], day.MODES[-1])
    return made, made.run(until_s=60 * minutes)


def test_takt_needs_less_energy_and_is_late_with_no_part(day: ModuleType) -> None:
    _, most = run(day, ALL_DAY, 5)
    _, least = run(day, TAKT, 5)
    assert (most.late, least.late) == (0, 0)
    assert least.energy_j < 0.85 * most.energy_j
    assert set(least.mode[1:]) == {1}
    assert most.parts + most.refused == least.parts + least.refused


def test_a_hot_board_is_not_ready_and_each_part_is_inspected_or_refused(day: ModuleType) -> None:
    made, hot = run(day, ALL_DAY, 30, ambient_c=75.0)
    _, cool = run(day, ALL_DAY, 30)
    assert hot.throttled_s > 0
    assert [code for _, code, _ in made.told][:2] == ["throttled", "machine_too_slow"]
    assert hot.refused > 100
    assert hot.parts + hot.refused == cool.parts
