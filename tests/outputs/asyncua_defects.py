"""Looks which defects asyncua's server has, as installed or with our patches: one JSON object, name -> present.

python asyncua_defects.py installed|patched
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import struct
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

from asyncua import Server, ua
from asyncua.common.utils import Buffer, ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.ua import ua_binary

PLC = User(role=UserRole.User, name="plc")
Probe = Callable[["Bench"], Awaitable[bool]]


class Bench:
    """A server with a few nodes, and a subscription of which no client knows."""

    def __init__(self, server: Server, nodes: dict[str, ua.NodeId]) -> None:
        self.iserver = server.iserver
        self.server = server
        self.nodes = nodes

    async def subscription(self, interval: float = 1000.0, keep_alive: int = 10, life: int = 100) -> Any:
        wanted = ua.CreateSubscriptionParameters(interval, life, keep_alive, 0, True, 0)

        async def sent(*_: Any) -> None: ...

        result = await self.iserver.subscription_service.create_subscription(
            wanted, sent, ua.NodeId(1), request_callback=lambda _: None
        )
        return self.iserver.subscription_service.subscriptions[result.SubscriptionId]

    async def item(self, subscription: Any, name: str, wanted: Any = None, index_range: str | None = None) -> Any:
        read = ua.ReadValueId(self.nodes[name], ua.AttributeIds.Value, index_range)
        parameters = ua.MonitoringParameters(1, 0.0, wanted, 10, True)
        request = ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, parameters)
        (result,) = await subscription.monitored_item_srv.create_monitored_items(
            ua.CreateMonitoredItemsParameters(subscription.data.SubscriptionId, ua.TimestampsToReturn.Both, [request])
        )
        return result

    async def put(self, name: str, value: Any, kind: ua.VariantType) -> None:
        await self.server.write_attribute_value(self.nodes[name], ua.DataValue(ua.Variant(value, kind)))

    async def write(self, name: str, value: ua.DataValue, index_range: str | None = None) -> ua.StatusCode:
        wanted = ua.WriteValue(self.nodes[name], ua.AttributeIds.Value, index_range, value)
        (code,) = await self.iserver.attribute_service.write(ua.WriteParameters([wanted]), PLC)
        return code

    def published(self, subscription: Any) -> list[Any]:
        data = subscription._pop_publish_result().NotificationMessage.NotificationData
        return [value.Value.Value.Value for one in data for value in one.MonitoredItems]


async def republish_answers_good(bench: Bench) -> bool:
    subscription = await bench.subscription()
    try:
        bench.iserver.subscription_service.republish(ua.RepublishParameters(subscription.data.SubscriptionId, 99))
    except ServiceError as exc:
        return bool(exc.code != ua.StatusCodes.BadMessageNotAvailable)
    return True


async def publishing_interval_of_0(bench: Bench) -> bool:
    subscription = await bench.subscription(interval=0)
    return bool(subscription.data.RevisedPublishingInterval < 20)


async def keep_alive_each_cycle(bench: Bench) -> bool:
    data = (await bench.subscription(interval=20, keep_alive=1)).data
    return bool(data.RevisedMaxKeepAliveCount * data.RevisedPublishingInterval < 1000)


async def lifetime_of_hours(bench: Bench) -> bool:
    data = (await bench.subscription(interval=1000, life=2**31)).data
    return bool(data.RevisedLifetimeCount * data.RevisedPublishingInterval > 120_000)


async def lifetime_below_three_keep_alives(bench: Bench) -> bool:
    data = (await bench.subscription(keep_alive=20, life=2)).data
    return bool(data.RevisedLifetimeCount < 3 * data.RevisedMaxKeepAliveCount)


async def value_copied_for_each_item(bench: Bench) -> bool:
    subscription = await bench.subscription()
    result = await bench.item(subscription, "number")
    item = subscription.monitored_item_srv._monitored_items[result.MonitoredItemId]
    stored = bench.iserver.aspace.read_attribute_value(bench.nodes["number"], ua.AttributeIds.Value)
    return item.mvalue.current_dvalue is not stored


async def slow_drift_is_never_reported(bench: Bench) -> bool:
    subscription = await bench.subscription()
    await bench.put("float", 0.0, ua.VariantType.Float)
    absolute = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Absolute.value, 1.0)
    await bench.item(subscription, "float", absolute)
    for value in (0.6, 1.2, 1.8, 2.4):
        await bench.put("float", value, ua.VariantType.Float)
    return bench.published(subscription) != [0.0, 1.2, 2.4]


async def array_with_a_deadband_is_never_reported(bench: Bench) -> bool:
    subscription = await bench.subscription()
    await bench.put("array", [0] * 4, ua.VariantType.UInt32)
    absolute = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Absolute.value, 1.0)
    await bench.item(subscription, "array", absolute)
    await bench.put("array", [0, 0, 9, 0], ua.VariantType.UInt32)
    return bench.published(subscription)[-1] != [0, 0, 9, 0]


async def filter_that_cannot_work_is_taken(bench: Bench) -> bool:
    try:
        result = await bench.item(await bench.subscription(), "number", ua.EventFilter())
    except AttributeError:
        return True
    return bool(result.StatusCode.is_good())


async def index_range_of_an_item_is_ignored(bench: Bench) -> bool:
    subscription = await bench.subscription()
    await bench.put("array", [1, 2, 3, 4], ua.VariantType.UInt32)
    await bench.item(subscription, "array", index_range="1:2")
    return bench.published(subscription) != [[2, 3]]


async def sampling_item_reports(bench: Bench) -> bool:
    subscription = await bench.subscription()
    result = await bench.item(subscription, "number")
    bench.published(subscription)
    await subscription.monitored_item_srv.set_monitoring_mode(ua.MonitoringMode.Sampling, [result.MonitoredItemId])
    await bench.put("number", 4711, ua.VariantType.UInt32)
    return bool(bench.published(subscription))


async def unknown_item_cannot_be_modified(bench: Bench) -> bool:
    subscription = await bench.subscription()
    request = ua.MonitoredItemModifyRequest(99_999, ua.MonitoringParameters())
    try:
        (result,) = subscription.monitored_item_srv.modify_monitored_items(
            ua.ModifyMonitoredItemsParameters(ItemsToModify=[request])
        )
    except TypeError:
        return True
    return bool(result.StatusCode.value != ua.StatusCodes.BadMonitoredItemIdInvalid)


async def modified_queue_has_no_limit(bench: Bench) -> bool:
    subscription = await bench.subscription()
    created = await bench.item(subscription, "number")
    parameters = ua.MonitoringParameters(Filter=None, QueueSize=2**31)
    request = ua.MonitoredItemModifyRequest(created.MonitoredItemId, parameters)
    (result,) = subscription.monitored_item_srv.modify_monitored_items(
        ua.ModifyMonitoredItemsParameters(ItemsToModify=[request])
    )
    return bool(result.RevisedQueueSize > bench.iserver.max_monitored_item_queue_size)


async def newest_is_discarded_although_the_oldest_may_not(bench: Bench) -> bool:
    subscription = await bench.subscription()
    await bench.put("number", 0, ua.VariantType.UInt32)
    read = ua.ReadValueId(bench.nodes["number"], ua.AttributeIds.Value)
    parameters = ua.MonitoringParameters(Filter=None, QueueSize=2, DiscardOldest=False)
    request = ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, parameters)
    await subscription.monitored_item_srv.create_monitored_items(
        ua.CreateMonitoredItemsParameters(subscription.data.SubscriptionId, ItemsToCreate=[request])
    )
    for value in (1, 2):
        await bench.put("number", value, ua.VariantType.UInt32)
    return bench.published(subscription) != [0, 2]


async def _set_mode(subscription: Any, created: Any, mode: ua.MonitoringMode) -> None:
    await subscription.monitored_item_srv.set_monitoring_mode(mode, [created.MonitoredItemId])


async def disabled_item_reports_what_waited(bench: Bench) -> bool:
    subscription = await bench.subscription()
    await bench.put("number", 1, ua.VariantType.UInt32)
    created = await bench.item(subscription, "number")
    await _set_mode(subscription, created, ua.MonitoringMode.Disabled)
    return bench.published(subscription) != []


async def disabled_event_item_reports(bench: Bench) -> bool:
    """What waited, and what comes."""
    subscription = await bench.subscription()
    read = ua.ReadValueId(ua.NodeId(ua.ObjectIds.Server), ua.AttributeIds.EventNotifier)
    message = ua.SimpleAttributeOperand(BrowsePath=[ua.QualifiedName("Message")], AttributeId=ua.AttributeIds.Value)
    parameters = ua.MonitoringParameters(1, 0.0, ua.EventFilter([message]), 10)
    (created,) = await subscription.monitored_item_srv.create_monitored_items(
        ua.CreateMonitoredItemsParameters(
            subscription.data.SubscriptionId,
            ItemsToCreate=[ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, parameters)],
        )
    )
    events = await bench.server.get_event_generator()
    await events.trigger()
    assert subscription._triggered_events
    await _set_mode(subscription, created, ua.MonitoringMode.Disabled)
    before = bool(subscription._triggered_events)
    await events.trigger()
    return before or bool(subscription._triggered_events)


async def enabled_item_does_not_report_the_value_it_had(bench: Bench) -> bool:
    subscription = await bench.subscription()
    await bench.put("number", 1, ua.VariantType.UInt32)
    created = await bench.item(subscription, "number")
    bench.published(subscription)
    await _set_mode(subscription, created, ua.MonitoringMode.Disabled)
    await _set_mode(subscription, created, ua.MonitoringMode.Reporting)
    return bench.published(subscription) != [1]


async def item_has_times_that_nobody_wants(bench: Bench) -> bool:
    subscription = await bench.subscription()
    stamped = ua.DataValue(ua.Variant(1, ua.VariantType.UInt32), SourceTimestamp=datetime.now(timezone.utc))
    await bench.server.write_attribute_value(bench.nodes["number"], stamped)
    read = ua.ReadValueId(bench.nodes["number"], ua.AttributeIds.Value)
    wanted = ua.MonitoredItemCreateRequest(read, ua.MonitoringMode.Reporting, ua.MonitoringParameters(1))
    await subscription.monitored_item_srv.create_monitored_items(
        ua.CreateMonitoredItemsParameters(subscription.data.SubscriptionId, ua.TimestampsToReturn.Server, [wanted])
    )
    (notification,) = subscription._pop_publish_result().NotificationMessage.NotificationData
    return bool(notification.MonitoredItems[0].Value.SourceTimestamp is not None)


async def flag_is_published_before_its_data(bench: Bench) -> bool:
    subscription = await bench.subscription()
    await bench.put("flag", False, ua.VariantType.Boolean)
    await bench.put("number", 1, ua.VariantType.UInt32)
    for name in ("flag", "number"):
        await bench.item(subscription, name)
    await bench.put("number", 2, ua.VariantType.UInt32)
    await bench.put("flag", True, ua.VariantType.Boolean)
    return bench.published(subscription)[-1] is not True


async def index_range_of_a_read_is_ignored(bench: Bench) -> bool:
    await bench.put("array", [1, 2, 3, 4], ua.VariantType.UInt32)
    wanted = ua.ReadValueId(bench.nodes["array"], ua.AttributeIds.Value, "2")
    (value,) = bench.iserver.attribute_service.read(ua.ReadParameters(NodesToRead=[wanted]))
    return bool(value.Value.Value != [3])


async def index_range_of_a_write_is_ignored(bench: Bench) -> bool:
    return bool((await bench.write("array", _numbers([9, 9, 9, 9]), "0:3")).is_good())


async def array_goes_into_a_scalar(bench: Bench) -> bool:
    return bool((await bench.write("number", _numbers([1, 2]))).is_good())


async def array_of_another_length_is_taken(bench: Bench) -> bool:
    return bool((await bench.write("array", _numbers([1, 2]))).is_good())


async def value_of_bad_status_is_taken(bench: Bench) -> bool:
    bad = ua.DataValue(ua.Variant(5, ua.VariantType.UInt32), ua.StatusCode(ua.StatusCodes.BadDeviceFailure))
    return bool((await bench.write("number", bad)).is_good())


async def text_of_any_length_is_taken(bench: Bench) -> bool:
    return bool((await bench.write("text", ua.DataValue(ua.Variant("x" * 255, ua.VariantType.String)))).is_good())


async def array_of_nulls_fills_the_memory(_: Bench) -> bool:
    try:
        value = ua_binary.variant_from_binary(Buffer(b"\x80" + struct.pack("<i", 1000)))
    except ua.UaError:
        return False
    return len(value.Value) == 1000


async def dimensions_fill_the_memory(_: Bench) -> bool:
    claimed = b"\xc7" + struct.pack("<iI", 1, 7) + struct.pack("<iii", 2, 1, 20_000)
    try:
        ua_binary.variant_from_binary(Buffer(claimed))
    except ua.UaError:
        return False
    return True


async def dimensions_of_no_array_are_an_error_without_a_name(_: Bench) -> bool:
    for claimed in (b"\x47" + struct.pack("<Iii", 7, 1, 1), b"\xc7" + struct.pack("<iIi", 1, 7, 0)):
        try:
            ua_binary.variant_from_binary(Buffer(claimed))
        except ua.UaError:
            continue
        except (IndexError, TypeError):
            return True
    return False


async def negative_length_reads_backwards(_: Bench) -> bool:
    data = Buffer(b"abcdefgh")
    data.read(8)
    try:
        data.read(-4)
    except ua.UaError:
        return False
    return len(data) > 0


async def transferred_subscription_asks_the_old_connection(bench: Bench) -> bool:
    subscription = await bench.subscription()
    before = subscription.pub_request_callback
    wanted = ua.TransferSubscriptionsParameters([subscription.data.SubscriptionId])
    session = bench.iserver.create_session("new", external=True)
    session.subscription_service.subscriptions[subscription.data.SubscriptionId].session_id = session.session_id
    await session.transfer_subscriptions(wanted, _Connection().answer)
    return subscription.pub_request_callback is before


async def session_tokens_can_be_guessed(bench: Bench) -> bool:
    one, two = (bench.iserver.create_session(name, external=True).auth_token for name in "ab")
    return bool(isinstance(two.Identifier, int) and two.Identifier == one.Identifier + 1)


class _Connection:
    async def answer(self, *_: Any) -> None: ...

    def get_publish_request(self, _: int) -> None: ...


def _numbers(values: list[int]) -> ua.DataValue:
    return ua.DataValue(ua.Variant(copy.copy(values), ua.VariantType.UInt32))


PROBES: tuple[Probe, ...] = (
    republish_answers_good,
    publishing_interval_of_0,
    keep_alive_each_cycle,
    lifetime_of_hours,
    lifetime_below_three_keep_alives,
    value_copied_for_each_item,
    slow_drift_is_never_reported,
    array_with_a_deadband_is_never_reported,
    filter_that_cannot_work_is_taken,
    index_range_of_an_item_is_ignored,
    sampling_item_reports,
    disabled_item_reports_what_waited,
    disabled_event_item_reports,
    enabled_item_does_not_report_the_value_it_had,
    item_has_times_that_nobody_wants,
    unknown_item_cannot_be_modified,
    modified_queue_has_no_limit,
    newest_is_discarded_although_the_oldest_may_not,
    flag_is_published_before_its_data,
    index_range_of_a_read_is_ignored,
    index_range_of_a_write_is_ignored,
    array_goes_into_a_scalar,
    array_of_another_length_is_taken,
    value_of_bad_status_is_taken,
    text_of_any_length_is_taken,
    array_of_nulls_fills_the_memory,
    dimensions_fill_the_memory,
    dimensions_of_no_array_are_an_error_without_a_name,
    negative_length_reads_backwards,
    transferred_subscription_asks_the_old_connection,
    session_tokens_can_be_guessed,
)


async def main(patched: bool) -> dict[str, bool]:
    server = _patched() if patched else Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/defects")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:defects")
    nodes = {}
    for name, kind, value in (
        ("number", ua.VariantType.UInt32, 0),
        ("float", ua.VariantType.Float, 0.0),
        ("flag", ua.VariantType.Boolean, False),
        ("text", ua.VariantType.String, ""),
        ("array", ua.VariantType.UInt32, [0] * 4),
    ):
        node = await server.nodes.objects.add_variable(ua.NodeId(name, index), name, value, varianttype=kind)
        await node.set_writable()
        if isinstance(value, list):
            length = ua.Variant([len(value)], ua.VariantType.UInt32)
            await node.write_attribute(ua.AttributeIds.ArrayDimensions, ua.DataValue(length))
        nodes[name] = node.nodeid
    async with server:
        return {probe.__name__: await probe(Bench(server, nodes)) for probe in PROBES}


def _patched() -> Server:
    from edge_inspector.outputs.opcua_server import patches
    from edge_inspector.outputs.opcua_server.connection import LimitedUaServer
    from edge_inspector.outputs.opcua_server.sessions import LimitedServer

    patches.apply()
    return LimitedUaServer(LimitedServer(None, lambda _: True))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.stdout.write(json.dumps(asyncio.run(main(patched=sys.argv[1] == "patched"))))
