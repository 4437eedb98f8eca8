"""A trigger that has waited while the event loop stood still is as old as the stall."""

from __future__ import annotations

import pytest

from edge_inspector.health.clock import SystemClock
from edge_inspector.station.stalls import AFTERMATH_NS, STALL_NS, StallWatch

MS = 1_000_000


class SetClock(SystemClock):
    now = 0

    def monotonic_ns(self) -> int:
        return self.now


def watch_after(stall_ns: int) -> tuple[SetClock, StallWatch]:
    """Awake at 0 and again only after so long."""
    clock = SetClock()
    watch = StallWatch(clock)
    clock.now = stall_ns
    watch.awake()
    return clock, watch


@pytest.mark.parametrize(
    ("seen_ms", "earliest_ms"),
    [(0, 0), (700, 0), (1000, 0), (1000 + AFTERMATH_NS // MS, 0), (1001 + AFTERMATH_NS // MS, 1051)],
)
def test_what_is_seen_in_a_stall_or_shortly_after_may_be_as_old_as_its_beginning(
    seen_ms: int, earliest_ms: int
) -> None:
    clock, watch = watch_after(1000 * MS)
    clock.now = max(clock.now, seen_ms * MS)
    assert watch.earliest_ns(seen_ms * MS) == earliest_ms * MS


def test_a_loop_that_turns_as_it_should_makes_nothing_older() -> None:
    _, watch = watch_after(STALL_NS)
    assert watch.earliest_ns(150 * MS) == 150 * MS


def test_a_stall_is_found_by_the_first_trigger_behind_it_too() -> None:
    clock = SetClock()
    watch = StallWatch(clock)
    clock.now = 900 * MS
    assert watch.earliest_ns(900 * MS) == 0


def test_a_stall_that_was_forgiven_makes_nothing_older() -> None:
    clock = SetClock()
    watch = StallWatch(clock)
    clock.now = 900 * MS
    watch.forgive()
    assert watch.earliest_ns(900 * MS) == 900 * MS
