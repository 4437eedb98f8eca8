from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_inspector import assembly, config
from edge_inspector.config.tiling import tiling_of, tiling_problems
from edge_inspector.datatypes import Calibration, Roi, Tiling
from edge_inspector.engine.bundle import Bundle, find_bundle, load_bundle
from edge_inspector.settings import Recipe, View

FILE = Path("station.toml")
STATION = """\
schema = 1
[station]
name = "cell1"
recipe = "board"
runtime_dir = "/run/cell1"
[cameras.top]
type = "folder"
path = "pictures"
[backend]
type = "onnxruntime"
[recipes.board]
number = 1
bundle = "pcb-demo"
trigger = "timer"
period_s = 1.0
views = [{ camera = "top"%s }]
"""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Its input is 640x640."""
    return load_bundle(find_bundle(Path("pcb-demo"), Path.cwd()))


def lens(width: int, height: int) -> Calibration:
    return Calibration((height, width), (1000.0, 1000.0, width / 2, height / 2), (0.0,) * 4)


def said(bundle: Bundle, *views: dict[str, Any], calibrations: dict[str, Calibration] | None = None) -> dict[str, str]:
    recipe = Recipe(number=1, bundle=Path("pcb-demo"), views=tuple(View(**view) for view in views))
    problems = tiling_problems(FILE, "recipes.board", recipe, bundle, calibrations or {})
    return {problem.key: f"{problem.value}: {problem.expected}" for problem in problems}


@pytest.mark.parametrize(
    ("written", "tiling"),
    [
        ("", None),
        ("tiling = { overlap_px = 96 }", Tiling(640, 640, 96)),
        ("tiling = { width_px = 800, overlap_px = 96 }", Tiling(800, 640, 96)),
        ("tiling = { width_px = 800, height_px = 500, overlap_px = 1 }", Tiling(800, 500, 1)),
    ],
)
def test_the_station_files_tiles_reach_the_plan(tmp_path: Path, written: str, tiling: Tiling | None) -> None:
    station = tmp_path / "station.toml"
    station.write_text(STATION % (written and f", {written}"))
    parts, _ = assembly.assemble(station)
    assert parts.recipes["board"].plans["top"].tiling == tiling


@pytest.mark.parametrize(
    ("written", "key", "expected"),
    [
        ("tiling = {}", "recipes.board.views.0.tiling.overlap_px", "this key is required"),
        ("tiling = { overlap_px = 0 }", "recipes.board.views.0.tiling.overlap_px", "greater than 0"),
        ("tiling = { overlap_px = 9, width_px = 0 }", "recipes.board.views.0.tiling.width_px", "greater than 0"),
        ("tiling = { overlap_px = 9, tile = 1 }", "recipes.board.views.0.tiling.tile", "not a known key"),
        (
            "tiling = { overlap_px = 640 }",
            "recipes.board.views.0.tiling.overlap_px",
            "less than the sides of the tiles",
        ),
    ],
)
def test_a_mistake_in_the_station_file_is_told_by_its_key(
    tmp_path: Path, written: str, key: str, expected: str
) -> None:
    station = tmp_path / "station.toml"
    station.write_text(STATION % (written and f", {written}"))
    with pytest.raises(config.StationFileError) as caught:
        assembly.assemble(station)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert expected in problem.expected


def test_a_view_without_tiles_has_no_tiling(bundle: Bundle) -> None:
    assert tiling_of(View(camera="top"), bundle.spec) is None
    assert said(bundle, {"camera": "top"}) == {}


@pytest.mark.parametrize("task", ["classify", "anomaly", "measure"])
def test_a_model_that_judges_a_whole_view_is_not_tiled(bundle: Bundle, task: Any) -> None:
    found = said(replace(bundle, task=task), {"camera": "top", "tiling": {"overlap_px": 96}})
    assert list(found) == ["recipes.board.views.0.tiling"]
    assert all(word in found["recipes.board.views.0.tiling"] for word in ("top", "pcb-demo", task, "remove tiling"))


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_a_model_that_finds_things_is_tiled(bundle: Bundle, task: Any) -> None:
    assert said(replace(bundle, task=task), {"camera": "top", "tiling": {"overlap_px": 96}}) == {}


def test_too_many_tiles_of_a_roi_are_told_with_their_number(bundle: Bundle) -> None:
    roi = Roi(0, 0, 4992, 4448)  # 9 x 8 of 640 px that share 96
    view = {"camera": "top", "roi": vars(roi), "tiling": {"overlap_px": 96}}
    found = said(bundle, view)
    assert list(found) == ["recipes.board.views.0.tiling"]
    assert all(
        word in found["recipes.board.views.0.tiling"] for word in ("4992x4448", "72 tiles", "at most 64", "640x640")
    )
    assert said(bundle, {**view, "roi": {**vars(roi), "width": 4448}}) == {}


def test_too_many_tiles_of_a_calibrated_picture_are_told(bundle: Bundle) -> None:
    view = {"camera": "top", "tiling": {"width_px": 100, "height_px": 100, "overlap_px": 50}}
    found = said(bundle, view, calibrations={"top": lens(1000, 1000)})
    assert "361 tiles" in found["recipes.board.views.0.tiling"]


def test_a_roi_smaller_than_a_tile_is_one_tile(bundle: Bundle) -> None:
    roi = {"x": 0, "y": 0, "width": 200, "height": 200}
    assert said(bundle, {"camera": "top", "roi": roi, "tiling": {"overlap_px": 96}}) == {}


def test_all_calibrated_views_together_must_fit_into_the_maps_that_are_kept(bundle: Bundle) -> None:
    cameras = [f"c{i}" for i in range(6)]  # 64 tiles each
    views = [{"camera": name, "tiling": {"overlap_px": 96}} for name in cameras]
    lenses = {name: lens(4448, 4448) for name in cameras}
    assert said(bundle, *views[:4], calibrations=lenses) == {}
    found = said(bundle, *views[:5], calibrations=lenses)
    assert list(found) == ["recipes.board.views"]
    assert "320 tiles" in found["recipes.board.views"]
    assert said(bundle, *views[:5]) == {}  # without calibration nothing is kept
