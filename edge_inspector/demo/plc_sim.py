"""A PLC at the other end of the handshake: an OPC UA client that trusts nothing but the rule of the contract."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Client, ua

from edge_inspector.demo.plc_log import PlcLog, ToldResult
from edge_inspector.errors import OutputError

NAMESPACE = "urn:edge-inspector:station"
SCAN_S = 0.01
HEARTBEAT_S = 0.2
ANSWER_S = 0.5
"""A trigger that is neither accepted nor refused within this has failed."""
AWAY_S = 60.0
"""Without a station for this long the simulation gives up."""
STALE_S = 1.0
"""The station's heartbeat must change within this."""

_STATUS = (
    *("Status.Heartbeat", "Status.BootId", "Status.TriggerReady", "Status.TriggerAckSeq", "Status.RefusedSeq"),
    *("Status.ResultsValid", "Result.TriggerSeq"),
)
_RESULT = (
    *("Result.TriggerSeq", "Result.ResultId", "Result.BootId", "Result.PlcBootId", "Result.Evaluation"),
    *("Result.Mode", "Result.PartId", "Result.RecipeNo", "Status.ResultsValid"),
)
_TYPES = {"PartId": ua.VariantType.String}
_LOST = (OSError, asyncio.TimeoutError, ConnectionError, ua.UaError)


@dataclass
class _Part:
    trigger_seq: int
    part_id: str
    written_s: float
    boot_id: int
    accepted: bool = False


