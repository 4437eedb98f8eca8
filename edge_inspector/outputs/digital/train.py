"""Pulses on one line: one at a time, all of one length, with a pause as long between them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Pulse:
    """One result's pulse, which must not begin later than `not_after_ns` where that counts."""

    result_id: str
    not_after_ns: int


@dataclass(frozen=True)
class Train:
    """A pulse counts from when it is on the line, and the pause from when it is off again: `shown` says so.

    `most` is how many pulses may wait, 0 = any number. `until_ns` None: `giving` is not on the line yet. `rested_ns`
    None: the line has not fallen yet.
    """

    hold_ns: int
    most: int = 0
    waiting: tuple[Pulse, ...] = ()
    giving: Pulse | None = None
    until_ns: int | None = None
    rested_ns: int | None = 0

    @property
    def on(self) -> bool:
        return self.giving is not None

    @property
    def next_ns(self) -> int | None:
        """When something changes; None = not by itself."""
        if self.giving is not None:
            return self.until_ns
        return self.rested_ns if self.waiting else None

    def queued(self, pulse: Pulse) -> Train:
        return replace(self, waiting=(*self.waiting, pulse)[-self.most :])

    def without(self, pulses: tuple[Pulse, ...]) -> Train:
        """As if these had not been queued; the one that is being given goes on."""
        return replace(self, waiting=tuple(pulse for pulse in self.waiting if pulse not in pulses))

    def at(self, now_ns: int) -> Train:
        me = self
        if me.giving is not None and me.until_ns is not None and now_ns >= me.until_ns:
            me = replace(me, giving=None, until_ns=None, rested_ns=None)
        if me.giving is None and me.waiting and me.rested_ns is not None and now_ns >= me.rested_ns:
            me = replace(me, giving=me.waiting[0], waiting=me.waiting[1:])
        return me

    def shown(self, at_ns: int) -> Train:
        """The line is as `on` says since `at_ns`."""
        if self.giving is not None and self.until_ns is None:
            return replace(self, until_ns=at_ns + self.hold_ns)
        if self.giving is None and self.rested_ns is None:
            return replace(self, rested_ns=at_ns + self.hold_ns)
        return self

    def emptied(self) -> Train:
        return Train(self.hold_ns, self.most)
