"""The PLC's side of the contract as a pure value: what a function block does in each scan, and what passes the gate."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from edge_inspector.plc.tags import RING_WORDS, Value

Through = Literal["slot", "ring"]

_STATUS_TAGS = (
    *("Status.Heartbeat", "Status.BootId", "Status.PlcLinkOk", "Status.TriggerReady", "Status.TriggerAckSeq"),
    *("Status.RefusedSeq", "Status.RecipeReqAckSeq", "Status.RecipeReqResult"),
)
_SLOT_TAGS = (
    *("Status.ResultsValid", "Result.TriggerSeq", "Result.Evaluation", "Result.Mode", "Result.BootId"),
    *("Result.PlcBootId", "Result.RecipeNo", "Result.PartId"),
)
READS: Mapping[Through, tuple[str, ...]] = {
    "slot": (*_STATUS_TAGS, *_SLOT_TAGS),
    "ring": (*_STATUS_TAGS, "Result.Ring"),
}
"""The tags that a scan needs; in the slot, all of them in one read request if the PLC can do that."""


class Verdict(enum.Enum):
    """What becomes of a part, and why; only PASS opens the gate."""

    PASS = "pass"
    NOT_OK = "the result is not OK"
    NOT_PRODUCTION = "the result is not of Production"
    WRONG_RECIPE = "the result is of another recipe"
    WRONG_PART = "the result names another part"
    REFUSED = "the trigger was refused"
    NO_ANSWER = "the trigger was neither accepted nor refused in time"
    NO_RESULT = "no result at the gate"
    GATE_TIME = "the gate timer had run out"
    STATION_RESTARTED = "the station has restarted"
    STATION_STALE = "the station's heartbeat stands still"
    UNKNOWN = "the PLC does not know this part"


@dataclass(frozen=True)
class Read:
    """One result as the PLC has read it; the ring has the CRC-32 of the part's id in place of its text."""

    seq: int
    evaluation: int
    mode: int
    boot_id: int
    plc_boot_id: int
    recipe_no: int
    part: str | int

    def names(self, part_id: str) -> bool:
        """Whether it is this part's."""
        return self.part == (part_id if isinstance(self.part, str) else zlib.crc32(part_id.encode()))


@dataclass(frozen=True)
class Part:
    """A part between trigger and gate. `verdict` None = no result yet; a reject stays one."""

    seq: int
    part_id: str
    recipe_no: int
    announced_ns: int
    accepted: bool = False
    verdict: Verdict | None = None


