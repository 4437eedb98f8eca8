"""When the line should stop: so many parts in a row were not OK that something else than the parts is wrong."""

from __future__ import annotations

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode


class LineStop:
    """Counts production results; `reason` is latched until AckLineStop."""

    def __init__(self, after: int) -> None:
        """`after` parts in a row ask for a stop; 0 = never."""
        self._after = after
        self._bad: list[str] = []
        self.reason = 0
        """Reason number of the last of them; 0 = the line need not stop."""

    def settled(self, result: InspectionResult) -> str:
        """What is wrong when this result makes it enough; empty otherwise."""
        if result.trigger.mode is not Mode.PRODUCTION or not self._after:
            return ""
        self._bad = [] if result.evaluation is Evaluation.OK else [*self._bad, result.result_id][-self._after :]
        if len(self._bad) < self._after or self.reason:
            return ""
        self.reason = result.reason_no
        return f"{self._after} parts in a row were not OK, the last one by {result.reason_text}: {', '.join(self._bad)}"

    def acknowledge(self) -> None:
        """Somebody has looked at it: count again from the next part on."""
        self.reason, self._bad = 0, []
