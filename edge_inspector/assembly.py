"""The station file becomes a station: the only place where plugins are made. Opens nothing."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_inspector import __version__, config, plugins
from edge_inspector.calibration.file import load_calibration
from edge_inspector.config import Draft, Problem, StationConfig, StationFileError, dotted
from edge_inspector.config.adaptive import adaptive_problems
from edge_inspector.config.engines import engine_problems
from edge_inspector.config.golden import golden_problems
from edge_inspector.config.line_rules import line_rule_problems
from edge_inspector.config.plc import master_of, plc_problems
from edge_inspector.config.rules import rule_problems
from edge_inspector.config.tiling import tiling_of, tiling_problems
from edge_inspector.control import Control
from edge_inspector.datatypes import Calibration, Identity, PreparePlan, Roi, TriggerMode
from edge_inspector.engine.bundle import Bundle, DamagedBundleError, find_bundle, load_bundle, reading_of
from edge_inspector.engine.store import EngineStore
from edge_inspector.errors import ConfigError
from edge_inspector.health.clock import SystemClock
from edge_inspector.health.power.opening import open_power_control
from edge_inspector.interfaces import HasOutputLines
from edge_inspector.settings import CameraConfig, Recipe, Settings
from edge_inspector.settings.power import PowerSettings
from edge_inspector.stages import thresholds
from edge_inspector.stages.rules import with_rules
from edge_inspector.station import power_speeds
from edge_inspector.station.announcements import GRACE_NS, windows
from edge_inspector.station.changes import configured
from edge_inspector.station.engines import Engines
from edge_inspector.station.parts import (
    CameraPlan,
    Limits,
    LoadedRecipe,
    Parts,
    PowerPlan,
    Recipes,
    RecipeSet,
    StationFile,
    calibrations_of,
)
from edge_inspector.station.power_speeds import Speeds
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.images.keeper import ImageStore
from edge_inspector.store.ledger import Ledger

_CAMERAS_OF: Mapping[str, tuple[TriggerMode, ...]] = {
    "plc": ("software",),
    "timer": ("software",),
    "announced": ("line",),
    "line": ("line", "free"),
}
"""The cameras that each trigger of a recipe can use."""
_SOCKET_PATH_MAX = 107
"""Bytes that sockaddr_un has for a path (unix(7))."""


def assemble(path: Path) -> tuple[Parts, Control]:
    """Build everything that the station file names. StationFileError lists every problem at once.

    That is, those of the file itself and those of the bundles, calibrations and credentials that it names.
    """
    cameras, read = _read(path)
    settings = read.settings
    station = settings.station
    clock = SystemClock()
    identity = Identity(station.name, secrets.randbelow(2**32 - 1) + 1, __version__)
    flight = FlightRecord(station.runtime / "flight.bin")
    links = [
        plugins.load("plc", link.type)(name, link, identity, clock, station.state_dir / "plc" / name)
        for name, link in settings.plc.items()
    ]
    publishers = [plugins.load("publisher", p.type)(name, p, identity) for name, p in settings.publishers.items()]
    backend = plugins.load("backend", settings.backend.type)(settings.backend)
    store = EngineStore(station.state_dir / "engines")
    recipes = Recipes(read.recipes, read.bundles)
    parts = Parts(
        identity=identity,
        clock=clock,
        limits=Limits(
            station.max_open,
            station.line_stop_after,
            station.grab_timeout_s,
            station.stop_timeout_s,
            None if station.model_memory_mb is None else station.model_memory_mb * 1_000_000,
        ),
        master=master_of(station.master, settings.plc),
        active_recipe=station.recipe,
        recipes=recipes,
        cameras=cameras,
        backend=backend,
        engines=Engines(backend, store, read.bundles, frozenset(station.accept_unverified)),
        build_command=lambda recipe: _build_command(path, recipes.bundles.get(recipe)),
        links=links,
        output_cameras=sorted({camera for link in settings.plc.values() for camera in link.output_cameras}),
        state_dir=station.state_dir,
        publishers=publishers,
        flight=flight,
        ledger=Ledger(
            station.state_dir / "ledger.sqlite",
            list(settings.publishers),
            on_booked=flight.free,
            settings=settings.ledger,
            clock=clock,
        ),
        images=_images(settings, recipes, clock),
        line_rules=read.line_rules,
        configuration=read.configuration,
        power=_power(settings),
        file=StationFile(read, lambda: _reread(path)),
        real_time=station.real_time,
    )
    return parts, Control(station.runtime / "control.sock")


def _read(path: Path) -> tuple[dict[str, CameraPlan], RecipeSet]:
    """All that the station file says and names, checked whole. StationFileError as `assemble`."""
    content = config.content(path)
    draft = config.draft(path)
    calibrations, unusable = _calibrations(path, draft.cameras)
    cameras = {name: replace(one, calibration=calibrations.get(name)) for name, one in _camera_plans(draft).items()}
    recipes, bundles, wrong = _recipes(path, draft, cameras, calibrations, unusable)
    told = {problem.key for problem in draft.problems}
    with_outputs = [name for name, plan in cameras.items() if isinstance(plan.make(), HasOutputLines)]
    between = plc_problems(path, draft, with_outputs)
    beside = [*wrong, *_missing_files(path, draft), *_long_paths(path, draft), *between]
    problems = [*draft.problems, *(problem for problem in beside if problem.key not in told)]
    settings = draft.station
    if settings is not None and not problems:
        problems = [*engine_problems(path, settings, bundles), *line_rule_problems(path, settings, bundles)]
    if content != config.content(path):
        problems = [Problem(path, "", "", "was changed while it was being read; try again"), *problems]
    if settings is None or problems:
        raise StationFileError(problems)
    configuration = configured(path, settings, bundles)
    return cameras, RecipeSet(recipes, bundles, settings.line_rules, configuration, settings, content)


def _reread(path: Path) -> RecipeSet:
    """What the station file says now; a start with it would find nothing wrong either."""
    _, read = _read(path)
    _images(read.settings, read.recipes, SystemClock())
    return read


def recipes_of(path: Path) -> tuple[StationConfig, dict[str, LoadedRecipe], dict[str, Bundle]]:
    """The station file, its recipes and their bundles by the recipe's name, for who only wants to judge pictures.

    StationFileError as `assemble`, but what links, publishers and engines need (credentials, keys) may be missing: the
    file may lie on another machine than the station's.
    """
    draft = config.draft(path)
    recipes, bundles, problems = _recipes(path, draft, _camera_plans(draft), *_calibrations(path, draft.cameras))
    told = {problem.key for problem in draft.problems}
    problems = [*draft.problems, *(problem for problem in problems if problem.key not in told)]
    if draft.station is None or problems:
        raise StationFileError(problems)
    return draft.station, recipes, bundles


def _camera_plans(draft: Draft) -> dict[str, CameraPlan]:
    return {
        name: CameraPlan(partial(plugins.load("camera", camera.type), name, camera), camera.gate)
        for name, camera in draft.cameras.items()
    }


def _images(settings: StationConfig, recipes: Mapping[str, LoadedRecipe], clock: SystemClock) -> ImageStore | None:
    if settings.images is None:
        return None
    folder, book = settings.station.state_dir / "images", settings.station.state_dir / "ledger.sqlite"
    return ImageStore(settings.images, settings.images.folder or folder, calibrations_of(recipes), clock, book)


def _power(settings: StationConfig) -> PowerPlan:
    """Without a table for it the board is only read."""
    power = settings.power or PowerSettings.model_validate({"through": "none"})
    table = settings.station.state_dir / power_speeds.FILE
    return PowerPlan(
        power,
        partial(open_power_control, power.through, power.root, power.timeout_s),
        lambda: Speeds(
            power_speeds.read_table(table), power_speeds.runs_on(settings.backend.model_dump_json(), power.root)
        ),
    )


def check(path: Path) -> StationConfig:
    """As `assemble`, but nothing is kept: for `edge-inspector check`."""
    assemble(path)
    return config.load(path)


def _recipes(
    path: Path,
    draft: Draft,
    cameras: Mapping[str, CameraPlan],
    calibrations: Mapping[str, Calibration | None],
    unusable: Sequence[Problem],
) -> tuple[dict[str, LoadedRecipe], dict[str, Bundle], list[Problem]]:
    """Recipes and their bundles, by the recipe's name; `unusable` are the problems of the calibrations."""
    problems = [*unusable]
    loaded: dict[str, LoadedRecipe] = {}
    bundles: dict[str, Bundle] = {}
    for name, recipe in draft.recipes.items():
        key = dotted(["recipes", name])
        bundle = None
        try:
            bundle = load_bundle(find_bundle(recipe.bundle, path.resolve().parent))
        except (ConfigError, OSError) as exc:
            lines = exc.problems if isinstance(exc, DamagedBundleError) else (str(exc),)
            problems += [Problem(path, f"{key}.bundle", repr(str(recipe.bundle)), line) for line in lines]
        found = list(_recipe_problems(path, key, recipe, bundle, cameras, calibrations))
        problems += found
        if draft.station is not None and bundle is not None and not problems:
            loaded[name] = _loaded(name, recipe, bundle, calibrations)
            bundles[name] = bundle
    return loaded, bundles, problems