@dataclass(frozen=True)
class FunctionBlock:
    """One start of the PLC. Every method returns a new block; time comes in as an argument (any monotonic ns).

    `seq` is the number of the last trigger, `modulus` where numbers wrap. `one_read` says that all tags of a scan come
    from one read request; without it a result in the slot counts once two scans in a row have read the same.
    `checks_part_id` False leaves the rule to the numbers alone, `orders_recipe` False leaves the recipe to others.
    """

    plc_boot_id: int
    recipe_no: int
    gate_ns: int
    answer_ns: int = 500_000_000
    stale_ns: int = 1_000_000_000
    acknowledge: bool = True
    through: Through = "slot"
    one_read: bool = True
    checks_part_id: bool = True
    orders_recipe: bool = True
    modulus: int = 2**32
    seq: int = 0
    part_id: str = ""
    heartbeat: int = 0
    parts: tuple[Part, ...] = ()
    station_boot_id: int = 0
    echo: int = 0
    beat: int | None = None
    beat_ns: int | None = None
    trigger_ready: bool = False
    recipe_seq: int = 0
    ordered: bool = False
    recipe_result: int | None = None
    acked: int | None = None
    slot: Read | None = None
    taken: tuple[Read, ...] = ()
    """What the last scan took: the results in the order in which it found them."""

    @property
    def linked(self) -> bool:
        """The station's boot id is read and echoed."""
        return self.echo == self.station_boot_id != 0

    @property
    def ready(self) -> bool:
        """A part may be announced: the station takes one, its recipe is the ordered one, no answer is outstanding."""
        settled = not self.orders_recipe or self.recipe_result == 0
        waiting = any(not part.accepted and part.verdict is None for part in self.parts)
        return self.linked and self.trigger_ready and settled and not waiting

    def announce(self, part_id: str, now_ns: int) -> FunctionBlock:
        """A part is in front of the cameras; its gate timer starts."""
        seq = (self.seq + 1) % self.modulus
        part = Part(seq, part_id, self.recipe_no, now_ns)
        return replace(self, seq=seq, part_id=part_id, parts=(*self.parts, part))

    def order(self, recipe_no: int) -> FunctionBlock:
        """The line changes product; parts announced before keep the recipe that they were announced for."""
        return replace(self, recipe_no=recipe_no, ordered=False, recipe_result=None)

    def restarted(self, plc_boot_id: int) -> FunctionBlock:
        """The PLC starts again: only its settings and the retained count are left."""
        return FunctionBlock(
            plc_boot_id,
            self.recipe_no,
            self.gate_ns,
            answer_ns=self.answer_ns,
            stale_ns=self.stale_ns,
            acknowledge=self.acknowledge,
            through=self.through,
            one_read=self.one_read,
            checks_part_id=self.checks_part_id,
            orders_recipe=self.orders_recipe,
            modulus=self.modulus,
            seq=self.seq,
        )

    def scanned(self, tags: Mapping[str, Value], now_ns: int) -> FunctionBlock:
        """One scan over all of `READS`; once for each completed read, never twice for the same.

        No result is believed that is not of both present starts.
        """
        me = replace(self, heartbeat=(self.heartbeat + 1) % self.modulus, taken=())
        me = me._greeted(_number(tags, "Status.BootId"))
        me = me._felt(_number(tags, "Status.Heartbeat"), now_ns)
        me = me._recipe(tags)
        me = replace(me, trigger_ready=bool(tags["Status.TriggerReady"]))
        if me.linked:
            me = me._answered(_number(tags, "Status.TriggerAckSeq"), _number(tags, "Status.RefusedSeq"))
        me = me._from_slot(tags) if me.through == "slot" else me._from_ring(tags)
        return me._timed(now_ns)

    def verdict(self, seq: int, now_ns: int) -> Verdict:
        """The rule, at the part's gate and at this moment."""
        part = next((p for p in self._timed(now_ns).parts if p.seq == seq), None)
        if part is None:
            return Verdict.UNKNOWN
        if part.verdict is not None and part.verdict is not Verdict.PASS:
            return part.verdict
        if now_ns - part.announced_ns > self.gate_ns:
            return Verdict.GATE_TIME
        if part.verdict is None:
            return Verdict.NO_RESULT
        fresh = self.beat_ns is not None and now_ns - self.beat_ns <= self.stale_ns
        return Verdict.PASS if fresh else Verdict.STATION_STALE

    def at_gate(self, seq: int, now_ns: int) -> bool:
        """Whether the part may pass."""
        return self.verdict(seq, now_ns) is Verdict.PASS

    def left(self, seq: int) -> FunctionBlock:
        """The part is past its gate."""
        return replace(self, parts=tuple(p for p in self.parts if p.seq != seq))

    def writes(self) -> Mapping[str, Value]:
        """The PLC's tags after this scan, in the order in which they are written; a PLC writes those that changed.

        PartId comes before TriggerSeq, and the echo last: what stands before it is then a baseline.
        """
        tags: dict[str, Value] = {"Control.Heartbeat": self.heartbeat, "Control.PlcBootId": self.plc_boot_id}
        if self.orders_recipe:
            tags |= {"Control.RecipeReqNo": self.recipe_no, "Control.RecipeReqSeq": self.recipe_seq}
        if self.acknowledge and self.acked is not None:
            tags["Control.ResultAckSeq"] = self.acked
        return tags | {
            "Control.PartId": self.part_id,
            "Control.TriggerSeq": self.seq,
            "Control.BootIdEcho": self.echo,
        }

    def _greeted(self, boot_id: int) -> FunctionBlock:
        """A start of the station that we do not know: no open part will have its result; echo it in the next scan."""
        if boot_id == self.station_boot_id:
            return replace(self, echo=boot_id)
        lost = tuple(_rejected(part, Verdict.STATION_RESTARTED) for part in self.parts)
        return replace(
            self,
            station_boot_id=boot_id,
            echo=0,
            parts=lost,
            beat=None,
            beat_ns=None,
            ordered=False,
            recipe_result=None,
        )

    def _felt(self, beat: int, now_ns: int) -> FunctionBlock:
        """The first heartbeat that we read may be an old one; only a change shows that the station is there."""
        if beat == self.beat:
            return self
        return replace(self, beat=beat, beat_ns=self.beat_ns if self.beat is None else now_ns)

    def _recipe(self, tags: Mapping[str, Value]) -> FunctionBlock:
        """Order the recipe once the station listens; a restarted station is back on the recipe of its file."""
        if not (self.orders_recipe and self.linked and tags["Status.PlcLinkOk"]):
            return self
        if not self.ordered:
            return replace(self, recipe_seq=(self.recipe_seq + 1) % self.modulus, ordered=True, recipe_result=None)
        if _number(tags, "Status.RecipeReqAckSeq") == self.recipe_seq:
            return replace(self, recipe_result=_number(tags, "Status.RecipeReqResult"))
        return self

    def _answered(self, accepted: int, refused: int) -> FunctionBlock:
        def answer(part: Part) -> Part:
            if part.verdict is not None or part.accepted:
                return part
            if part.seq == accepted:
                return replace(part, accepted=True)
            return _rejected(part, Verdict.REFUSED) if part.seq == refused else part

        return replace(self, parts=tuple(answer(part) for part in self.parts))

    def _from_slot(self, tags: Mapping[str, Value]) -> FunctionBlock:
        read = _slot(tags) if tags["Status.ResultsValid"] else None
        steady = self.one_read or read == self.slot
        me = replace(self, slot=read)
        if read is None or not steady or read.seq == self.acked or not self._ours(read):
            return me
        return replace(me._takes(read), acked=read.seq)

    def _from_ring(self, tags: Mapping[str, Value]) -> FunctionBlock:
        """Rows stand for a while: each is taken once, for an open part or because it is newer than the last one."""
        words = cast("tuple[int, ...]", tags["Result.Ring"])
        me = self
        for start in range(0, len(words), RING_WORDS):
            read = _row(words[start : start + RING_WORDS])
            if not self._ours(read):
                continue
            newer = me.acked is None or 0 < (read.seq - me.acked) % self.modulus < self.modulus // 2
            if newer or any(p.seq == read.seq and p.verdict is None for p in me.parts):
                me = me._takes(read)
            if newer:
                me = replace(me, acked=read.seq)
        return me

    def _ours(self, read: Read) -> bool:
        """Of the present start of both sides: only such a result is judged or acknowledged."""
        return self.linked and (read.boot_id, read.plc_boot_id) == (self.station_boot_id, self.plc_boot_id)

    def _takes(self, read: Read) -> FunctionBlock:
        """Judge the part, if it still waits; the result of a part that has left is acknowledged like any other."""

        def judge(part: Part) -> Part:
            if part.seq != read.seq or part.verdict is not None:
                return part
            return replace(part, accepted=True, verdict=self._judged(part, read))

        return replace(self, taken=(*self.taken, read), parts=tuple(judge(part) for part in self.parts))

    def _judged(self, part: Part, read: Read) -> Verdict:
        if self.checks_part_id and not read.names(part.part_id):
            return Verdict.WRONG_PART
        if read.mode != 1:
            return Verdict.NOT_PRODUCTION
        if read.recipe_no != part.recipe_no:
            return Verdict.WRONG_RECIPE
        return Verdict.PASS if read.evaluation == 1 else Verdict.NOT_OK

    def _timed(self, now_ns: int) -> FunctionBlock:
        """Whoever was not answered in time is a reject, whatever comes later."""

        def late(part: Part) -> bool:
            return not part.accepted and part.verdict is None and now_ns - part.announced_ns > self.answer_ns

        return replace(self, parts=tuple(_rejected(p, Verdict.NO_ANSWER) if late(p) else p for p in self.parts))


def _rejected(part: Part, why: Verdict) -> Part:
    return part if part.verdict not in (None, Verdict.PASS) else replace(part, verdict=why)


def _number(tags: Mapping[str, Value], name: str) -> int:
    return cast(int, tags[name])


def _slot(tags: Mapping[str, Value]) -> Read:
    names = ("TriggerSeq", "Evaluation", "Mode", "BootId", "PlcBootId", "RecipeNo")
    seq, evaluation, mode, boot_id, plc_boot_id, recipe_no = (_number(tags, f"Result.{name}") for name in names)
    return Read(seq, evaluation, mode, boot_id, plc_boot_id, recipe_no, cast(str, tags["Result.PartId"]))


def _row(words: tuple[int, ...]) -> Read:
    """Evaluation, mode and flags share the second word."""
    seq, judged, _reason, recipe_no, boot_id, plc_boot_id, part_crc, _cycle_us = words
    return Read(seq, judged & 0xFF, judged >> 8 & 0xFF, boot_id, plc_boot_id, recipe_no, part_crc)
