"""The results that the PLC can read: the ring, and the named slot with what waits behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_inspector.datatypes import InspectionResult
from edge_inspector.plc.sequence import ahead
from edge_inspector.plc.tags import RING_ROWS

BUFFER = 8
"""Results that may wait behind the named slot."""


@dataclass(frozen=True)
class Results:
    """`unread` is the named slot and what waits behind it, oldest first; `ring` has the last results at count mod rows.

    `overrun` rises when more than `buffer` results wait or an unread one leaves the ring, and falls when all are read.
    """

    buffer: int = BUFFER
    ring: tuple[InspectionResult | None, ...] = (None,) * RING_ROWS
    count: int = 0
    unread: tuple[InspectionResult, ...] = ()
    shown_ns: int = 0
    toggle: bool = False
    overrun: bool = False

    @property
    def slot(self) -> InspectionResult | None:
        """What the named slot holds."""
        return self.unread[0] if self.unread else None

    @property
    def newest(self) -> InspectionResult | None:
        return self.ring[(self.count - 1) % len(self.ring)]

    def rung(self, result: InspectionResult) -> Results:
        """Into the ring."""
        row = self.count % len(self.ring)
        return replace(self, ring=(*self.ring[:row], result, *self.ring[row + 1 :]), count=self.count + 1)

    def overtaken(self) -> Results:
        """As `self`, but with an overrun if an unread result is not in the ring any more."""
        kept = {r.result_id for r in self.ring if r is not None}
        return self if all(r.result_id in kept for r in self.unread) else replace(self, overrun=True)

    def queued(self, result: InspectionResult, now_ns: int) -> Results:
        """Into the slot when it is free, else behind it: it stays there until it is acknowledged."""
        if not self.unread:
            return self.replaced(result, now_ns)
        unread = (*self.unread, result)
        return replace(self, unread=unread, overrun=self.overrun or len(unread) > 1 + self.buffer)

    def replaced(self, result: InspectionResult, now_ns: int) -> Results:
        """Into the slot, whatever stood there."""
        return replace(self, unread=(result,), shown_ns=now_ns, toggle=not self.toggle)

    def acknowledged(self, upto: int, modulus: int, now_ns: int) -> tuple[Results, tuple[InspectionResult, ...]]:
        """Without the results up to this TriggerSeq, and which these were.

        A lower number that was settled after `upto` stays: who reads the slot cannot have seen it yet.
        """
        last = next((i for i, r in enumerate(self.unread) if r.trigger.trigger_seq == upto), len(self.unread))
        freed = tuple(r for r in self.unread[: last + 1] if ahead(upto, r.trigger.trigger_seq, modulus) >= 0)
        if not freed:
            return self, ()
        rest = tuple(r for r in self.unread if r not in freed)
        if not rest:
            return self.emptied(), freed
        me = replace(self, unread=rest)
        return (me if rest[0] is self.unread[0] else replace(me, shown_ns=now_ns, toggle=not me.toggle)), freed

    def emptied(self) -> Results:
        """Nothing waits to be read any more; the ring stays."""
        return replace(self, unread=(), overrun=False)