def _build_command(station_file: Path, bundle: Bundle | None) -> list[str]:
    """Builds in a process of its own: a builder takes all the cores that it gets, and may crash.

    Empty: the recipe is gone.
    """
    if bundle is None:
        return []
    build = ["engine", "build", str(bundle.folder), "--station", str(station_file.resolve()), "--progress"]
    return [sys.executable, "-m", "edge_inspector", *build]


def _calibrations(
    path: Path, cameras: Mapping[str, CameraConfig]
) -> tuple[dict[str, Calibration | None], list[Problem]]:
    problems: list[Problem] = []
    calibrations: dict[str, Calibration | None] = {}
    for name, camera in cameras.items():
        key, value = dotted(["cameras", name, "calibration"]), repr(str(camera.calibration))
        try:
            calibrations[name] = made = None if camera.calibration is None else load_calibration(camera.calibration)
        except ConfigError as exc:
            problems += [Problem(path, key, value, line) for line in str(exc).splitlines()]
            continue
        serial = getattr(camera, "serial", None)
        if made is not None and made.serial and serial and made.serial != serial:
            expected = f"was made for the camera of serial {made.serial}, and this one is {serial}; calibrate this one"
            problems.append(Problem(path, key, value, expected))
    return calibrations, problems


def _missing_files(path: Path, draft: Draft) -> Iterator[Problem]:
    """Credentials and certificates: a key of a link or publisher that ends in `_file` names a file that must exist."""
    tables: list[tuple[list[str], Settings]] = [
        *((["plc", name], table) for name, table in draft.plc.items()),
        *((["publishers", name], table) for name, table in draft.publishers.items()),
        *([] if draft.station is None else [(["backend"], draft.station.backend)]),
    ]
    for where, table in tables:
        for key, file in _files(table):
            if not os.path.isfile(file):
                expected = "is not a file, or lies where this user may not look; relative to the station file"
                yield Problem(path, dotted([*where, *key]), repr(str(file)), expected)


