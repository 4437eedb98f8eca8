"""What may happen next in the small world: a station at work, a PLC's scans, a wire that tears, restarts."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

from world import BEFORE_THE_WRAP, FIT, KNOWN_RECIPES, Move, Open, Truth, World, key_of

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason, Trigger
from edge_inspector.interfaces import (
    Alive,
    PlcMessage,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
)
from edge_inspector.plc.function_block import READS
from edge_inspector.plc.image import image
from edge_inspector.plc.results import Results
from edge_inspector.plc.tags import Value


def moves(w: World) -> Iterator[Move]:
    """Everything that may happen next."""
    yield from _plc(w)
    yield from _wire(w)
    yield from _station(w)
    yield from _rare(w)


def calmly(w: World) -> World:
    """One scan without a tear and without a new part, and the station does all its work; from a quiet moment."""
    w = w._replace(contract=w.contract.told(Alive(), w.now))
    w = _writing(w._replace(block=w.block.scanned(dict(_tags(w)), w.now)))
    if w.wire:
        w = _written(w, w.wire, ())
    while w.queue:
        _, w = next(_handled(w._replace(queue=w.queue[1:]), w.queue[0]))
    while w.open:
        w = settled(w._replace(open=w.open[1:]), w.open[0], Evaluation.OK)
    return w


# --- the PLC ----------------------------------------------------------------------------------------------------------


def _plc(w: World) -> Iterator[Move]:
    if w.seen:
        yield from () if w.wire else _scan(w)
    elif not w.wire or w.bounds.tears_reads:
        yield from _read(w)
    if w.bounds.leaves:
        for part in w.block.parts:
            yield f"{part.part_id} leaves its gate", w._replace(block=w.block.left(part.seq))


def _read(w: World) -> Iterator[Move]:
    """All tags in one request, or in two requests with anything in between."""
    w = w._replace(contract=w.contract.told(Alive(), w.now))
    tags = _tags(w)
    if not w.bounds.tears_reads:
        yield "PLC reads", w._replace(seen=tags)
    elif w.half:
        names = {name for name, _ in w.half}
        rest = tuple(tag for tag in tags if tag[0] not in names)
        yield "PLC reads the rest", w._replace(seen=w.half + rest, half=())
    else:
        for cut in range(1, len(tags)):  # the tags of a status word never tear the slot: only cuts inside it matter
            if tags[cut - 1][0].startswith("Result.") or tags[cut][0].startswith(("Result.", "Status.ResultsValid")):
                yield f"PLC reads up to {tags[cut - 1][0]}", w._replace(half=tags[:cut])
                yield f"PLC reads from {tags[cut][0]} on", w._replace(half=tags[cut:])


def _tags(w: World) -> tuple[tuple[str, Value], ...]:
    whole = {**image(w.contract), "Status.BootId": w.contract.boot_id}
    return tuple((name, whole[name]) for name in READS[w.block.through])


def _scan(w: World) -> Iterator[Move]:
    block = w.block.scanned(dict(w.seen), w.now)
    quiet = w._replace(block=block, seen=())
    yield "PLC scans", _writing(quiet)
    if (block.linked if w.bounds.impatient else block.ready) and w.announced < w.bounds.triggers:
        name = f"part{w.announced + 1}"
        told = quiet._replace(block=block.announce(name, w.now), announced=w.announced + 1, present=name)
        yield f"PLC scans and announces {name}", _writing(told)
    if w.ordered < len(w.bounds.orders):
        number = w.bounds.orders[w.ordered]
        ordering = quiet._replace(block=block.order(number), ordered=w.ordered + 1)
        yield f"PLC scans and wants recipe {number}", _writing(ordering)


def _writing(w: World) -> World:
    """The scan's writes: what has changed since it was written last."""
    sent = dict(w.sent)
    changed = tuple((name, value) for name, value in w.block.writes().items() if sent.get(name) != value)
    return w._replace(wire=changed, sent=tuple({**sent, **dict(changed)}.items()))


def _wire(w: World) -> Iterator[Move]:
    """A write request with one or more of the tags that wait."""
    names = [name for name, _ in w.wire]
    if w.bounds.any_order:
        for i, tag in enumerate(w.wire):
            if not (tag[0] == "Control.TriggerSeq" and "Control.PartId" in names):
                yield f"PLC writes {tag[0]}", _written(w, (tag,), (*w.wire[:i], *w.wire[i + 1 :]))
        if len(w.wire) > 1:
            yield f"PLC writes {', '.join(names)}", _written(w, w.wire, ())
        return
    for cut in range(1, len(w.wire) + 1):
        yield f"PLC writes {', '.join(names[:cut])}", _written(w, w.wire[:cut], w.wire[cut:])


def _written(w: World, tags: tuple[tuple[str, Value], ...], rest: tuple[tuple[str, Value], ...]) -> World:
    contract, requests = w.contract.written(dict(tags), w.now)
    return w._replace(contract=contract, queue=w.queue + _asked(requests), wire=rest)


def _asked(requests: tuple[PlcRequest, ...]) -> tuple[TriggerRequest | RecipeRequest, ...]:
    """What the station has to answer; what it only books changes nothing here."""
    return tuple(r for r in requests if isinstance(r, TriggerRequest | RecipeRequest))


# --- the station ------------------------------------------------------------------------------------------------------


