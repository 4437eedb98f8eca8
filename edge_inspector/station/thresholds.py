"""The thresholds of every recipe: who makes them, what they have learnt, and that it is never forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_inspector.datatypes import InspectionResult, ThresholdState
from edge_inspector.interfaces import PartFeedback
from edge_inspector.station.booking import Booking
from edge_inspector.station.parts import LoadedRecipe, Parts


class Thresholds:
    """Owned by the line loop; advances once for each production part, in the order of their numbers."""

    def __init__(self, parts: Parts, booking: Booking) -> None:
        self._parts = parts
        self._booking = booking

    def now(self, recipe: LoadedRecipe) -> ThresholdState:
        """Those by which a part that is accepted now is judged."""
        return recipe.thresholds

    def warning(self, recipe: LoadedRecipe) -> str:
        """What is not as it should be with the thresholds of a recipe, empty = nothing."""
        return ""

    def orders(self) -> Mapping[str, Any]:
        """What people may order of it, as `Orders` takes them."""
        return {}

    def settled(self, result: InspectionResult) -> None:
        """A part has its verdict: learn from it."""

    def feedback(self, feedback: PartFeedback) -> None:
        """Somebody has looked at a part again."""
