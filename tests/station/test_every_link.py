"""One station, real links of every kind at once: what each of them shows of a part, of its mode, and of restarts."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import pytest
from station_rig import Rig

from edge_inspector.control import Control
from edge_inspector.datatypes import Identity
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import PlcLink
from edge_inspector.outputs.digital.link import Config as DigitalConfig
from edge_inspector.outputs.digital.link import DigitalLink
from edge_inspector.outputs.modbus.link import Config as ModbusConfig
from edge_inspector.outputs.modbus.link import ModbusServerLink
from edge_inspector.outputs.opcua_server.link import Config as OpcUaConfig
from edge_inspector.outputs.opcua_server.link import OpcUaServerLink
from edge_inspector.plc.function_block import READS, FunctionBlock
from edge_inspector.plc.tags import Value
from edge_inspector.plc_sim.modbus_wire import ModbusWire
from edge_inspector.plc_sim.opcua_wire import Access, OpcUaWire
from edge_inspector.plc_sim.wire import Wire
from edge_inspector.station import daemon

pytestmark = pytest.mark.anyio
GATE_NS = 20_000_000_000
SIMULATION_ON, GOLDEN_RUN, SELECT_AUTOMATIC = 6, 8, 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Ports:
    opcua: int = field(default_factory=free_port)
    modbus: int = field(default_factory=free_port)


@dataclass
class Outputs:
    """What the camera's lines were set to."""

    levels: list[tuple[str, bool]] = field(default_factory=list)

    def set_output(self, line: str, on: bool) -> None:
        self.levels.append((line, on))


def links(rig: Rig, ports: Ports, boot_id: int) -> list[PlcLink]:
    who, clock = Identity("s", boot_id, "0"), SystemClock()
    lines = {"camera": "a", "ready": "Line2", "ok": "Line3", "not_ok": "Line4"}
    return [
        OpcUaServerLink("plc", OpcUaConfig(type="opcua_server", port=ports.opcua), who, clock, rig.folder / "plc"),
        ModbusServerLink(
            "hmi", ModbusConfig(type="modbus_server", port=ports.modbus, acknowledge=False), who, clock, rig.folder
        ),
        DigitalLink("gate", DigitalConfig.model_validate({"type": "digital", "camera": lines}), who, clock, rig.folder),
    ]


@asynccontextmanager
async def station(rig: Rig, ports: Ports, boot_id: int) -> AsyncIterator[None]:
    """One start of the station while the block lasts."""
    control = Control(rig.folder / "c.sock")
    parts = replace(
        rig.parts(), identity=Identity("s", boot_id, "0"), links=links(rig, ports, boot_id), output_cameras=["a"]
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, parts, control)
        try:
            yield
        finally:
            control.stop()


class Plc:
    """The shipped function block, scanned over a wire until something is so."""

    def __init__(self, wire: Wire, plc_boot_id: int, seq: int = 0) -> None:
        self.wire = wire
        self.block = FunctionBlock(plc_boot_id, 1, GATE_NS, seq=seq)
        self._written: dict[str, Value] = {}
        self._commands = itertools.count(1)

    async def until(self, so: Callable[[FunctionBlock], bool]) -> FunctionBlock:
        with anyio.fail_after(20):
            while True:
                tags = await self.wire.read(READS["slot"])
                self.block = self.block.scanned(tags, time.monotonic_ns())
                wanted = self.block.writes()
                new = {name: value for name, value in wanted.items() if self._written.get(name) != value}
                for name, value in new.items():
                    await self.wire.write({name: value})
                self._written |= new
                if so(self.block):
                    return self.block
                await anyio.sleep(0.01)

    async def part(self, part_id: str) -> int:
        """Announce a part when it may be; gives its number."""
        await self.until(lambda block: block.ready and block.beat_ns is not None)
        self.block = self.block.announce(part_id, time.monotonic_ns())
        return self.block.seq

    async def judged(self, seq: int) -> bool:
        """Whether the part passes the gate, once its result is there."""
        block = await self.until(lambda b: any(p.seq == seq and p.verdict is not None for p in b.parts))
        return block.at_gate(seq, time.monotonic_ns())

    async def command(self, number: int) -> None:
        seq = next(self._commands)
        await self.wire.write({"Control.Command": number})
        await self.wire.write({"Control.CommandSeq": seq})
        with anyio.fail_after(10):
            while (await self.wire.read(["Status.CommandAckSeq"]))["Status.CommandAckSeq"] != seq:  # noqa: ASYNC110
                await anyio.sleep(0.01)


@pytest.fixture
def outputs(rig: Rig) -> Outputs:
    rig.recipe("r")
    outputs = Outputs()
    rig.cameras["a"].set_output = outputs.set_output  # type: ignore[attr-defined]
    return outputs


async def test_an_ok_part_passes_on_every_link(rig: Rig, outputs: Outputs) -> None:
    ports = Ports()
    async with station(rig, ports, 70), opcua(ports) as wire, modbus(ports) as other:
        await greet(other)
        plc = Plc(wire, 9)
        assert await plc.judged(await plc.part("one"))
        with anyio.fail_after(10):
            while ("Line3", True) not in outputs.levels:  # noqa: ASYNC110 - set on a thread of its own
                await anyio.sleep(0.01)
        ring = (await other.read(["Result.Ring"]))["Result.Ring"]
        assert isinstance(ring, tuple)
        assert ring[1] & 0xFFFF == 1 | 1 << 8
    assert ("Line4", True) not in outputs.levels
    assert rig.books().balanced


