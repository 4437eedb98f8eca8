"""Which slot holds which submitted batch, and how a view with more tiles than one run takes is cut."""

from __future__ import annotations

import itertools

from edge_inspector.interfaces import Ticket

SLOTS = 2


class Slots:
    """The book of the two slots; misuse is a bug and raises ValueError."""

    def __init__(self) -> None:
        self._tickets: dict[int, Ticket] = {}
        self._submitted = 0

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be collected."""
        return not self._tickets

    def check(self, slot: int) -> None:
        """ValueError unless the slot exists and is free."""
        if slot not in range(SLOTS) or slot in self._tickets:
            raise ValueError(f"slot {slot} is not free; slots 0..{SLOTS - 1}, occupied {sorted(self._tickets)}")

    def take(self, slot: int) -> Ticket:
        """Occupy a free slot."""
        self.check(slot)
        self._submitted += 1
        self._tickets[slot] = Ticket(slot, self._submitted)
        return self._tickets[slot]

    def give_back(self, ticket: Ticket) -> None:
        """Free the slot of a ticket. ValueError when it does not hold it: collected before, or of another model."""
        if self._tickets.get(ticket.slot) != ticket:
            raise ValueError(f"{ticket} is not waiting: collected before, or of another model")
        del self._tickets[ticket.slot]


def runs(tiles: int, most: int) -> list[range]:
    """The tiles of each run of an engine that takes 1..most at once: as few runs as can be, as even as can be.

    Even runs: a last run of one tile would cost nearly as much as a full one and add a graph of its own.
    """
    if tiles < 1 or most < 1:
        raise ValueError(f"{tiles} tiles in runs of at most {most}: both must be 1 or more")
    count = -(-tiles // most)
    edges = [tiles * i // count for i in range(count + 1)]
    return [range(a, b) for a, b in itertools.pairwise(edges)]
