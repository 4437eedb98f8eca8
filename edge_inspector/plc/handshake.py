"""The handshake as a pure state machine: what the PLC wrote and what the station said -> requests and the tag image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason
from edge_inspector.interfaces import (
    Alive,
    CommandAnswer,
    CommandRequest,
    ExposureDone,
    LinkState,
    PlcMessage,
    PlcRequest,
    RecipeAnswer,
    RecipeRequest,
    RefusedByLink,
    ResultAcknowledged,
    StationStatus,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
    Unannounced,
)
from edge_inspector.plc.tags import RING_ROWS, Value

BUFFER = 8
"""Results that may wait behind the named slot."""
_WRAP = 2**32
COMMAND_RESET = 1
COMMAND_CLEAR_COUNTERS = 5

STARTING = StationStatus(
    ready=False,
    busy=False,
    acquiring=False,
    halted=False,
    mode=Mode.PRODUCTION,
    recipe="",
    recipe_no=0,
    recipe_ready=False,
    warning=False,
    error_code=0,
    error_text="starting",
    clock_synced=False,
    queue_depth=0,
)


@dataclass(frozen=True)
class PlcSide:
    """What the PLC wrote last. `heartbeat_ns` is when its heartbeat last changed (CLOCK_MONOTONIC), None = never."""

    heartbeat: int = 0
    heartbeat_ns: int | None = None
    boot_id_echo: int = 0
    plc_boot_id: int = 0
    trigger_seq: int = 0
    part_id: str = ""
    recipe: str = ""
    recipe_no: int = 0
    recipe_seq: int = 0
    result_ack_seq: int = 0
    command: int = 0
    command_seq: int = 0


@dataclass(frozen=True)
class Counters:
    """Production results and refusals since the last ClearCounters."""

    by_evaluation: tuple[int, int, int, int] = (0, 0, 0, 0)
    refused: int = 0
    missed: int = 0
    unannounced: int = 0


@dataclass(frozen=True)
class Contract:
    """One PLC's view of one station. Every method returns a new contract; time comes in as an argument.

    `acknowledge` False means that the PLC does not acknowledge: ResultsValid then holds for `hold_ns`.
    """

    boot_id: int
    acknowledge: bool = True
    stale_ns: int = 2_000_000_000
    hold_ns: int = 500_000_000
    status: StationStatus = STARTING
    plc: PlcSide = PlcSide()
    echoed: bool = False
    alive: bool = False
    heartbeat: int = 0
    accepted: bool = False
    trigger_ack_seq: int = 0
    refused_seq: int = 0
    refused_reason: Reason = Reason.NONE
    recipe_ack: tuple[int, int] = (0, 0)
    command_ack: tuple[int, int] = (0, 0)
    exposure_done: bool = False
    shown: InspectionResult | None = None
    shown_ns: int = 0
    waiting: tuple[InspectionResult, ...] = ()
    ring: tuple[InspectionResult | None, ...] = field(default=(None,) * RING_ROWS)
    ring_count: int = 0
    overrun: bool = False
    missed: bool = False
    toggle: bool = False
    counters: Counters = Counters()

    @property
    def linked(self) -> bool:
        """The PLC is there and knows which start of the station it talks to."""
        return self.alive and self.echoed

    @property
    def ready(self) -> bool:
        """A trigger written now is accepted, as far as this link knows."""
        return self.status.ready and self.linked and not self.overrun

    # --- from the PLC -------------------------------------------------------------------------------------------------

    def written(self, values: Mapping[str, Value], now_ns: int) -> tuple[Contract, tuple[PlcRequest, ...]]:
        """One write request of the PLC: tag name -> value. The order of the tags in it does not matter."""
        me, stale = self.ticked(now_ns)
        me, asked = me._taken(_unblock(values), now_ns)
        return me, (*stale, *asked)

    def _taken(self, values: Mapping[str, Value], now_ns: int) -> tuple[Contract, tuple[PlcRequest, ...]]:
        before = self.plc
        was_synced = self.echoed
        out: list[PlcRequest] = []
        me = replace(self, plc=_take(before, values, now_ns))
        if "Control.Heartbeat" in values or "Control.PlcBootId" in values or "Control.BootIdEcho" in values:
            me = me._greeted(before, echo_written="Control.BootIdEcho" in values)
            if (me.linked, me.plc.plc_boot_id) != (self.linked, before.plc_boot_id):
                out.append(LinkState(me.linked, me.plc.plc_boot_id))
        if "Control.ResultAckSeq" in values:
            me, freed = me._acknowledged(now_ns)
            out.extend(freed)
        greeting = me.plc.plc_boot_id != before.plc_boot_id  # then the write's TriggerSeq is only a baseline
        if was_synced and me.echoed and not greeting and me.plc.trigger_seq != before.trigger_seq:
            me, asked = me._triggered(before.trigger_seq, now_ns)
            out.extend(asked)
        if me.echoed and me.plc.recipe_seq != before.recipe_seq:
            out.append(RecipeRequest(me.plc.recipe_seq, me.plc.recipe_no, me.plc.recipe))
        if me.echoed and me.plc.command_seq != before.command_seq:
            if me.plc.command == COMMAND_RESET:
                me = replace(me, overrun=False, missed=False, shown=None, waiting=())
            if me.plc.command == COMMAND_CLEAR_COUNTERS:
                me = replace(me, counters=Counters())
            out.append(CommandRequest(me.plc.command_seq, me.plc.command))
        return me, tuple(out)

    def _greeted(self, before: PlcSide, echo_written: bool) -> Contract:
        """Follow the heartbeat and both boot ids. A restarted PLC must echo again, and nothing old can match."""
        restarted = self.plc.plc_boot_id != before.plc_boot_id
        alive = self.alive or self.plc.heartbeat != before.heartbeat
        echoed = self.plc.boot_id_echo == self.boot_id and (echo_written or (self.echoed and not restarted))
        me = replace(self, alive=alive, echoed=echoed)
        if restarted:
            me = replace(me, shown=None, waiting=(), overrun=False, missed=False)
        return me

    def _triggered(self, last_seq: int, now_ns: int) -> tuple[Contract, tuple[PlcRequest, ...]]:
        seq, part_id = self.plc.trigger_seq, self.plc.part_id
        step = (seq - last_seq) % _WRAP
        if step >= _WRAP // 2:  # backwards: the PLC has lost its count without a new PlcBootId
            refused = RefusedByLink(seq, part_id, Reason.PLC_RESTART, seen_ns=now_ns)
            return self._refuse(seq, Reason.PLC_RESTART), (refused,)
        me, out = self, []
        if step > 1:
            skipped = RefusedByLink((last_seq + 1) % _WRAP, "", Reason.MISSED, step - 1)
            out.append(cast(PlcRequest, skipped))
            counters = replace(self.counters, missed=(self.counters.missed + step - 1) % _WRAP)
            me = replace(self, missed=True, counters=counters)
        refusal = Reason.PLC_LINK if not me.alive else Reason.BUFFER_OVERRUN if me.overrun else None
        if refusal is not None:
            return me._refuse(seq, refusal), (*out, RefusedByLink(seq, part_id, refusal, seen_ns=now_ns))
        out.append(TriggerRequest(seq, part_id, now_ns, me.plc.plc_boot_id))
        return me, tuple(out)

    def _refuse(self, seq: int, reason: Reason) -> Contract:
        counters = replace(self.counters, refused=(self.counters.refused + 1) % _WRAP)
        return replace(self, refused_seq=seq, refused_reason=reason, counters=counters)

    def _acknowledged(self, now_ns: int) -> tuple[Contract, tuple[PlcRequest, ...]]:
        if not self.acknowledge or self.shown is None:
            return self, ()
        upto = self.plc.result_ack_seq
        queue = (self.shown, *self.waiting)
        freed = [r for r in queue if (upto - r.trigger.trigger_seq) % _WRAP < _WRAP // 2]
        if not freed:
            return self, ()
        rest = tuple(r for r in queue if r not in freed)
        me = replace(self, shown=rest[0] if rest else None, waiting=rest[1:], shown_ns=now_ns)
        me = replace(me, toggle=not me.toggle) if rest else replace(me, overrun=False)
        return me, (ResultAcknowledged(upto, tuple(r.result_id for r in freed)),)

    def ticked(self, now_ns: int) -> tuple[Contract, tuple[PlcRequest, ...]]:
        """Time has passed: a stale heartbeat takes the link down, a held result runs out."""
        me = self
        fresh = me.plc.heartbeat_ns is not None and now_ns - me.plc.heartbeat_ns <= me.stale_ns
        if me.alive and not fresh:
            me = replace(me, alive=False)
        if not me.acknowledge and me.shown is not None and now_ns - me.shown_ns > me.hold_ns:
            me = replace(me, shown=None)
        if me.linked != self.linked:
            return me, (LinkState(me.linked, me.plc.plc_boot_id),)
        return me, ()

    # --- from the station ---------------------------------------------------------------------------------------------

    def told(self, message: PlcMessage, now_ns: int) -> Contract:
        """What the station says, taken into the tag image."""
        if isinstance(message, Alive):
            return replace(self, heartbeat=(self.heartbeat + 1) % _WRAP)
        if isinstance(message, StationStatus):
            return replace(self, status=message)
        if isinstance(message, Unannounced):
            counted = (self.counters.unannounced + 1) % _WRAP
            return replace(self, counters=replace(self.counters, unannounced=counted))
        if isinstance(message, TriggerAccepted):
            status = replace(self.status, ready=False, busy=True, acquiring=True)
            me = replace(self, accepted=True, trigger_ack_seq=message.trigger_seq)
            return replace(me, exposure_done=False, status=status)
        if isinstance(message, TriggerRefused):
            return self._refuse(message.trigger_seq, message.reason)
        if isinstance(message, ExposureDone):
            if message.trigger_seq != self.trigger_ack_seq:
                return self  # a newer part is already being exposed
            return replace(self, exposure_done=True, status=replace(self.status, acquiring=False))
        if isinstance(message, RecipeAnswer):
            return replace(self, recipe_ack=(message.seq, 0 if message.accepted else int(message.reason)))
        if isinstance(message, CommandAnswer):
            return replace(self, command_ack=(message.seq, message.result))
        return self._settled(message, now_ns)

    def _settled(self, result: InspectionResult, now_ns: int) -> Contract:
        slot = self.ring_count % RING_ROWS
        pushed_out = self.ring[slot]
        ring = (*self.ring[:slot], result, *self.ring[slot + 1 :])
        me = replace(self, ring=ring, ring_count=self.ring_count + 1)
        if result.trigger.mode is Mode.PRODUCTION:
            counted = list(me.counters.by_evaluation)
            counted[result.evaluation] = (counted[result.evaluation] + 1) % _WRAP
            me = replace(
                me, counters=replace(me.counters, by_evaluation=cast("tuple[int, int, int, int]", tuple(counted)))
            )
        if result.trigger.plc_boot_id != me.plc.plc_boot_id and me.acknowledge:
            return me  # asked for by an earlier start of the PLC: nobody would acknowledge it
        if me.shown is None or not me.acknowledge:
            return replace(me, shown=result, shown_ns=now_ns, toggle=not me.toggle)
        unread = (me.shown, *me.waiting)
        overrun = len(me.waiting) >= BUFFER or (pushed_out is not None and pushed_out in unread)
        waiting = me.waiting if len(me.waiting) >= BUFFER else (*me.waiting, result)
        return replace(me, waiting=waiting, overrun=me.overrun or overrun)

    @property
    def overall_ok(self) -> bool:
        """Whether the shown result is an OK that the PLC may act on."""
        r = self.shown
        return r is not None and r.evaluation is Evaluation.OK and r.trigger.mode is Mode.PRODUCTION


def _unblock(values: Mapping[str, Value]) -> Mapping[str, Value]:
    """Control.Block is the same tags in one array."""
    block = values.get("Control.Block")
    if block is None:
        return values
    words = cast("tuple[int, ...]", block)
    names = ("Heartbeat", "PlcBootId", "BootIdEcho", "TriggerSeq", "RecipeReqNo", "RecipeReqSeq", "ResultAckSeq")
    spread: dict[str, Value] = {f"Control.{name}": word for name, word in zip(names, words, strict=False)}
    spread |= {"Control.Command": words[7] & 0xFFFF, "Control.CommandSeq": words[7] >> 16}
    return {**spread, **{k: v for k, v in values.items() if k != "Control.Block"}}


_FIELDS = {
    "Control.BootIdEcho": "boot_id_echo",
    "Control.PlcBootId": "plc_boot_id",
    "Control.TriggerSeq": "trigger_seq",
    "Control.PartId": "part_id",
    "Control.RecipeReq": "recipe",
    "Control.RecipeReqNo": "recipe_no",
    "Control.RecipeReqSeq": "recipe_seq",
    "Control.ResultAckSeq": "result_ack_seq",
    "Control.Command": "command",
    "Control.CommandSeq": "command_seq",
}


def _take(plc: PlcSide, values: Mapping[str, Value], now_ns: int) -> PlcSide:
    changes: dict[str, object] = {_FIELDS[name]: value for name, value in values.items() if name in _FIELDS}
    heartbeat = values.get("Control.Heartbeat")
    if heartbeat is not None and heartbeat != plc.heartbeat:
        changes |= {"heartbeat": heartbeat, "heartbeat_ns": now_ns}
    return replace(plc, **changes)  # type: ignore[arg-type]
