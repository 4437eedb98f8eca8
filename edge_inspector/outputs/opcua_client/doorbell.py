"""A subscription that says only "look now": what has changed is read, so that it comes in one piece."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client.session import SESSION_MS, Session

_KEEP_ALIVE_MS = 1000.0
_PATIENCE = 3
"""So many signs of life may fail to come."""
_LEAST_PATIENCE_NS = 1_000_000_000


class Doorbell:
    """One subscription of one session. The outstanding publish request is a plain future: asyncua's own loop for it
    is a task that logs a traceback each second once the connection is lost.
    """

    def __init__(self, session: Session, wake: Callable[[], None], now_ns: Callable[[], int]) -> None:
        self._session = session
        self._wake = wake
        self._now_ns = now_ns
        self._answer: asyncio.Future[Any] | None = None
        self._acknowledge: list[ua.SubscriptionAcknowledgement] = []
        self._heard_ns = 0
        self._silent_ns = self._late_ns = 0
        self._missed_ns: int | None = None

    async def hang(self, nodes: Sequence[ua.NodeId], interval_ms: float) -> None:
        """Subscribe. OutputError when the server does not allow it."""
        made = await self._call(ua.CreateSubscriptionRequest(Parameters=_parameters(interval_ms)))
        sign_of_life_ms = made.RevisedPublishingInterval * max(made.RevisedMaxKeepAliveCount, 1)
        self._silent_ns = int(_PATIENCE * max(sign_of_life_ms, _KEEP_ALIVE_MS) * 1e6)
        self._late_ns = max(_LEAST_PATIENCE_NS, int(_PATIENCE * made.RevisedPublishingInterval * 1e6))
        items = [_item(handle, node, interval_ms) for handle, node in enumerate(nodes)]
        parameters = ua.CreateMonitoredItemsParameters(SubscriptionId=made.SubscriptionId, ItemsToCreate=items)
        request = ua.CreateMonitoredItemsRequest(Parameters=parameters)
        for result in struct_from_binary(ua.CreateMonitoredItemsResponse, await self._session.call(request)).Results:
            if not result.StatusCode.is_good():
                raise OutputError(f"the server does not watch a node: {result.StatusCode.name}; set subscribe = false")
        self._heard_ns = self._now_ns()
        self._listen()

    def rang(self) -> bool:
        """Whether something has changed since the last call. OutputError when the subscription is dead."""
        now = self._now_ns()
        rang = False
        if self._answer is not None and self._answer.done():
            rang = self._taken(self._answer)
            self._heard_ns = now
            self._listen()
        if rang:
            self._missed_ns = None
        elif self._missed_ns is not None and now - self._missed_ns > self._late_ns:
            raise OutputError("values change in the server, but its subscription does not tell; subscribed anew")
        if now - self._heard_ns > self._silent_ns:
            raise OutputError(f"the subscription is silent for {(now - self._heard_ns) / 1e9:.1f} s; subscribed anew")
        return rang

    def take_down(self) -> None:
        """Wait for no answer any more; the subscription ends with its session."""
        if self._answer is not None and not self._answer.cancel() and not self._answer.cancelled():
            self._answer.exception()  # looked at, so that asyncio does not report it

    def missed(self) -> None:
        """Something has changed without a ring: one must follow soon."""
        self._missed_ns = self._now_ns() if self._missed_ns is None else self._missed_ns

    def _taken(self, answer: asyncio.Future[Any]) -> bool:
        try:
            body = answer.result()
            self._session.client.uaclient.protocol.check_answer(body, " in response to PublishRequest")
        except (ua.UaError, OSError) as exc:
            raise OutputError(f"the subscription is lost: {exc}") from exc
        response = struct_from_binary(ua.PublishResponse, body)
        message = response.Parameters.NotificationMessage
        notifications = message.NotificationData or ()
        for one in notifications:
            if isinstance(one, ua.StatusChangeNotification):
                raise OutputError(f"the server has ended the subscription: {one.Status.name}")
        if notifications:
            acknowledgement = ua.SubscriptionAcknowledgement(response.Parameters.SubscriptionId, message.SequenceNumber)
            self._acknowledge = [acknowledgement]
        return bool(notifications)

    def _listen(self) -> None:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements, self._acknowledge = self._acknowledge, []
        protocol = self._session.client.uaclient.protocol
        try:
            self._answer = protocol._send_request(request, timeout=0)
        except OSError as exc:
            raise OutputError(f"the subscription is lost: {exc}") from exc
        self._answer.add_done_callback(lambda _: self._wake())

    async def _call(self, request: ua.CreateSubscriptionRequest) -> ua.CreateSubscriptionResult:
        return struct_from_binary(ua.CreateSubscriptionResponse, await self._session.call(request)).Parameters


def _parameters(interval_ms: float) -> ua.CreateSubscriptionParameters:
    return ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=interval_ms,
        RequestedLifetimeCount=math.ceil(SESSION_MS / interval_ms),
        RequestedMaxKeepAliveCount=math.ceil(_KEEP_ALIVE_MS / interval_ms),
        MaxNotificationsPerPublish=0,
        PublishingEnabled=True,
        Priority=0,
    )


def _item(handle: int, node: ua.NodeId, interval_ms: float) -> ua.MonitoredItemCreateRequest:
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=handle, SamplingInterval=interval_ms, QueueSize=1, DiscardOldest=True
        ),
    )
