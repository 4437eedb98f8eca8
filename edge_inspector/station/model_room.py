"""The models that are loaded: as many as the budget allows, and the recipe in use is never the one that goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import structlog

from edge_inspector import pipeline
from edge_inspector.datatypes import Batch, Frame, InputSpec, PreparePlan, RawView
from edge_inspector.engine.bundle import Bundle
from edge_inspector.errors import ConfigError, DeviceLostError, FrameError, InferenceError
from edge_inspector.health.memory import give_back
from edge_inspector.interfaces import Backend, Model
from edge_inspector.station.engines import Chosen, Engines, Missing, Refused
from edge_inspector.station.events import (
    EngineNeeded,
    LineEvent,
    ModelLoaded,
    ModelRefused,
    ModelUnloaded,
    ModelWarm,
    Noticed,
)
from edge_inspector.station.parts import LoadedRecipe

log = structlog.get_logger()
WARM_RUNS = 3
"""Runs of each view before a recipe that was selected is inspected: the first ones are slower, on every device."""
WARM_S = 30.0
_Key: TypeAlias = tuple[str, str, InputSpec, int]
"""Recipes with the same network, engine, input and largest run share a model."""


@dataclass(frozen=True)
class Loaded:
    """A model, and how many views may go into one run of it, rising from 1: there verdicts are known to be the same."""

    model: Model
    batch_sizes: tuple[int, ...]


@dataclass(frozen=True)
class Renewal:
    """The n-th set of recipes; `outdated` are those, new and gone ones too, whose model must be looked at anew."""

    number: int
    recipes: Mapping[str, LoadedRecipe]
    bundles: Mapping[str, Bundle]
    outdated: frozenset[str]


class ModelRoom:
    """On the GPU thread; `memory_bytes` on any.

    A model's size is known when it was loaded once: until then it may take the room beyond the budget for a moment.
    """

    def __init__(
        self,
        backend: Backend,
        engines: Engines,
        recipes: Mapping[str, LoadedRecipe],
        budget_bytes: int | None,
        post: Callable[[LineEvent], None],
    ) -> None:
        """`budget_bytes` None = all recipes' models are kept."""
        self._backend = backend
        self._engines = engines
        self._recipes = recipes
        self._budget = budget_bytes
        self._post = post
        self._loaded: dict[str, Loaded] = {}
        self._keys: dict[str, _Key] = {}
        self._models: dict[_Key, Model] = {}
        self._sizes: dict[_Key, int] = {}
        self._newest_first = list(recipes)

    def get(self, recipe: str) -> Loaded | None:
        return self._loaded.get(recipe)

    def memory_bytes(self) -> dict[str, int]:
        """The recipes whose model is loaded, and how many bytes it tells that it holds; any thread."""
        return {recipe: loaded.model.memory_bytes for recipe, loaded in self._loaded.copy().items()}

    def preload(self, active: str, begins: Callable[[], None] = lambda: None) -> None:
        """Every recipe's model is looked at, that of `active` first, and stays while there is room.

        `begins` is called before each of them.

        What is wrong with the active one ends the process; another one is told, and tried again when it is selected.
        """
        self._use(active)
        for recipe in tuple(self._newest_first):
            begins()
            if recipe == active:
                self._have(recipe)
            else:
                self._try(recipe)

    def renew(self, renewal: Renewal) -> None:
        """Other recipes from now on; models that only outdated ones have used are given back."""
        self._recipes = recipes = renewal.recipes
        self._engines.renew(renewal.bundles, renewal.outdated)
        known = [recipe for recipe in self._newest_first if recipe in recipes]
        self._newest_first = [*known, *(recipe for recipe in recipes if recipe not in known)]
        for recipe in renewal.outdated:
            self._keys.pop(recipe, None)
            self._loaded.pop(recipe, None)
        self._drop_unused()
        known_files = {recipe.model_file.sha256 for recipe in recipes.values()}
        self._sizes = {key: size for key, size in self._sizes.items() if key[0] in known_files}

    def select(self, recipe: str) -> None:
        """Have the recipe's model there and warm, whatever must go for it; `ModelWarm`, or else why not, is posted."""
        self._use(recipe)
        if self._try(recipe):
            try:
                self._warm_up(recipe)
            except DeviceLostError:
                raise
            except InferenceError as exc:  # the next selection loads it anew
                del self._keys[recipe], self._loaded[recipe]
                self._drop_unused()
                self._post(ModelRefused(recipe, f"the model of recipe {recipe} fails on a black picture: {exc}"))
            else:
                self._post(ModelWarm(recipe))

    def spare(self) -> None:
        """Give back every model but that of the recipe in use."""
        own = self._keys.get(self._newest_first[0])
        self._unload([recipe for recipe, key in self._keys.items() if key != own])
        give_back()

    def keep_warm(self) -> None:
        """Nothing has come for a while: the next part is one of the recipe in use."""
        in_use = self._loaded.get(self._newest_first[0])
        if in_use is not None:
            in_use.model.keep_warm()

    def close(self) -> None:
        """Free everything."""
        self._loaded.clear()
        while self._models:
            self._models.popitem()[1].close()

    def _use(self, recipe: str) -> None:
        self._newest_first.remove(recipe)
        self._newest_first.insert(0, recipe)

    def _try(self, recipe: str) -> bool:
        """Whether it is there; others are being inspected, and go on if it is not."""
        try:
            return self._have(recipe)
        except DeviceLostError:
            raise
        except (ConfigError, InferenceError) as exc:
            self._post(ModelRefused(recipe, str(exc)))
            return False

    def _have(self, recipe: str) -> bool:
        """Load the recipe's model if it is not there, or tell why it cannot be."""
        if recipe in self._loaded:
            return True
        own = self._recipes[recipe]
        choice = self._engines.choose(recipe, own.model_file, own.thresholds)
        if isinstance(choice, Refused):
            self._post(ModelRefused(recipe, choice.text))
            return False
        if isinstance(choice, Missing):
            self._post(EngineNeeded(recipe))
            return False
        file, most = choice.model_file, choice.batch_sizes[-1]  # a view's tiles fill runs of every size up to this
        first = next(iter(own.plans.values()))
        key = (file.sha256, file.engine_dir, first.input, most)
        if key not in self._models:
            self._make_room(self._sizes.get(key, 0))
            self._models[key] = model = self._backend.load(file, first, most)
            self._sizes[key] = model.memory_bytes
            log.info("model_loaded", recipe=recipe, memory_mb=round(model.memory_bytes / 1e6, 1))
        try:
            self._enter(own, key, choice)
        finally:
            self._drop_unused()
        return recipe in self._loaded

    def _enter(self, recipe: LoadedRecipe, key: _Key, choice: Chosen) -> None:
        """The model serves this recipe, too, if it fits; another recipe's proof may allow other sizes of runs."""
        model = self._models[key]
        recipe.reading.decoder.check(model.output_shapes, recipe.reading.classes)
        for plan in recipe.plans.values():
            model.rehearse(plan)
        self._keys[recipe.name] = key
        self._loaded[recipe.name] = Loaded(model, choice.batch_sizes)
        self._post(ModelLoaded(recipe.name, choice.warning))
        if choice.outdated:
            self._post(EngineNeeded(recipe.name))
        self._make_room(0)

    def _make_room(self, bytes_more: int) -> None:
        """Unload what was used longest ago until so much more fits; never the model of the recipe in use."""
        if self._budget is None:
            return
        in_use = self._newest_first[0]
        while sum(self._sizes[key] for key in self._models) + bytes_more > self._budget:
            going = self._longest_unused(in_use)
            if going is None:
                self._tell_too_large(in_use, bytes_more)
                return
            self._unload([one for one, key in self._keys.items() if key == going])

    def _unload(self, recipes: Sequence[str]) -> None:
        for recipe in recipes:
            del self._keys[recipe], self._loaded[recipe]
            log.info("model_unloaded", recipe=recipe)
            self._post(ModelUnloaded(recipe))
        self._drop_unused()

    def _longest_unused(self, in_use: str) -> _Key | None:
        """Of models that several recipes share, the newest use counts."""
        newest_first = dict.fromkeys(self._keys[one] for one in self._newest_first if one in self._keys)
        others = [key for key in newest_first if key != self._keys.get(in_use)]
        return others[-1] if others else None

    def _tell_too_large(self, recipe: str, bytes_more: int) -> None:
        if bytes_more:  # it is loaded nevertheless, and then it is told
            return
        needed = sum(self._sizes[key] for key in self._models)
        text = (
            f"the model of recipe {recipe} alone needs {needed / 1e6:.0f} MB, more than station.model_memory_mb "
            f"({(self._budget or 0) / 1e6:.0f}): it is kept, and no other one"
        )
        self._post(Noticed("warning", "model_memory", text))

    def _drop_unused(self) -> None:
        used = set(self._keys.values())
        for key in [one for one in self._models if one not in used]:
            self._models.pop(key).close()

    def _warm_up(self, recipe: str) -> None:
        """As with a part's pictures, but for who gets them."""
        own, model = self._recipes[recipe], self._loaded[recipe].model
        for plan in own.plans.values():
            view = self._black_view(plan)
            if view is None:
                continue
            for run in range(WARM_RUNS):
                tensors = model.collect(model.submit(view, run % 2), WARM_S)
                pipeline.finish(tensors, view, own.reading)

    def _black_view(self, plan: PreparePlan) -> Batch | RawView | None:
        """A picture of the calibration's size, or of the least that fits; None = the plan fits no picture at all."""
        if plan.calibration is not None:
            hw = plan.calibration.image_hw
        elif plan.roi is not None:
            hw = (plan.roi.y + plan.roi.height, plan.roi.x + plan.roi.width)
        else:
            hw, plan = (plan.input.height_px, plan.input.width_px), replace(plan, tiling=None)
        frame = Frame("black", 0, 0, 0, np.zeros(hw, np.uint8), "Mono8")
        prepare = pipeline.prepare_on_device if self._backend.prepares_on_device else pipeline.prepare
        try:
            return prepare(frame, plan)
        except FrameError:  # each picture will tell
            return None
