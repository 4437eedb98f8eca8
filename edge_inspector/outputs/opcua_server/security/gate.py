"""Who gets in: each channel, session and login is judged here before asyncua goes on with it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
import structlog
from asyncua import ua
from asyncua.common.connection import SecureConnection
from asyncua.server.internal_session import InternalSession, SessionState
from asyncua.server.user_managers import UserManager
from cryptography import x509

from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_server.limits import MAX_READERS
from edge_inspector.outputs.opcua_server.security import tokens
from edge_inspector.outputs.opcua_server.security.certificates import (
    Refused,
    identity,
    sent_by_client,
    uris,
)
from edge_inspector.outputs.opcua_server.security.endpoints import NONE, Offer
from edge_inspector.outputs.opcua_server.security.logins import Logins, StationUser, anonymous
from edge_inspector.outputs.opcua_server.security.own import OwnCertificate
from edge_inspector.outputs.opcua_server.security.trusting import Trusting

_log = structlog.get_logger(__name__)
MAX_CHANNEL_MS = 3_600_000
MIN_NONCE_BYTES = 32
_TELL_AGAIN_NS = 60_000_000_000
_MAX_TOLD = 64


Chain: TypeAlias = tuple[x509.Certificate, ...]
"""A client's certificate and the issuers that it sent behind it."""


@dataclass(frozen=True)
class Owner:
    """The application that has made a session; no other one may activate it."""

    certificate: bytes
    policy: str


@dataclass
class Admission:
    """The door of `Doorkeeper`: nobody but the gate can hold one."""

    user: StationUser


class Doorkeeper(UserManager):  # type: ignore[misc]
    """asyncua's question who a user is; it is answered before it is asked, so that hashing never holds up the loop."""

    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> StationUser | None:
        return certificate.user if isinstance(certificate, Admission) else None


