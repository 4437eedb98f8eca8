"""The VisionSystem inside the OPC UA link: the same contract as the tags, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from asyncua import Client, ua
from machine_vision_rig import AUTOMATIC, BOOT, PUBLISHED, READY, Heard, result

from edge_inspector.datatypes import Identity
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import LinkState, TriggerAccepted, TriggerRequest
from edge_inspector.outputs.opcua_server.link import NAMESPACE, Config, OpcUaServerLink
from edge_inspector.plc.states import State

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Pair:
    """A link and a client of it."""

    link: OpcUaServerLink
    client: Client
    own: int
    published: int

    def node(self, path: str) -> Any:
        return self.client.get_node(ua.NodeId(path, self.own))

    async def write_part_id(self) -> None:
        await self.node("Station.Control.PartId").write_value(ua.DataValue(ua.Variant("p", ua.VariantType.String)))

    async def start(self, part: str) -> list[Any]:
        numbers = {3015: "", 3004: part, 3002: "", 3003: ""}
        ids = [ua.get_type(ua.NodeId(i, self.published))(Id=text) for i, text in numbers.items()]
        parameters = ua.Variant([], ua.VariantType.Variant, is_array=True)
        path = f"VisionSystem.{AUTOMATIC}"
        method = ua.NodeId(f"{path}.StartSingleJob", self.own)
        outputs: list[Any] = await self.node(path).call_method(method, *ids, parameters)
        return outputs


def free_port() -> int:
    """Below those that the system gives to clients, so that nobody takes it before the server has started."""
    for _ in range(100):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free between 20000 and 32000")


@asynccontextmanager
async def linked(tmp_path: Path, mode: Literal["observe", "control"]) -> AsyncIterator[Pair]:
    port = free_port()
    config = Config.model_validate({"type": "opcua_server", "port": port, "machine_vision": mode})
    async with OpcUaServerLink("line", config, Identity("st", BOOT, "1.2.3"), SystemClock(), tmp_path) as link:
        await link.tell(READY)
        async with Client(f"opc.tcp://127.0.0.1:{port}/edge-inspector", timeout=30) as client:
            uris = await client.get_namespace_array()
            yield Pair(link, client, uris.index(NAMESPACE), uris.index(PUBLISHED))


async def test_a_job_is_a_trigger_and_its_result_stands_in_the_tags_before_the_event(tmp_path: Path) -> None:
    async with linked(tmp_path, "control") as pair:
        heard = Heard()
        subscription = await pair.client.create_subscription(20, heard)
        kind = pair.client.get_node(ua.NodeId(1024, pair.published))
        await subscription.subscribe_events(pair.node("VisionSystem"), [kind])
        await subscription.subscribe_data_change(pair.node(f"VisionSystem.{AUTOMATIC}.CurrentState.Number"))
        call = asyncio.create_task(pair.start("part 1"))
        with anyio.fail_after(5):
            assert await pair.link.receive() == LinkState(alive=True, plc_boot_id=0)  # nobody has to greet it
            request = await pair.link.receive()
        assert isinstance(request, TriggerRequest)
        assert request.part_id == "part 1"
        await pair.link.tell(TriggerAccepted(request.trigger_seq))
        job, error = await call
        assert (job.Id, error) == (f"{BOOT:08x}.00000000.{request.trigger_seq}", 0)
        await heard.until_value(State.SingleExecution)
        settled = result(request.trigger_seq, "part 1")
        await pair.link.tell(settled)
        assert await pair.node("Station.Result.ResultId").read_value() == settled.result_id
        event = (await heard.until(1))[0]
        assert (event.ResultId.Id, event.JobId) == (settled.result_id, job)
        await pair.link.tell(READY)
        await heard.until_value(State.Ready)
        assert not pair.link.acknowledges
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await pair.write_part_id()
        assert refused.value.code == ua.StatusCodes.BadNotWritable


async def test_beside_an_observer_the_plc_writes_as_ever(tmp_path: Path) -> None:
    async with linked(tmp_path, "observe") as pair:
        assert (pair.own, pair.published) == (2, 3)
        await pair.write_part_id()
        with pytest.raises(ua.UaStatusCodeError) as refused:
            await pair.start("p")
        assert refused.value.code == ua.StatusCodes.BadNotExecutable
