"""By what parts are run: the recipes of the station file, with another bundle where one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edge_inspector import plugins
from edge_inspector.assembly import recipes_of
from edge_inspector.config.problems import Problem, StationFileError, dotted
from edge_inspector.config.rules import rule_problems
from edge_inspector.config.station_file import StationConfig
from edge_inspector.config.tiling import tiling_of, tiling_problems
from edge_inspector.datatypes import ThresholdState
from edge_inspector.engine.bundle import Bundle, find_bundle, load_bundle, reading_of
from edge_inspector.engine.fingerprint import fingerprint
from edge_inspector.engine.store import EngineStore
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Backend
from edge_inspector.settings import PictureGate, Recipe
from edge_inspector.stages.rules import with_rules
from edge_inspector.stages.thresholds import fixed
from edge_inspector.station.changes import configured
from edge_inspector.station.parts import LoadedRecipe


@dataclass(frozen=True)
class Engine:
    """How many views the station may put into one run of an engine; `note` says what a reader should know of it."""

    batch_sizes: tuple[int, ...] = (1,)
    note: str = ""


@dataclass(frozen=True)
class Setup:
    """A recipe, ready to run; `gates` by camera. Two setups that `sees_alike` find the same on the same picture."""

    recipe: LoadedRecipe
    bundle: Bundle
    gates: Mapping[str, PictureGate]
    engine: Engine = Engine()

    def sees_alike(self, other: Setup) -> bool:
        """Whether the same model looks at the same parts of the same cameras' pictures."""
        mine, theirs = self.recipe, other.recipe
        return (
            mine.model_file == theirs.model_file and mine.model_hash == theirs.model_hash and mine.plans == theirs.plans
        )

    def with_thresholds(self, wanted: Mapping[str, float], base: ThresholdState) -> ThresholdState:
        """`base` with some classes changed. ConfigError: no such class, or less than the model reports."""
        classes = self.recipe.criteria.classes
        for name, value in wanted.items():
            if name not in classes:
                raise ConfigError(
                    f"--threshold {name}={value:g}: bundle {self.bundle.name} has no such class; its classes are "
                    f"{', '.join(classes)}"
                )
            if not self.bundle.score_floor <= value <= 1:
                raise ConfigError(
                    f"--threshold {name}={value:g}: expected {self.bundle.score_floor:g} (the bundle's score_floor, "
                    "below which nothing is seen) to 1"
                )
        return replace(base, by_class=fixed(classes, base.by_class, wanted).by_class)


@dataclass(frozen=True)
class Station:
    """What the station file says, as far as a replay needs it; `configuration` as the audit trail compares it."""

    file: Path
    settings: StationConfig
    state_dir: Path
    images: Path
    backend: Backend
    setups: Mapping[str, Setup]
    configuration: Mapping[str, str]

    @property
    def ledger(self) -> Path:
        return self.state_dir / "ledger.sqlite"

    def setup(self, recipe: str) -> Setup:
        """ConfigError: the station file has no such recipe."""
        if recipe not in self.setups:
            raise ConfigError(f"{self.file} has no recipe {recipe!r}; it has {', '.join(self.setups)}")
        return self.setups[recipe]


def read_station(file: Path, state_dir: Path | None = None, images: Path | None = None) -> Station:
    """`state_dir` and `images` where they are not the file's own: of a copy.

    StationFileError: what is wrong with the file, its recipes, bundles or calibrations; links and credentials are not
    asked for.
    """
    settings, recipes, bundles = recipes_of(file)
    folder = state_dir or settings.station.state_dir
    own = settings.images.folder if settings.images is not None and state_dir is None else None
    setups = {
        name: Setup(recipe, bundles[name], {camera: settings.cameras[camera].gate for camera in recipe.cameras})
        for name, recipe in recipes.items()
    }
    return Station(
        file=file,
        settings=settings,
        state_dir=folder,
        images=images or own or folder / "images",
        backend=plugins.load("backend", settings.backend.type)(settings.backend),
        setups=setups,
        configuration=configured(file, settings, bundles).values,
    )


def with_bundle(station: Station, setup: Setup, wanted: Path) -> Setup:
    """The same recipe with another bundle. ConfigError: there is none, or the recipe does not fit it."""
    bundle = load_bundle(find_bundle(wanted, Path.cwd()))
    recipe = setup.recipe
    _check_fit(station, recipe, bundle)
    views = {view.camera: view for view in recipe.settings.views}
    plans = {
        camera: replace(plan, input=bundle.spec, tiling=tiling_of(views[camera], bundle.spec))
        for camera, plan in recipe.plans.items()
    }
    changed = replace(
        recipe,
        criteria=with_rules(bundle.criteria, recipe.settings, bundle.task),
        thresholds=fixed(bundle.classes, bundle.default_thresholds, recipe.settings.thresholds),
        model_hash=bundle.model_hash,
        model_file=bundle.model_file(),
        reading=reading_of(bundle),
        plans=plans,
    )
    return Setup(changed, bundle, setup.gates)


def _check_fit(station: Station, recipe: LoadedRecipe, bundle: Bundle) -> None:
    """StationFileError: with this bundle the station file would be refused."""
    key, path = f"recipes.{recipe.name}", station.file
    calibrations = {camera: plan.calibration for camera, plan in recipe.plans.items()}
    problems = [
        *_threshold_problems(path, f"{key}.thresholds", recipe.settings, bundle),
        *tiling_problems(path, key, recipe.settings, bundle, calibrations),
        *rule_problems(path, key, recipe.settings, bundle, calibrations),
    ]
    if problems:
        raise StationFileError(problems)


def _threshold_problems(path: Path, key: str, recipe: Recipe, bundle: Bundle) -> Iterator[Problem]:
    for name, threshold in recipe.thresholds.items():
        if name not in bundle.classes:
            expected = f"is no class of bundle {bundle.name}; its classes are {', '.join(bundle.classes)}"
            yield Problem(path, f"{key}.{dotted([name])}", f"{threshold:g}", expected)
        elif threshold < bundle.score_floor:
            expected = f"expected at least the score_floor of bundle {bundle.name} ({bundle.score_floor:g})"
            yield Problem(path, f"{key}.{dotted([name])}", f"{threshold:g}", expected)


def with_engine(station: Station, setup: Setup) -> Setup:
    """On the engine that the station would load. ConfigError: it is not built, or the backend cannot run here."""
    backend, bundle = station.backend, setup.bundle
    if backend.proof == "none":
        return setup
    if backend.proof == "each_start":
        note = f"bundle {bundle.name} ran on backend {station.settings.backend.type} without the proof of a start"
        return replace(setup, engine=Engine(tuple(range(1, backend.max_batch + 1)), note))
    engine = EngineStore(station.state_dir / "engines").find(fingerprint(bundle, backend))
    if engine is None:
        raise ConfigError(
            f"there is no engine of bundle {bundle.name} for this machine in {station.state_dir / 'engines'}; build "
            f"it: edge-inspector engine build {bundle.folder} --station {station.file}"
        )
    proof = engine.passport.proof
    note = "" if proof.outcome == "passed" else f"the engine of bundle {bundle.name} is {proof.outcome}: {proof.text}"
    recipe = replace(setup.recipe, model_file=replace(setup.recipe.model_file, engine_dir=engine.engine_dir))
    return replace(setup, recipe=recipe, engine=Engine(proof.batch_sizes, note))
