"""What a client may ask of the OPC UA server, and what becomes of one that asks for more or does not behave."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_to_binary
from opcua_rig import Plc, served

from edge_inspector.outputs.opcua_server import budget, limits
from edge_inspector.outputs.opcua_server.link import OpcUaServerLink

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[tuple[OpcUaServerLink, Plc]]:
    async with served() as both:
        yield both


@pytest.fixture(scope="module")
def plc(pair: tuple[OpcUaServerLink, Plc]) -> Plc:
    return pair[1]


def url(plc: Plc) -> str:
    return str(plc.client.server_url.geturl())


async def raw(plc: Plc) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(plc.client.server_url.hostname, plc.client.server_url.port)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes the connection, whatever it says before."""
    try:
        while await asyncio.wait_for(reader.read(65536), 30):
            pass
    except ConnectionResetError:
        pass
    return True


async def reads(plc: Plc, count: int) -> list[Any]:
    wanted = ua.ReadValueId(plc.node("Status.BootId").nodeid, ua.AttributeIds.Value)
    values: list[Any] = await plc.client.uaclient.read(ua.ReadParameters(NodesToRead=[wanted] * count))
    return values


async def writes(plc: Plc, count: int) -> None:
    value = ua.DataValue(ua.Variant(1, ua.VariantType.UInt32))
    wanted = ua.WriteValue(plc.node("Control.Heartbeat").nodeid, ua.AttributeIds.Value, None, value)
    await plc.client.uaclient.write(ua.WriteParameters([wanted] * count))


async def browses(plc: Plc, count: int) -> None:
    wanted = ua.BrowseDescription(NodeId=plc.node("Status").nodeid)
    await plc.client.uaclient.browse(ua.BrowseParameters(NodesToBrowse=[wanted] * count))


async def translates(plc: Plc, count: int) -> None:
    await plc.client.uaclient.translate_browsepaths_to_nodeids([ua.BrowsePath()] * count)


@pytest.mark.parametrize("service", [reads, writes, browses, translates])
async def test_501_nodes_are_too_many_and_500_are_not(
    plc: Plc, service: Callable[[Plc, int], Awaitable[object]]
) -> None:
    with pytest.raises(ua.UaStatusCodeError, match="BadTooManyOperations"):
        await service(plc, limits.MAX_NODES + 1)
    await service(plc, limits.MAX_NODES)


async def test_a_request_for_nothing_is_told_so(plc: Plc) -> None:
    with pytest.raises(ua.UaStatusCodeError, match="BadNothingToDo"):
        await reads(plc, 0)


async def test_500_values_come_back_in_order(plc: Plc) -> None:
    tags = ["Status.BootId", "Ident.StationId"] * 250
    assert await plc.read(*tags) == [77, "station"] * 250


async def test_a_path_of_no_elements_is_refused_alone(plc: Plc) -> None:
    start = ua.NodeId(ua.ObjectIds.ObjectsFolder)
    element = ua.RelativePathElement(
        TargetName=ua.QualifiedName("Station", plc.index), IsInverse=False, IncludeSubtypes=True
    )
    element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
    paths = [ua.BrowsePath(start), ua.BrowsePath(start, ua.RelativePath([element]))]
    nothing, station = await plc.client.uaclient.translate_browsepaths_to_nodeids(paths)
    assert nothing.StatusCode.name == "BadNothingToDo"
    assert station.Targets[0].TargetId.Identifier == "Station"


async def test_an_answer_of_many_megabytes_is_refused(plc: Plc) -> None:
    schema = ua.ReadValueId(ua.NodeId(ua.ObjectIds.OpcUa_BinarySchema), ua.AttributeIds.Value)
    with pytest.raises(ua.UaStatusCodeError, match="BadResponseTooLarge"):
        await plc.client.uaclient.read(ua.ReadParameters(NodesToRead=[schema] * 10))


async def test_a_browse_of_too_many_references_answers_for_some_nodes(plc: Plc) -> None:
    many = ua.BrowseDescription(NodeId=ua.NodeId(ua.ObjectIds.BaseObjectType), ReferenceTypeId=ua.NodeId())
    results = await plc.client.uaclient.browse(ua.BrowseParameters(NodesToBrowse=[many] * 100))
    assert results[0].StatusCode.is_good()
    assert len(results[0].References) > 10
    assert results[-1].StatusCode.name == "BadNoContinuationPoints"
    assert sum(len(r.References) for r in results) <= limits.MAX_REFERENCES