class Gate:
    """Judges clients by what is offered, whom we trust and who our users are. Made on the event loop."""

    def __init__(
        self, offer: Offer, own: OwnCertificate | None, trusting: Trusting, logins: Logins, clock: Clock
    ) -> None:
        self.own = own
        self.logins = logins
        self.trusting = trusting
        self._offer = offer
        self._clock = clock
        self._owners: WeakKeyDictionary[InternalSession, Owner] = WeakKeyDictionary()
        self._admitted: WeakKeyDictionary[InternalSession, StationUser] = WeakKeyDictionary()
        self._sent: WeakKeyDictionary[SecureConnection, Chain] = WeakKeyDictionary()
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._told: OrderedDict[tuple[str, int], int] = OrderedDict()

    async def channel(self, processor: Any, header: ua.AsymmetricAlgorithmHeader) -> None:
        """A client opens or renews a secure channel. Refused before anything is decrypted."""
        connection = processor._connection
        if connection.is_open() and header.SecurityPolicyURI != connection.security_policy.URI:
            raise Refused(ua.StatusCodes.BadSecurityPolicyRejected, "it renews its channel by another policy")
        if header.SecurityPolicyURI == NONE.URI:
            return  # enough to ask for endpoints; `session` looks whether it is enough for more
        if not self._offer.secure or self.own is None or header.SecurityPolicyURI not in tokens.POLICIES:
            raise Refused(
                ua.StatusCodes.BadSecurityPolicyRejected, f"policy {header.SecurityPolicyURI!r:.80} is not offered"
            )
        sent = sent_by_client(header.SenderCertificate)
        opened_by = self._sent.get(connection)  # asyncua verifies by that one, whatever the renewal shows
        if opened_by is not None and identity(sent[0]) != identity(opened_by[0]):
            raise Refused(ua.StatusCodes.BadSecurityChecksFailed, "it renews its channel with another certificate")
        await anyio.to_thread.run_sync(self.trusting.check, sent, limiter=self._one_at_a_time)
        ours = connection.security_policy.host_certificate if connection.is_open() else self.own.der
        if header.ReceiverCertificateThumbPrint != hashlib.sha1(ours, usedforsecurity=False).digest():
            raise Refused(
                ua.StatusCodes.BadCertificateInvalid, "it encrypts for another certificate than ours: trust ours anew"
            )
        self._sent[connection] = sent

    def chain_of(self, connection: SecureConnection) -> Chain | None:
        """The certificates with which a channel was opened, None = without."""
        return self._sent.get(connection)

    def session(self, processor: Any, params: ua.CreateSessionParameters) -> Owner:
        """A client wants a session on its channel: whose it will be. Refused."""
        policy = processor._connection.security_policy
        if policy.URI == NONE.URI:
            if not self._offer.plain:
                raise Refused(
                    ua.StatusCodes.BadSecurityPolicyRejected, "without security one may only ask for the endpoints"
                )
            return _owner(policy)
        if not bytes(params.ClientCertificate or b"").startswith(policy.peer_certificate):
            raise Refused(ua.StatusCodes.BadSecurityChecksFailed, "its session is for another certificate")
        (certificate, *_) = sent_by_client(policy.peer_certificate)
        if params.ClientDescription.ApplicationUri not in uris(certificate):
            raise Refused(
                ua.StatusCodes.BadCertificateUriInvalid,
                f"it calls itself {params.ClientDescription.ApplicationUri!r:.200}, its certificate"
                f" {uris(certificate)!r:.200}",
            )
        if len(params.ClientNonce or b"") < MIN_NONCE_BYTES:
            raise Refused(ua.StatusCodes.BadNonceInvalid, f"its nonce is shorter than {MIN_NONCE_BYTES} bytes")
        return _owner(policy)

    def owns(self, session: InternalSession, owner: Owner) -> None:
        self._owners[session] = owner

    async def login(self, processor: Any, token: ua.NodeId, params: ua.ActivateSessionParameters) -> None:
        """A client wants to use a session, its own or one of a connection that is gone. Refused."""
        policy = processor._connection.security_policy
        session = processor.session or processor.iserver.lookup_external_session(token)
        if session is None or session.auth_token != token or session.state is SessionState.Closed:
            raise Refused(ua.StatusCodes.BadSessionIdInvalid, "no such session")
        if self._owners.get(session) != _owner(policy):
            raise Refused(ua.StatusCodes.BadSecurityChecksFailed, "the session is another client's")
        nonce = session.nonce
        tokens.check_client_signature(params.ClientSignature, policy, nonce)
        user = await self._who(processor, params, nonce)
        if session.nonce is not nonce or session.state is SessionState.Closed:
            raise Refused(ua.StatusCodes.BadSessionIdInvalid, "the session was taken over or closed meanwhile")
        if not user.writes and _readers(processor.iserver, session) >= MAX_READERS:
            raise Refused(ua.StatusCodes.BadTooManySessions, "the sessions that are left are for users who may write")
        self._admitted[session] = user

    def admitted(self, session: InternalSession) -> Admission:
        """The user whom `login` has just let in. Refused when it has not."""
        user = self._admitted.pop(session, None)
        if user is None:
            raise Refused(ua.StatusCodes.BadUserAccessDenied, "nobody has logged in")
        return Admission(user)

    @staticmethod
    def is_plain(processor: Any) -> bool:
        """Whether its channel has no security, or is not open yet."""
        return bool(processor._connection.security_policy.URI == NONE.URI)

    def tell(self, processor: Any, code: int, reason: str) -> None:
        """Log a refusal; the next with the same code to the same address not before a minute has passed."""
        who, now = (_address(processor), code), self._clock.monotonic_ns()
        if who in self._told and now - self._told[who] < _TELL_AGAIN_NS:
            return
        self._told[who] = now
        while len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)
        _log.warning("opcua_client_refused", client=who[0], code=ua.StatusCode(code).name, reason=reason)

    async def _who(self, processor: Any, params: ua.ActivateSessionParameters, nonce: bytes) -> StationUser:
        token, policy = params.UserIdentityToken, processor._connection.security_policy
        plain = policy.URI == NONE.URI
        if _is_nobody(token):
            if not plain and not self._offer.anonymous_secure:
                raise Refused(ua.StatusCodes.BadIdentityTokenRejected, "anonymous; expected a user")
            return anonymous(self._offer.anonymous_plain_writes if plain else True)
        if plain or self.own is None:
            raise Refused(ua.StatusCodes.BadIdentityTokenRejected, "users log in on encrypted endpoints only")
        if isinstance(token, ua.UserNameIdentityToken):
            password = tokens.password_of(token, policy, self.own.key, nonce)
            return await self.logins.with_password(token.UserName or "", password, _address(processor))
        if isinstance(token, ua.X509IdentityToken):
            return await self.logins.with_certificate(
                tokens.certificate_of(token, params.UserTokenSignature, policy, nonce)
            )
        raise Refused(ua.StatusCodes.BadIdentityTokenInvalid, "a kind of user that we do not know")


def _readers(iserver: Any, but: InternalSession) -> int:
    """Sessions in use by those who may not write."""
    others = (one for one in iserver._external_sessions.values() if one is not but and one.is_activated())
    return sum(isinstance(one.user, StationUser) and not one.user.writes for one in others)


def _owner(policy: Any) -> Owner:
    """A channel without security has no owner, whatever certificate it shows."""
    return Owner(b"" if policy.URI == NONE.URI else policy.peer_certificate, policy.URI)


def _is_nobody(token: Any) -> bool:
    """OPC 10000-4, 5.6.3: no token is an anonymous one."""
    null = isinstance(token, ua.ExtensionObject) and token.TypeId == ua.NodeId(ua.ObjectIds.Null)
    return token is None or null or isinstance(token, ua.AnonymousIdentityToken)


def _address(processor: Any) -> str:
    return str(processor.name[0]) if processor.name else "unknown"
