"""What asyncua 2.1's server needs mended, each with the defect named; asyncua is patched at run time, never copied."""

from __future__ import annotations

from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server import address_space, monitored_item_service, subscription_service, uaprocessor

from edge_inspector.errors import OutputError
from edge_inspector.plc.tags import MAX_TEXT

MIN_PUBLISHING_MS = 20.0
_NEEDED: tuple[tuple[Any, str], ...] = (
    (subscription_service.SubscriptionService, "republish"),
    (subscription_service.SubscriptionService, "create_subscription"),
    (uaprocessor.UaProcessor, "process_message"),
    (monitored_item_service.MonitoredItemValues, "set_current_datavalue"),
    (address_space.AttributeService, "write"),
)
_MARK = "_edge_inspector"


def apply() -> None:
    """Patch asyncua once in this process. OutputError when a patched symbol is gone: not the pinned version."""
    for owner, name in _NEEDED:
        if not hasattr(owner, name):
            raise OutputError(f"asyncua has no {owner.__name__}.{name}: install asyncua>=2.1,<2.2")
    if hasattr(address_space.AttributeService, _MARK):
        return
    setattr(address_space.AttributeService, _MARK, True)
    _republish()
    _publishing_interval()
    _access_denied()
    _deepcopy()
    _writes()


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

    subscription_service.SubscriptionService.republish = republish


def _publishing_interval() -> None:
    """A publishing interval of 0 is taken literally: one client can fill the loop."""
    original = subscription_service.SubscriptionService.create_subscription

    async def create_subscription(
        self: Any, params: Any, callback: Any, session_id: Any, request_callback: Any = None
    ) -> Any:
        if request_callback is not None:  # a client's, not one of the server's own
            params.RequestedPublishingInterval = max(params.RequestedPublishingInterval, MIN_PUBLISHING_MS)
        return await original(self, params, callback, session_id, request_callback=request_callback)

    subscription_service.SubscriptionService.create_subscription = create_subscription


def _access_denied() -> None:
    """A refused request ends the connection, because its branch returns None for "go on"."""
    original = uaprocessor.UaProcessor.process_message

    async def process_message(self: Any, seqhdr: Any, body: Any) -> bool:
        answer = await original(self, seqhdr, body)
        return True if answer is None else answer

    uaprocessor.UaProcessor.process_message = process_message


def _deepcopy() -> None:
    """Each monitored item deep-copies each value: two thirds of a write's cost; ours are never changed in place."""

    def set_current_datavalue(self: Any, value: Any) -> None:
        self.old_dvalue = self.current_dvalue
        self.current_dvalue = value

    monitored_item_service.MonitoredItemValues.set_current_datavalue = set_current_datavalue


def _writes() -> None:
    """IndexRange is ignored, an array goes into a scalar tag, a Bad status stores null: each is refused instead."""
    original = address_space.AttributeService.write

    async def write(self: Any, params: Any, *args: Any, **kwargs: Any) -> list[ua.StatusCode]:
        refused = {
            i: code for i, w in enumerate(params.NodesToWrite) if (code := _refusal(self._aspace, w)) is not None
        }
        if not refused:
            answered: list[ua.StatusCode] = await original(self, params, *args, **kwargs)
            return answered
        kept = [w for i, w in enumerate(params.NodesToWrite) if i not in refused]
        answers = iter(await original(self, ua.WriteParameters(NodesToWrite=kept), *args, **kwargs) if kept else [])
        return [ua.StatusCode(refused[i]) if i in refused else next(answers) for i in range(len(params.NodesToWrite))]

    address_space.AttributeService.write = write


def _refusal(aspace: Any, write: Any) -> int | None:
    """The status code with which one WriteValue is refused, None = let asyncua decide."""
    if write.AttributeId != ua.AttributeIds.Value:
        return None
    if write.IndexRange:
        return int(ua.StatusCodes.BadWriteNotSupported)
    if write.Value is None or write.Value.Value is None:
        return int(ua.StatusCodes.BadTypeMismatch)
    if write.Value.StatusCode is not None and not write.Value.StatusCode.is_good():
        return int(ua.StatusCodes.BadWriteNotSupported)
    rank = aspace.read_attribute_value(write.NodeId, ua.AttributeIds.ValueRank)
    if rank.Value is None or rank.Value.Value is None:
        return None
    value = write.Value.Value.Value
    is_array = isinstance(value, list)
    if is_array != (rank.Value.Value >= 1):
        return int(ua.StatusCodes.BadTypeMismatch)
    if is_array:
        wanted = aspace.read_attribute_value(write.NodeId, ua.AttributeIds.ArrayDimensions)
        length = wanted.Value.Value[0] if wanted.Value is not None and wanted.Value.Value else 0
        if length and len(value) != length:  # a dimension of 0 means any length
            return int(ua.StatusCodes.BadOutOfRange)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return int(ua.StatusCodes.BadOutOfRange)
    return None