async def test_the_eleventh_session_is_refused_until_a_client_is_gone(plc: Plc) -> None:
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(Client(url(plc))) for _ in range(limits.MAX_SESSIONS - 1)]
        with pytest.raises(ua.UaStatusCodeError, match="BadTooManySessions"):
            await Client(url(plc)).connect()
        subscription = await others[0].create_subscription(1000, None)  # so its session outlives the connection
        await subscription.subscribe_data_change(others[0].get_node(plc.node("Status.BootId").nodeid))
        others[0].uaclient.protocol.transport.abort()
        while True:
            try:
                await stack.enter_async_context(Client(url(plc)))
                break
            except ua.UaStatusCodeError:  # the server has not seen yet that the other one is gone
                continue
    assert await plc.read("Status.BootId") == [77]


async def test_ten_subscriptions_and_a_hundred_items_are_enough_for_a_session(plc: Plc) -> None:
    async with Client(url(plc)) as client:
        subscriptions = [await client.create_subscription(100, None) for _ in range(limits.MAX_SUBSCRIPTIONS)]
        with pytest.raises(ua.UaStatusCodeError, match="BadTooManySubscriptions"):
            await client.create_subscription(100, None)
        node = client.get_node(plc.node("Status.BootId").nodeid)
        for subscription in subscriptions[:2]:
            await subscription.subscribe_data_change([node] * (limits.MAX_ITEMS // 2))
        with pytest.raises(ua.UaStatusCodeError, match="BadTooManyMonitoredItems"):
            await subscriptions[2].subscribe_data_change(node)


async def test_sessions_that_nobody_activates_do_not_keep_the_plc_out(plc: Plc) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(limits.MAX_SESSIONS):
            client = Client(url(plc))
            await client.connect_sessionless()
            stack.push_async_callback(client.disconnect_sessionless)
            await client.create_session()
        async with Client(url(plc)) as honest:
            assert await honest.get_node(plc.node("Status.BootId").nodeid).read_value() == 77


async def test_a_session_that_begins_again_leaves_nothing_of_the_one_before(plc: Plc) -> None:
    async with Client(url(plc)) as client:
        tasks = len(asyncio.all_tasks())
        for _ in range(20):
            await client.uaclient.create_session(ua.CreateSessionParameters(RequestedSessionTimeout=30_000))
            await client.uaclient.activate_session(
                ua.ActivateSessionParameters(UserIdentityToken=ua.AnonymousIdentityToken("anonymous"))
            )
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) < tasks + 10


async def test_subscriptions_end_with_their_session_and_take_no_place_of_others(
    pair: tuple[OpcUaServerLink, Plc],
) -> None:
    """A client that keeps them would fill the whole server's hundred places with ten sessions, one after another."""
    link, plc = pair
    assert link._server is not None
    everybodys = link._server.iserver.subscription_service.subscriptions
    async with Client(url(plc)) as client:
        number = (await client.create_subscription(1000, None)).subscription_id
        assert number in everybodys
        await client.uaclient.close_session(False)
        assert number not in everybodys


async def test_a_subscription_goes_to_the_same_user_after_its_client_is_gone_and_no_further_than_the_limit(
    plc: Plc,
) -> None:
    lost = Client(url(plc))
    await lost.connect()
    numbers = [(await lost.create_subscription(1000, None)).subscription_id for _ in range(2)]
    lost.uaclient.protocol.transport.abort()
    async with Client(url(plc)) as client:
        for _ in range(limits.MAX_SUBSCRIPTIONS - 1):
            await client.create_subscription(1000, None)
        wanted = ua.TransferSubscriptionsParameters(numbers, False)
        while True:
            answers = [one.StatusCode.name for one in await client.uaclient.transfer_subscriptions(wanted)]
            if "Good" in answers:  # the server has seen by now that the other one is gone
                break
        assert answers == ["Good", "BadSubscriptionIdInvalid"]
    await lost.disconnect_sessionless()


SELECTED = ua.SimpleAttributeOperand(BrowsePath=[ua.QualifiedName("Message")], AttributeId=ua.AttributeIds.Value)
ONE = ua.LiteralOperand(ua.Variant(1))


def _in_list(*operands: Any) -> ua.EventFilter:
    return ua.EventFilter([SELECTED], ua.ContentFilter([ua.ContentFilterElement(ua.FilterOperator.InList, operands)]))


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        pytest.param(ua.EventFilter([SELECTED]), "Good", id="one field"),
        pytest.param(ua.EventFilter([SELECTED] * 200), "Good", id="200 fields"),
        pytest.param(ua.EventFilter([SELECTED] * 201), "BadEventFilterInvalid", id="201 fields"),
        pytest.param(_in_list(*[ONE] * 200), "Good", id="200 operands"),
        pytest.param(_in_list(*[ONE] * 201), "BadEventFilterInvalid", id="201 operands"),
        pytest.param(_in_list(ua.LiteralOperand(ua.Variant("x" * 17_000))), "BadEventFilterInvalid", id="17 kB"),
        pytest.param(None, "BadEventFilterInvalid", id="none"),
    ],
)
async def test_an_event_filter_is_no_larger_than_each_event_can_bear(plc: Plc, wanted: Any, code: str) -> None:
    async with Client(url(plc)) as client:
        subscription = await client.create_subscription(1000, None)
        (made,) = await client.uaclient.create_monitored_items(_events(subscription.subscription_id, wanted, 1))
        assert made.StatusCode.name == code


