"""asyncua's sessions with our limits: a client has its own subscriptions, a few of them, and writes by right."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession, SessionState

from edge_inspector.outputs.opcua_server import limits
from edge_inspector.outputs.opcua_server.samples import MAX_QUEUE

_ELEMENT = 8  # bytes of an array's element, the longest number at least


class LimitedServer(InternalServer):  # type: ignore[misc]
    """asyncua's server core with our limits; `may_write` says whether a session's user may write at all."""

    time_task: Any

    def __init__(self, user_manager: Any, may_write: Callable[[Any], bool]) -> None:
        super().__init__(user_manager=user_manager)
        self.may_write = may_write
        self.allow_remote_admin = False
        self.max_session_timeout_ms = limits.SESSION_TIMEOUT_MS
        self.max_connections = limits.MAX_CONNECTIONS
        self.max_pending_activation_seconds = limits.PENDING_S
        self.max_monitored_item_queue_size = MAX_QUEUE
        self.max_unacked_messages_per_subscription = limits.MAX_UNACKNOWLEDGED
        self.max_subscriptions = limits.MAX_SESSIONS * limits.MAX_SUBSCRIPTIONS

    async def stop(self) -> None:
        """asyncua waits up to a second for its clock to tick again."""
        if self.time_task is not None:
            self.time_task.cancel()
            with suppress(asyncio.CancelledError):
                await self.time_task
            self.time_task = None
        await super().stop()

    async def make_room(self) -> None:
        """Before a new session: one whose client is gone makes place, or the oldest that nobody has activated.

        BadTooManySessions when there is none.
        """
        sessions = list(self._external_sessions.values())
        if len(sessions) < limits.MAX_SESSIONS:
            return
        gone = [s for s in sessions if not s.connected]
        for session in (*gone, *(s for s in sessions if s.state is SessionState.Created))[:1]:
            await session.close_session(True)
            return
        raise ServiceError(ua.StatusCodes.BadTooManySessions)

    def session_of(self, subscription: Any) -> Any:
        """The session that owns a subscription; None when it is closed."""
        return next((s for s in self._external_sessions.values() if s.session_id == subscription.session_id), None)

    def create_session(self, name: str, user: Any = None, external: bool = False) -> InternalSession:
        """asyncua counts its tokens from 1000: whoever guesses one takes a session over. Ours are random."""
        session = LimitedSession(self, self.aspace, self.subscription_service, name, external=external)
        self.unregister_external_session(session)
        session.auth_token = ua.NodeId(os.urandom(32), 0, ua.NodeIdType.ByteString)
        if external:
            self.register_external_session(session)
        return session


class LimitedSession(InternalSession):  # type: ignore[misc]
    """A client's session: only its own subscriptions, a bounded number of them and of items, writes by right."""

    user: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connected = True
        self._wrote_at: float | None = None

    @property
    def writes_now(self) -> bool:
        """Whether a tag of the PLC has been written here a short while ago, as a heartbeat is."""
        return self._wrote_at is not None and time.monotonic() - self._wrote_at < limits.WRITES_S

    @property
    def closed(self) -> bool:
        return bool(self.state is SessionState.Closed)

    def activate_session(
        self, params: ua.ActivateSessionParameters, peer_certificate: bytes | None
    ) -> ua.ActivateSessionResult:
        result = super().activate_session(params, peer_certificate)
        if self.user.role == UserRole.Admin:  # asyncua lets its own administrators write everything, types included
            self.user = replace(self.user, role=UserRole.User)
        return result

    async def close_session(self, delete_subs: bool = True) -> None:
        """Subscriptions that outlive their session belong to nobody, and count for everybody."""
        await super().close_session(True)

    async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        values: list[ua.DataValue] = await super().read(params)
        if sum(_bytes(v) for v in values) > limits.MAX_ANSWER:
            raise ServiceError(ua.StatusCodes.BadResponseTooLarge)
        if not self.iserver.may_write(self.user):
            for i, wanted in enumerate(params.NodesToRead):
                if wanted.AttributeId == ua.AttributeIds.UserAccessLevel and values[i].StatusCode.is_good():
                    level = values[i].Value.Value & ~(1 << ua.AccessLevel.CurrentWrite)
                    values[i] = ua.DataValue(ua.Variant(level, ua.VariantType.Byte))
        return values

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        if not self.iserver.may_write(self.user):
            return [ua.StatusCode(ua.StatusCodes.BadUserAccessDenied) for _ in params.NodesToWrite]
        now = datetime.now(timezone.utc)
        for wanted in params.NodesToWrite:
            if wanted.Value is not None and wanted.Value.SourceTimestamp is None:
                wanted.Value = replace(wanted.Value, SourceTimestamp=now)
        answers: list[ua.StatusCode] = await super().write(params)
        if any(answer.is_good() for answer in answers):
            self._wrote_at = time.monotonic()
        return answers

    async def browse(self, params: ua.BrowseParameters) -> list[ua.BrowseResult]:
        """Nodes beyond the limit of references answer BadNoContinuationPoints: the client asks for them again."""
        results: list[ua.BrowseResult] = []
        references = 0
        for description in params.NodesToBrowse:
            node = self.aspace.get(description.NodeId)
            references += len(node.references) if node is not None else 1
            if results and references > limits.MAX_REFERENCES:
                code = ua.StatusCode(ua.StatusCodes.BadNoContinuationPoints)
                results.append(ua.BrowseResult(StatusCode=code))
            else:
                results += self.iserver.view_service.browse(ua.BrowseParameters(NodesToBrowse=[description]))
        return results

    async def translate_browsepaths_to_nodeids(self, params: list[ua.BrowsePath]) -> list[ua.BrowsePathResult]:
        """asyncua fails as a whole on a path without elements."""
        nothing = ua.StatusCode(ua.StatusCodes.BadNothingToDo)
        service = self.iserver.view_service
        return [
            service.translate_browsepaths_to_nodeids([path])[0]
            if path.RelativePath.Elements
            else ua.BrowsePathResult(StatusCode=nothing)
            for path in params
        ]

    async def create_subscription(
        self, params: ua.CreateSubscriptionParameters, callback: Any, request_callback: Any = None
    ) -> ua.CreateSubscriptionResult:
        if len(self._own()) >= limits.MAX_SUBSCRIPTIONS:
            raise ServiceError(ua.StatusCodes.BadTooManySubscriptions)
        return await super().create_subscription(params, callback, request_callback)

    async def create_monitored_items(self, params: ua.CreateMonitoredItemsParameters) -> list[Any]:
        self._check_own(params.SubscriptionId)
        services = [s.monitored_item_srv for s in self._own().values()]
        items = sum(len(s._monitored_items) for s in services)
        events = sum(len(ids) for s in services for ids in s._monitored_events.values())
        wanted = [i.ItemToMonitor.AttributeId for i in params.ItemsToCreate]
        events += wanted.count(ua.AttributeIds.EventNotifier)
        if items + len(wanted) > limits.MAX_ITEMS or events > limits.MAX_EVENT_ITEMS:
            code = ua.StatusCode(ua.StatusCodes.BadTooManyMonitoredItems)
            return [ua.MonitoredItemCreateResult(StatusCode=code) for _ in params.ItemsToCreate]
        results: list[Any] = await super().create_monitored_items(params)
        return results

    async def modify_monitored_items(self, params: ua.ModifyMonitoredItemsParameters) -> list[Any]:
        self._check_own(params.SubscriptionId)
        results: list[Any] = await super().modify_monitored_items(params)
        return results

    async def delete_monitored_items(self, params: ua.DeleteMonitoredItemsParameters) -> list[ua.StatusCode]:
        self._check_own(params.SubscriptionId)
        results: list[ua.StatusCode] = await super().delete_monitored_items(params)
        return results

    async def set_monitoring_mode(self, params: ua.SetMonitoringModeParameters) -> list[ua.StatusCode]:
        self._check_own(params.SubscriptionId)
        results: list[ua.StatusCode] = await super().set_monitoring_mode(params)
        return results

    def modify_subscription(self, params: ua.ModifySubscriptionParameters) -> ua.ModifySubscriptionResult:
        self._check_own(params.SubscriptionId)
        return super().modify_subscription(params)

    def republish(self, params: ua.RepublishParameters) -> ua.NotificationMessage:
        self._check_own(params.SubscriptionId)
        return super().republish(params)

    async def set_publishing_mode(self, params: ua.SetPublishingModeParameters) -> list[ua.StatusCode]:
        params.SubscriptionIds = [self._own_or_none(i) for i in params.SubscriptionIds]
        results: list[ua.StatusCode] = await super().set_publishing_mode(params)
        return results

    async def delete_subscriptions(self, ids: list[int]) -> list[ua.StatusCode]:
        results: list[ua.StatusCode] = await super().delete_subscriptions([self._own_or_none(i) for i in ids])
        return results

    def publish(self, acks: Any = None) -> tuple[int, list[ua.StatusCode]]:
        own = self._own()
        if not own:
            raise ServiceError(ua.StatusCodes.BadNoSubscription)
        unknown = []
        for i, ack in enumerate(acks or []):
            ack.SubscriptionId = self._own_or_none(ack.SubscriptionId)
            if ack.SubscriptionId and ack.SequenceNumber not in own[ack.SubscriptionId]._not_acknowledged_results:
                unknown.append(i)
        _, results = super().publish(acks)
        for i in unknown:  # asyncua says Good
            results[i] = ua.StatusCode(ua.StatusCodes.BadSequenceNumberUnknown)
        return len(own), results

    async def transfer_subscriptions(self, params: ua.TransferSubscriptionsParameters, callback: Any) -> list[Any]:
        """Only from a session of the same user whose client is gone; its publish requests are ours from now on."""
        own = self._own()
        others = [i for i in dict.fromkeys(params.SubscriptionIds) if i not in own and self._may_take(i)]
        taken = {*own, *others[: limits.MAX_SUBSCRIPTIONS - len(own)]}
        allowed = [i if i in taken else 0 for i in params.SubscriptionIds]
        results: list[Any] = await super().transfer_subscriptions(
            ua.TransferSubscriptionsParameters(allowed, params.SendInitialValues), callback
        )
        subscriptions = self.subscription_service.subscriptions
        for number in filter(None, allowed):  # asyncua goes on asking the old connection for publish requests
            subscriptions[number].pub_request_callback = callback.__self__.get_publish_request
        return results

    def _may_take(self, subscription_id: int) -> bool:
        subscription = self.subscription_service.subscriptions.get(subscription_id)
        if subscription is None:
            return False
        owner = self.iserver.session_of(subscription)
        return owner is not None and not owner.connected and owner.user == self.user

    def _own(self) -> dict[int, Any]:
        everybodys = self.subscription_service.subscriptions
        return {i: s for i, s in everybodys.items() if s.session_id == self.session_id}

    def _own_or_none(self, subscription_id: int) -> int:
        """Another session's is as unknown as one that does not exist; no subscription has the number 0."""
        return subscription_id if subscription_id in self._own() else 0

    def _check_own(self, subscription_id: int) -> None:
        if subscription_id not in self._own():
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)


def _bytes(value: ua.DataValue) -> int:
    native = value.Value.Value if value.Value is not None else None
    size = len(native) if isinstance(native, bytes | str | list) else 1
    return size * _ELEMENT if isinstance(native, list) else size
