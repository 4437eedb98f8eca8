"""The tiles of a recipe's views, against its bundle and its cameras' calibrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_inspector.config.problems import Problem
from edge_inspector.datatypes import Calibration, InputSpec, Roi, Tiling
from edge_inspector.engine.bundle import Bundle
from edge_inspector.settings import Recipe, View
from edge_inspector.stages.prepare import MAPS_KEPT
from edge_inspector.stages.tiles import MOST_TILES, tile_count

_TASKS = ("detect", "segment")
"""What can be found in a part of a view; the others judge or measure a view as a whole."""


def tiling_of(view: View, spec: InputSpec) -> Tiling | None:
    """The view's tiles, as large as the model's input where it does not say."""
    if view.tiling is None:
        return None
    width_px, height_px = view.tiling.width_px or spec.width_px, view.tiling.height_px or spec.height_px
    return Tiling(width_px, height_px, view.tiling.overlap_px)


def tiling_problems(
    path: Path, key: str, recipe: Recipe, bundle: Bundle, calibrations: Mapping[str, Calibration | None]
) -> Iterator[Problem]:
    """What of the recipe's tiles cannot be; how many they are is known with a ROI or a calibration only."""
    remapped = 0
    for i, view in enumerate(recipe.views):
        tiling, calibration = tiling_of(view, bundle.spec), calibrations.get(view.camera)
        bounds, tiles = _bounds(view, calibration), 1
        if tiling is not None:
            problems = [*_misfits(path, f"{key}.views.{i}.tiling", view, tiling, bundle, bounds)]
            yield from problems
            tiles = 1 if problems or bounds is None else tile_count(bounds, tiling)
        remapped += tiles if calibration else 0
    if remapped > MAPS_KEPT:
        expected = f"have {remapped} tiles of calibrated cameras, expected at most {MAPS_KEPT}: make the tiles larger"
        yield Problem(path, f"{key}.views", "", expected)


def _misfits(path: Path, key: str, view: View, tiling: Tiling, bundle: Bundle, bounds: Roi | None) -> Iterator[Problem]:
    value = f"{tiling.width_px}x{tiling.height_px} px"
    if bundle.task not in _TASKS:
        expected = (
            f"the view of {view.camera} cannot be tiled: bundle {bundle.name} has task = {bundle.task!r}, which takes "
            f"a view as a whole; remove tiling, or use a bundle of task {' or '.join(map(repr, _TASKS))}"
        )
        yield Problem(path, key, value, expected)
    if tiling.overlap_px >= min(tiling.width_px, tiling.height_px):
        expected = f"expected less than the sides of the tiles, which are {value}"
        yield Problem(path, f"{key}.overlap_px", str(tiling.overlap_px), expected)
    elif bounds is not None and (tiles := tile_count(bounds, tiling)) > MOST_TILES:
        expected = (
            f"cuts the {bounds.width}x{bounds.height} px of {view.camera} into {tiles} tiles, expected at most "
            f"{MOST_TILES}: larger tiles, a smaller overlap_px or a smaller roi"
        )
        yield Problem(path, key, value, expected)


def _bounds(view: View, calibration: Calibration | None) -> Roi | None:
    """What of the picture is looked at; None where only a picture tells."""
    if view.roi is not None:
        return Roi(view.roi.x, view.roi.y, view.roi.width, view.roi.height)
    return None if calibration is None else Roi(0, 0, calibration.image_hw[1], calibration.image_hw[0])