async def test_ten_event_items_are_enough_for_a_session(plc: Plc) -> None:
    async with Client(url(plc)) as client:
        number = (await client.create_subscription(1000, None)).subscription_id
        create = client.uaclient.create_monitored_items
        made = await create(_events(number, ua.EventFilter([SELECTED]), limits.MAX_EVENT_ITEMS))
        assert {one.StatusCode.name for one in made} == {"Good"}
        (one,) = await create(_events(number, ua.EventFilter([SELECTED]), 1))
        assert one.StatusCode.name == "BadTooManyMonitoredItems"
        (data,) = await create(_items(plc, number))
        assert data.StatusCode.is_good()


def _events(subscription_id: int, wanted: Any, count: int) -> ua.CreateMonitoredItemsParameters:
    read = ua.ReadValueId(ua.NodeId(ua.ObjectIds.Server), ua.AttributeIds.EventNotifier)
    item = ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, ua.MonitoringParameters(1, 0, wanted, 10))
    return ua.CreateMonitoredItemsParameters(subscription_id, ItemsToCreate=[item] * count)


async def test_what_has_changed_while_an_item_only_sampled_is_told_when_it_reports(plc: Plc) -> None:
    told: asyncio.Queue[int] = asyncio.Queue()

    class Handler:
        def datachange_notification(self, _node: Any, value: int, _data: Any) -> None:
            told.put_nowait(value)

    node = plc.node("Control.Command")
    async with Client(url(plc)) as client:
        subscription = await client.create_subscription(20, Handler())
        await subscription.subscribe_data_change(client.get_node(node.nodeid))
        await asyncio.wait_for(told.get(), 30)
        await subscription.set_monitoring_mode(ua.MonitoringMode.Sampling)
        for value in (41, 42):
            await node.write_value(ua.DataValue(ua.Variant(value, ua.VariantType.UInt16)))
        await subscription.set_monitoring_mode(ua.MonitoringMode.Reporting)
        assert await asyncio.wait_for(told.get(), 30) == 42


