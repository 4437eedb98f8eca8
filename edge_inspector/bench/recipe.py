"""How long the parts of one recipe take on this machine as it is now: the station itself, without its cameras."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import cv2
import numpy as np

from edge_inspector.assembly import assemble
from edge_inspector.bench.link import Part, TimingLink
from edge_inspector.bench.report import Spread, spread
from edge_inspector.bench.source import FrameSource, Gray
from edge_inspector.control import Control
from edge_inspector.datatypes import Evaluation, PreparePlan
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.golden import golden_pictures
from edge_inspector.errors import InferenceError
from edge_inspector.interfaces import PlcMessage, StationStatus
from edge_inspector.settings import PictureGate, Recipe
from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.station import daemon
from edge_inspector.station.changes import Configuration
from edge_inspector.station.parts import CameraPlan, Parts, Recipes
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.ledger import Ledger

WARM_UP = 10
READY_S = 300.0
"""How long the models may be loaded; engines that are not built yet are built before."""
LOAD_S = 5.0
"""So long, at the least, parts follow one another while the power is measured."""
PICTURES = 12
DEADLINE_MS = 60_000.0
"""Nothing may be cut off: the whole of a slow part is to be seen."""


@dataclass(frozen=True)
class RecipePace:
    """`serial`: from a part's trigger to its verdict, one at a time; `parts_per_s`: as many as go through."""

    parts: int
    serial: Spread
    parts_per_s: float


class _Link(TimingLink):
    """Remembers why the station is not READY."""

    status: StationStatus | None = None

    async def tell(self, message: PlcMessage) -> None:
        if isinstance(message, StationStatus):
            self.status = message
        await super().tell(message)


def measure_recipe(
    station: Path, recipe: str, parts: int, image_hw: tuple[int, int], during_load: AbstractContextManager[object]
) -> RecipePace:
    """Of so many parts of the recipe as the station file has it, with golden pictures of its bundle.

    `image_hw` is the size of a picture where neither calibration nor region tell it. `during_load` is entered while
    parts follow one another. Nothing is written but in a folder of its own. InferenceError: a part was not judged.
    """
    with tempfile.TemporaryDirectory(prefix="edge-inspector-tune-") as folder:
        made, control, link = _alone(station, recipe, image_hw, Path(folder))
        uvloop = importlib.util.find_spec("uvloop") is not None  # as `edge-inspector run`
        return anyio.run(_measure, made, control, link, parts, during_load, backend_options={"use_uvloop": uvloop})


def _alone(station: Path, recipe: str, image_hw: tuple[int, int], folder: Path) -> tuple[Parts, Control, _Link]:
    """The station with this recipe alone, pictures in memory, and books that nobody reads."""
    parts, _ = assemble(station)
    own = parts.recipes[recipe]
    bundle = parts.recipes.bundles[recipe]
    own = replace(own, settings=_plain(own.settings))
    pictures = _pictures(bundle)
    gate = PictureGate(identical=False, min_brightness=0, max_saturated=1)
    cameras = {}
    for camera, plan in own.plans.items():
        source = FrameSource(camera, [_sized(one, plan, image_hw) for one in pictures], "Mono8")
        cameras[camera] = CameraPlan(lambda source=source: source, gate)  # type: ignore[misc]
    link = _Link(parts.clock)
    flight = FlightRecord(folder / "flight.bin")
    made = replace(
        parts,
        master=link.name,
        active_recipe=recipe,
        recipes=Recipes({recipe: own}, {recipe: bundle}),
        cameras=cameras,
        links=[link],
        output_cameras=(),
        state_dir=folder,
        publishers=[],
        flight=flight,
        ledger=Ledger(folder / "ledger.sqlite", [], on_booked=flight.free),
        images=None,
        line_rules=(),
        configuration=Configuration(),
        power=None,
        file=None,
    )
    return made, Control(folder / "control.sock"), link


def _plain(settings: Recipe) -> Recipe:
    """What is not part of a part's way is left out; the PLC triggers."""
    views = tuple(view.model_copy(update={"features": {}, "window_ms": None}) for view in settings.views)
    changed = {
        "trigger": "plc",
        "deadline_ms": DEADLINE_MS,
        "views": views,
        "window_ms": None,
        "period_s": None,
        "golden": None,
        "health": None,
        "adaptive": AdaptiveSettings.model_validate({"policy": "fixed"}),
    }
    return settings.model_copy(update=changed)


def _pictures(bundle: Bundle) -> Sequence[Gray]:
    """Of the golden set, or noise: a network takes as long for it, what follows the network may not."""
    paths = [picture.path for picture in golden_pictures(bundle)][:PICTURES]
    read = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    found = [np.asarray(one, np.uint8) for one in read if one is not None]
    rng = np.random.default_rng(1)
    return found or [rng.integers(0, 256, (bundle.spec.height_px, bundle.spec.width_px), np.uint8)]


def _sized(picture: Gray, plan: PreparePlan, image_hw: tuple[int, int]) -> Gray:
    height, width = image_hw if plan.calibration is None else plan.calibration.image_hw
    if plan.roi is not None:
        height, width = max(height, plan.roi.y + plan.roi.height), max(width, plan.roi.x + plan.roi.width)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


async def _measure(
    made: Parts, control: Control, link: _Link, parts: int, during_load: AbstractContextManager[object]
) -> RecipePace:
    serial: list[Part] = []
    rates: list[float] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_station, made, control, tasks.cancel_scope, name="station")
        with anyio.move_on_after(READY_S) as waiting:
            await link.serial(WARM_UP)
        if waiting.cancelled_caught:
            why = "it does not answer" if link.status is None else link.status.error_text
            raise InferenceError(f"recipe {made.active_recipe} was not READY within {READY_S:g} s: {why}")
        serial = await link.serial(parts)
        with during_load:
            begun = time.monotonic()
            while not rates or time.monotonic() - begun < LOAD_S:
                rates.append(_per_s(await link.pipelined(parts)))
        control.stop()
    if not rates:
        raise KeyboardInterrupt  # the station has taken the signal for itself
    _judged(serial)
    return RecipePace(parts, spread([part.latency_ns for part in serial]), round(float(np.median(rates)), 3))


async def _station(parts: Parts, control: Control, everything: anyio.CancelScope) -> None:
    """To its end, also by SIGINT: then nobody judges what the link waits for."""
    await daemon.run(parts, control)
    everything.cancel()


def _judged(parts: Sequence[Part]) -> None:
    for part in parts:
        if part.result is None:
            raise InferenceError(f"a part was refused ({part.refusal}); nothing measured here counts")
        if part.result.evaluation is Evaluation.UNDEFINED:
            raise InferenceError(f"a part was not judged: {part.result.reason_text}; mend that first")


def _per_s(parts: Sequence[Part]) -> float:
    """From the first trigger to the last verdict: the pipeline's filling counts against us."""
    return 1e9 * len(parts) / (max(p.told_ns for p in parts) - min(p.seen_ns for p in parts))
