"""From one product to the next: what must have happened before the station is READY again, and how long it took."""

from __future__ import annotations

from edge_inspector.station.booking import Booking
from edge_inspector.station.parts import LoadedRecipe, Parts


class Changeover:
    """Owned by the line loop."""

    def __init__(self, parts: Parts, booking: Booking) -> None:
        self._parts = parts
        self._booking = booking

    def begins(self, before: LoadedRecipe, after: LoadedRecipe, who: str) -> None:
        """A recipe was selected."""

    def why_not(self) -> str:
        """What the changeover still waits for, empty = no changeover is under way."""
        return ""

    def look(self, *, ready: bool) -> None:
        """After every event; `ready`: whether nothing else is in the way of the next part."""
