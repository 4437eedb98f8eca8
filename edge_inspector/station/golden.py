"""The golden-sample check: known parts must be judged rightly before production goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_inspector.datatypes import InspectionResult, Reason
from edge_inspector.station.booking import Booking
from edge_inspector.station.parts import LoadedRecipe, Parts


class Golden:
    """Owned by the line loop."""

    def __init__(self, parts: Parts, booking: Booking) -> None:
        self._parts = parts
        self._booking = booking

    def orders(self, condition: object) -> Mapping[str, Any]:
        """What people may order of it, as `Orders` takes them."""
        return {}

    def due(self, recipe: LoadedRecipe) -> bool:
        """Whether somebody should bring the master parts: Status.Word2 GoldenDue."""
        return False

    def why_not(self, recipe: LoadedRecipe) -> tuple[Reason, str] | None:
        """Why production may not go on, None = it may."""
        return None

    def selected(self, recipe: LoadedRecipe) -> None:
        """A recipe has become the active one."""

    def mode_on(self, recipe: LoadedRecipe, who: str) -> None:
        """Golden mode begins: the parts that come are master parts."""

    def mode_off(self) -> None:
        """Golden mode ends."""

    def settled(self, result: InspectionResult) -> None:
        """A part has its verdict: a master part, or one more of production."""
