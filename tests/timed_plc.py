"""The simulated PLC in a process of its own, until it is killed; its log has the time of day beside each part.

python tests/timed_plc.py HOST:PORT LOG RATE
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from edge_inspector.plc.function_block import FunctionBlock
from edge_inspector.plc_sim.faults import Faults
from edge_inspector.plc_sim.journal import Journal
from edge_inspector.plc_sim.log import PlcLog
from edge_inspector.plc_sim.modbus_wire import ModbusWire
from edge_inspector.plc_sim.plc import Line, SimulatedPlc, new_boot_id, new_count

ENOUGH = 1_000_000_000
RECIPE_NO = 7
GATE_MS = 2500
POSITIONS = 4
CYCLE_S = 0.004
PATIENCE_S = 600.0  # a station may be started again and again


class TimedLog(PlcLog):
    """Says when a part was announced and when the PLC has read that the station took it."""

    def write(self, event: str, **facts: object) -> None:
        timed = {"at": time.time()} if event in ("trigger", "accepted") else {}
        super().write(event, **facts, **timed)


def read_times(path: Path) -> dict[str, tuple[float, float | None]]:
    """By part_id: when it was announced, and when the PLC read that it was taken; None = it has never read that."""
    announced: dict[int, tuple[str, float]] = {}
    accepted: dict[int, float] = {}
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # half a line, of a PLC that was killed
        if record["event"] == "trigger":
            announced[record["trigger_seq"]] = (record["part_id"], record["at"])
        elif record["event"] == "accepted":
            accepted[record["trigger_seq"]] = record["at"]
    return {part_id: (at, accepted.get(seq)) for seq, (part_id, at) in announced.items()}


def main(address: str, log: Path, rate: float) -> None:
    block = FunctionBlock(new_boot_id(), RECIPE_NO, GATE_MS * 1_000_000, seq=new_count())
    line = Line(ENOUGH, 1 / rate, POSITIONS, CYCLE_S, patience_s=PATIENCE_S)
    journal = Journal(TimedLog(log))
    plc = SimulatedPlc(ModbusWire(address), line, block, Faults({}, 1), journal, lambda said: None, lambda _: None)
    asyncio.run(plc.run())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
