"""Which recipe's model may be used, and what is being done about those that may not: on the event loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Literal

import structlog

from edge_inspector.datatypes import Reason
from edge_inspector.station.events import (
    EngineBuilt,
    EngineNeeded,
    EngineProgress,
    ModelLoaded,
    ModelRefused,
    ModelUnloaded,
)

log = structlog.get_logger()
STEP = 0.05
"""How far a build must have come on for the PLC to be told again."""
BOOKED_STEP = 0.25
"""The same for the broker and the books."""
ON_SELECTION = (Reason.NOT_READY, "its model is loaded when the recipe is selected")


class Models:
    """`order_load` and `order_build` take a recipe's name; `tell` publishes an event."""

    def __init__(
        self,
        recipes: Iterable[str],
        tell: Callable[[Literal["info", "warning", "alarm"], str, str], None],
    ) -> None:
        self._why_not: dict[str, tuple[Reason, str]] = dict.fromkeys(
            recipes, (Reason.NOT_READY, "the model is being loaded")
        )
        self._warnings: dict[str, str] = {}
        self._far: dict[str, float] = {}
        self._serving: set[str] = set()
        self._tell = tell
        self.order_load: Callable[[str], None]
        self.order_build: Callable[[str], None]
        self.spare: Callable[[], None]
        """Has every model given back but that of the recipe in use."""

    def why_not(self, recipe: str) -> tuple[Reason, str] | None:
        """Why no part can be inspected by this recipe's model, None = it is there."""
        return self._why_not.get(recipe)

    def warning(self, recipe: str) -> str:
        """What is not as it should be with a model that is used nevertheless."""
        return self._warnings.get(recipe, "")

    def select(self, recipe: str) -> None:
        """The recipe is active: have its model loaded and warm, unless its engine is being built first."""
        if recipe in self._serving:
            self.order_load(recipe)
        elif recipe not in self._far:
            self._load(recipe)

    def unloaded(self, event: ModelUnloaded, active: str) -> None:
        """A model has made room for another; the active one is wanted back, whoever was selected in between."""
        self._serving.discard(event.recipe)
        self._warnings.pop(event.recipe, None)
        if event.recipe == active:
            self._load(event.recipe)
        else:
            self._why_not[event.recipe] = ON_SELECTION

    def renewed(self, recipes: Iterable[str], outdated: Collection[str]) -> None:
        """The GPU thread has these recipes now, and no model of the outdated ones: each is loaded when selected."""
        for recipe in outdated:
            self._serving.discard(recipe)
            self._warnings.pop(recipe, None)
            self._far.pop(recipe, None)
            self._why_not.pop(recipe, None)
        for recipe in recipes:
            if recipe in outdated:
                self._why_not[recipe] = ON_SELECTION

    def loaded(self, event: ModelLoaded) -> None:
        self._why_not.pop(event.recipe, None)
        self._warnings.pop(event.recipe, None)
        self._serving.add(event.recipe)
        if event.warning:
            self._warnings[event.recipe] = event.warning
            log.warning("engine_doubtful", recipe=event.recipe, why=event.warning)
            self._tell("warning", "engine_doubtful", event.warning)

    def refused(self, event: ModelRefused) -> None:
        self._serving.discard(event.recipe)
        self._fail(event.recipe, event.text)

    def needed(self, event: EngineNeeded) -> None:
        """Has the engine built; until then the station is not READY unless an older one serves."""
        self._progress(event.recipe, 0.0, "waits for its turn")
        self.order_build(event.recipe)

    def progress(self, event: EngineProgress) -> None:
        if event.share - self._far.get(event.recipe, 0.0) >= STEP:
            self._progress(event.recipe, event.share, event.text)

    def built(self, event: EngineBuilt, active: str) -> None:
        """A build has ended; `event.outcome` is empty when there is no engine."""
        recipe = event.recipe
        self._far.pop(recipe, None)
        log.info("engine_build_ended", recipe=recipe, outcome=event.outcome or "no engine", text=event.text)
        if not event.outcome:
            text = f"the engine of recipe {recipe} cannot be built: {event.text}"
            if recipe in self._serving:
                self._tell("warning", "engine_not_built", text)
            else:
                self._fail(recipe, text)
        elif recipe in self._serving and event.outcome == "passed":  # what judges parts does not change under way
            self._tell("info", "engine_built", f"recipe {recipe}: the new engine serves from the next start on")
        elif recipe in self._serving:
            text = f"recipe {recipe}: the older engine goes on, the new one is {event.outcome}: {event.text}"
            self._tell("warning", "engine_not_built", text)
        else:
            self._tell("info", "engine_built", f"recipe {recipe}: {event.outcome}: {event.text}")
            if recipe == active:
                self._load(recipe)
            else:  # loading now would hold up the parts of another recipe
                self._why_not[recipe] = ON_SELECTION

    def _load(self, recipe: str) -> None:
        self._why_not[recipe] = (Reason.NOT_READY, "the model is being loaded")
        self.order_load(recipe)

    def _fail(self, recipe: str, text: str) -> None:
        if self._why_not.get(recipe) != (Reason.INFERENCE, text):
            log.error("engine_refused", recipe=recipe, why=text)
            self._tell("alarm", "engine_refused", text)
        self._why_not[recipe] = (Reason.INFERENCE, text)

    def _progress(self, recipe: str, share: float, text: str) -> None:
        before = self._far.get(recipe)
        self._far[recipe] = share
        said = f"the engine of recipe {recipe} is being built: {share:.0%}, {text}"
        log.info("engine_build", recipe=recipe, share=round(share, 3), doing=text)
        if recipe not in self._serving:
            self._why_not[recipe] = (Reason.NOT_READY, said)
        if before is None or share // BOOKED_STEP > before // BOOKED_STEP:
            self._tell("info", "engine_build", said)