def _files(settings: Settings) -> Iterator[tuple[tuple[str, ...], Path]]:
    for name, value in settings:
        if isinstance(value, Settings):
            yield from (((name, *key), file) for key, file in _files(value))
        elif isinstance(value, Path) and name.endswith("_file"):
            yield (name,), value


def _long_paths(path: Path, draft: Draft) -> Iterator[Problem]:
    if draft.station is None:
        return
    socket = draft.station.station.runtime / "control.sock"
    length = len(os.fsencode(socket))
    if length > _SOCKET_PATH_MAX:
        expected = (
            f"the control socket's path has {length} bytes, expected at most {_SOCKET_PATH_MAX}: a shorter folder"
        )
        yield Problem(path, "station.runtime_dir", repr(str(socket.parent)), expected)


def _recipe_problems(
    path: Path,
    key: str,
    recipe: Recipe,
    bundle: Bundle | None,
    cameras: Mapping[str, CameraPlan],
    calibrations: Mapping[str, Calibration | None],
) -> Iterator[Problem]:
    """What a recipe says against its bundle, its cameras and their calibrations."""
    if bundle is not None:
        yield from _threshold_problems(path, f"{key}.thresholds", recipe, bundle)
        yield from tiling_problems(path, key, recipe, bundle, calibrations)
        yield from rule_problems(path, key, recipe, bundle, calibrations)
        yield from golden_problems(path, key, recipe, bundle)
        yield from adaptive_problems(path, key, recipe, bundle)
    for i, view in enumerate(recipe.views):
        if view.camera not in cameras:
            continue  # told already: the camera is unknown, or something is wrong in its table
        mode = cameras[view.camera].make().trigger_mode
        if mode not in _CAMERAS_OF[recipe.trigger]:
            needed = " or ".join(map(repr, _CAMERAS_OF[recipe.trigger]))
            expected = f"is triggered by {mode!r}; trigger = {recipe.trigger!r} needs a camera triggered by {needed}"
            yield Problem(path, f"{key}.views.{i}.camera", repr(view.camera), expected)
        calibration = calibrations.get(view.camera)
        if view.roi is not None and calibration is not None:
            height, width = calibration.image_hw
            if view.roi.x + view.roi.width > width or view.roi.y + view.roi.height > height:
                value = f"{view.roi.x},{view.roi.y} {view.roi.width}x{view.roi.height}"
                yield Problem(path, f"{key}.views.{i}.roi", value, f"expected inside the {width}x{height} picture")
    if recipe.trigger == "line" and len(recipe.views) > 1:
        expected = "expected one view: several cameras that trigger themselves need trigger = 'announced'"
        yield Problem(path, f"{key}.views", str(len(recipe.views)), expected)
    for camera, (_, latest_ms) in windows(recipe).items():
        needed_ms = latest_ms + GRACE_NS / 1e6 + recipe.output_margin_ms
        if needed_ms >= recipe.deadline_ms:
            expected = (
                f"expected more than {needed_ms:g}: the verdict waits for the end of {camera}'s window_ms "
                f"({latest_ms:g}), {GRACE_NS / 1e6:g} for its picture's way and output_margin_ms"
            )
            yield Problem(path, f"{key}.deadline_ms", f"{recipe.deadline_ms:g}", expected)


