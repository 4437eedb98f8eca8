"""What the lines should show now, and until when: a pure state machine over what the station says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edge_inspector.datatypes import InspectionResult
from edge_inspector.interfaces import Alive, PlcMessage, StationStatus
from edge_inspector.outputs.digital.train import Pulse, Train
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.tags import Value

Role = Literal["ready", "ok", "not_ok", "healthy", "heartbeat"]
ROLES: tuple[Role, ...] = ("ready", "ok", "not_ok", "healthy", "heartbeat")
STALE_NS = 1_500_000_000
"""Without progress of the verdict path for so long READY falls; Alive comes every 100 ms."""
MOST_WAITING = 8
"""Pulses of NOT_OK that may wait for their turn; for one more the oldest is not given."""


def risen_last(levels: Mapping[Role, bool], role: Role) -> int:
    """Sort key for lines that change one by one: those that fall, then those that rise, READY behind an OK.

    Who sends the next part at READY must not take this OK for that part's.
    """
    return levels[role] * (2 if role == "ready" else 1)


@dataclass(frozen=True)
class Signals:
    """Every method returns new signals; time comes in as an argument (CLOCK_MONOTONIC ns).

    Lines have no numbers, so an OK is given only while no other part is in work: the next rising edge would otherwise
    be taken for that part's. While one still waits for its turn, READY calls for none. What is not given as OK is
    NOT_OK.
    """

    ok: Train
    not_ok: Train
    ready: bool = False
    healthy: bool = False
    beat: bool = False
    alive_ns: int | None = None
    in_work: int = 0
    withheld: tuple[str, ...] = ()
    """Ids of results that are OK and were not given; whoever reads them empties it."""

    @staticmethod
    def of(hold_ns: int) -> Signals:
        return Signals(Train(hold_ns), Train(hold_ns, most=MOST_WAITING))

    def told(self, message: PlcMessage, contract: Contract, tags: Mapping[str, Value], now_ns: int) -> Signals:
        """The station said this, and `contract` and its image `tags` have taken it."""
        me = replace(self, ready=bool(tags["Status.TriggerReady"]), healthy=not tags["Status.Error"])
        if isinstance(message, Alive):
            return replace(me, alive_ns=now_ns, beat=not me.beat)
        if isinstance(message, StationStatus):
            me = replace(me, in_work=message.queue_depth)
            return me._withhold(me.ok.waiting) if message.queue_depth else me
        if isinstance(message, InspectionResult):
            return me._settled(message, contract)
        return me

    def at(self, now_ns: int) -> Signals:
        """Pulses begin and end; an OK that comes too late for its part's deadline is withheld."""
        late = tuple(pulse for pulse in self.ok.waiting if now_ns > pulse.not_after_ns)
        me = self._withhold(late)
        return replace(me, ok=me.ok.at(now_ns), not_ok=me.not_ok.at(now_ns))

    def shown(self, at_ns: int) -> Signals:
        """What `levels` said is on the lines since `at_ns`."""
        return replace(self, ok=self.ok.shown(at_ns), not_ok=self.not_ok.shown(at_ns))

    def silenced(self) -> Signals:
        """Every pulse that is given or waits is forgotten: the lines have been lost meanwhile."""
        return replace(self, ok=self.ok.emptied(), not_ok=self.not_ok.emptied())

    def levels(self, now_ns: int) -> Mapping[Role, bool]:
        """Which lines are energised."""
        alive = self.alive_ns is not None and now_ns - self.alive_ns <= STALE_NS
        return {
            "ready": alive and self.ready and self.in_work == 0 and not self.ok.waiting,
            "ok": self.ok.on,
            "not_ok": self.not_ok.on,
            "healthy": alive and self.healthy,
            "heartbeat": alive and self.beat,
        }

    def next_ns(self, at_ns: int) -> int | None:
        """When the levels, being as `at(at_ns)` and `shown` left them, change without a word; None = not."""
        stale = None if self.alive_ns is None else self.alive_ns + STALE_NS + 1
        times = (self.ok.next_ns, self.not_ok.next_ns, stale if stale is None or stale > at_ns else None)
        return min((at for at in times if at is not None), default=None)

    def _settled(self, result: InspectionResult, contract: Contract) -> Signals:
        good = contract.overall_ok and contract.shown is result
        pulse = Pulse(result.result_id, result.trigger.deadline_ns)
        if not good:
            return replace(self, not_ok=self.not_ok.queued(pulse))
        me = replace(self, ok=self.ok.queued(pulse))
        return me._withhold((pulse,)) if self.in_work > 1 else me

    def _withhold(self, pulses: tuple[Pulse, ...]) -> Signals:
        if not pulses:
            return self
        not_ok = self.not_ok
        for pulse in pulses:
            not_ok = not_ok.queued(pulse)
        withheld = (*self.withheld, *(pulse.result_id for pulse in pulses))
        return replace(self, ok=self.ok.without(pulses), not_ok=not_ok, withheld=withheld)
