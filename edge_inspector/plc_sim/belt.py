"""The conveyor: a shift register from the cameras to the reject gate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One part on the belt; `trigger_seq` None means that the PLC could not announce it."""

    part_id: str
    trigger_seq: int | None


@dataclass(frozen=True)
class Belt:
    """`places[0]` is in front of the cameras, the last one is before the gate; None = an empty place."""

    places: tuple[Item | None, ...]

    @staticmethod
    def empty(positions: int) -> Belt:
        return Belt((None,) * positions)

    @property
    def next_at_gate(self) -> Item | None:
        """What the next step brings to the gate."""
        return self.places[-1]

    @property
    def clear(self) -> bool:
        return not any(self.places)

    def step(self, item: Item | None) -> Belt:
        """One place on: `item` comes in, `next_at_gate` is through."""
        return Belt((item, *self.places[:-1]))
