"""What the station file asks of engines, against the bundles that its recipes name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_inspector import plugins
from edge_inspector.config.problems import Problem, dotted
from edge_inspector.config.station_file import StationConfig
from edge_inspector.engine import calibration_set
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.golden import golden_pictures
from edge_inspector.engine.invariants import load, quantised_by
from edge_inspector.engine.quantize import LEAST_PICTURES
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Backend


def engine_problems(path: Path, station: StationConfig, bundles: Mapping[str, Bundle]) -> Iterator[Problem]:
    """`bundles` by recipe. What only the machine knows on which the engine is built is told there."""
    names = sorted({bundle.name for bundle in bundles.values()})
    for name in station.station.accept_unverified:
        if name not in names:
            expected = f"is the name of no recipe's bundle; theirs are {', '.join(names)}"
            yield Problem(path, "station.accept_unverified", repr(name), expected)
    backend: Backend = plugins.load("backend", station.backend.type)(station.backend)
    if backend.proof != "none":
        for recipe, bundle in bundles.items():
            yield from _golden(path, recipe, bundle)
    if backend.options.precision == "int8":
        yield from _calibration(path, backend.options.calibration_dir, bundles)


def _golden(path: Path, recipe: str, bundle: Bundle) -> Iterator[Problem]:
    try:
        golden_pictures(bundle)
    except ConfigError as exc:
        yield Problem(path, dotted(["recipes", recipe, "bundle"]), repr(bundle.name), str(exc))


def _calibration(path: Path, folder: str, bundles: Mapping[str, Bundle]) -> Iterator[Problem]:
    if folder:
        try:
            found = len(calibration_set.pictures(Path(folder)))
        except ConfigError as exc:
            yield Problem(path, "backend.calibration", repr(folder), str(exc))
            return
        if found < LEAST_PICTURES:
            expected = f"holds {found} pictures, expected {LEAST_PICTURES} or more of what the station sees"
            yield Problem(path, "backend.calibration", repr(folder), expected)
        return
    for recipe, bundle in bundles.items():
        if not _quantised(bundle):
            expected = f"is missing: precision = 'int8' needs pictures to scale bundle {bundle.name} of {recipe!r} by"
            yield Problem(path, "backend.calibration", "", expected)
            return


def _quantised(bundle: Bundle) -> bool:
    """Whether the ONNX file holds its 8-bit scales; True also where nobody can look: the builder will."""
    try:
        return bool(quantised_by(load(bundle.folder / "model.onnx").graph))
    except ConfigError:
        return True