def _threshold_problems(path: Path, key: str, recipe: Recipe, bundle: Bundle) -> Iterator[Problem]:
    for name, threshold in recipe.thresholds.items():
        if name not in bundle.classes:
            expected = f"is not a class of the bundle; its classes are {', '.join(bundle.classes)}"
        elif threshold < bundle.score_floor:
            expected = f"expected at least the bundle's score_floor ({bundle.score_floor:g}): below it nothing is seen"
        else:
            continue
        yield Problem(path, f"{key}.{dotted([name])}", f"{threshold:g}", expected)


def _loaded(name: str, recipe: Recipe, bundle: Bundle, calibrations: Mapping[str, Calibration | None]) -> LoadedRecipe:
    plans = {
        view.camera: PreparePlan(
            input=bundle.spec,
            roi=None if view.roi is None else Roi(view.roi.x, view.roi.y, view.roi.width, view.roi.height),
            calibration=calibrations[view.camera],
            tiling=tiling_of(view, bundle.spec),
        )
        for view in recipe.views
    }
    return LoadedRecipe(
        name=name,
        settings=recipe,
        criteria=with_rules(bundle.criteria, recipe, bundle.task),
        thresholds=thresholds.fixed(bundle.classes, bundle.default_thresholds, recipe.thresholds),
        model_hash=bundle.model_hash,
        model_file=bundle.model_file(),
        reading=reading_of(bundle),
        plans=plans,
    )