async def test_an_unknown_sequence_number_cannot_be_acknowledged(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    async with Client(url(plc)) as client:
        number = (await client.create_subscription(1000, None)).subscription_id
        (session,) = (
            one
            for one in link._server.iserver._external_sessions.values()  # type: ignore[union-attr]
            if number in one._own()
        )
        acks = [ua.SubscriptionAcknowledgement(number, 4711), ua.SubscriptionAcknowledgement(number + 1, 1)]
        _, answers = session.publish(acks)
        assert [one.name for one in answers] == ["BadSequenceNumberUnknown", "BadSubscriptionIdInvalid"]


async def test_another_sessions_subscription_is_as_unknown_as_none(plc: Plc) -> None:
    async with Client(url(plc)) as victim, Client(url(plc)) as thief:
        number = (await victim.create_subscription(100, None)).subscription_id
        (answer,) = await thief.uaclient.delete_subscriptions([number])
        assert answer.name == "BadSubscriptionIdInvalid"
        (result,) = await thief.uaclient.transfer_subscriptions(ua.TransferSubscriptionsParameters([number], False))
        assert result.StatusCode.name == "BadSubscriptionIdInvalid"
        with pytest.raises(ua.UaStatusCodeError, match="BadSubscriptionIdInvalid"):
            await thief.uaclient.create_monitored_items(_items(plc, number))
        (created,) = await victim.uaclient.create_monitored_items(_items(plc, number))
        assert created.StatusCode.is_good()


def _items(plc: Plc, subscription_id: int) -> ua.CreateMonitoredItemsParameters:
    read = ua.ReadValueId(plc.node("Status.BootId").nodeid, ua.AttributeIds.Value)
    item = ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, ua.MonitoringParameters(QueueSize=2**31))
    return ua.CreateMonitoredItemsParameters(subscription_id, ItemsToCreate=[item])


async def test_a_request_with_anothers_token_is_refused_and_the_connection_stays(plc: Plc) -> None:
    async with Client(url(plc)) as client:
        protocol = client.uaclient.protocol
        mine, protocol.authentication_token = protocol.authentication_token, ua.NodeId(1001)
        node = client.get_node(plc.node("Status.BootId").nodeid)
        with pytest.raises(ua.UaStatusCodeError, match="BadSessionIdInvalid"):
            await node.read_value()
        protocol.authentication_token = mine
        assert await node.read_value() == 77


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"MSGF" + struct.pack("<I", 2**31) + b"x" * 64, id="a chunk of 2 GB"),
        pytest.param(b"HELF" + struct.pack("<I", 4), id="a chunk shorter than its header"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(
            b"HELF" + struct.pack("<IIIIIIi", 32, 0, 16, 65536, 0, 0, -1), id="buffers too small for any answer"
        ),
        pytest.param(b"MSGF" + struct.pack("<III", 16, 1, 1), id="a message before the channel"),
    ],
)
async def test_what_is_no_opc_ua_ends_the_connection(plc: Plc, message: bytes) -> None:
    reader, writer = await raw(plc)
    writer.write(message)
    assert await ended(reader)
    writer.close()
    assert await plc.read("Status.BootId") == [77]


async def test_half_open_connections_make_room_for_a_real_one(plc: Plc) -> None:
    parked = [await raw(plc) for _ in range(2 * limits.MAX_CONNECTIONS)]
    async with Client(url(plc)) as client:
        assert await client.get_node(plc.node("Status.BootId").nodeid).read_value() == 77
    assert await ended(parked[0][0])
    for _, writer in parked:
        writer.close()


async def test_a_client_that_reads_no_answers_is_dropped(pair: tuple[OpcUaServerLink, Plc]) -> None:
    _, plc = pair
    client = Client(url(plc))
    await client.connect()
    transport = client.uaclient.protocol.transport
    transport.pause_reading()
    wanted = ua.ReadValueId(plc.node("Result.Ring").nodeid, ua.AttributeIds.Value)
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [wanted] * limits.MAX_NODES
    protocol = client.uaclient.protocol
    request.RequestHeader.AuthenticationToken = protocol.authentication_token
    body = struct_to_binary(request)
    for _ in range(64):  # each answer has 256 kB, far more than all buffers together
        protocol._request_id += 1
        transport.write(protocol._connection.message_to_binary(body, request_id=protocol._request_id))
    lost = asyncio.Event()
    protocol.on_connection_lost = lambda _: lost.set()
    for _ in range(300):  # meanwhile everybody else is served
        assert await plc.read("Status.BootId") == [77]
    transport.resume_reading()
    await asyncio.wait_for(lost.wait(), 30)
    await client.disconnect()


async def test_services_that_nobody_needs_are_not_served_even_without_a_session(plc: Plc) -> None:
    client = Client(url(plc))
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        with pytest.raises(ua.UaStatusCodeError, match="BadServiceUnsupported"):
            await client.uaclient.register_server(ua.RegisteredServer())
        assert await client.get_endpoints()
    finally:
        client.disconnect_socket()


