"""One session with an OPC UA server, without a task of its own: whoever holds it calls all services himself."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, TypeVar

import anyio
from asyncua import Client, ua

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client.config import ServerConfig

SESSION_MS = 30_000
"""A server forgets us so long after we died: small CPUs have few sessions."""
CHANNEL_MS = 3_600_000
MOST_AT_ONCE = 1000
"""Nodes in one request to a server that sets no limit."""
_CLOSE_S = 1.0
_LIMITS = (
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite,
    ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
)
_NONSENSE = (
    AssertionError, AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
"""What asyncua's client raises on an answer that is damaged, or that nobody has asked for."""
_SPENT = (ua.StatusCodes.BadTooManySessions, ua.StatusCodes.BadMaxConnectionsReached)

T = TypeVar("T")


class SessionsSpent(OutputError):
    """The server has no session left for us."""


class Session:
    """Open until `close`. An OutputError out of any call means that the session is lost."""

    def __init__(self, client: Client, config: ServerConfig, now_ns: Callable[[], int]) -> None:
        """`client` has an active session: see dial.py."""
        self.namespaces: Sequence[str] = ()
        self.client = client
        self._config = config
        self._now_ns = now_ns
        self._max_read = self._max_write = self._max_browse = MOST_AT_ONCE
        self._renew_ns = now_ns() + _renewal_ns(client)

    async def greet(self) -> None:
        """Learn the server's namespaces and limits."""
        ids = [ua.NodeId(ua.ObjectIds.Server_NamespaceArray), *(ua.NodeId(limit) for limit in _LIMITS)]
        names, *limits = await self.read(ids)
        if not _is_good(names) or not isinstance(names.Value.Value, list):
            raise OutputError(f"{self._config.url} does not tell its namespaces")
        self.namespaces = [str(name) for name in names.Value.Value]
        told = [one.Value.Value if _is_good(one) and one.Value is not None else 0 for one in limits]
        self._max_read, self._max_write, self._max_browse = (
            min(int(limit), MOST_AT_ONCE) if isinstance(limit, int) and limit > 0 else MOST_AT_ONCE for limit in told
        )

    async def read(
        self, ids: Sequence[ua.NodeId], attribute: ua.AttributeIds = ua.AttributeIds.Value
    ) -> list[ua.DataValue]:
        """One DataValue for each node, in as few requests as the server allows."""
        return await self.read_attributes([(node, attribute) for node in ids])

    async def read_attributes(self, wanted: Sequence[tuple[ua.NodeId, ua.AttributeIds]]) -> list[ua.DataValue]:
        """One DataValue for each pair."""
        found: list[ua.DataValue] = []
        while len(found) < len(wanted):
            some = wanted[len(found) : len(found) + self._max_read]
            parameters = ua.ReadParameters()
            parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
            parameters.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node, attribute in some]
            with self._spoken("read"):
                try:
                    answers = await self.client.uaclient.read(parameters)
                except ua.uaerrors.BadTooManyOperations:
                    self._max_read = _fewer(len(some))
                    continue
            found += _all(answers, len(some))
        return found

    async def write(self, values: Sequence[tuple[ua.NodeId, ua.Variant]], *, stamped: bool) -> list[ua.StatusCode]:
        """One status code for each node. What does not fit into one request goes into several, in this order.

        `stamped` adds status Good and a time; without it nothing but the value is sent.
        """
        now = datetime.now(timezone.utc)
        answered: list[ua.StatusCode] = []
        while len(answered) < len(values):
            some = values[len(answered) : len(answered) + self._max_write]
            parameters = ua.WriteParameters()
            parameters.NodesToWrite = [
                ua.WriteValue(
                    NodeId=node,
                    AttributeId=ua.AttributeIds.Value,
                    Value=ua.DataValue(value, SourceTimestamp=now) if stamped else ua.DataValue(value, StatusCode=None),
                )
                for node, value in some
            ]
            with self._spoken("write"):
                try:
                    answers = await self.client.uaclient.write(parameters)
                except ua.uaerrors.BadTooManyOperations:
                    self._max_write = _fewer(len(some))
                    continue
            answered += _all(answers, len(some))
        return answered

    async def browse(self, nodes: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
        """What lies below each node, by hierarchical references; empty where we may not look."""
        found: list[list[ua.ReferenceDescription]] = []
        while len(found) < len(nodes):
            some = nodes[len(found) : len(found) + self._max_browse]
            parameters = ua.BrowseParameters()
            parameters.NodesToBrowse = [_downwards(node) for node in some]
            with self._spoken("browse"):
                try:
                    results = await self.client.uaclient.browse(parameters)
                except ua.uaerrors.BadTooManyOperations:
                    self._max_browse = _fewer(len(some))
                    continue
            found += [await self._rest(result) for result in _all(results, len(some))]
        return found

    async def register(self, ids: Sequence[ua.NodeId]) -> list[ua.NodeId]:
        """Shorter names for nodes that are used often; the nodes themselves where the server knows no such thing."""
        found: list[ua.NodeId] = []
        while len(found) < len(ids):
            some = list(ids[len(found) : len(found) + self._max_write])
            with self._spoken("register nodes"):
                try:
                    answers = await self.client.uaclient.register_nodes(some)
                except ua.UaStatusCodeError:
                    return list(ids)
            if len(answers) != len(some):
                return list(ids)
            found += answers
        return found

    async def call(self, request: Any) -> Any:
        """Any other service of the session; gives the answer's bytes."""
        with self._spoken(type(request).__name__.removesuffix("Request")):
            return await self.client.uaclient.session._send_request(request)

    async def renew_if_due(self) -> None:
        """Renew the secure channel when three quarters of its life are over."""
        if self._now_ns() < self._renew_ns:
            return
        with self._spoken("renew the secure channel"):
            await self.client.open_secure_channel(renew=True)
            self.client.uaclient.revolve_security_token()
        self._renew_ns = self._now_ns() + _renewal_ns(self.client)

    async def close(self) -> None:
        """Give session and channel back, as far as the server still listens. Raises nothing."""
        await hang_up(self.client)

    async def _rest(self, result: ua.BrowseResult) -> list[ua.ReferenceDescription]:
        found = list(result.References or ())
        while result.ContinuationPoint:
            parameters = ua.BrowseNextParameters(ContinuationPoints=[result.ContinuationPoint])
            with self._spoken("browse"):
                (result,) = _all(await self.client.uaclient.browse_next(parameters), 1)
            found += result.References or ()
        return found

    def _spoken(self, what: str) -> AbstractContextManager[None]:
        return spoken(self._config, what)


async def hang_up(client: Client) -> None:
    """Give back what a server holds for us, within a second; whatever state the client is in. Raises nothing."""
    protocol = client.uaclient.protocol
    if protocol is None:
        return
    transport = protocol.transport
    if transport is not None:
        with anyio.move_on_after(_CLOSE_S, shield=True):
            await _quiet(client.uaclient.close_session(True))
            await _quiet(client.uaclient.close_secure_channel())
    client.uaclient.disconnect_socket()
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()  # it would wait for ever for a server that reads nothing more


async def _quiet(closing: Awaitable[None]) -> None:
    """The server may be gone, and has then nothing to give back."""
    with suppress(ua.UaError, OSError, asyncio.TimeoutError, *_NONSENSE):
        await closing


def _renewal_ns(client: Client) -> int:
    return int(client.secure_channel_timeout * 0.75e6)


def _fewer(nodes: int) -> int:
    if nodes == 1:
        raise OutputError("the server refuses even one node in a request (BadTooManyOperations)")
    return nodes // 2


def _all(answers: Sequence[T] | None, wanted: int) -> list[T]:
    if answers is None or len(answers) != wanted:
        raise OutputError(f"the server answers for {len(answers or ())} nodes, expected {wanted}")
    return list(answers)


def _is_good(value: ua.DataValue) -> bool:
    return (value.StatusCode is None or value.StatusCode.is_good()) and value.Value is not None


def _downwards(node: ua.NodeId) -> ua.BrowseDescription:
    return ua.BrowseDescription(
        NodeId=node,
        BrowseDirection=ua.BrowseDirection.Forward,
        ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences),
        IncludeSubtypes=True,
        ResultMask=ua.BrowseResultMask.All,
    )


