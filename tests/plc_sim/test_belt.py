"""The conveyor as a shift register."""

from __future__ import annotations

import pytest

from edge_inspector.plc_sim.belt import Belt, Item

ITEMS = [Item(f"p-{n}", n) for n in range(1, 6)]


@pytest.mark.parametrize("positions", [1, 2, 4])
def test_a_part_is_at_the_gate_so_many_steps_later_and_in_its_order(positions: int) -> None:
    belt, through = Belt.empty(positions), []
    for item in (*ITEMS, *[None] * positions):
        through.append(belt.next_at_gate)
        belt = belt.step(item)
    assert through == [None] * positions + ITEMS
    assert belt.clear


def test_an_empty_place_keeps_its_place() -> None:
    belt = Belt.empty(3).step(ITEMS[0]).step(None).step(ITEMS[1])
    assert belt.places == (ITEMS[1], None, ITEMS[0])
    assert not belt.clear
