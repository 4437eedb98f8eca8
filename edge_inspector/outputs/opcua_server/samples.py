"""What a monitored item reports, and in which order: asyncua's own way loses slow drifts and mixes up the order."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from edge_inspector.outputs.opcua_server import ranges

MAX_QUEUE = 100
"""Values that wait for one monitored item."""
MAX_NOTIFICATIONS = 200
"""In one publish response: more would keep the loop for milliseconds."""
MAX_FIELDS = 200
"""Selected by an event filter."""
MAX_OPERANDS = 200
"""Of all elements of an event filter together."""
MAX_FILTER = 16_384
"""Bytes of an event filter on the wire; it is kept as long as its item."""
_OVERFLOW = 0x480  # Part 4, 7.39: info type "data value" and the overflow bit
_order = itertools.count()


def refusal(item: Any, value: ua.DataValue) -> int | None:
    """The status code with which a data item (`ItemToMonitor`, `RequestedParameters`) is refused; None = take it."""
    read, wanted = item.ItemToMonitor, item.RequestedParameters.Filter
    if read.IndexRange and ranges.bounds(read.IndexRange) is None:
        return int(ua.StatusCodes.BadIndexRangeInvalid)
    return filter_refusal(wanted, value, read.AttributeId)


def event_refusal(wanted: Any) -> int | None:
    """The status code with which the filter of an event item is refused; None = take it."""
    if not isinstance(wanted, ua.EventFilter):
        return int(ua.StatusCodes.BadEventFilterInvalid)
    operands = sum(len(one.FilterOperands or ()) for one in wanted.WhereClause.Elements or ())
    small = len(wanted.SelectClauses or ()) <= MAX_FIELDS and operands <= MAX_OPERANDS
    if small and len(struct_to_binary(wanted)) <= MAX_FILTER:
        return None
    return int(ua.StatusCodes.BadEventFilterInvalid)


def filter_refusal(wanted: Any, value: ua.DataValue | None, attribute: int) -> int | None:
    """The status code with which a filter of a data item is refused; None = take it."""
    if not wanted:  # asyncua's null object is false
        return None
    if not isinstance(wanted, ua.DataChangeFilter):
        return int(ua.StatusCodes.BadFilterNotAllowed)
    if wanted.DeadbandType == ua.DeadbandType.None_:
        return None
    if wanted.DeadbandType != ua.DeadbandType.Absolute:
        return int(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
    if not (math.isfinite(wanted.DeadbandValue) and wanted.DeadbandValue >= 0):
        return int(ua.StatusCodes.BadDeadbandFilterInvalid)
    native = value.Value.Value if value is not None and value.Value is not None else None
    numbers = native if isinstance(native, list) else [native]
    usable = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if attribute != ua.AttributeIds.Value or not usable:
        return int(ua.StatusCodes.BadFilterNotAllowed)
    return None


def sample(service: Any, handle: int, value: ua.DataValue) -> None:
    """One monitored item has a new value: queue it for the next publish if it is worth reporting."""
    item = service._monitored_items[service._monitored_datachange[handle]]
    if item.mode != ua.MonitoringMode.Reporting:  # nothing triggers an item that only samples: we have no SetTriggering
        return
    index_range = item.read_value_id.IndexRange
    seen = ranges.cut(value, index_range) if index_range else value
    reported = item.mvalue.current_dvalue
    if reported is not None and not _differs(reported, seen, item.filter or None):
        return
    item.mvalue.old_dvalue, item.mvalue.current_dvalue = reported, seen
    queue = service.isub._triggered_datachanges.setdefault(item.monitored_item_id, [])
    told = stamped(seen, item.stamps)
    entry = (next(_order), ua.MonitoredItemNotification(item.client_handle, told))
    if len(queue) < max(1, item.queue_size):
        queue.append(entry)
    elif not getattr(item, "discard_oldest", True):
        queue[-1] = entry if len(queue) == 1 else _marked(entry)
    else:
        queue.pop(0)
        queue.append(entry)
        queue[0] = queue[0] if len(queue) == 1 else _marked(queue[0])


def stamped(value: ua.DataValue, wanted: int) -> ua.DataValue:
    """With those of its timestamps (TimestampsToReturn) that a client wants."""
    if wanted == ua.TimestampsToReturn.Both:
        return value
    return replace(
        value,
        SourceTimestamp=value.SourceTimestamp if wanted == ua.TimestampsToReturn.Source else None,
        ServerTimestamp=value.ServerTimestamp if wanted == ua.TimestampsToReturn.Server else None,
    )


def taken(queues: dict[int, list[Any]]) -> tuple[list[Any], dict[int, list[Any]]]:
    """The notifications of the next publish in the order in which the values changed, and what waits for the one after.

    A flag that rises after its data comes after its data.
    """
    entries = sorted((order, mid, event) for mid, queue in queues.items() for order, event in queue)
    rest: dict[int, list[Any]] = {}
    for order, mid, event in entries[MAX_NOTIFICATIONS:]:
        rest.setdefault(mid, []).append((order, event))
    return [event for _, _, event in entries[:MAX_NOTIFICATIONS]], rest


def _marked(entry: tuple[int, Any]) -> tuple[int, Any]:
    """With the bit that says: values beside this one were lost."""
    order, event = entry
    code = ua.StatusCode((event.Value.StatusCode.value if event.Value.StatusCode else 0) | _OVERFLOW)
    return order, ua.MonitoredItemNotification(event.ClientHandle, replace(event.Value, StatusCode=code))


def _differs(old: ua.DataValue, new: ua.DataValue, wanted: Any) -> bool:
    """Against what was reported last, not against the last sample: else a slow drift is never told."""
    trigger = wanted.Trigger if wanted is not None else ua.DataChangeTrigger.StatusValue
    if old.StatusCode != new.StatusCode:
        return True
    if trigger == ua.DataChangeTrigger.Status:
        return False
    if trigger == ua.DataChangeTrigger.StatusValueTimestamp and old.SourceTimestamp != new.SourceTimestamp:
        return True
    if wanted is None or wanted.DeadbandType == ua.DeadbandType.None_:
        return bool(old.Value != new.Value)
    before, after = _numbers(old), _numbers(new)
    if len(before) != len(after):
        return True
    return any(not abs(b - a) <= wanted.DeadbandValue for a, b in zip(before, after, strict=True))


def _numbers(value: ua.DataValue) -> list[float]:
    native = value.Value.Value
    return native if isinstance(native, list) else [native]
