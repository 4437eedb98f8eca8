"""Which part rates a PLC's cycle can follow over OPC UA, through the named slot and through the ring: Markdown.

The PLC is our function block; it reads and writes once a cycle. A rate holds when every part passed its gate and the
station reported no overrun. The station needs 35 ms a part, of which 10 ms keep it from the next one.

python benchmarks/opcua_rates.py --seconds 5 --json rates.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

from asyncua import Client, ua
from opcua import free_port, serving

from edge_inspector.plc.function_block import READS, FunctionBlock, Through, Verdict
from edge_inspector.plc.tags import BY_NAME, Value

RATES = (1, 5, 10, 20)
CYCLES_MS = (10, 50, 100, 250)
_OVERRUN = 1 << 10


@dataclass
class Cell:
    """What became of the parts of one rate and one cycle. `not_ready`: the part came before the station was ready."""

    through: str
    rate: int
    cycle_ms: int
    parts: int
    passed: int = 0
    not_ready: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    overrun: bool = False

    @property
    def holds(self) -> bool:
        return self.passed == self.parts and not self.overrun

    @property
    def text(self) -> str:
        if self.holds:
            return "holds"
        why = [f"{n}x {reason}" for reason, n in self.rejected.items()]
        why += [f"{self.not_ready}x not ready"] * bool(self.not_ready) + ["overrun"] * self.overrun
        return f"{self.passed} of {self.parts}: {', '.join(why)}"


class Plc:
    """One start of a PLC: a scan reads all tags in one request and writes the changed ones in another."""

    def __init__(self, client: Client, block: FunctionBlock) -> None:
        self._nodes = {tag: client.get_node(ua.NodeId(f"Station.{tag}", 2)) for tag in BY_NAME}
        self._client = client
        self._written: dict[str, Value] = {}
        self.block = block
        self.overrun = False

    async def read(self) -> None:
        names = (*READS[self.block.through], "Status.Word")
        values = await self._client.read_values([self._nodes[name] for name in names])
        tags = {n: tuple(v) if isinstance(v, list) else v for n, v in zip(names, values, strict=True)}
        self.overrun |= bool(tags["Status.Word"] & _OVERRUN)
        self.block = self.block.scanned(tags, time.monotonic_ns())

    async def write(self) -> None:
        todo = {name: value for name, value in self.block.writes().items() if self._written.get(name) != value}
        values = [ua.DataValue(ua.Variant(v, ua.VariantType[BY_NAME[n].type])) for n, v in todo.items()]
        await self._client.write_values([self._nodes[name] for name in todo], values)
        self._written |= todo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="of each rate and cycle, five parts at least")
    parser.add_argument("--gate-ms", type=float, default=1000, help="from the announcement of a part to its gate")
    parser.add_argument("--json", type=Path, help="write all cells here, too")
    arguments = parser.parse_args()
    cells = asyncio.run(measured(arguments.seconds, arguments.gate_ms))
    print(table(cells))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([{**asdict(c), "holds": c.holds} for c in cells], indent=2) + "\n")


def table(cells: list[Cell]) -> str:
    """One row a cycle and way, one column a rate."""
    lines = ["| through | PLC cycle | " + " | ".join(f"{rate}/s" for rate in RATES) + " |", "|---" * 6 + "|"]
    for through in get_args(Through):
        for cycle_ms in CYCLES_MS:
            row = [c.text for c in cells if (c.through, c.cycle_ms) == (through, cycle_ms)]
            lines.append(f"| {through} | {cycle_ms} ms | " + " | ".join(row) + " |")
    return "\n".join(lines)


async def measured(seconds: float, gate_ms: float) -> list[Cell]:
    port, cells = free_port(), list[Cell]()
    with serving(port, 0):
        async with Client(f"opc.tcp://127.0.0.1:{port}/edge-inspector") as client:
            for through in get_args(Through):
                for cycle_ms in CYCLES_MS:
                    for rate in RATES:
                        block = FunctionBlock(len(cells) + 1, 1, int(gate_ms * 1e6), through=through)
                        cell = Cell(through, rate, cycle_ms, max(5, round(rate * seconds)))
                        cells.append(await one(Plc(client, block), cell))
    return cells


async def one(plc: Plc, cell: Cell) -> Cell:
    """All parts of a cell, from the PLC's greeting to the last gate."""
    rejected: Counter[str] = Counter()
    gates: list[tuple[int, int]] = []  # part, and the time of its gate
    gate_ns = plc.block.gate_ns
    arrived, due, scan = 0, 0.0, time.monotonic()
    while arrived < cell.parts or gates:
        scan += cell.cycle_ms / 1000
        await asyncio.sleep(max(0.0, scan - time.monotonic()))
        await plc.read()
        now = time.monotonic_ns()
        if not due and plc.block.ready:
            due = now
        while gates and gates[0][1] <= now:
            seq, at_ns = gates.pop(0)
            verdict = plc.block.verdict(seq, min(now, at_ns))
            cell.passed += verdict is Verdict.PASS
            if verdict is not Verdict.PASS:
                rejected[verdict.value] += 1
            plc.block = plc.block.left(seq)
        while due and arrived < cell.parts and now >= due:
            arrived, due = arrived + 1, due + 1e9 / cell.rate
            if plc.block.ready:
                plc.block = plc.block.announce(f"part {arrived}", now)
                gates.append((plc.block.seq, now + gate_ns))
            else:
                cell.not_ready += 1
        await plc.write()
    cell.rejected, cell.overrun = dict(rejected), plc.overrun
    return cell


if __name__ == "__main__":
    main()
