"""What assembly hands to the station, built but not opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_inspector.datatypes import Criteria, FeatureValue, Identity, PreparePlan, ThresholdState
from edge_inspector.health.metrics import StationMetrics
from edge_inspector.interfaces import Backend, Camera, Clock, ModelFile, PlcLink, Publisher
from edge_inspector.pipeline import Reading
from edge_inspector.settings import PictureGate, Recipe
from edge_inspector.settings.line_rules import AnyLineRule
from edge_inspector.station.changes import Configuration
from edge_inspector.station.engines import Engines
from edge_inspector.station.events import Setting
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

    def setting(self, camera: str) -> Setting:
        """The same as an order to the camera."""
        return Setting(self.name, self.features(camera))


@dataclass(frozen=True)
class CameraPlan:
    """What the station knows of a camera before it is open; `make` gives a new one that nobody has opened."""

    make: Callable[[], Camera]
    gate: PictureGate


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
class Parts:
    """One station, ready to be opened."""

    identity: Identity
    clock: Clock
    limits: Limits
    master: str
    """The link that triggers, selects recipes and commands; empty = none may."""
    active_recipe: str
    recipes: Mapping[str, LoadedRecipe]
    cameras: Mapping[str, CameraPlan]
    backend: Backend
    engines: Engines
    build_command: Callable[[str], Sequence[str]]
    """What builds the engine of a recipe, as a command line."""
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
