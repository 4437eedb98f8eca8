"""Writes the PLC's log: what changed from one scan to the next, and what became of each part."""

from __future__ import annotations

from collections.abc import Mapping

from edge_inspector.plc.function_block import FunctionBlock, Part, Read, Verdict
from edge_inspector.plc.tags import Value
from edge_inspector.plc_sim.belt import Item
from edge_inspector.plc_sim.log import PlcLog

NOT_ANNOUNCED = "the station was not ready when the part came"
_ANSWERED = (None, Verdict.REFUSED, Verdict.NO_ANSWER)
"""Never announced, or told already."""


class Journal:
    """Knows each part's id and when it was announced, so that a result can be told with its round trip."""

    def __init__(self, log: PlcLog) -> None:
        self._log = log
        self._parts: dict[int, str] = {}
        self._announced_ns: dict[int, int] = {}
        self._acknowledging: int | None = None
        self._accepted: set[int] = set()
        self._read: set[int] = set()

    def fault(self, name: str) -> None:
        self._log.write("fault", name=name)

    def restarted(self, plc_boot_id: int) -> None:
        self._log.write("plc_restarted", plc_boot_id=plc_boot_id)

    def announced(self, seq: int, part_id: str, now_ns: int) -> None:
        """The round trip of a part begins here."""
        self._parts[seq] = part_id
        self._announced_ns[seq] = now_ns
        self._log.write("trigger", trigger_seq=seq, part_id=part_id)

    def passed_by(self, count: int) -> Item:
        """A part that came while the station was not ready."""
        return Item(f"unannounced-{count:05d}", None)

    def scanned(self, before: FunctionBlock, after: FunctionBlock, tags: Mapping[str, Value], now_ns: int) -> None:
        """What this scan has found out."""
        if after.linked and not before.linked:
            self._log.write("linked", boot_id=after.station_boot_id, plc_boot_id=after.plc_boot_id)
        if after.recipe_result and not before.recipe_result:
            self._log.write("recipe_refused", recipe_no=after.recipe_no, reason=after.recipe_result)
        known = {part.seq: part for part in before.parts}
        for part in after.parts:
            self._answered(known.get(part.seq, part), part)
        open_before = {part.seq for part in before.parts if part.verdict is None}
        for read in after.taken:
            self._result(read, tags, now_ns, waited=read.seq in open_before)

    def sent(self, values: Mapping[str, Value]) -> None:
        seq = values.get("Control.ResultAckSeq")
        if isinstance(seq, int) and seq != self._acknowledging:
            self._acknowledging = seq
            self._log.write("acknowledged", trigger_seq=seq)

    def at_gate(self, item: Item, verdict: Verdict | None) -> tuple[bool, str]:
        """Whether it passes, and why; None = it was never announced."""
        passed = verdict is Verdict.PASS
        why = NOT_ANNOUNCED if verdict is None else verdict.value
        if verdict not in _ANSWERED and item.trigger_seq not in self._read:
            event = "without_result" if item.trigger_seq in self._accepted else "unanswered"
            self._log.write(event, trigger_seq=item.trigger_seq)
        self._log.write("gate", trigger_seq=item.trigger_seq, part_id=item.part_id, passed=passed, why=why)
        return passed, why

    def _answered(self, before: Part, part: Part) -> None:
        if part.accepted and not before.accepted:
            self._accepted.add(part.seq)
            self._log.write("accepted", trigger_seq=part.seq)
        if part.verdict is not before.verdict and part.verdict is Verdict.REFUSED:
            self._log.write("refused", trigger_seq=part.seq)
        if part.verdict is not before.verdict and part.verdict is Verdict.NO_ANSWER:
            self._log.write("unanswered", trigger_seq=part.seq)

    def _result(self, read: Read, tags: Mapping[str, Value], now_ns: int, waited: bool) -> None:
        self._read.add(read.seq)
        mine = self._parts.get(read.seq, "")
        self._log.write(
            "result",
            trigger_seq=read.seq,
            result_id=tags.get("Result.ResultId", ""),
            evaluation=read.evaluation,
            part_id=read.part if isinstance(read.part, str) else mine,
            wrong_part_id=not read.names(mine),
            round_trip_ms=round((now_ns - self._announced_ns[read.seq]) / 1e6, 3) if waited else None,
            mode=read.mode,
        )
