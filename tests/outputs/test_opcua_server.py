"""The OPC UA server as a client sees it: types, access, bursts, and what asyncua alone would let through."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import datetime, timezone

import pytest
from asyncua import ua
from opcua_rig import BOOT, FOLDER, READY, Plc, a_result, served

from edge_inspector.datatypes import Identity
from edge_inspector.errors import OutputError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import LinkState, ResultAcknowledged, TriggerAccepted, TriggerRequest, Vitals
from edge_inspector.outputs.opcua_server.link import Config, OpcUaServerLink
from edge_inspector.plc.tags import TAGS

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[tuple[OpcUaServerLink, Plc]]:
    """A server takes a second to start; `greet` makes its PLC a new one, whose contract is new too."""
    async with served() as both:
        yield both


@pytest.fixture(scope="module")
async def plc() -> AsyncIterator[Plc]:
    """Of a server to which nobody has ever written anything."""
    async with served() as (_, client):
        yield client


async def test_every_tag_has_its_type_rank_and_dimension_in_the_second_namespace(plc: Plc) -> None:
    assert plc.index == 2
    for tag in TAGS:
        node = plc.node(tag.name)
        kind = await node.read_data_type_as_variant_type()
        assert kind == ua.VariantType[tag.type], tag.name
        rank = (await node.read_attribute(ua.AttributeIds.ValueRank)).Value.Value
        assert rank == (1 if tag.length else -1), tag.name
        if tag.length:
            value = (await node.read_data_value(raise_on_bad_status=False)).Value.Value
            dimensions = (await node.read_attribute(ua.AttributeIds.ArrayDimensions)).Value.Value
            assert (dimensions, len(value)) == ([tag.length], tag.length), tag.name


async def test_before_the_greeting_nothing_is_ready(plc: Plc) -> None:
    assert await plc.read("Status.TriggerReady", "Status.BootId", "Ident.StationId") == [False, BOOT, "station"]


async def test_the_handshake_from_greeting_to_acknowledgement(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    await plc.greet(link)
    await link.tell(READY)
    assert await plc.read("Status.TriggerReady", "Status.PlcLinkOk") == [True, True]
    before = time.monotonic_ns()
    await plc.write(PartId="äpfel 11", TriggerSeq=11)
    request = await link.receive()
    assert isinstance(request, TriggerRequest)
    assert (request.trigger_seq, request.part_id, request.plc_boot_id) == (11, "äpfel 11", plc.boot_id)
    assert before <= request.seen_ns <= time.monotonic_ns()
    await link.tell(TriggerAccepted(11))
    assert await plc.read("Status.TriggerAckSeq", "Status.ResultsValid") == [11, False]
    await link.tell(a_result(plc))
    tags = ("TriggerSeq", "PartId", "Evaluation", "Reason", "ReasonText", "DefectCount", "CycleMs", "InferenceMs")
    assert await plc.read(*(f"Result.{t}" for t in tags)) == [11, "äpfel 11", 2, 1000, "open 0.75 in b", 1, 2.0, 1.5]
    view, box, when = await plc.read("Result.DefectView", "Result.DefectBox", "Result.TimeUtc")
    assert (view[0], box[:4]) == (2, [1.0, 2.0, 3.0, 4.0])
    assert when.isoformat() == "2026-11-22T01:02:03.004000+00:00"
    await plc.write(ResultAckSeq=11)
    assert await link.receive() == ResultAcknowledged(11, ("station.0a.11",))
    assert await plc.read("Status.ResultsValid", "Result.TriggerSeq") == [False, 0]


async def test_the_block_is_enough_for_the_whole_handshake(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    await plc.greet(link)
    await link.tell(READY)
    plc.boot_id += 1
    await plc.write(Block=[1, plc.boot_id, BOOT, 10, 0, 0, 0, 0])
    while await link.receive() != LinkState(True, plc.boot_id):
        pass
    await plc.write(Block=[2, plc.boot_id, BOOT, 11, 0, 0, 0, 0])
    request = await link.receive()
    assert isinstance(request, TriggerRequest)
    await link.tell(TriggerAccepted(11))
    await link.tell(a_result(plc))
    (block,) = await plc.read("Status.Block")
    assert block[1] == BOOT
    assert (block[4], block[7]) == (11, 11)


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
        pytest.param("Status.Word", ua.Variant(1, ua.VariantType.UInt16), "BadNotWritable", id="a tag of the station"),
    ],
)
async def test_a_wrong_write_is_refused_and_the_connection_stays(
    plc: Plc, tag: str, value: ua.Variant, error: str
) -> None:
    before = await plc.read(tag)
    with pytest.raises(ua.UaStatusCodeError, match=error):
        await plc.node(tag).write_value(ua.DataValue(value))
    assert await plc.read(tag) == before


async def test_a_value_with_a_bad_status_is_refused(plc: Plc) -> None:
    bad = ua.DataValue(ua.Variant(5, ua.VariantType.UInt32), ua.StatusCode(ua.StatusCodes.BadDeviceFailure))
    with pytest.raises(ua.UaStatusCodeError, match="BadWriteNotSupported"):
        await plc.node("Control.TriggerSeq").write_value(bad)


async def test_a_tag_that_nobody_has_written_says_so(plc: Plc) -> None:
    initial = ua.StatusCode(ua.StatusCodes.UncertainInitialValue)
    wanted = [ua.ReadValueId(plc.node(tag.name).nodeid, ua.AttributeIds.Value) for tag in TAGS]
    values = await plc.client.uaclient.read(ua.ReadParameters(0, ua.TimestampsToReturn.Both, wanted))
    for tag, value in zip(TAGS, values, strict=True):
        unknown = tag.writer == "plc" or (tag.name.startswith("Health.") and tag.name != "Health.QueueDepth")
        assert value.StatusCode == (initial if unknown else ua.StatusCode()), tag.name
        assert value.SourceTimestamp is not None, tag.name
        assert value.ServerTimestamp is not None, tag.name


async def test_a_written_tag_keeps_the_clients_time_or_gets_ours(pair: tuple[OpcUaServerLink, Plc]) -> None:
    _, plc = pair
    node, long_ago = plc.node("Control.Heartbeat"), datetime(2020, 1, 1, tzinfo=timezone.utc)
    await node.write_value(ua.DataValue(ua.Variant(1, ua.VariantType.UInt32), SourceTimestamp=long_ago))
    read = ua.ReadValueId(node.nodeid, ua.AttributeIds.Value)
    (value,) = await plc.client.uaclient.read(ua.ReadParameters(0, ua.TimestampsToReturn.Both, [read]))
    assert (value.Value.Value, value.SourceTimestamp) == (1, long_ago)
    assert value.ServerTimestamp > long_ago
    before = datetime.now(timezone.utc)
    await node.write_value(ua.DataValue(ua.Variant(2, ua.VariantType.UInt32)))
    value = await node.read_data_value()
    assert value.SourceTimestamp >= before
    assert value.StatusCode.is_good()


@pytest.mark.parametrize("wanted", ua.TimestampsToReturn)
async def test_a_client_gets_the_times_that_it_wants(plc: Plc, wanted: ua.TimestampsToReturn) -> None:
    read = ua.ReadValueId(plc.node("Status.BootId").nodeid, ua.AttributeIds.Value)
    asked = ua.ReadParameters(0, wanted, [read])
    if wanted == ua.TimestampsToReturn.Invalid:
        with pytest.raises(ua.UaStatusCodeError, match="BadTimestampsToReturnInvalid"):
            await plc.client.uaclient.read(asked)
        return
    (value,) = await plc.client.uaclient.read(asked)
    source = wanted in (ua.TimestampsToReturn.Source, ua.TimestampsToReturn.Both)
    server = wanted in (ua.TimestampsToReturn.Server, ua.TimestampsToReturn.Both)
    assert (value.SourceTimestamp is not None, value.ServerTimestamp is not None) == (source, server)
    with pytest.raises(ua.UaStatusCodeError, match="BadMaxAgeInvalid"):
        await plc.client.uaclient.read(ua.ReadParameters(-1, wanted, [read]))


async def test_a_null_text_is_an_empty_one(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    await plc.greet(link)
    await plc.node("Control.PartId").write_value(ua.DataValue(ua.Variant(None, ua.VariantType.String)))
    await plc.write(TriggerSeq=11)
    request = await link.receive()
    assert isinstance(request, TriggerRequest)
    assert request.part_id == ""


async def test_health_is_good_from_when_it_is_known_until_it_is_not(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    node = plc.node("Health.GpuLoad")
    for load, good in ((0.0, True), (None, False), (0.5, True)):
        await link.tell(Vitals(gpu_load=load))
        value = await node.read_data_value(raise_on_bad_status=False)
        assert (value.Value.Value, value.StatusCode.is_good()) == (load or 0.0, good)


async def test_access_levels_tell_who_writes_a_tag(plc: Plc) -> None:
    for tag in TAGS:
        attributes = (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel)
        levels = [v.Value.Value for v in await plc.node(tag.name).read_attributes(attributes)]
        assert levels == ([3, 3] if tag.writer == "plc" else [1, 1]), tag.name


async def test_a_part_of_an_array_or_text_can_be_read(plc: Plc) -> None:
    wanted = {
        ("Result.Ring", "0:3"): [0, 0, 0, 0],
        ("Status.Block", "1"): [BOOT],
        ("Ident.StationId", "0:2"): "sta",
        ("Result.Ring", "127:200"): [0],
    }
    nodes = [ua.ReadValueId(plc.node(tag).nodeid, ua.AttributeIds.Value, part) for tag, part in wanted]
    answers = await plc.client.uaclient.read(ua.ReadParameters(NodesToRead=nodes))
    assert [a.Value.Value for a in answers] == list(wanted.values())


@pytest.mark.parametrize(
    ("tag", "part", "error"),
    [
        pytest.param("Result.Ring", "128", "BadIndexRangeNoData", id="behind the end"),
        pytest.param("Status.BootId", "0", "BadIndexRangeNoData", id="of a scalar"),
        pytest.param("Result.Ring", "3:1", "BadIndexRangeInvalid", id="backwards"),
        pytest.param("Result.Ring", "1,2", "BadIndexRangeInvalid", id="of two dimensions"),
        pytest.param("Result.Ring", "x", "BadIndexRangeInvalid", id="no number"),
    ],
)
async def test_an_index_range_without_data_is_told(plc: Plc, tag: str, part: str, error: str) -> None:
    wanted = ua.ReadValueId(plc.node(tag).nodeid, ua.AttributeIds.Value, part)
    (answer,) = await plc.client.uaclient.read(ua.ReadParameters(NodesToRead=[wanted]))
    assert answer.StatusCode.name == error


async def test_a_part_of_an_array_cannot_be_written(plc: Plc) -> None:
    value = ua.DataValue(ua.Variant([1, 2], ua.VariantType.UInt32))
    wanted = ua.WriteValue(plc.node("Control.Block").nodeid, ua.AttributeIds.Value, "0:1", value)
    (answer,) = await plc.client.uaclient.write(ua.WriteParameters([wanted]))
    assert answer.name == "BadWriteNotSupported"


async def test_the_server_says_who_it_is_and_how_much_it_takes(plc: Plc) -> None:
    names = ("ServerArray", "ServerStatus_BuildInfo_ProductName", "ServerStatus_BuildInfo_SoftwareVersion")
    limits = ("MaxSessions", "OperationLimits_MaxNodesPerRead", "OperationLimits_MaxMonitoredItemsPerCall")
    wanted = [f"Server_{name}" for name in names] + [f"Server_ServerCapabilities_{name}" for name in limits]
    nodes = [plc.client.get_node(ua.NodeId(getattr(ua.ObjectIds, name))) for name in wanted]
    (application, *_), product, version, *numbers = await plc.client.read_values(nodes)
    assert (product, version, numbers) == ("edge-inspector", "1.2.3", [10, 500, 100])
    assert application == (await plc.client.get_namespace_array())[1]
    endpoint, *_ = await plc.client.connect_and_get_server_endpoints()
    assert endpoint.Server.ApplicationUri == application


class Watched:
    """What a subscriber is told, in order; `done` when ResultsValid has been told as false so often."""

    def __init__(self, falls: int) -> None:
        self.seen: list[tuple[str, object]] = []
        self.done = asyncio.Event()
        self._falls = falls

    def datachange_notification(self, node: object, value: object, data: object) -> None:
        self.seen.append((str(node).partition("Station.")[2], value))
        if self.seen.count(("Status.ResultsValid", False)) == self._falls:
            self.done.set()


async def test_subscribers_are_told_the_data_before_the_flag(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    await plc.greet(link)
    watched = Watched(4)
    subscription = await plc.client.create_subscription(20, watched)
    tags = ("Status.ResultsValid", "Result.TriggerSeq", "Result.PartId")
    await subscription.subscribe_data_change([plc.node(tag) for tag in tags])
    for seq in (11, 12, 13):
        await link.tell(a_result(plc, seq))
        await plc.write(ResultAckSeq=seq)
    await asyncio.wait_for(watched.done.wait(), 30)
    await subscription.delete()
    now: dict[str, object] = {}
    shown = []
    for tag, value in watched.seen:
        now[tag] = value
        if now.get("Status.ResultsValid"):
            shown.append((now["Result.TriggerSeq"], now["Result.PartId"]))
    assert list(dict.fromkeys(shown)) == [(n, f"äpfel {n}") for n in (11, 12, 13)]


async def test_results_are_never_read_torn(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    await plc.greet(link)
    tags = ("Result.TriggerSeq", "Result.PartId", "Result.ResultId", "Status.ResultsValid")
    torn = whole = 0
    for seq in range(11, 111):
        await link.tell(a_result(plc, seq))
        number, part_id, result_id, valid = await plc.read(*tags)
        whole += valid is True and (part_id, result_id) == (f"äpfel {number}", f"station.0a.{number}")
        torn += valid is True and (part_id, result_id) != (f"äpfel {number}", f"station.0a.{number}")
        await plc.write(ResultAckSeq=seq)
    assert (torn, whole) == (0, 100)


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        link = OpcUaServerLink(
            "line", Config(type="opcua_server", port=port), Identity("s", 1, "0"), SystemClock(), FOLDER
        )
        with pytest.raises(OutputError, match=rf"'line' cannot listen on 127.0.0.1:{port}"):
            await link.__aenter__()
