"""The OPC UA server as a client sees it: types, access, bursts, and what asyncua alone would let through."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pydantic
import pytest
from asyncua import Client, ua

from edge_inspector.datatypes import Defect, Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.errors import OutputError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import LinkState, ResultAcknowledged, TriggerAccepted, TriggerRequest
from edge_inspector.outputs.opcua_server.link import NAMESPACE, Config, OpcUaServerLink
from edge_inspector.plc.handshake import STARTING
from edge_inspector.plc.tags import TAGS

pytestmark = pytest.mark.anyio
BOOT, PLC_BOOT = 77, 5
READY = replace(STARTING, ready=True, recipe="r", recipe_no=1, recipe_ready=True, error_text="")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plc:
    """A client that speaks in tag names."""

    def __init__(self, client: Client, index: int) -> None:
        self.client = client
        self.index = index

    def node(self, tag: str) -> object:
        return self.client.get_node(ua.NodeId(f"Station.{tag}", self.index))

    async def read(self, *tags: str) -> list[object]:
        values: list[object] = await self.client.read_values([self.node(tag) for tag in tags])
        return values

    async def write(self, **values: int | str | list[int]) -> None:
        nodes = [self.node(f"Control.{name}") for name in values]
        kinds = [ua.VariantType.String if isinstance(v, str) else ua.VariantType.UInt32 for v in values.values()]
        data = [ua.DataValue(ua.Variant(v, k)) for v, k in zip(values.values(), kinds, strict=True)]
        await self.client.write_values(nodes, data)

    async def greet(self, link: OpcUaServerLink) -> None:
        await self.write(Heartbeat=1, PlcBootId=PLC_BOOT, TriggerSeq=10)
        await self.write(BootIdEcho=BOOT)
        assert await link.receive() == LinkState(False, PLC_BOOT)
        assert await link.receive() == LinkState(True, PLC_BOOT)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[OpcUaServerLink, Plc]]:
    """A server and a client of it."""
    config = Config(type="opcua_server", port=free_port(), heartbeat_timeout_s=60)
    async with OpcUaServerLink("plc", config, Identity("station", BOOT, "1.2.3"), SystemClock()) as link:
        await link.tell(READY)
        async with Client(f"opc.tcp://127.0.0.1:{config.port}/edge-inspector") as client:
            yield link, Plc(client, await client.get_namespace_index(NAMESPACE))


@pytest.fixture
async def pair() -> AsyncIterator[tuple[OpcUaServerLink, Plc]]:
    async with served() as both:
        yield both


@pytest.fixture(scope="module")
async def plc() -> AsyncIterator[Plc]:
    """For tests that leave the contract as it was: a server takes a second to start."""
    async with served() as (_, client):
        yield client


def a_result() -> InspectionResult:
    trigger = Trigger(
        1, "station.0a.1", 11, "äpfel", 1, Mode.PRODUCTION, "r", 1, BOOT, PLC_BOOT, 0, 10**9,
        "2026-11-22T01:02:03.004Z", True,
    )  # fmt: skip
    defects = (Defect("open", 0, 0.75, (1.0, 2.0, 3.0, 4.0), "b"),)
    return InspectionResult(
        trigger,
        Evaluation.NOT_OK,
        Reason.DEFECT,
        "open 0.75 in b",
        defects,
        ("a", "b"),
        2,
        (0.3,),
        "ab" * 32,
        2_000_000,
        {"infer": 1_500_000},
    )


async def test_every_tag_has_its_type_rank_and_dimension_in_the_second_namespace(plc: Plc) -> None:
    assert plc.index == 2
    for tag in TAGS:
        node = plc.node(tag.name)
        kind = await node.read_data_type_as_variant_type()  # type: ignore[attr-defined]
        assert kind == ua.VariantType[tag.type], tag.name
        rank = (await node.read_attribute(ua.AttributeIds.ValueRank)).Value.Value  # type: ignore[attr-defined]
        assert rank == (1 if tag.length else -1), tag.name
        if tag.length:
            value = await node.read_value()  # type: ignore[attr-defined]
            dimensions = (await node.read_attribute(ua.AttributeIds.ArrayDimensions)).Value.Value  # type: ignore[attr-defined]
            assert (dimensions, len(value)) == ([tag.length], tag.length), tag.name


async def test_the_handshake_from_greeting_to_acknowledgement(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    assert await plc.read("Status.TriggerReady", "Status.BootId", "Ident.StationId") == [False, BOOT, "station"]
    await plc.greet(link)
    assert await plc.read("Status.TriggerReady", "Status.PlcLinkOk") == [True, True]
    before = time.monotonic_ns()
    await plc.write(PartId="äpfel", TriggerSeq=11)
    request = await link.receive()
    assert isinstance(request, TriggerRequest)
    assert (request.trigger_seq, request.part_id, request.plc_boot_id) == (11, "äpfel", PLC_BOOT)
    assert before <= request.seen_ns <= time.monotonic_ns()
    await link.tell(TriggerAccepted(11))
    assert await plc.read("Status.TriggerAckSeq", "Status.ResultsValid") == [11, False]
    await link.tell(a_result())
    tags = ("TriggerSeq", "PartId", "Evaluation", "Reason", "ReasonText", "DefectCount", "CycleMs", "InferenceMs")
    assert await plc.read(*(f"Result.{t}" for t in tags)) == [11, "äpfel", 2, 1000, "open 0.75 in b", 1, 2.0, 1.5]
    view, box, when = await plc.read("Result.DefectView", "Result.DefectBox", "Result.TimeUtc")
    assert (view[0], box[:4]) == (2, [1.0, 2.0, 3.0, 4.0])  # type: ignore[index]
    assert when.isoformat() == "2026-11-22T01:02:03.004000+00:00"  # type: ignore[attr-defined]
    await plc.write(ResultAckSeq=11)
    assert await link.receive() == ResultAcknowledged(11, ("station.0a.1",))
    assert await plc.read("Status.ResultsValid", "Result.TriggerSeq") == [False, 0]


async def test_the_block_is_enough_for_the_whole_handshake(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    await plc.write(Block=[1, PLC_BOOT, BOOT, 10, 0, 0, 0, 0])
    assert await link.receive() == LinkState(True, PLC_BOOT)
    await plc.write(Block=[2, PLC_BOOT, BOOT, 11, 0, 0, 0, 0])
    request = await link.receive()
    assert isinstance(request, TriggerRequest)
    await link.tell(TriggerAccepted(11))
    await link.tell(a_result())
    (block,) = await plc.read("Status.Block")
    assert block[1] == BOOT  # type: ignore[index]
    assert (block[4], block[7]) == (11, 11)  # type: ignore[index]


@pytest.mark.parametrize(
    ("tag", "value", "error"),
    [
        pytest.param(
            "Control.TriggerSeq",
            ua.Variant([1, 2], ua.VariantType.UInt32),
            "BadTypeMismatch",
            id="an array into a scalar",
        ),
        pytest.param("Control.TriggerSeq", ua.Variant(1, ua.VariantType.Int64), "BadTypeMismatch", id="another type"),
        pytest.param(
            "Control.Block", ua.Variant([1] * 7, ua.VariantType.UInt32), "BadOutOfRange", id="an array too short"
        ),
        pytest.param(
            "Control.PartId", ua.Variant("x" * 255, ua.VariantType.String), "BadOutOfRange", id="a text too long"
        ),
        pytest.param(
            "Status.Word", ua.Variant(1, ua.VariantType.UInt16), "BadUserAccessDenied", id="a tag of the station"
        ),
    ],
)
async def test_a_wrong_write_is_refused_and_the_connection_stays(
    plc: Plc, tag: str, value: ua.Variant, error: str
) -> None:
    before = await plc.read(tag)
    with pytest.raises(ua.UaStatusCodeError, match=error):
        await plc.node(tag).write_value(ua.DataValue(value))  # type: ignore[attr-defined]
    assert await plc.read(tag) == before


async def test_a_value_with_a_bad_status_is_refused(plc: Plc) -> None:
    bad = ua.DataValue(ua.Variant(5, ua.VariantType.UInt32), ua.StatusCode(ua.StatusCodes.BadDeviceFailure))
    with pytest.raises(ua.UaStatusCodeError, match="BadWriteNotSupported"):
        await plc.node("Control.TriggerSeq").write_value(bad)  # type: ignore[attr-defined]


async def test_results_are_never_read_torn(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    await plc.greet(link)
    tags = ("Result.TriggerSeq", "Result.PartId", "Result.ResultId", "Status.ResultsValid")
    torn = 0
    for seq in range(11, 111):
        trigger = replace(a_result().trigger, trigger_seq=seq, part_id=str(seq), result_id=f"id-{seq}")
        await link.tell(replace(a_result(), trigger=trigger))
        number, part_id, result_id, valid = await plc.read(*tags)
        torn += valid is True and (str(number), f"id-{number}") != (part_id, result_id)
        await plc.write(ResultAckSeq=seq)
    assert torn == 0


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        link = OpcUaServerLink("line", Config(type="opcua_server", port=port), Identity("s", 1, "0"), SystemClock())
        with pytest.raises(OutputError, match=rf"'line' cannot listen on 127.0.0.1:{port}"):
            await link.__aenter__()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "station.example", "::"])
def test_without_security_it_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="loopback"):
        Config(type="opcua_server", host=host)
