"""What asyncua 2.1's server needs mended, each with the defect named; asyncua is patched at run time, never copied."""

from __future__ import annotations

import math
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData, ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server import (
    address_space,
    internal_subscription,
    monitored_item_service,
    subscription_service,
)
from asyncua.ua import ua_binary

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_server import ranges, samples, writes

MIN_PUBLISHING_MS = 20.0
MAX_PUBLISHING_MS = 60_000.0
KEEP_ALIVE_MS = (1_000.0, 30_000.0)
"""Shortest and longest time between the messages that only say "still here"."""
LIFETIME_MS = 60_000.0
"""How long a subscription lives, or three keep-alives, without a publish request of its client."""
MAX_ELEMENTS = 1024
"""Of an array of several dimensions in a request; we have none."""

_SERVICE = subscription_service.SubscriptionService
_ITEMS = monitored_item_service.MonitoredItemService
_SUBSCRIPTION = internal_subscription.InternalSubscription
_ATTRIBUTES = address_space.AttributeService
_NEEDED: tuple[tuple[Any, str], ...] = (
    (_SERVICE, "republish"),
    (_SERVICE, "create_subscription"),
    (_ITEMS, "datachange_callback"),
    (_ITEMS, "create_monitored_items"),
    (_ITEMS, "_make_monitored_item_common"),
    (_ITEMS, "_modify_monitored_item"),
    (_ITEMS, "_set_monitoring_mode"),
    (_ITEMS, "_trigger_event"),
    (_SUBSCRIPTION, "_pop_triggered_datachanges"),
    (_SUBSCRIPTION, "_pop_publish_result"),
    (_SUBSCRIPTION, "_trigger_publish"),
    (_ATTRIBUTES, "read"),
    (_ATTRIBUTES, "write"),
    (ua_binary, "unpack_uatype_array"),
    (Buffer, "read"),
    (ua_binary, "MAX_RESHAPE_ELEMENTS"),
    (ua_binary, "_reshape"),
)
_OURSELVES = User(role=UserRole.Admin)
_MARK = "_edge_inspector"


def apply() -> None:
    """Patch asyncua once in this process. OutputError when a patched symbol is gone: not the pinned version."""
    for owner, name in _NEEDED:
        if not hasattr(owner, name):
            raise OutputError(f"asyncua has no {owner.__name__}.{name}: install asyncua>=2.1,<2.2")
    if hasattr(_ATTRIBUTES, _MARK):
        return
    setattr(_ATTRIBUTES, _MARK, True)
    _republish()
    _subscription_terms()
    _reporting()
    _item_terms()
    _modes()
    _order()
    _reads()
    _writes()
    _null_arrays()
    _negative_lengths()
    _dimensions()
    ua_binary.MAX_RESHAPE_ELEMENTS = MAX_ELEMENTS  # a million empty lists for each value of 30 bytes in a request


def _republish() -> None:
    """Republish answers Good with nothing: clients wait for ever for data that never comes again."""

    def republish(self: Any, params: Any) -> Any:
        subscription = self.subscriptions.get(params.SubscriptionId)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        kept = subscription._not_acknowledged_results.get(params.RetransmitSequenceNumber)
        if kept is None:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        return kept.NotificationMessage

    _SERVICE.republish = republish


def _subscription_terms() -> None:
    """A publishing interval of 0, a keep-alive each cycle and a life of hours are taken literally."""
    original = _SERVICE.create_subscription

    async def create_subscription(
        self: Any, params: Any, callback: Any, session_id: Any, request_callback: Any = None
    ) -> Any:
        if request_callback is not None:  # a client's, not one of the server's own
            wanted = params.RequestedPublishingInterval
            interval = min(max(wanted, MIN_PUBLISHING_MS), MAX_PUBLISHING_MS) if wanted > 0 else MIN_PUBLISHING_MS
            fewest, most = (max(1, math.ceil(ms / interval)) for ms in KEEP_ALIVE_MS)
            keep_alive = min(max(params.RequestedMaxKeepAliveCount or most, fewest), most)
            longest = max(3 * keep_alive, math.ceil(LIFETIME_MS / interval))
            lifetime = min(max(params.RequestedLifetimeCount or longest, 3 * keep_alive), longest)
            params.RequestedPublishingInterval = interval
            params.RequestedMaxKeepAliveCount, params.RequestedLifetimeCount = keep_alive, lifetime
        return await original(self, params, callback, session_id, request_callback=request_callback)

    _SERVICE.create_subscription = create_subscription