@contextmanager
def spoken(config: ServerConfig, what: str) -> Iterator[None]:
    """Every way in which asyncua says that a server is lost, as an OutputError."""
    try:
        yield
    except ua.UaStatusCodeError as exc:
        name = ua.StatusCode(exc.code).name
        if exc.code in _SPENT:
            raise SessionsSpent(f"{config.url} has no session left ({name}): close another client of the PLC") from exc
        raise OutputError(f"{config.url} refuses to {what}: {name}; {_REMEDY.get(name, 'look into its log')}") from exc
    except ua.UaError as exc:
        raise OutputError(f"{config.url} cannot {what}: {exc}") from exc
    except _NONSENSE as exc:
        raise OutputError(f"{config.url} answers what is no OPC UA when asked to {what}: {exc!r:.200}") from exc
    except asyncio.TimeoutError as exc:
        raise OutputError(f"{config.url} did not {what} within {config.timeout_s:g} s") from exc
    except OSError as exc:
        raise OutputError(f"{config.url} cannot {what}: {exc}; is the server on, and the address right?") from exc


_REMEDY = {
    "BadIdentityTokenRejected": "check user and password_file",
    "BadIdentityTokenInvalid": "check user: the server may not take this kind of login",
    "BadUserAccessDenied": "check user and password_file, and what the user may do",
    "BadSecurityChecksFailed": "let the PLC trust our certificate: it is in the link's folder, pki/own/cert.der",
    "BadCertificateUntrusted": "let the PLC trust our certificate: it is in the link's folder, pki/own/cert.der",
}