class Hands:
    """A clock that stands still unless it is turned."""

    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


async def test_turns_go_to_who_has_used_least() -> None:
    clock = Hands()
    shared = budget.Budget(clock)
    greedy, modest, another = (shared.spender() for _ in range(3))
    greedy.spend(budget.BURST_S / 2)
    shared.charge(shared.spender(), budget.ALL_BURST_S * 2)  # somebody else: all have to wait
    served: list[str] = []

    async def wait(name: str, bucket: budget.Bucket) -> None:
        await shared.turn(bucket, first=False)
        served.append(name)
        shared.charge(bucket, budget.ALL_BURST_S)
        clock.s += 10 * budget.ALL_BURST_S

    waiting = [asyncio.ensure_future(wait(*one)) for one in (("g", greedy), ("m", modest), ("a", another))]
    await asyncio.sleep(0)
    assert served == []
    clock.s += 10 * budget.ALL_BURST_S
    await asyncio.gather(*waiting)
    assert served == ["m", "a", "g"]


async def test_who_waits_long_is_served_before_who_comes_late() -> None:
    clock = Hands()
    shared = budget.Budget(clock)
    greedy, late = shared.spender(), shared.spender()
    greedy.spend(budget.BURST_S)
    shared.charge(shared.spender(), budget.ALL_BURST_S * 2)
    served: list[str] = []

    async def wait(name: str, bucket: budget.Bucket) -> None:
        await shared.turn(bucket, first=False)
        served.append(name)
        shared.charge(bucket, 0.0)

    first = asyncio.ensure_future(wait("greedy", greedy))
    await asyncio.sleep(0)
    clock.s += 10.0
    shared.charge(shared.spender(), budget.ALL_BURST_S * 2)
    second = asyncio.ensure_future(wait("late", late))
    await asyncio.sleep(0)
    clock.s += 10.0
    await asyncio.gather(first, second)
    assert served == ["greedy", "late"]


async def test_a_plc_waits_for_its_own_budget_only() -> None:
    clock = Hands()
    shared = budget.Budget(clock)
    shared.charge(shared.spender(), 1000.0)
    await asyncio.wait_for(shared.turn(shared.spender(), first=True), 30)


async def test_a_session_counts_as_a_plcs_from_when_it_has_written(pair: tuple[OpcUaServerLink, Plc]) -> None:
    link, plc = pair
    async with Client(url(plc)) as client:
        await client.get_node(plc.node("Status.BootId").nodeid).read_value()
        sessions = link._server.iserver._external_sessions  # type: ignore[union-attr]
        (session,) = [s for s in sessions.values() if s.auth_token == client.uaclient.protocol.authentication_token]
        assert not session.writes_now
        with pytest.raises(ua.UaStatusCodeError, match="BadNotWritable"):
            await client.get_node(plc.node("Status.Word").nodeid).write_value(ua.Variant(1, ua.VariantType.UInt16))
        assert not session.writes_now
        value = ua.DataValue(ua.Variant(5, ua.VariantType.UInt32))
        await client.get_node(plc.node("Control.Heartbeat").nodeid).write_value(value)
        assert session.writes_now


async def test_a_turn_of_a_client_that_has_gone_is_not_waited_for() -> None:
    clock = Hands()
    shared = budget.Budget(clock)
    shared.charge(shared.spender(), budget.ALL_BURST_S * 2)
    gone, other = (asyncio.ensure_future(shared.turn(shared.spender(), first=False)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    clock.s += 1.0
    await other
    assert gone.cancelled()


def test_a_connection_beyond_its_budget_waits_until_it_is_paid_off() -> None:
    clock = Hands()
    bucket = budget.Budget(clock).spender()
    assert bucket.waits_s() == 0
    bucket.spend(2 * budget.BURST_S)
    assert bucket.waits_s() == pytest.approx(budget.BURST_S / budget.RATE)
    clock.s += bucket.waits_s()
    assert bucket.waits_s() == pytest.approx(0)
    clock.s += 3600
    assert bucket.used_s() == 0