def _reporting() -> None:
    """Each item deep-copies each value (two thirds of a write's cost), measures its deadband from the last sample
    instead of the last report, fails on arrays with a deadband, ignores IndexRange and reports while only sampling."""

    async def datachange_callback(self: Any, handle: int, value: Any, error: Any = None) -> None:
        if error:
            await self.trigger_statuschange(error)
            return
        samples.sample(self, handle, value)
        await self.isub._trigger_publish()

    _ITEMS.datachange_callback = datachange_callback


def _item_terms() -> None:
    """Filters are not checked and fail at each write, an unknown item ends in an internal error, a modified queue has
    no limit, and DiscardOldest is not kept."""
    create, make = _ITEMS.create_monitored_items, _ITEMS._make_monitored_item_common

    async def create_monitored_items(self: Any, params: Any) -> list[Any]:
        results: list[Any] = []
        self.stamps = params.TimestampsToReturn
        for item in params.ItemsToCreate:
            read = item.ItemToMonitor
            if read.AttributeId == ua.AttributeIds.EventNotifier:
                code = samples.event_refusal(item.RequestedParameters.Filter)
            else:
                code = samples.refusal(item, self.aspace.read_attribute_value(read.NodeId, read.AttributeId))
            if code is not None:
                results.append(ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(code)))
                continue
            one = ua.CreateMonitoredItemsParameters(params.SubscriptionId, params.TimestampsToReturn, [item])
            results += await create(self, one)
        return results

    def make_monitored_item(self: Any, params: Any) -> Any:
        result, item = make(self, params)
        item.discard_oldest = params.RequestedParameters.DiscardOldest
        item.stamps = self.stamps
        return result, item

    def modify_monitored_item(self: Any, params: Any) -> Any:
        item, wanted = self._monitored_items.get(params.MonitoredItemId), params.RequestedParameters
        if item is None:
            unknown = ua.StatusCode(ua.StatusCodes.BadMonitoredItemIdInvalid)
            return ua.MonitoredItemModifyResult(StatusCode=unknown)
        if item.callback_handle is not None:
            code = samples.filter_refusal(wanted.Filter, item.mvalue.current_dvalue, item.read_value_id.AttributeId)
            if code is not None:
                return ua.MonitoredItemModifyResult(StatusCode=ua.StatusCode(code))
            item.filter = wanted.Filter
        item.client_handle, item.discard_oldest = wanted.ClientHandle, wanted.DiscardOldest
        item.queue_size = self._revise_queue_size(wanted.QueueSize)
        result = ua.MonitoredItemModifyResult()
        result.RevisedSamplingInterval = self.isub.data.RevisedPublishingInterval
        result.RevisedQueueSize = item.queue_size
        return result

    _ITEMS.create_monitored_items = create_monitored_items
    _ITEMS._make_monitored_item_common = make_monitored_item
    _ITEMS._modify_monitored_item = modify_monitored_item


def _modes() -> None:
    """What an item was to tell is told after it is disabled, and events then too; what has changed while it was not
    reporting is never told.
    """
    trigger_event = _ITEMS._trigger_event

    async def set_monitoring_mode(self: Any, mode: ua.MonitoringMode, number: int) -> ua.StatusCode:
        item = self._monitored_items.get(number)
        if item is None:
            return ua.StatusCode(ua.StatusCodes.BadMonitoredItemIdInvalid)
        before, item.mode = item.mode, mode
        if mode == ua.MonitoringMode.Disabled:
            item.mvalue = monitored_item_service.MonitoredItemValues()
            self.isub._triggered_datachanges.pop(number, None)
            self.isub._triggered_events.pop(number, None)
        elif mode == ua.MonitoringMode.Reporting != before and item.callback_handle is not None:
            read = item.read_value_id
            await self.trigger_datachange(item.callback_handle, read.NodeId, read.AttributeId)
        return ua.StatusCode()

    async def trigger_if_reporting(self: Any, event: Any, number: int) -> None:
        item = self._monitored_items.get(number)
        if item is not None and item.mode == ua.MonitoringMode.Reporting:
            await trigger_event(self, event, number)

    _ITEMS._set_monitoring_mode = set_monitoring_mode
    _ITEMS._trigger_event = trigger_if_reporting


