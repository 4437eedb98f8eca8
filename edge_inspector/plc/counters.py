"""Counter.*: Production results and refusals since the last ClearCounters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode
from edge_inspector.plc.sequence import MODULUS


@dataclass(frozen=True)
class Counters:
    """Each wraps like every UInt32."""

    ok: int = 0
    not_ok: int = 0
    not_decidable: int = 0
    undefined: int = 0
    refused: int = 0
    missed: int = 0
    unannounced: int = 0

    @property
    def total(self) -> int:
        return (self.ok + self.not_ok + self.not_decidable + self.undefined) % MODULUS

    def plus(self, name: str, count: int = 1) -> Counters:
        return replace(self, **{name: (getattr(self, name) + count) % MODULUS})

    def settled(self, result: InspectionResult) -> Counters:
        """Only Production counts."""
        if result.trigger.mode is not Mode.PRODUCTION:
            return self
        return self.plus(Evaluation(result.evaluation).name.lower())