async def test_outside_production_no_link_ever_shows_an_ok(rig: Rig, outputs: Outputs) -> None:
    ports = Ports()
    async with station(rig, ports, 70), opcua(ports) as wire, modbus(ports) as other:
        await greet(other)
        plc = Plc(wire, 9)
        await plc.until(lambda block: block.ready)
        plc.block = replace(plc.block, acknowledge=False)  # the slot stays as it is, to be looked at
        for command, mode in ((SIMULATION_ON, 3), (GOLDEN_RUN, 2)):
            await plc.command(command)
            plc.block = plc.block.announce("not a product", time.monotonic_ns())  # golden parts need no TriggerReady
            seq = plc.block.seq
            assert not await plc.judged(seq)
            tags = await wire.read(["Result.Mode", "Result.GoldenOutcome", "Result.Evaluation", "Status.Word"])
            assert (tags["Result.Mode"], tags["Result.GoldenOutcome"], tags["Result.Evaluation"]) == (mode, 1, 0)
            assert not int(str(tags["Status.Word"])) & 1 << 8
            for each in (wire, other):
                ring = (await each.read(["Result.Ring"]))["Result.Ring"]
                assert isinstance(ring, tuple)
                row = 8 * (seq - 1)
                assert (ring[row], ring[row + 1] & 0xFFFF) == (seq, mode << 8)
            await wire.write({"Control.ResultAckSeq": seq})
        with anyio.fail_after(10):
            while ("Line4", True) not in outputs.levels:  # noqa: ASYNC110 - set on a thread of its own
                await anyio.sleep(0.01)
        await plc.command(SELECT_AUTOMATIC)
        assert await plc.judged(await plc.part("real"))
    assert outputs.levels.count(("Line3", True)) == 1


async def test_a_refused_recipe_keeps_every_link_from_being_ready(rig: Rig, outputs: Outputs) -> None:
    ports = Ports()
    async with station(rig, ports, 70), opcua(ports) as wire, modbus(ports) as other:
        await greet(other)
        plc = Plc(wire, 9)
        await plc.until(lambda block: block.ready)
        plc.block = plc.block.order(77)
        await plc.until(lambda block: block.recipe_result not in (None, 0))
        for each in (wire, other):
            tags = await each.read(["Status.Word"])
            assert not int(str(tags["Status.Word"])) & (1 << 1 | 1 << 12)
        plc.block = plc.block.order(1)
        assert await plc.judged(await plc.part("right"))


async def test_after_restarts_in_any_order_no_old_result_counts_and_the_next_part_does(
    rig: Rig, outputs: Outputs
) -> None:
    ports = Ports()
    async with station(rig, ports, 70), opcua(ports) as wire:
        plc = Plc(wire, 9)
        assert await plc.judged(await plc.part("first"))
        plc = Plc(wire, 10)  # the PLC alone, on the same count from 0
        old = await plc.part("after the PLC")
        assert await plc.judged(old)
    async with station(rig, ports, 71), opcua(ports) as wire:  # the station alone
        block, plc = plc.block, Plc(wire, 10)
        plc.block = block
        await plc.until(lambda block: block.station_boot_id == 71)
        assert not plc.block.at_gate(old, time.monotonic_ns())
        assert await plc.judged(await plc.part("after the station"))
        plc = Plc(wire, 11)  # then the PLC
        assert await plc.judged(await plc.part("after both, one by one"))
    async with station(rig, ports, 72), opcua(ports) as wire:  # both, and the PLC is the first to be up again
        plc = Plc(wire, 12)
        assert await plc.judged(await plc.part("after both at once"))
    assert len(rig.rows()) == 5
    assert rig.books().balanced


async def greet(wire: Wire) -> None:
    """Every link has a greeting of its own; until then it shows no results."""
    boot_id = (await wire.read(["Status.BootId"]))["Status.BootId"]
    await wire.write({"Control.Heartbeat": 1, "Control.PlcBootId": 55})
    await wire.write({"Control.BootIdEcho": boot_id})


@asynccontextmanager
async def opcua(ports: Ports) -> AsyncIterator[Wire]:
    async with connected(lambda: OpcUaWire(f"opc.tcp://127.0.0.1:{ports.opcua}/edge-inspector", Access())) as wire:
        yield wire


@asynccontextmanager
async def modbus(ports: Ports) -> AsyncIterator[Wire]:
    async with connected(lambda: ModbusWire(f"127.0.0.1:{ports.modbus}")) as wire:
        yield wire


@asynccontextmanager
async def connected(make: Callable[[], Wire]) -> AsyncIterator[Wire]:
    """Try until the station listens."""
    from edge_inspector.errors import OutputError

    with anyio.fail_after(20):
        while True:
            wire = make()
            try:
                await wire.__aenter__()
                break
            except OutputError:
                await anyio.sleep(0.05)
    try:
        yield wire
    finally:
        await wire.__aexit__(None, None, None)
