"""Twenty OPC UA clients misbehave while the real station inspects ten parts a second for its PLC."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua import Client, ua
from fault_record import FaultBook, balance
from real_station import OPCUA, RealStation, free_port, real_station

from edge_inspector.plc.function_block import READS, FunctionBlock, Verdict
from edge_inspector.plc.tags import BY_NAME, Value

pytestmark = [pytest.mark.heavy, pytest.mark.system, pytest.mark.timeout(600)]
FLOOD = Path(__file__).parents[2] / "benchmarks" / "opcua_flood.py"
KINDS = ("stopped=5", "connects=5", "publishes=5", "reads=5")
PARTS, PERIOD_S, CYCLE_S, GATE_S = 400, 0.1, 0.025, 2.0
RSS_MB_MORE = 60.0
"""What twenty clients may cost: buffers, queues, sessions."""


@contextlib.contextmanager
def flooding(url: str) -> Iterator[None]:
    flood = subprocess.Popen([sys.executable, str(FLOOD), url, *KINDS], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(flood.pid, signal.SIGKILL)
        flood.wait()


async def test_no_part_is_late_and_the_memory_stays_bounded_under_a_flood(tmp_path: Path, fault: FaultBook) -> None:
    port = free_port()
    url = f"opc.tcp://127.0.0.1:{port}/edge-inspector"
    with real_station(tmp_path, OPCUA.format(port=port), port) as station:
        async with Client(url, timeout=20, watchdog_intervall=20) as client:
            plc = Plc(client)
            verdicts, late_reasons = Counter[Verdict](), Counter[int]()
            await plc.run(20, verdicts, late_reasons)  # warm
            quiet_mb = station.rss_mb
            with flooding(url):
                await plc.run(PARTS, verdicts, late_reasons)
                flooded_mb = await most(station, plc)
        assert not late_reasons, f"reasons of parts that were not judged: {late_reasons}"
        assert verdicts[Verdict.PASS] == verdicts[Verdict.NOT_OK] == (PARTS + 20) // 2, verdicts
        assert flooded_mb < quiet_mb + RSS_MB_MORE
        assert station.stop() == 0
        fault.tell(
            20,
            injected=f"twenty OPC UA clients: {', '.join(KINDS)}; {flooded_mb - quiet_mb:.0f} MB more memory",
            saw=f"{verdicts[Verdict.PASS]} OK, {verdicts[Verdict.NOT_OK]} NOT_OK, ten a second, none late at its gate",
            books=balance(tmp_path / "state" / "ledger.sqlite"),
        )


async def most(station: RealStation, plc: Plc) -> float:
    """The largest of some looks at the memory while the flood goes on."""
    looks = []
    for _ in range(20):
        await plc.scan()
        looks.append(station.rss_mb)
    return max(looks)


class Plc:
    """The function block on a cycle of 25 ms, reading the ring."""

    def __init__(self, client: Client) -> None:
        self._nodes = {tag: client.get_node(ua.NodeId(f"Station.{tag}", 2)) for tag in BY_NAME}
        self._client = client
        self._written: dict[str, Value] = {}
        self._next = time.monotonic()
        self._block = FunctionBlock(4711, 7, int(GATE_S * 1e9), through="ring")

    async def run(self, parts: int, verdicts: Counter[Verdict], reasons: Counter[int]) -> None:
        """Announce so many parts, ten a second; count what each is at its gate, and why if it has not been judged."""
        gates: list[tuple[int, int]] = []
        due, announced = 0.0, 0
        while announced < parts or gates:
            await self.scan()
            reasons.update(self._unjudged)
            now = time.monotonic_ns()
            while gates and gates[0][1] <= now:
                seq, at_ns = gates.pop(0)
                verdicts[self._block.verdict(seq, at_ns)] += 1
                self._block = self._block.left(seq)
            if announced < parts and self._block.ready and now >= due:
                self._block = self._block.announce(f"part {announced}", now)
                gates.append((self._block.seq, now + int(GATE_S * 1e9)))
                announced, due = announced + 1, now + PERIOD_S * 1e9

    async def scan(self) -> None:
        self._next = max(self._next + CYCLE_S, time.monotonic())
        names = READS["ring"]
        values = await self._client.read_values([self._nodes[name] for name in names])
        tags = {n: tuple(v) if isinstance(v, list) else v for n, v in zip(names, values, strict=True)}
        ring = tags["Result.Ring"]
        self._block = self._block.scanned(tags, time.monotonic_ns())
        new = {read.seq for read in self._block.taken}
        rows = [ring[at : at + 8] for at in range(0, len(ring), 8)]
        self._unjudged = [row[2] for row in rows if row[0] in new and row[1] & 0xFF == 0]
        todo = {name: value for name, value in self._block.writes().items() if self._written.get(name) != value}
        data = [ua.DataValue(ua.Variant(v, ua.VariantType[BY_NAME[n].type])) for n, v in todo.items()]
        await self._client.write_values([self._nodes[name] for name in todo], data)
        self._written |= todo
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark.append(pytest.mark.anyio)