def _station(w: World) -> Iterator[Move]:
    if w.queue:
        yield from _handled(w._replace(queue=w.queue[1:]), w.queue[0])
    for i, part in enumerate(w.open):
        rest = w._replace(open=(*w.open[:i], *w.open[i + 1 :]))
        for evaluation in (Evaluation.OK, Evaluation.NOT_OK):
            yield f"{_name(part.trigger)} settles {evaluation.name}", settled(rest, part, evaluation)


def _handled(w: World, request: TriggerRequest | RecipeRequest) -> Iterator[Move]:
    if isinstance(request, RecipeRequest):
        known = request.number in KNOWN_RECIPES
        answer = RecipeAnswer(request.seq, known, Reason.NONE if known else Reason.RECIPE)
        chosen = w._replace(recipe=request.number if known else w.recipe, refused=not known)
        yield f"station answers the order of recipe {request.number}", _told(chosen, answer)
        return
    name = f"trigger {request.trigger_seq} of PLC start {request.plc_boot_id}"
    blocked = w.refused or len(w.open) >= w.bounds.max_open
    if not blocked:
        part = Open(_trigger(w, request), request.part_id if w.bounds.impatient else w.present)
        accepted = w._replace(open=(*w.open, part))
        yield f"station accepts {name}", _told(accepted, TriggerAccepted(request.trigger_seq))
    if blocked or w.bounds.may_refuse:
        yield f"station refuses {name}", _told(w, TriggerRefused(request.trigger_seq, Reason.OVERLOAD))


def _told(w: World, message: PlcMessage | None = None) -> World:
    """What the station says, and then how it is."""
    contract = w.contract if message is None else w.contract.told(message, w.now)
    status = _status(not w.refused and len(w.open) < w.bounds.max_open, bool(w.open), w.mode, w.recipe, w.refused)
    return w._replace(contract=contract.told(status, w.now))


@functools.cache
def _status(ready: bool, busy: bool, mode: Mode, recipe_no: int, refused: bool) -> StationStatus:
    return replace(FIT, ready=ready, busy=busy, mode=mode, recipe_no=recipe_no, recipe_ready=not refused)


def _trigger(w: World, request: TriggerRequest) -> Trigger:
    seq, boot_id = request.trigger_seq, w.contract.boot_id
    return Trigger(
        0, f"{boot_id}.{request.plc_boot_id}.{seq}", seq, request.part_id, 1, w.mode, f"r{w.recipe}", w.recipe,
        boot_id, request.plc_boot_id, 0, 1, "", True,
    )  # fmt: skip


def settled(w: World, part: Open, evaluation: Evaluation) -> World:
    """`w` without the part, after its verdict."""
    trigger = part.trigger
    result = InspectionResult(trigger, evaluation, Reason.NONE, "", (), (), 0, (), "", 0, {})
    good = evaluation is Evaluation.OK and trigger.mode is Mode.PRODUCTION
    truth = (key_of(trigger), Truth(part.shows, good, trigger.recipe_no))
    return _told(w, result)._replace(truth=(*w.truth, truth))


def _name(trigger: Trigger) -> str:
    return f"trigger {trigger.trigger_seq} of PLC start {trigger.plc_boot_id}"


# --- what seldom happens ----------------------------------------------------------------------------------------------


def _rare(w: World) -> Iterator[Move]:
    bounds = w.bounds
    for i, by in enumerate(bounds.jumps):
        if not w.jumped >> i & 1:
            later = w._replace(now=w.now + by, jumped=w.jumped | 1 << i)
            contract, requests = later.contract.ticked(later.now)
            yield f"time passes: {by}", later._replace(contract=contract, queue=later.queue + _asked(requests))
    if w.station_restarts < bounds.station_restarts:
        for wire in {(), w.wire} if bounds.late_wire else {()}:
            yield f"station restarts; {len(wire)} tags still on the wire", _station_restarted(w, wire)
    if w.plc_restarts < bounds.plc_restarts:
        for wire in {(), w.wire} if bounds.late_wire else {()}:
            yield f"PLC restarts; {len(wire)} tags still on the wire", _plc_restarted(w, wire, w.block.seq)
            again = _plc_restarted(w, wire, BEFORE_THE_WRAP)
            yield f"PLC restarts and counts from the start; {len(wire)} tags still on the wire", again
    if bounds.meddles and not w.meddled:
        yield "somebody selects recipe 2", _told(w._replace(recipe=2, meddled=True))
    if bounds.mode is not None and w.moded < 2:
        mode = bounds.mode if w.moded == 0 else Mode.PRODUCTION
        yield f"the station goes to {mode.name}", _told(w._replace(mode=mode, moded=w.moded + 1))


def _station_restarted(w: World, wire: tuple[tuple[str, Value], ...]) -> World:
    """The PLC has lost its connection, and writes everything again over the next one."""
    c = w.contract
    fresh = replace(
        type(c)(c.boot_id + 1, c.acknowledge, c.stale_ns, c.hold_ns, c.paired, c.modulus),
        results=Results(buffer=w.bounds.buffer, ring=(None,) * w.bounds.ring),
    )
    back = w._replace(contract=fresh, queue=(), open=(), wire=wire, sent=(), half=(), recipe=1, refused=False)
    return _told(back._replace(mode=Mode.PRODUCTION, station_restarts=w.station_restarts + 1))


def _plc_restarted(w: World, wire: tuple[tuple[str, Value], ...], seq: int) -> World:
    block = replace(w.block.restarted(w.block.plc_boot_id + 1), seq=seq)
    return w._replace(block=block, seen=(), half=(), wire=wire, sent=(), plc_restarts=w.plc_restarts + 1)
