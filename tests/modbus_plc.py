"""A PLC on Modbus for tests: the function block of the contract, and the tags that it does not need by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from edge_inspector.errors import OutputError
from edge_inspector.plc.function_block import READS, FunctionBlock, Verdict
from edge_inspector.plc.tags import Value
from edge_inspector.plc_sim.modbus_wire import ModbusWire

GATE_MS = 8000
PATIENCE_S = 20.0


class ModbusPlc:
    """Scans the station again and again while it waits for something."""

    def __init__(self, wire: ModbusWire, recipe_no: int) -> None:
        self.block = FunctionBlock(77, recipe_no, GATE_MS * 1_000_000, answer_ns=GATE_MS * 1_000_000, seq=100)
        self._wire = wire
        self._commands = 0
        self._written: dict[str, Value] = {}

    async def scan(self) -> None:
        self.block = self.block.scanned(await self._wire.read(READS["slot"]), time.monotonic_ns())
        changed = {name: value for name, value in self.block.writes().items() if self._written.get(name) != value}
        await self._wire.write(changed)
        self._written |= changed

    async def until(self, what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        await self.scan()  # what was true before the last scan may be so no more
        while not condition():
            assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}; {self.block}"
            await self.scan()

    async def ready(self) -> None:
        await self.until("ready", lambda: self.block.ready)

    async def order(self, recipe_no: int) -> int:
        """RecipeReqResult of the answer to this order."""
        self.block = self.block.order(recipe_no)
        await self.until(f"recipe {recipe_no} is answered", lambda: self.block.recipe_result is not None)
        assert self.block.recipe_result is not None
        return self.block.recipe_result

    async def part(self, part_id: str) -> int:
        """Announce a part in this scan; its number."""
        self.block = self.block.announce(part_id, time.monotonic_ns())
        await self.scan()
        return self.block.seq

    async def verdict(self, seq: int) -> Verdict:
        """As its gate has it."""

        def judged() -> bool:
            return any(part.seq == seq and part.verdict is not None for part in self.block.parts)

        await self.until(f"part {seq} is judged", judged)
        verdict = self.block.verdict(seq, time.monotonic_ns())
        self.block = self.block.left(seq)
        return verdict

    async def command(self, number: int) -> int:
        """CommandResult of the answer."""
        self._commands += 1
        await self._wire.write({"Control.Command": number, "Control.CommandSeq": self._commands})
        tags = await self.tags("Status.CommandAckSeq", until=self._commands)
        assert tags == self._commands
        return int((await self._wire.read(["Status.CommandResult"]))["Status.CommandResult"])  # type: ignore[arg-type]

    async def tags(self, name: str, *, until: Value) -> Value:
        """The value of a tag once it is `until`."""
        end = time.monotonic() + PATIENCE_S
        while (value := (await self._wire.read([name]))[name]) != until:
            assert time.monotonic() < end, f"{name} is {value!r} after {PATIENCE_S} s, expected {until!r}"
            await self.scan()
        return value

    async def read(self, *names: str) -> list[Value]:
        return list((await self._wire.read(names)).values())

    def reconnected(self, wire: ModbusWire) -> None:
        """The same start of the PLC, on another connection: it writes all its tags again."""
        self._wire, self._written = wire, {}
        self.block = replace(self.block, parts=())


@asynccontextmanager
async def wired(port: int) -> AsyncIterator[ModbusWire]:
    """Connected, as soon as the station listens."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            async with ModbusWire(f"127.0.0.1:{port}") as wire:
                await wire.read(["Status.BootId"])
                yield wire
                return
        except OutputError:
            assert time.monotonic() < end, f"nobody answers on port {port}"
            await asyncio.sleep(0.05)
