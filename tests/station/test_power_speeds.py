"""What was measured of a recipe in each power mode: kept whole, and forgotten when something else is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from station_rig import Rig

from edge_inspector.datatypes import Calibration, PreparePlan, Roi
from edge_inspector.errors import ConfigError
from edge_inspector.station.power_speeds import Measured, Speeds, fingerprint, merged, read_table, runs_on, write_table


def row(recipe: str, mode: str, p99_ms: float = 10.0, runs: str = "x", power_w: float | None = 20.0) -> Measured:
    return Measured(
        recipe=recipe, runs=runs, mode=mode, parts=100, p50_ms=5.0, p99_ms=p99_ms, parts_per_s=50.0, power_w=power_w,
        measured_utc="2026-11-22T20:00:00.000Z",
    )  # fmt: skip


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "power.json"
    rows = [row("a", "15W"), row("b", "MAXN", power_w=None)]
    assert read_table(file) == []
    write_table(file, rows)
    assert read_table(file) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["power.json"]


@pytest.mark.parametrize("text", ["", "{}", "[{}]", "null", '[{"recipe": "a"}]', "[1"])
def test_a_damaged_table_says_how_to_mend_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "power.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"power.json: .*; measure again: edge-inspector power tune"):
        read_table(file)


@pytest.mark.parametrize("p99", ["0", "-1", "NaN", "Infinity", '"fast"'])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, p99: str) -> None:
    file = tmp_path / "power.json"
    write_table(file, [row("a", "15W")])
    file.write_text(file.read_text().replace('"p99_ms": 10.0', f'"p99_ms": {p99}'))
    with pytest.raises(ConfigError, match="measure again"):
        read_table(file)


def test_a_new_measurement_takes_the_place_of_the_old_one_and_of_no_other() -> None:
    before = [row("a", "15W", 1), row("a", "MAXN", 2), row("b", "15W", 3)]
    found = merged(before, [row("a", "15W", 9)])
    assert [(one.recipe, one.mode, one.p99_ms) for one in found] == [("a", "15W", 9), ("a", "MAXN", 2), ("b", "15W", 3)]


def test_parts_per_joule_are_known_where_the_power_is() -> None:
    assert row("a", "15W").parts_per_joule == 2.5
    assert row("a", "15W", power_w=None).parts_per_joule is None


def test_of_recipes_that_run_the_same_the_slowest_counts(tmp_path: Path) -> None:
    recipe = Rig(tmp_path).recipe("a")
    runs = fingerprint(recipe, "ort")
    rows = [row("a", "15W", 10, runs), row("b", "15W", 30, runs), row("c", "15W", 20, runs)]
    assert Speeds(rows, "ort").p99_ms(recipe) == {"15W": 30.0}


def test_what_was_measured_of_something_else_does_not_count(tmp_path: Path) -> None:
    recipe = Rig(tmp_path).recipe("a")
    speeds = Speeds([row("a", "15W", runs=fingerprint(recipe, "ort"))], "ort")
    assert speeds.p99_ms(recipe) == {"15W": 10.0}
    plan = recipe.plans["a"]
    lens = Calibration((64, 64), (60.0, 60.0, 32.0, 32.0), (0.0,) * 5)
    for other in (
        replace(recipe, model_hash="another"),
        replace(recipe, plans={"a": replace(plan, roi=Roi(0, 0, 16, 16))}),
        replace(recipe, plans={"a": replace(plan, calibration=lens)}),
        replace(recipe, plans={"a": plan, "b": plan}),
        replace(recipe, plans={"a": PreparePlan(replace(plan.input, width_px=64))}),
    ):
        assert speeds.p99_ms(other) == {}
    assert Speeds([row("a", "15W", runs=fingerprint(recipe, "ort"))], "tensorrt").p99_ms(recipe) == {}
    assert speeds.p99_ms(replace(recipe, name="the same by another name")) == {"15W": 10.0}


def test_what_was_measured_on_another_board_or_jetpack_or_with_other_modes_does_not_count(tmp_path: Path) -> None:
    recipe = Rig(tmp_path).recipe("a")
    files = [tmp_path / path for path in ("proc/device-tree/model", "etc/nv_tegra_release", "etc/nvpmodel.conf")]
    rows = [row("a", "15W", runs=fingerprint(recipe, runs_on("ort", tmp_path)))]
    assert Speeds(rows, runs_on("ort", tmp_path)).p99_ms(recipe) == {"15W": 10.0}
    assert Speeds(rows, runs_on("tensorrt", tmp_path)).p99_ms(recipe) == {}
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("another")
        assert Speeds(rows, runs_on("ort", tmp_path)).p99_ms(recipe) == {}
        file.unlink()
    assert Speeds(rows, runs_on("ort", tmp_path)).p99_ms(recipe) == {"15W": 10.0}


def test_a_table_is_not_written_through_a_link_and_anybody_may_read_it(tmp_path: Path) -> None:
    """Root tunes, and the folder is the station's: whoever has the station must not get at root's files with it."""
    other = tmp_path / "shadow"
    other.write_text("secret")
    for name in ("power.json", "power.new", "power.json.new"):
        (tmp_path / name).symlink_to(other)
    write_table(tmp_path / "power.json", [row("a", "15W")])
    assert other.read_text() == "secret"
    assert not (tmp_path / "power.json").is_symlink()
    assert (tmp_path / "power.json").stat().st_mode & 0o777 == 0o644


def test_a_table_that_cannot_be_written_leaves_the_one_before_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "power.json"
    write_table(file, [row("a", "15W")])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_table(file, [row("b", "15W")])
    assert [path.name for path in tmp_path.iterdir()] == ["power.json"]
    assert read_table(file) == [row("a", "15W")]
