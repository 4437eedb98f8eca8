"""An OPC UA server of ours with a client that speaks in tag names, for the tests of it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from asyncua import Client, ua

from edge_inspector.datatypes import Defect, Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import LinkState
from edge_inspector.outputs.opcua_server.link import NAMESPACE, Config, OpcUaServerLink
from edge_inspector.plc.handshake import STARTING

BOOT, PLC_BOOT = 77, 5
FOLDER = Path("unused")
READY = replace(STARTING, ready=True, recipe="r", recipe_no=1, recipe_ready=True, error_text="")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plc:
    """A client that speaks in tag names."""

    def __init__(self, client: Client, index: int) -> None:
        self.client = client
        self.index = index
        self.boot_id = PLC_BOOT
        """Of the start of this PLC."""

    def node(self, tag: str) -> Any:
        return self.client.get_node(ua.NodeId(f"Station.{tag}", self.index))

    async def read(self, *tags: str) -> list[Any]:
        values: list[Any] = await self.client.read_values([self.node(tag) for tag in tags])
        return values

    async def write(self, **values: int | str | list[int]) -> None:
        nodes = [self.node(f"Control.{name}") for name in values]
        kinds = [ua.VariantType.String if isinstance(v, str) else ua.VariantType.UInt32 for v in values.values()]
        data = [ua.DataValue(ua.Variant(v, k)) for v, k in zip(values.values(), kinds, strict=True)]
        await self.client.write_values(nodes, data)

    async def greet(self, link: OpcUaServerLink) -> None:
        """A new start of the PLC."""
        self.boot_id += 1
        await self.write(Heartbeat=self.boot_id, PlcBootId=self.boot_id, TriggerSeq=10)
        await self.write(BootIdEcho=BOOT)
        while await link.receive() != LinkState(True, self.boot_id):
            pass


@asynccontextmanager
async def served() -> AsyncIterator[tuple[OpcUaServerLink, Plc]]:
    """A server and a client of it."""
    config = Config(type="opcua_server", port=free_port(), heartbeat_timeout_s=60)
    async with OpcUaServerLink("plc", config, Identity("station", BOOT, "1.2.3"), SystemClock(), FOLDER) as link:
        await link.tell(READY)
        async with Client(f"opc.tcp://127.0.0.1:{config.port}/edge-inspector") as client:
            yield link, Plc(client, await client.get_namespace_index(NAMESPACE))


def a_result(plc: Plc, seq: int = 11) -> InspectionResult:
    trigger = Trigger(
        seq, f"station.0a.{seq}", seq, f"äpfel {seq}", 1, Mode.PRODUCTION, "r", 1, BOOT, plc.boot_id, 0, 10**9,
        "2026-11-22T01:02:03.004Z", True,
    )  # fmt: skip
    defects = (Defect("open", 0, 0.75, (1.0, 2.0, 3.0, 4.0), "b"),)
    return InspectionResult(
        trigger, Evaluation.NOT_OK, Reason.DEFECT, "open 0.75 in b", defects, ("a", "b"), 2, (0.3,), "ab" * 32,
        2_000_000, {"infer": 1_500_000},
    )  # fmt: skip
