"""The PLC's program: read, let the function block decide, move the belt, write; once a cycle, with faults if asked."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edge_inspector.errors import ConfigError, OutputError
from edge_inspector.plc.function_block import READS, FunctionBlock, Verdict
from edge_inspector.plc.tags import Value
from edge_inspector.plc_sim.belt import Belt, Item
from edge_inspector.plc_sim.faults import LATE_SCAN_S, Faults
from edge_inspector.plc_sim.journal import Journal
from edge_inspector.plc_sim.outputs import Outputs
from edge_inspector.plc_sim.wire import Wire

_RETRY_S = 0.3
_RESTART_S = 0.3
_TEAR_S = 0.002
_S = 1_000_000_000
_FOR_PEOPLE = ("Status.ErrorText",)


@dataclass(frozen=True)
class Line:
    """The production line: `positions` from the cameras to the gate, at most one step each `period_s`.

    `keeps_moving` False: the belt waits for a station that is not ready, and for a verdict until the gate timer of the
    part has run out. True: once it runs it waits for nothing, and what has no verdict at the gate is a reject.
    Without a station for `patience_s` the simulation gives up.
    """

    parts: int
    period_s: float
    positions: int
    cycle_s: float
    keeps_moving: bool = False
    patience_s: float = 60.0


@dataclass(frozen=True)
class Glance:
    """What a person wants to see while it runs."""

    fed: int
    passed: int
    rejected: int
    text: str
    last: str = ""


class SimulatedPlc:
    """Runs one line until every part is through its gate. All that it decides, `FunctionBlock` decides."""

    def __init__(
        self,
        wire: Wire,
        line: Line,
        block: FunctionBlock,
        faults: Faults,
        journal: Journal,
        say: Callable[[str], None],
        show: Callable[[Glance], None],
    ) -> None:
        """`say` gets a line for a person when the station goes away or comes back, `show` a glance at each scan."""
        self._wire, self._line, self._faults, self._journal = wire, line, faults, journal
        self._say, self._show = say, show
        self._block = block
        self._belt = Belt.empty(line.positions)
        self._reads = (*READS[block.through], *_FOR_PEOPLE, *(("Result.ResultId",) if block.through == "slot" else ()))
        self._glance = Glance(0, 0, 0, "linking")
        self._outputs = Outputs()
        self._next_ns = 0
        self._away_ns: int | None = None
        self._fed_ns = 0
        self.seconds = 0.0
        """From the first part to the last one at the gate."""

    async def run(self) -> None:
        """Until every part is through. OutputError: no station for too long. ConfigError: it refuses the recipe."""
        while not self._done():
            try:
                async with self._wire:
                    self._outputs.forget()
                    while not self._done():
                        await self._cycle()
            except OutputError as exc:
                self._lost(str(exc))
                await asyncio.sleep(_RETRY_S)

    def _done(self) -> bool:
        return self._glance.fed >= self._line.parts and self._belt.clear

    def _here(self) -> None:
        if self._away_ns is not None:
            self._away_ns = None
            self._say(f"linked with the station at {self._wire.address}")

    def _lost(self, error: str) -> None:
        now = time.monotonic_ns()
        if self._away_ns is None:
            self._away_ns = now
            self._say(f"waiting for the station at {self._wire.address}: {error}")
        if now - self._away_ns > self._line.patience_s * _S:
            raise OutputError(
                f"no station at {self._wire.address} for {self._line.patience_s:g} s: {error}; start one, or correct"
                " its address"
            )
        self._show(replace(self._glance, text=f"no station: {error}"))

    async def _cycle(self) -> None:
        start = time.monotonic_ns()
        tags = await self._read()
        self._here()
        now = time.monotonic_ns()
        before, self._block = self._block, self._block.scanned(tags, now)
        self._journal.scanned(before, self._block, tags, now)
        if self._block.recipe_result:
            raise ConfigError(
                f"the station at {self._wire.address} refuses recipe {self._block.recipe_no}, reason"
                f" {self._block.recipe_result}: order one that it has, of the link that is its master"
            )
        struck = self._move(now)
        await self._write(now)
        self._show_line(tags)
        await self._suffer(struck, now)
        spent_s = (time.monotonic_ns() - start) / _S
        await asyncio.sleep(max(0.0, self._line.cycle_s - spent_s))

    async def _read(self) -> dict[str, Value]:
        cuts = self._faults.cuts(len(self._reads))
        tags: dict[str, Value] = {}
        for first, last in zip((0, *cuts), (*cuts, len(self._reads)), strict=True):
            if first:
                await asyncio.sleep(_TEAR_S)
            tags |= await self._wire.read(self._reads[first:last])
        if cuts:
            self._journal.fault("torn-scans")
        return tags

    def _move(self, now: int) -> tuple[str, ...]:
        """One step of the belt, if it is time; the faults that strike with the part that comes in."""
        if now < self._next_ns:
            return ()
        feeding = self._glance.fed < self._line.parts
        period = int(self._line.period_s * _S)
        if self._glance.fed == 0 and not self._ready:
            return ()
        if not self._line.keeps_moving:
            gap = now >= self._next_ns + period and not self._belt.clear  # what is on the belt goes on to its gate
            if self._waits_at_the_gate(now) or (feeding and not self._ready and not gap):
                return ()
            feeding = feeding and self._ready
        self._next_ns = max(self._next_ns + period, now)
        if not feeding:
            self._step(None, now)
            return ()
        if not self._ready:
            self._step(self._journal.passed_by(self._count()), now)
            return ()
        self._feed(now)
        struck = self._faults.at_a_part()
        for name in struck:
            self._journal.fault(name)
        if "double-trigger" in struck and self._glance.fed < self._line.parts:
            self._feed(now)
        return struck

    @property
    def _ready(self) -> bool:
        """A part announced before the station's heartbeat has moved might be a reject at its gate for that alone."""
        return self._block.ready and self._block.beat_ns is not None

    def _waits_at_the_gate(self, now: int) -> bool:
        item = self._belt.next_at_gate
        seq = None if item is None else item.trigger_seq
        return seq is not None and self._block.verdict(seq, now) is Verdict.NO_RESULT

    def _count(self) -> int:
        if self._glance.fed == 0:
            self._fed_ns = time.monotonic_ns()
        self._glance = replace(self._glance, fed=self._glance.fed + 1)
        return self._glance.fed

    def _feed(self, now: int) -> None:
        part_id = f"part-{self._block.plc_boot_id:08x}-{self._count():05d}"
        self._block = self._block.announce(part_id, now)
        self._journal.announced(self._block.seq, part_id, now)
        self._step(Item(part_id, self._block.seq), now)

    def _step(self, item: Item | None, now: int) -> None:
        through, self._belt = self._belt.next_at_gate, self._belt.step(item)
        if through is None:
            return
        if through.trigger_seq is None:
            passed, why = self._journal.at_gate(through, None)
        else:
            passed, why = self._journal.at_gate(through, self._block.verdict(through.trigger_seq, now))
            self._block = self._block.left(through.trigger_seq)
        glance = self._glance
        self.seconds = (time.monotonic_ns() - self._fed_ns) / _S
        self._glance = replace(
            glance,
            passed=glance.passed + passed,
            rejected=glance.rejected + (not passed),
            last=f"{through.part_id} {why}",
        )

    async def _write(self, now: int) -> None:
        for values in self._outputs.due(self._block.writes(), now):
            await self._wire.write(values)
            self._journal.sent(values)

    async def _suffer(self, struck: tuple[str, ...], now: int) -> None:
        for name in struck:
            self._outputs.strike(name, now)
        if "duplicate-trigger" in struck:
            self._outputs.repeat("Control.TriggerSeq", now)
        if "late-scan" in struck:
            await asyncio.sleep(LATE_SCAN_S)
        if "restart" in struck:
            self._block = self._block.restarted(new_boot_id())
            self._journal.restarted(self._block.plc_boot_id)
            await asyncio.sleep(_RESTART_S)
        if "lost-link" in struck or "restart" in struck:
            raise OutputError("the PLC has let go of the connection")

    def _show_line(self, tags: Mapping[str, Value]) -> None:
        error = tags["Status.ErrorText"]
        text = "ready" if self._block.trigger_ready else f"not ready: {error}" if error else "busy"
        self._glance = replace(self._glance, text=text)
        self._show(self._glance)


def new_count() -> int:
    """Where the count of a fresh start begins: far from the numbers that the station has answered before."""
    return secrets.randbelow(4000) * 1_000_000


def new_boot_id() -> int:
    """Random, and not 0: so that nothing of an earlier start can match."""
    return secrets.randbelow(2**32 - 1) + 1
