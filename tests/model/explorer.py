"""Breadth-first search through every state of the world that its bounds allow; the shortest way to a fault is told."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from world import MODULUS, Open, World, key_of
from world_moves import calmly, moves

from edge_inspector.datatypes import InspectionResult, Mode
from edge_inspector.plc.image import image
from edge_inspector.plc.tags import RING_WORDS, Value

SCANS = 6
"""After so many quiet scans everything has come to its end."""


@dataclass(frozen=True)
class Report:
    """What was visited. `fault` is what was wrong, with the shortest way there; None = nothing."""

    states: int
    transitions: int
    fault: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = f"{self.states} states, {self.transitions} transitions"
        return counts if self.fault is None else "\n".join([f"{counts}: {self.fault}", *self.trace])


Check: TypeAlias = "Callable[[World], Iterator[str]]"
"""Everything that is wrong in a state."""


def explore(first: World, check: Check) -> Report:
    """All states, or those up to the first fault."""
    origin: dict[Hashable, tuple[Hashable, str] | None] = {_key(first): None}
    level, transitions = [(_key(first), first)], 0
    while level:
        following = []
        for key, world in level:
            fault = next(check(world), None)
            if fault is not None:
                return Report(len(origin), transitions, fault, _way(origin, key))
            for label, after in moves(world):
                transitions += 1
                its_key = _key(after)
                if its_key not in origin:
                    origin[its_key] = (key, label)
                    following.append((its_key, after))
        level = following
    return Report(len(origin), transitions)


def _way(origin: dict[Hashable, tuple[Hashable, str] | None], key: Hashable) -> tuple[str, ...]:
    labels: list[str] = []
    while (step := origin[key]) is not None:
        key, label = step
        labels.append(label)
    return tuple(reversed(labels))


# --- what must hold ---------------------------------------------------------------------------------------------------


def unsafe(w: World) -> Iterator[str]:
    """A part that passes must have been looked at itself, found good in Production, with the recipe it was made for."""
    for part in w.block.parts:
        if w.block.at_gate(part.seq, w.now):
            key = (w.block.station_boot_id, w.block.plc_boot_id, part.seq)
            seen = [truth for one, truth in w.truth if one == key]
            if [(t.shows, t.good, t.recipe_no) for t in seen] != [(part.part_id, True, part.recipe_no)]:
                yield f"{part.part_id} passes, but what was seen is {seen}"
    accepted = [key_of(part.trigger) for part in w.open] + [key for key, _ in w.truth]
    if len(set(accepted)) < len(accepted):
        yield f"a number was accepted twice: {sorted(accepted)}"
    yield from _untruths(w, image(w.contract), accepted)


def unsafe_or_stuck(w: World) -> Iterator[str]:
    """And from each quiet moment the line must be able to go on."""
    yield from unsafe(w)
    if not (w.queue or w.wire or w.seen or w.half):
        yield from _unfinished(w)


def _untruths(w: World, tags: dict[str, Value], accepted: list[tuple[int, int, int]]) -> Iterator[str]:
    """What the tags say that is not so."""
    word, plc = tags["Status.Word"], w.contract.plc
    assert isinstance(word, int)
    if word >> 2 & 1 and (w.contract.boot_id, plc.plc_boot_id, plc.trigger_seq) not in accepted:
        yield f"TriggerAck for number {plc.trigger_seq} of PLC start {plc.plc_boot_id}, which was never accepted"
    if w.refused and (tags["Status.TriggerReady"] or word >> 12 & 1):
        yield "READY although the ordered recipe was refused"
    shown = w.contract.shown
    if shown is not None and w.contract.acknowledge and shown.trigger.plc_boot_id != plc.plc_boot_id:
        yield f"a result of PLC start {shown.trigger.plc_boot_id} in the slot of start {plc.plc_boot_id}"
    good = [key for key, truth in w.truth if truth.good]
    if word >> 8 & 1 and (shown is None or key_of(shown.trigger) not in good):
        yield "OverallOK without a good part in the slot"
    if tags["Result.Evaluation"] == 1 and (shown is None or key_of(shown.trigger) not in good):
        yield "Evaluation 1 of a part that is not good"
    ring = tags["Result.Ring"]
    assert isinstance(ring, tuple)
    for row in range(0, len(ring), RING_WORDS):
        if int(ring[row + 1]) & 0xFF == 1 and (ring[row + 4], ring[row + 5], ring[row]) not in good:
            yield "a ring row with Evaluation 1 of a part that is not good"
    if plc.boot_id_echo != w.contract.boot_id and (
        any(ring) or tags["Status.ResultsValid"] or tags["Status.TriggerReady"]
    ):
        yield "something to read before the greeting"


def _unfinished(w: World) -> Iterator[str]:
    """From a quiet moment the line must come to a good end: every part has its verdict, and the next one may come.

    Unless time has passed, nothing of it may need a timer.
    """
    if w.jumped:
        return
    for _ in range(SCANS):
        before, w = w, calmly(w)
        if _key(w) == _key(before):
            break
    for part in w.block.parts:
        if part.verdict is None and not (w.contract.results.overrun or w.bounds.impatient):
            yield f"{part.part_id} has neither a result nor a refusal"
    if not w.block.linked or not w.contract.linked:
        yield "the two sides have not found each other"
    elif w.block.trigger_ready == (w.refused or w.contract.results.overrun or w.mode is Mode.GOLDEN):
        yield f"TriggerReady is {w.block.trigger_ready} for ever: {image(w.contract)['Status.ErrorText']}"


# --- when two states are the same -------------------------------------------------------------------------------------


def _key(w: World) -> Hashable:
    """All that can make a difference later. Heartbeats count by their distance, times by their age."""
    c, b = w.contract, w.block
    plc = (
        (b.heartbeat - c.plc.heartbeat) % MODULUS,
        _age(w, c.plc.heartbeat_ns),
        *(c.plc.boot_id_echo, c.plc.plc_boot_id, c.plc.trigger_seq, c.plc.counted, c.plc.part_id, c.plc.recipe_no),
        *(c.plc.recipe_seq, c.plc.result_ack_seq),
    )
    r = c.results
    results = (tuple(map(_result, r.ring)), r.count % len(r.ring), tuple(map(_result, r.unread)), r.overrun)
    contract = (c.boot_id, plc, c.alive, c.last_seq, c.former, c.asked, c.answers, c.recipe_refused, results)
    shown = _age(w, r.shown_ns) if r.unread and not c.acknowledge else None
    parts = tuple((p.seq, p.part_id, p.recipe_no, p.accepted, p.verdict, w.now - p.announced_ns) for p in b.parts)
    block = (
        *(b.plc_boot_id, b.recipe_no, b.seq, b.part_id, parts, b.station_boot_id, b.echo, b.beat is None),
        *(_age(w, b.beat_ns), b.trigger_ready, b.recipe_seq, b.ordered, b.recipe_result, b.acked, b.slot),
    )
    station = (w.queue, tuple(map(_open, w.open)), w.present, w.recipe, w.refused, w.mode, c.status.ready, w.truth)
    used = (w.announced, w.jumped, w.station_restarts, w.plc_restarts, w.ordered, w.moded, w.meddled)
    return contract, shown, block, station, used, _tags(w.half), _tags(w.seen), _tags(w.wire), bool(w.sent)


def _age(w: World, at: int | None) -> int | None:
    return None if at is None else w.now - at


def _tags(tags: tuple[tuple[str, Value], ...]) -> Hashable:
    return tuple((name, None if name.endswith(".Heartbeat") else value) for name, value in tags)


def _result(r: InspectionResult | None) -> Hashable:
    return None if r is None else (r.result_id, r.evaluation, r.trigger.mode, r.trigger.recipe_no)


def _open(part: Open) -> Hashable:
    return part.trigger.result_id, part.trigger.mode, part.trigger.recipe_no, part.shows
