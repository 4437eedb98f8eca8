"""What assembly hands to the station, built but not opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_inspector.config import StationConfig
from edge_inspector.datatypes import Calibration, Criteria, FeatureValue, Identity, PreparePlan, ThresholdState
from edge_inspector.engine.bundle import Bundle
from edge_inspector.health.metrics import StationMetrics
from edge_inspector.interfaces import Backend, Camera, Clock, ModelFile, PlcLink, Publisher
from edge_inspector.pipeline import Reading
from edge_inspector.settings import PictureGate, Recipe
from edge_inspector.settings.line_rules import AnyLineRule
from edge_inspector.settings.power import PowerSettings
from edge_inspector.settings.real_time import RealTimeSettings
from edge_inspector.station.changes import Configuration
from edge_inspector.station.engines import Engines
from edge_inspector.station.events import Setting
from edge_inspector.station.power_speeds import Speeds
from edge_inspector.station.power_thread import OpenedPower
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.images.keeper import ImageStore
from edge_inspector.store.ledger import Ledger


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with all that its bundle and calibrations say; `plans` has one entry for each camera of it, in order."""

    name: str
    settings: Recipe
    criteria: Criteria
    thresholds: ThresholdState
    model_hash: str
    model_file: ModelFile
    reading: Reading
    plans: Mapping[str, PreparePlan]

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self.plans)

    def features(self, camera: str) -> Mapping[str, FeatureValue]:
        """The GenICam features that this recipe asks of one of its cameras."""
        return next((view.features for view in self.settings.views if view.camera == camera), {})

    def prepares(self, name: str, camera: str, plan: PreparePlan | None) -> bool:
        """Whether a picture that was prepared for the recipe of this name, by this plan, is one of this very recipe.

        Another one of its name has other plans, unless pictures and model are the same for both; None = by the name.
        """
        return name == self.name and (plan is None or self.plans.get(camera) is plan)

    def setting(self, camera: str) -> Setting:
        """The same as an order to the camera."""
        return Setting(self.name, self.features(camera))


def calibrations_of(recipes: Mapping[str, LoadedRecipe]) -> dict[str, Calibration | None]:
    """By camera, of those that a recipe looks through."""
    return {camera: plan.calibration for recipe in recipes.values() for camera, plan in recipe.plans.items()}


@dataclass(frozen=True)
class RecipeSet:
    """Everything that a reload may change, read whole from one station file and swapped whole; `bundles` by recipe."""

    recipes: Mapping[str, LoadedRecipe]
    bundles: Mapping[str, Bundle]
    line_rules: Sequence[AnyLineRule]
    configuration: Configuration
    settings: StationConfig
    content: bytes
    """The station file as it is written."""


@dataclass(frozen=True)
class StationFile:
    """What the station runs by, and the file as it is by now; `again` takes its time, on any thread.

    StationFileError, or another ConfigError, with all that is wrong.
    """

    now: RecipeSet
    again: Callable[[], RecipeSet]


class Recipes(Mapping[str, LoadedRecipe]):
    """The recipes of this moment, by name; any thread may look, and only the line loop swaps.

    Who needs the recipe of a part asks the part: here there may be another one by that name already.
    """

    def __init__(self, recipes: Mapping[str, LoadedRecipe], bundles: Mapping[str, Bundle] | None = None) -> None:
        self._now = recipes, bundles or {}

    def __getitem__(self, name: str) -> LoadedRecipe:
        return self._now[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now[0])

    def __len__(self) -> int:
        return len(self._now[0])

    @property
    def now(self) -> Mapping[str, LoadedRecipe]:
        """For who looks more than once, on another thread: these stay as they are."""
        return self._now[0]

    @property
    def bundles(self) -> Mapping[str, Bundle]:
        """By recipe; empty where nothing has to be built or proven."""
        return self._now[1]

    def swap(self, recipes: Mapping[str, LoadedRecipe], bundles: Mapping[str, Bundle]) -> None:
        """All of them at once."""
        self._now = recipes, bundles


@dataclass(frozen=True)
class CameraPlan:
    """What the station knows of a camera before it is open; `make` gives a new one that nobody has opened."""

    make: Callable[[], Camera]
    gate: PictureGate
    calibration: Calibration | None = None
    """None = there is none, or it is only known from the recipes."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the station's waits and queues; times in seconds."""

    max_open: int
    line_stop_after: int
    grab_timeout_s: float
    stop_timeout_s: float
    model_memory_bytes: int | None = None
    """What the models of all recipes may need together; None = all of them are kept."""


@dataclass(frozen=True)
class PowerPlan:
    """What the station knows of its board before it has asked it.

    `open` reaches the board and `speeds` reads what was measured on it; both may take some seconds.
    """

    settings: PowerSettings
    open: Callable[[], OpenedPower]
    speeds: Callable[[], Speeds]


@dataclass(frozen=True)
class Parts:
    """One station, ready to be opened."""

    identity: Identity
    clock: Clock
    limits: Limits
    master: str
    """The link that triggers, selects recipes and commands; empty = none may."""
    active_recipe: str
    recipes: Recipes
    cameras: Mapping[str, CameraPlan]
    backend: Backend
    engines: Engines
    build_command: Callable[[str], Sequence[str]]
    """What builds the engine of a recipe, as a command line; empty = there is no such recipe any more."""
    links: Sequence[PlcLink]
    output_cameras: Sequence[str]
    """Cameras whose output lines some link drives."""
    state_dir: Path
    publishers: Sequence[Publisher]
    flight: FlightRecord
    ledger: Ledger
    images: ImageStore | None = None
    """None = no picture is kept."""
    metrics: StationMetrics = field(default_factory=StationMetrics)
    line_rules: Sequence[AnyLineRule] = ()
    """Rules over many parts."""
    configuration: Configuration = field(default_factory=Configuration)
    """What the station file and all that it names say, for the audit trail."""
    power: PowerPlan | None = None
    """None = nobody looks at the board."""
    file: StationFile | None = None
    """None = there is none that could be read again."""
    real_time: RealTimeSettings | None = None
    """None = nothing is asked of the kernel."""