def _order() -> None:
    """A publish lists its notifications item by item, however many there are: ResultsValid before the results."""
    original = _SUBSCRIPTION._pop_publish_result

    def pop_triggered_datachanges(self: Any, result: Any) -> None:
        if self._triggered_datachanges:
            notification = ua.DataChangeNotification()
            notification.MonitoredItems, self._triggered_datachanges = samples.taken(self._triggered_datachanges)
            result.NotificationMessage.NotificationData.append(notification)

    def pop_publish_result(self: Any) -> Any:
        result = original(self)
        result.MoreNotifications = bool(self._publishing_enabled and self._triggered_datachanges)
        return result

    _SUBSCRIPTION._pop_triggered_datachanges = pop_triggered_datachanges
    _SUBSCRIPTION._pop_publish_result = pop_publish_result


def _reads() -> None:
    """IndexRange and DataEncoding of a read are ignored: the client takes the whole for the part."""
    original = _ATTRIBUTES.read

    def read(self: Any, params: Any) -> list[Any]:
        return [_part(wanted, v) for wanted, v in zip(params.NodesToRead, original(self, params), strict=True)]

    _ATTRIBUTES.read = read


def _part(wanted: Any, value: Any) -> Any:
    encoding = wanted.DataEncoding
    if encoding is not None and encoding.Name and encoding.Name != "Default Binary":
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadDataEncodingUnsupported))
    if not wanted.IndexRange or (value.StatusCode is not None and value.StatusCode.is_bad()):
        return value
    return ranges.cut(value, wanted.IndexRange)


def _writes() -> None:
    """What `writes.refusal` names is let through: each is refused instead. Our own writes are not looked at."""
    original = _ATTRIBUTES.write

    async def write(self: Any, params: Any, user: User = _OURSELVES) -> list[ua.StatusCode]:
        ours = user.role == UserRole.Admin
        codes = [None if ours else writes.refusal(self._aspace, w) for w in params.NodesToWrite]
        if not any(codes):
            answered: list[ua.StatusCode] = await original(self, params, user)
            return answered
        kept = [w for w, code in zip(params.NodesToWrite, codes, strict=True) if code is None]
        answers = iter(await original(self, ua.WriteParameters(NodesToWrite=kept), user) if kept else [])
        return [next(answers) if code is None else ua.StatusCode(code) for code in codes]

    _ATTRIBUTES.write = write


def _null_arrays() -> None:
    """An array of nulls has elements of no bytes: six bytes of a request fill the memory."""
    original = ua_binary.unpack_uatype_array

    def unpack_uatype_array(vtype: ua.VariantType, data: Any) -> list[Any] | None:
        if vtype == ua.VariantType.Null:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadDecodingError)
        unpacked: list[Any] | None = original(vtype, data)
        return unpacked

    ua_binary.unpack_uatype_array = unpack_uatype_array


def _dimensions() -> None:
    """Dimensions of no array, none at all, or of more elements than there are, end in errors without a name."""
    original = ua_binary._reshape

    def reshape(flat: Any, dimensions: Any) -> Any:
        if not isinstance(flat, list) or not dimensions or math.prod(dimensions) != len(flat) or min(dimensions) < 0:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadDecodingError)
        return original(flat, dimensions)

    ua_binary._reshape = reshape


def _negative_lengths() -> None:
    """A text of negative length is read backwards: an array of them never ends."""

    def read(self: Any, size: int) -> bytes:
        if not 0 <= size <= self._size:
            raise NotEnoughData(f"not enough data in the message: {size} bytes wanted, {self._size} there")
        at = self._cur_pos
        self._cur_pos += size
        self._size -= size
        part: bytes = self._data[at : at + size]
        return part

    Buffer.read = read
