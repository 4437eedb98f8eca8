"""Rules over many parts: what they ask of the line is told, and latched where the line must stop."""

from __future__ import annotations

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode
from edge_inspector.station.booking import Booking
from edge_inspector.station.parts import Parts


class LineRules:
    """Counts production results; `reason` is latched until AckLineStop."""

    def __init__(self, parts: Parts, booking: Booking) -> None:
        self._after = parts.limits.line_stop_after
        self._booking = booking
        self._bad: list[str] = []
        self.reason = 0
        """Reason number of the last of them; 0 = the line need not stop."""

    def settled(self, result: InspectionResult) -> None:
        """Books an event when this result makes it enough."""
        if result.trigger.mode is not Mode.PRODUCTION or not self._after:
            return
        self._bad = [] if result.evaluation is Evaluation.OK else [*self._bad, result.result_id][-self._after :]
        if len(self._bad) < self._after or self.reason:
            return
        self.reason = result.reason_no
        text = f"{self._after} parts in a row were not OK, the last one by {result.reason_text}: {', '.join(self._bad)}"
        self._booking.event("alarm", "line_stop", text, self._bad)

    def acknowledge(self) -> None:
        """Somebody has looked at it: count again from the next part on."""
        self.reason, self._bad = 0, []
