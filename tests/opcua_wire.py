"""A client that speaks OPC UA over TCP by hand, so that it can also say what no library lets it say."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from types import TracebackType
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, struct_to_binary

NONE_URI = "http://opcfoundation.org/UA/SecurityPolicy#None"
HEADER = 8
TIMEOUT_S = 5.0
_SOON_S = 0.1


class Closed(ConnectionError):
    """The server has closed the connection."""


class Refused(Exception):
    """A service fault instead of what was asked for."""


class Wire:
    """One TCP connection. `channel`, `token` and `sequence` are what the next message will carry."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._buffer = b""
        self.port = port
        self.channel = 0
        self.token = 0
        self.sequence = 0
        self.authentication = ua.NodeId()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    # --- what is said -------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Bytes as they are. Closed: nobody takes them."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise Closed(str(exc)) from exc

    def hello(self, **limits: int) -> bytes:
        """The answer's body after Hello with these limits."""
        message = ua.Hello(EndpointUrl=f"opc.tcp://127.0.0.1:{self.port}/edge-inspector")
        for name in ("ReceiveBufferSize", "SendBufferSize"):
            setattr(message, name, limits.get(name, 65536))
        self.send(frame(b"HELF", struct_to_binary(message)))
        kind, body = self.receive()
        if kind == b"ERR":
            raise Closed(ua.StatusCode(struct.unpack_from("<I", body)[0]).name)
        return body

    def open(self) -> Wire:
        """A secure channel without security."""
        request = ua.OpenSecureChannelRequest()
        request.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        request.Parameters.RequestedLifetime = 3_600_000
        header = struct_to_binary(ua.AsymmetricAlgorithmHeader(NONE_URI))
        self.sequence += 1
        body = header + struct.pack("<II", self.sequence, self.sequence) + struct_to_binary(request)
        self.send(frame(b"OPNF", struct.pack("<I", 0) + body))
        _, answer = self.receive()
        self.channel = struct.unpack_from("<I", answer)[0]
        buffer = Buffer(answer[4:])
        struct_from_binary(ua.AsymmetricAlgorithmHeader, buffer)
        buffer.skip(8)
        nodeid_from_binary(buffer)
        struct_from_binary(ua.ResponseHeader, buffer)
        result = struct_from_binary(ua.OpenSecureChannelResult, buffer)
        self.token = result.SecurityToken.TokenId
        return self

    def ask(self, request: Any) -> Any:
        """Send one request and decode its answer, which may be a ServiceFault."""
        request.RequestHeader.AuthenticationToken = self.authentication
        request.RequestHeader.TimeoutHint = 4000
        return self.ask_bytes(struct_to_binary(request))

    def ask_bytes(self, body: bytes) -> Any:
        """Send one request whose type id, header and parameters are in `body`, and decode its answer."""
        self.send(self.message(body))
        return self.answer()

    def message(self, body: bytes) -> bytes:
        """`body` as one chunk of the open channel."""
        self.sequence += 1
        return frame(b"MSGF", struct.pack("<IIII", self.channel, self.token, self.sequence, self.sequence) + body)

    def session(self, activate: bool = True) -> Wire:
        """Create a session, and activate it as anonymous unless told not to."""
        request = ua.CreateSessionRequest()
        request.Parameters.RequestedSessionTimeout = 30_000
        request.Parameters.EndpointUrl = f"opc.tcp://127.0.0.1:{self.port}/edge-inspector"
        request.Parameters.SessionName = "wire"
        request.Parameters.ClientNonce = bytes(32)
        answer = self.ask(request)
        if result(answer) != "Good":
            raise Refused(f"CreateSession: {result(answer)}")
        self.authentication = answer.Parameters.AuthenticationToken
        if activate:
            activated = self.activate(ua.AnonymousIdentityToken(PolicyId="anonymous"))
            if result(activated) != "Good":
                raise Refused(f"ActivateSession: {result(activated)}")
        return self

    def activate(self, token: Any) -> Any:
        request = ua.ActivateSessionRequest()
        request.Parameters.UserIdentityToken = token
        request.Parameters.LocaleIds = []
        request.Parameters.ClientSoftwareCertificates = []
        return self.ask(request)

    def finish(self) -> None:
        """Say no more, and wait until the server has hung up. TimeoutError: it does not."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(65536):
                pass
        except ConnectionResetError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOTCONN:
                raise

    # --- what comes back ----------------------------------------------------------------------------------------------

    def answer(self) -> Any:
        kind, body = self.receive()
        if kind == b"ERR":
            raise Closed(ua.StatusCode(struct.unpack_from("<I", body)[0]).name)
        buffer = Buffer(body[16:])
        type_id = nodeid_from_binary(buffer)
        buffer = Buffer(body[16:])
        return struct_from_binary(ua.extension_objects_by_typeid[type_id], buffer)

    def until_answered(self, body: bytes) -> None:
        """Send one request and read, whatever else comes, until it has been answered."""
        self.send(self.message(body))
        while True:
            kind, answer = self.receive()
            if kind == b"MSG" and struct.unpack_from("<I", answer, 12)[0] == self.sequence:
                return

    def until_settled(self, body: bytes, fence: bytes) -> None:
        """Send one request and wait for its answer; where none comes soon, as for Publish, `fence` must be answered."""
        self._socket.settimeout(_SOON_S)
        try:
            self.until_answered(body)
        except TimeoutError:
            self._socket.settimeout(TIMEOUT_S)
            self.until_answered(fence)
        finally:
            self._socket.settimeout(TIMEOUT_S)

    def receive(self) -> tuple[bytes, bytes]:
        """Kind and body of the next message. Closed: there will be none. TimeoutError: the server says nothing."""
        self._fill(HEADER)
        size = struct.unpack_from("<I", self._buffer, 4)[0]
        self._fill(size)
        message, self._buffer = self._buffer[:size], self._buffer[size:]
        return message[:3], message[HEADER:]

    def _fill(self, size: int) -> None:
        """Until so many bytes wait in the buffer; what has come stays there when the time is over."""
        while len(self._buffer) < size:
            try:
                more = self._socket.recv(65536)
            except ConnectionResetError as exc:
                raise Closed("reset") from exc
            if not more:
                raise Closed("closed by the server")
            self._buffer += more


def frame(kind: bytes, body: bytes) -> bytes:
    """A message of that type and chunk mark with the right length."""
    return kind + struct.pack("<I", HEADER + len(body)) + body


def result(answer: Any) -> str:
    """The name of the service result."""
    return str(answer.ResponseHeader.ServiceResult.name)


def connected(port: int) -> Wire:
    """With an activated anonymous session."""
    wire = Wire(port)
    with contextlib.ExitStack() as stack:
        stack.push(wire)
        wire.hello()
        wire.open().session()
        stack.pop_all()
    return wire
