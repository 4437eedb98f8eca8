"""From one product to the next: what must have happened before the station is READY again, and how long it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from edge_inspector.station.booking import Booking
from edge_inspector.station.events import ModelWarm
from edge_inspector.station.in_work import InWork
from edge_inspector.station.parts import LoadedRecipe, Parts

if TYPE_CHECKING:
    from edge_inspector.station.condition import Condition

log = structlog.get_logger()


@dataclass
class _UnderWay:
    """Times are CLOCK_MONOTONIC ns, None = not yet. `shown` is the recipe for which the cameras are still set."""

    shown: LoadedRecipe
    after: LoadedRecipe
    fit: bool
    who: str
    begun_ns: int
    pictures_ns: int | None = None
    parts_ns: int | None = None
    cameras_ns: int | None = None
    model_ns: int | None = None


class Changeover:
    """Owned by the line loop; `shown` and `seconds` may be read on any thread.

    In this order: the last picture of the recipe before is in; its cameras' features are set; its last part has its
    verdict, and the new model is loaded if it is not there, and runs a few times. Cameras and model wait for no other.
    """

    def __init__(
        self,
        parts: Parts,
        booking: Booking,
        set_cameras: Callable[[LoadedRecipe], None],
        select_model: Callable[[str], None],
    ) -> None:
        """`set_cameras(before)` orders the active recipe's features; `select_model` has a recipe's model made ready."""
        self._clock = parts.clock
        self._booking = booking
        self._set_cameras = set_cameras
        self._select_model = select_model
        self._under_way: _UnderWay | None = None
        self.models_follow: Callable[[], bool] = lambda: True
        """Whether the GPU thread has the recipes that the line has."""
        self.seconds: float | None = None
        """How long the last one took that has come to its end."""
        self.ended = 0
        """How many have."""

    @property
    def shown(self) -> LoadedRecipe | None:
        """The recipe of the pictures that still come, None = the active one."""
        going = self._under_way
        return None if going is None or going.pictures_ns is not None else going.shown

    @property
    def before(self) -> LoadedRecipe | None:
        """The recipe of pictures that may still be on their way, None = no changeover is under way."""
        return None if self._under_way is None else self._under_way.shown

    @property
    def under_way(self) -> bool:
        return self._under_way is not None

    @property
    def waits_for_parts(self) -> bool:
        """Whether parts of the recipe before may still come, or are in work."""
        return self._under_way is not None and self._under_way.parts_ns is None

    def wanted(self, active: str) -> str:
        """The recipe whose model may be loaded now: not yet that of `active` while parts of the recipe before need
        theirs; then it is empty."""
        going = self._under_way
        return "" if going is not None and going.parts_ns is None else active

    def begins(self, before: LoadedRecipe, after: LoadedRecipe, who: str, *, fit: bool) -> None:
        """A recipe was selected; `fit`: the station could inspect parts of the one before.

        One that is under way ends here: its own recipe was never READY.
        """
        shown = self.shown or before
        self._under_way = _UnderWay(shown, after, fit, who, self._clock.monotonic_ns())
        log.info("changeover_begun", before=before.name, after=after.name, who=who)

    def why_not(self) -> str:
        """What the changeover still waits for, empty = no changeover is under way, or only cameras are missing."""
        going = self._under_way
        if going is None:
            return ""
        if going.pictures_ns is None:
            return f"recipe {going.after.name} waits for the last picture of recipe {going.shown.name}"
        if going.parts_ns is None:
            return f"recipe {going.after.name} waits for the last verdict of the recipe before"
        return "" if going.model_ns is not None else f"the model of recipe {going.after.name} is being warmed up"

    def owner(self, recipe: str, arrival_ns: int) -> LoadedRecipe | None:
        """The recipe before, for a picture that was there when the order came, and whose part was told later."""
        going = self._under_way
        if going is None or not going.fit or recipe != going.shown.name or arrival_ns > going.begun_ns:
            return None
        return going.shown

    def warm(self, event: ModelWarm) -> None:
        """A model has run; that of a recipe which is not wanted any more does not count."""
        going = self._under_way
        if going is not None and going.parts_ns is not None and event.recipe == going.after.name:
            going.model_ns = going.model_ns or self._clock.monotonic_ns()

    def look(self, work: InWork, condition: Condition) -> None:
        """After every event: do the next step as soon as the one before it is done."""
        going, at_ns = self._under_way, self._clock.monotonic_ns()
        if going is None:
            return
        parts = work.open.values()
        if going.pictures_ns is None:
            if work.exposing or not all(opened.inspection.all_exposed for opened in parts):
                return
            going.pictures_ns = at_ns
            self._set_cameras(going.shown)
        if going.parts_ns is None and self.models_follow() and all(opened.recipe is going.after for opened in parts):
            going.parts_ns = at_ns
            self._select_model(going.after.name)
        unset = condition.setting | condition.refused.keys() | condition.down.keys()
        there = not unset.intersection(going.after.cameras)
        going.cameras_ns = (going.cameras_ns or at_ns) if there else None  # one may be lost in the middle
        if going.cameras_ns is not None and going.model_ns is not None:
            self._end(going, max(going.cameras_ns, going.model_ns))

    def _end(self, done: _UnderWay, at_ns: int) -> None:
        self._under_way = None
        self.seconds = (at_ns - done.begun_ns) / 1e9
        self.ended += 1
        steps = (
            ("last picture of the recipe before", done.pictures_ns),
            ("its last verdict", done.parts_ns),
            ("cameras set", done.cameras_ns),
            ("model warm", done.model_ns),
        )
        times = ", ".join(f"{what} after {((ns or at_ns) - done.begun_ns) / 1e9:.3f} s" for what, ns in steps)
        text = f"recipe {done.after.name} is set up {self.seconds:.3f} s after {done.who} ordered it: {times}"
        log.info("changeover_ended", recipe=done.after.name, seconds=round(self.seconds, 3))
        self._booking.event("info", "changeover", text)
