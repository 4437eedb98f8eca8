"""A changeover as a PLC sees it: a real OPC UA client orders recipes, and reads what it may do meanwhile."""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from asyncua import Client, ua
from station_rig import Rig

from edge_inspector.health.clock import SystemClock
from edge_inspector.outputs.opcua_server.link import NAMESPACE, Config, OpcUaServerLink

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]
TRIGGER_READY, RECIPE_READY = 1 << 1, 1 << 12


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plc:
    """A client that speaks in tag names and shows that it lives with everything that it writes."""

    def __init__(self, client: Client, index: int) -> None:
        self._client = client
        self._index = index
        self._beat = itertools.count(1)

    def _node(self, tag: str) -> Any:
        return self._client.get_node(ua.NodeId(f"Station.{tag}", self._index))

    async def read(self, *tags: str) -> list[Any]:
        values: list[Any] = await self._client.read_values([self._node(tag) for tag in tags])
        return values

    async def write(self, **values: int) -> None:
        written = {"Heartbeat": next(self._beat), **values}
        kinds = {"RecipeReqNo": ua.VariantType.UInt16}
        data = [
            ua.DataValue(ua.Variant(value, kinds.get(name, ua.VariantType.UInt32))) for name, value in written.items()
        ]
        await self._client.write_values([self._node(f"Control.{name}") for name in written], data)

    async def until(self, tag: str, value: object) -> None:
        with anyio.fail_after(10):
            while (await self.read(tag))[0] != value:  # noqa: ASYNC110 - a PLC reads again and again
                await anyio.sleep(0.01)

    async def until_ready(self, recipe_no: int) -> None:
        """TriggerReady and RecipeReady, in one reading with the recipe that is meant."""
        with anyio.fail_after(10):
            while True:
                word, active = await self.read("Status.Word", "Status.ActiveRecipeNo")
                if word & TRIGGER_READY and word & RECIPE_READY and active == recipe_no:
                    return
                await anyio.sleep(0.01)

    async def order(self, seq: int, recipe_no: int) -> int:
        """RecipeReqResult, when the station has answered this request."""
        await self.write(RecipeReqNo=recipe_no, RecipeReqSeq=seq)
        await self.until("Status.RecipeReqAckSeq", seq)
        return int((await self.read("Status.RecipeReqResult"))[0])


@asynccontextmanager
async def connected(rig: Rig) -> AsyncIterator[Plc]:
    parts = rig.parts()
    config = Config.model_validate({"type": "opcua_server", "port": free_port(), "heartbeat_timeout_s": 60})
    link = OpcUaServerLink("plc", config, parts.identity, SystemClock(), rig.folder / "plc")
    patient = replace(parts.limits, grab_timeout_s=30.0)
    async with rig.running_parts(replace(parts, links=[link], limits=patient)):
        client = Client(f"opc.tcp://127.0.0.1:{config.port}/edge-inspector")
        with anyio.fail_after(20):
            while True:
                try:
                    await client.connect()
                except ConnectionRefusedError:
                    await anyio.sleep(0.05)
                else:
                    break
        try:
            plc = Plc(client, await client.get_namespace_index(NAMESPACE))
            await plc.write(PlcBootId=9, TriggerSeq=100)
            await plc.write(BootIdEcho=parts.identity.boot_id)
            yield plc
        finally:
            await client.disconnect()


async def test_a_plc_changes_the_product_with_a_part_in_flight_and_a_wrong_number_in_between(rig: Rig) -> None:
    rig.recipe("lid", number=1, features={"ExposureTime": 100.0}, deadline_ms=9000)
    rig.recipe("box", number=2, features={"ExposureTime": 900.0}, deadline_ms=9000)
    camera = rig.cameras["a"]
    async with connected(rig) as plc:
        await plc.until_ready(1)
        camera.hang.set()
        await plc.write(TriggerSeq=101)
        await plc.until("Status.TriggerAckSeq", 101)
        assert await plc.order(1, 2) == 0, "accepted, and not done yet"
        word, active, text = await plc.read("Status.Word", "Status.ActiveRecipeNo", "Status.ErrorText")
        assert (word & TRIGGER_READY, word & RECIPE_READY, active) == (0, 0, 2)
        assert text == "recipe box waits for the last picture of recipe lid"
        await plc.write(TriggerSeq=102)
        await plc.until("Status.RefusedSeq", 102)
        camera.hang.clear()
        await plc.until("Status.ResultsValid", True)
        assert await plc.read("Result.TriggerSeq", "Result.Evaluation", "Result.RecipeNo") == [101, 1, 1]
        await plc.write(ResultAckSeq=101)
        await plc.until_ready(2)
        assert camera.features == [{"ExposureTime": 100.0}, {"ExposureTime": 900.0}]
        assert await plc.order(2, 7) == 13, "Reason.RECIPE"
        assert await plc.read("Status.TriggerReady", "Status.ErrorCode") == [False, 301]
        assert await plc.order(3, 1) == 0
        await plc.until_ready(1)
        await plc.write(TriggerSeq=103)
        await plc.until("Result.TriggerSeq", 103)
        assert await plc.read("Result.Evaluation", "Result.RecipeNo") == [1, 1]
    assert [text.split()[1] for text in rig.events("changeover")] == ["box", "lid"]