class SimulatedPlc:
    """Announces `parts` parts at `rate_hz`, reads each result, acknowledges it, and keeps its own log."""

    def __init__(
        self,
        endpoint: str,
        parts: int,
        rate_hz: float,
        log: Path,
        recipe_no: int,
        gate_s: float,
        say: Callable[[str], None],
    ) -> None:
        """`say` gets a line for a person when the station goes away or comes back."""
        self._endpoint = endpoint
        self._say = say
        self._parts = parts
        self._period_s = 1.0 / rate_hz
        self._log = PlcLog(log)
        self._recipe_no = recipe_no
        self._gate_s = gate_s
        self._boot_id = secrets.randbelow(2**32 - 1) + 1
        self._seq = 0
        self._heartbeat = 0
        self._beaten_s = 0.0
        self._station_boot = 0
        self._station_beat = (0, 0.0)
        self._open: dict[int, _Part] = {}
        self._part_ids: dict[int, str] = {}
        self._next_s = 0.0
        self._nodes: dict[str, Any] = {}
        self._away_s: float | None = None

    async def run(self) -> None:
        """Until every part has its result or has been rejected at its gate. OutputError: no station for too long."""
        try:
            while not self._done():
                try:
                    async with Client(self._endpoint, timeout=2) as client:
                        await self._greet(client)
                        await self._scan_until_done()
                except _LOST as exc:
                    await self._lost(str(exc) or type(exc).__name__)
        finally:
            self._log.close()

    def _done(self) -> bool:
        return self._seq >= self._parts and not self._open

    async def _lost(self, error: str) -> None:
        """The station is away: what it had not accepted is rejected, for nobody knows when the write will arrive; the
        rest runs into its gates. Then a fresh client tries again.
        """
        now = time.monotonic()
        if self._away_s is None:
            self._away_s = now
            self._say(f"waiting for the station at {self._endpoint}: {error}")
        if now - self._away_s > AWAY_S:
            raise OutputError(
                f"no station at {self._endpoint} for {AWAY_S:g} s: {error}; start one, or correct --endpoint"
            )
        self._station_boot = 0
        for part in [p for p in self._open.values() if not p.accepted]:
            self._unanswered(part)
        self._gates(now)
        await asyncio.sleep(0.3)

    async def _greet(self, client: Client) -> None:
        """Resolve the tags, hand over our boot id and the baseline of our count, then echo the station's boot id."""
        index = await client.get_namespace_index(NAMESPACE)
        self._nodes = {}
        for name in {*_STATUS, *_RESULT}:
            self._nodes[name] = client.get_node(ua.NodeId(f"Station.{name}", index))
        for name in ("Heartbeat", "PlcBootId", "BootIdEcho", "TriggerSeq", "PartId", "ResultAckSeq"):
            self._nodes[name] = client.get_node(ua.NodeId(f"Station.Control.{name}", index))
        await self._write(Heartbeat=self._heartbeat, PlcBootId=self._boot_id, TriggerSeq=self._seq)
        boot_id = await self._nodes["Status.BootId"].read_value()
        await self._write(BootIdEcho=boot_id)
        self._station_boot = boot_id
        if self._away_s is not None:
            self._away_s = None
            self._say(f"linked with the station at {self._endpoint}")
        self._log.write("linked", boot_id=boot_id, plc_boot_id=self._boot_id)

    async def _scan_until_done(self) -> None:
        nodes = [self._nodes[name] for name in _STATUS]
        while not self._done():
            now = time.monotonic()
            if now - self._beaten_s >= HEARTBEAT_S:
                self._beaten_s = now
                self._heartbeat = (self._heartbeat + 1) % 2**32
                await self._write(Heartbeat=self._heartbeat)
            values = await _read(nodes[0].session, nodes)
            await self._scan(dict(zip(_STATUS, values, strict=True)))
            await asyncio.sleep(SCAN_S)

    async def _scan(self, tags: dict[str, Any]) -> None:
        now = time.monotonic()
        if tags["Status.BootId"] != self._station_boot:
            raise ConnectionError("the station has restarted")
        if tags["Status.Heartbeat"] != self._station_beat[0]:
            self._station_beat = (tags["Status.Heartbeat"], now)
        self._answers(tags, now)
        if tags["Status.ResultsValid"]:
            await self._take_result(now)
        self._gates(now)
        waiting = any(not part.accepted for part in self._open.values())
        if tags["Status.TriggerReady"] and not waiting and self._seq < self._parts and now >= self._next_s:
            await self._announce(now)

    async def _announce(self, now: float) -> None:
        """PartId first, then TriggerSeq: its change is the trigger."""
        self._next_s = max(self._next_s + self._period_s, now)
        self._seq += 1
        part = _Part(self._seq, f"part-{self._boot_id:08x}-{self._seq:05d}", now, self._station_boot)
        self._open[part.trigger_seq] = part
        self._part_ids[part.trigger_seq] = part.part_id
        self._log.write("trigger", trigger_seq=part.trigger_seq, part_id=part.part_id)
        await self._write(PartId=part.part_id)
        part.written_s = time.monotonic()
        await self._write(TriggerSeq=part.trigger_seq)

    def _answers(self, tags: dict[str, Any], now: float) -> None:
        for part in [p for p in self._open.values() if not p.accepted]:
            if tags["Status.TriggerAckSeq"] == part.trigger_seq:
                part.accepted = True
                self._log.write("accepted", trigger_seq=part.trigger_seq)
            elif tags["Status.RefusedSeq"] == part.trigger_seq:
                self._log.write("refused", trigger_seq=part.trigger_seq)
                del self._open[part.trigger_seq]
            elif now - part.written_s > ANSWER_S:
                self._unanswered(part)

    def _unanswered(self, part: _Part) -> None:
        self._log.write("unanswered", trigger_seq=part.trigger_seq)
        del self._open[part.trigger_seq]

    async def _take_result(self, now: float) -> None:
        """Read one result whole, apply the rule, log it, acknowledge it."""
        nodes = [self._nodes[name] for name in _RESULT]
        tags = dict(zip(_RESULT, await _read(nodes[0].session, nodes), strict=True))
        seq = tags["Result.TriggerSeq"]
        if not tags["Status.ResultsValid"]:
            return
        part = self._open.pop(seq, None)
        wrong = tags["Result.PartId"] != self._part_ids.get(seq)
        passed = part is not None and self._may_pass(tags, part, now) and not wrong
        round_trip_ms = 0.0 if part is None else (time.monotonic() - part.written_s) * 1e3
        if part is not None and not part.accepted:  # accepted and settled between two scans
            self._log.write("accepted", trigger_seq=seq)
        told = ToldResult(
            seq, tags["Result.ResultId"], tags["Result.Evaluation"], tags["Result.PartId"], wrong, passed, round_trip_ms
        )
        self._log.write("result", **vars(told))
        await self._write(ResultAckSeq=seq)
        self._log.write("acknowledged", trigger_seq=seq)

    def _may_pass(self, tags: dict[str, Any], part: _Part, now: float) -> bool:
        """The rule: OK, Production, this part, both current boot ids, the ordered recipe, a fresh heartbeat."""
        return (
            tags["Result.Evaluation"] == 1
            and tags["Result.Mode"] == 1
            and tags["Result.TriggerSeq"] == part.trigger_seq
            and tags["Result.BootId"] == part.boot_id == self._station_boot
            and tags["Result.PlcBootId"] == self._boot_id
            and tags["Result.RecipeNo"] == self._recipe_no
            and now - self._station_beat[1] <= STALE_S
        )

    def _gates(self, now: float) -> None:
        """A part at its gate without a result is a reject."""
        for part in [p for p in self._open.values() if now - p.written_s > self._gate_s]:
            if part.accepted:
                self._log.write("without_result", trigger_seq=part.trigger_seq)
                del self._open[part.trigger_seq]
            else:
                self._unanswered(part)

    async def _write(self, **values: int | str) -> None:
        nodes = [self._nodes[name] for name in values]
        data = [
            ua.DataValue(ua.Variant(value, _TYPES.get(name, ua.VariantType.UInt32))) for name, value in values.items()
        ]
        await _write(nodes[0].session, nodes, data)


async def _read(session: Any, nodes: list[Any]) -> list[Any]:
    answers = await session.read_attributes([node.nodeid for node in nodes], ua.AttributeIds.Value)
    return [answer.Value.Value for answer in answers]


async def _write(session: Any, nodes: list[Any], data: list[ua.DataValue]) -> None:
    for answer in await session.write_attributes([node.nodeid for node in nodes], data, ua.AttributeIds.Value):
        answer.check()
