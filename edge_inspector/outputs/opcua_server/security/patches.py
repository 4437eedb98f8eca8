"""Where asyncua 2.1's server lets clients in, each with the defect named; patched at run time, never copied.

A server without a gate (`put`) stays as asyncua made it.
"""

from __future__ import annotations

import struct
from typing import Any

from asyncua import ua
from asyncua.common.connection import SecureConnection
from asyncua.common.utils import NotEnoughData
from asyncua.crypto import uacrypto
from asyncua.server.internal_session import InternalSession
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import struct_from_binary, uatcp_to_binary
from cryptography.exceptions import InvalidSignature

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_server.security.certificates import Refused
from edge_inspector.outputs.opcua_server.security.gate import MAX_CHANNEL_MS, Gate

_NEEDED: tuple[tuple[Any, str], ...] = (
    (UaProcessor, "process"),
    (UaProcessor, "_process_message"),
    (InternalSession, "activate_session"),
    (SecureConnection, "select_policy"),
    (SecureConnection, "open"),
)
_MARK = "_edge_inspector_security"
_GATE = "_edge_inspector_gate"
_CREATE = ua.NodeId(ua.ObjectIds.CreateSessionRequest_Encoding_DefaultBinary)
_ACTIVATE = ua.NodeId(ua.ObjectIds.ActivateSessionRequest_Encoding_DefaultBinary)
_UNREADABLE = (
    ua.UaError, NotEnoughData, InvalidSignature, uacrypto.InvalidSignature, ValueError, TypeError, AttributeError,
    IndexError, struct.error,
)  # fmt: skip
"""What asyncua and cryptography raise on a message that is damaged, forged or out of turn."""


def apply() -> None:
    """Patch asyncua once in this process. OutputError when a patched symbol is gone: not the pinned version."""
    for owner, name in _NEEDED:
        if not hasattr(owner, name):
            raise OutputError(f"asyncua has no {owner.__name__}.{name}: install asyncua>=2.1,<2.2")
    if hasattr(UaProcessor, _MARK):
        return
    setattr(UaProcessor, _MARK, True)
    _channels()
    _sessions()
    _users()
    _policies()
    _lifetimes()


def put(iserver: Any, gate: Gate) -> None:
    """From now on `gate` judges the clients of this server."""
    setattr(iserver, _GATE, gate)


def gate_of(iserver: Any) -> Gate | None:
    gate: Gate | None = getattr(iserver, _GATE, None)
    return gate


def _channels() -> None:
    """The certificate with which a channel is opened is never checked, only one named later in a session's request, if
    any is; and what cannot be decrypted or verified is logged with a traceback and left without an answer.
    """
    original = UaProcessor.process

    async def process(self: Any, header: Any, body: Any) -> bool:
        gate = gate_of(self.iserver)
        if gate is None:
            return bool(await original(self, header, body))
        if self._transport.is_closing():
            return False
        try:
            if header.MessageType == ua.MessageType.SecureOpen:
                data = body.copy(header.body_size)
                await gate.channel(self, struct_from_binary(ua.AsymmetricAlgorithmHeader, data))
            return bool(await original(self, header, body))
        except Refused as exc:
            code, reason = exc.code, exc.reason
        except ua.UaStatusCodeError as exc:
            code, reason = exc.code, "asked for a security that is not offered"
        except _UNREADABLE:
            plain = header.MessageType != ua.MessageType.SecureOpen and gate.is_plain(self)
            code = ua.StatusCodes.BadDecodingError if plain else ua.StatusCodes.BadSecurityChecksFailed
            reason = "a message that cannot be verified or read"
        gate.tell(self, code, reason)
        self._transport.write(uatcp_to_binary(ua.MessageType.Error, ua.ErrorMessage(ua.StatusCode(code), "")))
        self._transport.close()  # sends the error first; `return False` would drop it
        return True

    UaProcessor.process = process


def _sessions() -> None:
    """A session can be made and used on a channel without security although none is offered; its owner is not looked
    at when another connection activates it, and a refused activation leaves that connection in possession of it.
    """
    original = UaProcessor._process_message

    async def _process_message(self: Any, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> bool:
        gate = gate_of(self.iserver)
        if gate is None or typeid not in (_CREATE, _ACTIVATE):
            return bool(await original(self, typeid, requesthdr, seqhdr, body))
        try:
            if typeid == _CREATE:
                owner = gate.session(self, struct_from_binary(ua.CreateSessionParameters, body.copy()))
                going = await original(self, typeid, requesthdr, seqhdr, body)
                gate.owns(self.session, owner)
                return bool(going)
            params = struct_from_binary(ua.ActivateSessionParameters, body.copy())
            await gate.login(self, requesthdr.AuthenticationToken, params)
            return bool(await original(self, typeid, requesthdr, seqhdr, body))
        except Refused as exc:
            gate.tell(self, exc.code, exc.reason)
            raise

    UaProcessor._process_message = _process_message


def _users() -> None:
    """Tokens are verified by any algorithm that the client names (RSA 1.5 and SHA-1 among them), the nonce in a
    password is not compared, an anonymous user has the certificate of its channel, and all of it holds up the loop.
    """
    original = InternalSession.activate_session

    def activate_session(self: Any, params: Any, peer_certificate: Any) -> Any:
        gate = gate_of(self.iserver)
        if gate is None:
            return original(self, params, peer_certificate)
        admission = gate.admitted(self)
        params.UserIdentityToken = ua.AnonymousIdentityToken()
        return original(self, params, admission)

    InternalSession.activate_session = activate_session


def _policies() -> None:
    """A policy or mode that is not offered is a nameless error, which no client is told."""
    original = SecureConnection.select_policy

    def select_policy(self: Any, uri: str, peer_certificate: Any, mode: Any = None) -> None:
        try:
            original(self, uri, peer_certificate, mode)
        except ua.UaStatusCodeError:
            raise
        except ua.UaError as exc:
            rejected = (
                ua.StatusCodes.BadSecurityPolicyRejected if mode is None else ua.StatusCodes.BadSecurityModeRejected
            )
            raise ua.UaStatusCodeError(rejected) from exc

    SecureConnection.select_policy = select_policy


def _lifetimes() -> None:
    """A channel lives as long as the client likes, 49 days for example, and with it the trust of its first minute."""
    original = SecureConnection.open

    def open_(self: Any, params: Any, server: Any) -> Any:
        if gate_of(server) is not None:
            params.RequestedLifetime = min(params.RequestedLifetime or MAX_CHANNEL_MS, MAX_CHANNEL_MS)
        return original(self, params, server)

    SecureConnection.open = open_
