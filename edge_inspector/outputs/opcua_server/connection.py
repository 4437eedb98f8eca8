"""One client's connection: bounded before it has a session, slowed to its budget, dropped when it does not read."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer, ServiceError
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.server import Server
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import header_from_binary, struct_from_binary, struct_to_binary

from edge_inspector.outputs.opcua_server import limits, samples
from edge_inspector.outputs.opcua_server.budget import Bucket, Budget
from edge_inspector.outputs.opcua_server.sessions import LimitedServer, LimitedSession

MAX_UNREAD = 524_288
"""Bytes of answers that a client may leave unread before it is dropped."""
_SEND_BUFFER = 262_144  # of the kernel, which else takes megabytes for each stopped client
_QUEUED = 8  # requests that wait before the socket is read no further
_WATCH_S = 2.0
_LINGER_S = 1.0
_SLICE = 20  # nodes of a large read or write that are worked on in one go
_HEADER = struct.Struct("<3scI")
_LEAST = {b"HEL": 8, b"ERR": 8, b"OPN": 12, b"MSG": 12, b"CLO": 12}  # bytes of the headers alone
_READ = ua.NodeId(ua.ObjectIds.ReadRequest_Encoding_DefaultBinary)
_WRITE = ua.NodeId(ua.ObjectIds.WriteRequest_Encoding_DefaultBinary)
_CREATE_SESSION = ua.NodeId(ua.ObjectIds.CreateSessionRequest_Encoding_DefaultBinary)
_SESSIONLESS = frozenset(
    ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"))
    for name in ("CreateSession", "ActivateSession", "FindServers", "GetEndpoints", "CloseSecureChannel")
)
_UNREADABLE = (ua.UaError, struct.error, ValueError, RecursionError, OverflowError)


class LimitedProcessor(UaProcessor):  # type: ignore[misc]
    """Counts before it decodes, and answers large reads and writes in slices."""

    async def process(self, header: Any, body: Any) -> bool:
        """asyncua serves requests on a channel that was never opened, with channel and token 0, by no policy at all."""
        if header.MessageType == ua.MessageType.SecureMessage and not self._connection.is_open():
            return False
        return bool(await super().process(header, body))

    async def _process_message(self, typeid: ua.NodeId, requesthdr: Any, seqhdr: Any, body: Any) -> bool:
        limits.check_count(typeid, bytes(body))
        if typeid == _CREATE_SESSION:
            await self._begin_session()
        elif typeid not in _SESSIONLESS and not self._is_its_own(requesthdr):
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        try:
            if typeid in (_READ, _WRITE) and self.session.is_activated():
                self._check_permission(typeid, body)
                await (self._read if typeid == _READ else self._write)(requesthdr, seqhdr, body)
                return True
            going: bool = await super()._process_message(typeid, requesthdr, seqhdr, body)
        except (ua.UaStatusCodeError, ServiceError):
            raise
        except _UNREADABLE as exc:
            raise ServiceError(ua.StatusCodes.BadDecodingError) from exc
        if self.session is not None and not self.session.closed:
            self.session.connected = True  # a new connection may have taken an old session over
        return going

    def send_response(
        self, requesthandle: int, seqhdr: Any, response: Any, msgtype: Any = ua.MessageType.SecureMessage
    ) -> None:
        if self._transport.is_closing():
            return  # a publication for a client that has gone: uvloop raises where asyncio is silent
        super().send_response(requesthandle, seqhdr, response, msgtype)
        self._drop_if_unread()

    async def close(self) -> None:
        if isinstance(self.session, LimitedSession):
            self.session.connected = False
        await super().close()

    async def _begin_session(self) -> None:
        if self.session is not None:  # asyncua would forget it and its watch, and they would live for ever
            await self.session.close_session(True)
        if self._session_watchdog_task is not None:
            self._session_watchdog_task.cancel()
        await self.iserver.make_room()

    def _is_its_own(self, requesthdr: Any) -> bool:
        return self.session is not None and requesthdr.AuthenticationToken == self.session.auth_token

    def _check_permission(self, typeid: ua.NodeId, body: Any) -> None:
        """As asyncua does for every other service; also marks that the client is alive."""
        permissions = self._connection.security_policy.permissions
        if permissions is not None and permissions.check_validity(self.session.user, typeid, body) is False:
            raise ua.uaerrors.BadUserAccessDenied
        self.session_last_activity = time.monotonic()
        self.session.touch()

    async def _read(self, requesthdr: Any, seqhdr: Any, body: Any) -> None:
        head = body.read(12)
        max_age, stamps = struct.unpack("<di", head)
        if not max_age >= 0:
            raise ServiceError(ua.StatusCodes.BadMaxAgeInvalid)
        if not 0 <= stamps <= 3:
            raise ServiceError(ua.StatusCodes.BadTimestampsToReturnInvalid)
        wanted = await self._decoded(ua.ReadValueId, body)
        values = await self.session.read(ua.ReadParameters(NodesToRead=wanted))
        parts = []
        for i, value in enumerate(values, 1):
            parts.append(struct_to_binary(samples.stamped(value, stamps)))
            if i % _SLICE == 0:
                await asyncio.sleep(0)
        self._send_list(ua.ReadResponse(), parts, requesthdr, seqhdr)

    async def _write(self, requesthdr: Any, seqhdr: Any, body: Any) -> None:
        wanted = await self._decoded(ua.WriteValue, body)
        response = ua.WriteResponse()
        response.Results = await self.session.write(ua.WriteParameters(NodesToWrite=wanted))
        self.send_response(requesthdr.RequestHandle, seqhdr, response)

    async def _decoded(self, kind: type, body: Any) -> list[Any]:
        (count,) = struct.unpack("<i", body.read(4))
        wanted = []
        for i in range(1, count + 1):
            wanted.append(struct_from_binary(kind, body))
            if i % _SLICE == 0:
                await asyncio.sleep(0)
        return wanted

    def _send_list(self, response: Any, parts: list[bytes], requesthdr: Any, seqhdr: Any) -> None:
        """A response whose only list is binary already; an empty one ends in its length and that of the diagnostics."""
        response.ResponseHeader.RequestHandle = requesthdr.RequestHandle
        empty = struct_to_binary(response)
        data = b"".join((empty[:-8], struct.pack("<i", len(parts)), *parts, empty[-4:]))
        if not self._transport.is_closing():
            self._transport.write(self._connection.message_to_binary(data, request_id=seqhdr.RequestId))
            self._drop_if_unread()

    def _drop_if_unread(self) -> None:
        if self._transport.get_write_buffer_size() > MAX_UNREAD:
            self._transport.abort()


class LimitedConnection(OPCUAProtocol):  # type: ignore[misc]
    """A connection that is closed when it is half open, malformed, or does not read."""

    _buffer: bytes

    def __init__(self, budget: Budget, newcomers: Bucket, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._budget = budget
        self._newcomers = newcomers
        self._spender = budget.spender()
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self.clients) >= limits.MAX_CONNECTIONS and not self._make_room():
            transport.abort()  # type: ignore[attr-defined]
            return
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        super().connection_made(transport)
        self.processor = LimitedProcessor(self.iserver, transport, self.limits)
        self.processor.set_policies(self.policies)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._take_messages()

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        spender = self._spender if self.has_session else self._newcomers
        await self._budget.turn(spender, first=self.has_session and self.processor.session.writes_now)
        began = time.thread_time()  # what other processes take of the core is not the client's fault
        going = False
        try:
            going = bool(await super()._process_one_msg(header, buf))
        finally:
            self._budget.charge(spender, time.thread_time() - began)
            if not going:  # nor is anything read after a message that cannot be understood
                self._end()
        if self._paused and self.messages.qsize() < _QUEUED // 2:
            self._take_messages()
        await asyncio.sleep(0)  # the next message may be here already: one turn of the loop is one message
        return going

    async def _activation_watchdog(self) -> None:
        """Again and again, not once: also a session that has ended leaves no open connection behind."""
        since = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_S)
            now = time.monotonic()
            if self.has_session:
                since = now
            elif now - since > limits.PENDING_S:
                self._abort()
                return

    @property
    def has_session(self) -> bool:
        session = self.processor.session if self.processor is not None else None
        return session is not None and bool(session.is_activated())

    def _make_room(self) -> bool:
        """The oldest connection without a session makes place: half-open ones cannot keep the PLC out."""
        for client in self.clients:
            if not client.has_session:
                client._abort()
                self.clients.remove(client)
                return True
        return False

    def _take_messages(self) -> None:
        """Queue whole messages, a few at most; the rest stays in the socket, and so slows down its sender only."""
        at = 0
        while self.messages.qsize() < _QUEUED and len(self._buffer) - at >= _HEADER.size:
            kind, _, size = _HEADER.unpack_from(self._buffer, at)
            if size > limits.MAX_CHUNK or size <= _LEAST.get(kind, limits.MAX_CHUNK):
                self._abort()
                return
            if len(self._buffer) - at < size:
                break
            message = Buffer(self._buffer[at : at + size])
            at += size
            self.messages.put_nowait((header_from_binary(message), message))
        self._buffer = self._buffer[at:]
        full = self.messages.qsize() >= _QUEUED
        if full != self._paused and self.transport is not None:
            self._paused = full
            if full:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _end(self) -> None:
        """After what has been written is sent, or soon without it."""
        if self.transport is not None:
            self.transport.close()
            asyncio.get_running_loop().call_later(_LINGER_S, self.transport.abort)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class LimitedBinaryServer(BinaryServer):  # type: ignore[misc]
    """Makes our connections, which share one budget; those without a session count as one client."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._budget = Budget()
        self._newcomers = self._budget.spender()

    def _make_protocol(self) -> LimitedConnection:
        return LimitedConnection(
            self._budget,
            self._newcomers,
            iserver=self.iserver,
            policies=self._policies,
            clients=self.clients,
            closing_tasks=self.closing_tasks,
            limits=self.limits,
        )


class LimitedUaServer(Server):  # type: ignore[misc]
    """asyncua's server with our connections and sessions."""

    def __init__(self, iserver: LimitedServer) -> None:
        super().__init__(iserver=iserver)
        self.limits = limits.Transport()

    async def start(self) -> None:
        """OSError when the port is taken, or the system gives no socket."""
        await self._setup_server_nodes()
        await self.iserver.start()
        host, port = self._get_bind_socket_info()
        self.bserver = LimitedBinaryServer(self.iserver, host, port, self.limits)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()
        if not self.bserver._server.sockets:  # asyncio may keep that for itself
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
