"""What a killed process left open: told is booked as told, undecided is UNDEFINED."""

from __future__ import annotations

from dataclasses import replace

import structlog

from edge_inspector.inspection import restarted
from edge_inspector.station.parts import Parts
from edge_inspector.store.records import BookRefusal, BookResult, BookStarted, BookTrigger

log = structlog.get_logger()


def first_free_seq(parts: Parts) -> int:
    """The number of the next part. After a power cut the flight record is gone and the ledger may lack its last
    entries: as many numbers as it can hold are skipped, so that no result_id is given twice.
    """
    known = parts.ledger.next_seq
    return known + parts.flight.slots if parts.flight.is_new and known > 1 else known


def recover(parts: Parts) -> int:
    """Book every entry of the flight record; returns how many parts were open. Nothing of it reaches the PLC."""
    left = parts.flight.left()
    first = max([first_free_seq(parts), *(entry.trigger.seq + 1 for entry in left if entry.trigger is not None)])
    kept = not parts.flight.is_new
    parts.ledger.submit(BookStarted(parts.identity.boot_id, first, kept, parts.clock.utc()))
    opened = 0
    for entry in left:
        if entry.refusal is not None:
            parts.ledger.submit(BookRefusal(entry.slot, entry.refusal, replay=True))
        if entry.trigger is None:
            continue
        # The result may already stand in the book: the ledger then keeps the first one and only frees the slot.
        result, told = entry.result, entry.told
        if result is None:
            opened += 1
            known = parts.recipes.get(entry.trigger.recipe)
            views = known.cameras if known is not None else ()
            result, told = restarted(entry.trigger, views, parts.clock.monotonic_ns()), False
        result = replace(result, trigger=entry.trigger)
        messages = tuple(m for publisher in parts.publishers for m in publisher.render(result))
        parts.ledger.submit(BookTrigger(entry.slot, entry.trigger))
        parts.ledger.submit(BookResult(entry.slot, result, told=told, messages=messages, replay=True))
    if left:
        log.warning("restarted", entries=len(left), open_parts=opened)
    return opened
