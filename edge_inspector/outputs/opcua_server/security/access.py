"""What the rest of the server asks of its security, and what it lets security do from time to time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from asyncua import Server, ua
from cryptography import x509

from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_server.security import own as own_certificate
from edge_inspector.outputs.opcua_server.security.certificates import identity, thumbprint, valid
from edge_inspector.outputs.opcua_server.security.endpoints import Offer, endpoints, policies
from edge_inspector.outputs.opcua_server.security.files import Pki
from edge_inspector.outputs.opcua_server.security.gate import Gate
from edge_inspector.outputs.opcua_server.security.logins import StationUser
from edge_inspector.outputs.opcua_server.security.own import FOLLOWED, REPLACED, OwnCertificate
from edge_inspector.outputs.opcua_server.security.times import utc
from edge_inspector.outputs.opcua_server.security.users import Account

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Found:
    """What a look at the folders has brought: strangers and users to be shown out, and a new certificate."""

    strangers: frozenset[bytes]
    users: frozenset[Account]
    own: OwnCertificate | None


class Access:
    """The rights of users, and the upkeep of certificates, trust and users while the server runs."""

    def __init__(
        self, gate: Gate, offer: Offer, pki: Pki, clock: Clock, names: tuple[str, ...], makes_own: bool
    ) -> None:
        """`makes_own`: the certificate was made here, so it is also replaced here."""
        self._gate = gate
        self._offer = offer
        self._pki = pki
        self._clock = clock
        self._names = names
        self._makes_own = makes_own
        self._idle = asyncio.Event()
        self._idle.set()

    def may_write(self, user: Any) -> bool:
        """Whether this user (asyncua's User of the session, None = nobody has logged in) may write Control tags."""
        return user.writes if isinstance(user, StationUser) else False

    def may_call(self, user: Any) -> bool:
        """Whether this user may call methods: who may write may."""
        return self.may_write(user)

    def publish(self, server: Server) -> None:
        """Offer the endpoints with the certificate that is in force; connections that are open keep theirs."""
        application = ua.ApplicationDescription(
            ApplicationUri=server.get_application_uri(),
            ProductUri=server.product_uri,
            ApplicationName=ua.LocalizedText(server.name),
            ApplicationType=ua.ApplicationType.Server,
            DiscoveryUrls=[server.endpoint.geturl()],
        )
        server.iserver.endpoints[:] = endpoints(self._offer, application, server.endpoint.geturl(), self._gate.own)
        server._policies[:] = policies(self._offer, self._gate.own)

    async def renew_if_due(self, server: Server) -> None:
        """Look after certificates, trust and users; returns at once: the disk is read by another thread.

        Whoever is not trusted any more, or is no user any more, is shown out then.
        """
        if not self._idle.is_set():
            return
        self._idle.clear()
        connected = _connected(server, self._gate)
        chains = [chain for _, chain, _ in connected if chain is not None]
        accounts = {account for _, _, account in connected if account is not None}
        arguments = (asyncio.get_running_loop(), server, chains, accounts)
        threading.Thread(target=self._look, args=arguments, name="opcua-security", daemon=True).start()

    def _look(
        self,
        loop: asyncio.AbstractEventLoop,
        server: Server,
        chains: Sequence[Sequence[x509.Certificate]],
        accounts: set[Account],
    ) -> None:
        found = None
        try:
            strangers = frozenset(self._gate.trusting.refused(chains))
            gone = frozenset(accounts - self._gate.logins.still_there(accounts))
            found = _Found(strangers, gone, self._new_certificate())
        except (OSError, ConfigError) as exc:
            _log.error("opcua_security_not_looked_after", error=str(exc))
        finally:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._seen, server, found)

    def _new_certificate(self) -> OwnCertificate | None:
        """The one that takes over now, if it is time. None: the one in force stays."""
        own, now = self._gate.own, utc(self._clock)
        if own is None or not self._makes_own or not self._clock.synced():
            return None
        end = valid(own.certificate)[1]
        if own_certificate.is_nonsense(own.certificate, now):
            return own_certificate.make(self._pki, own.uri, self._names, now)
        if now > end - REPLACED:
            return own_certificate.followed(self._pki, own, self._names, now)
        if now > end - FOLLOWED and not self._pki.next_certificate.exists():
            new = own_certificate.successor(self._pki, own, self._names, now)
            _log.warning(
                "opcua_certificate_ends",
                on=f"{end:%Y-%m-%d}",
                replaced_on=f"{end - REPLACED:%Y-%m-%d}",
                next=str(self._pki.next_certificate),
                thumbprint=thumbprint(new),
                remedy="import the next one into every PLC and client as trusted before",
            )
        return None

    def _seen(self, server: Server, found: _Found | None) -> None:
        self._idle.set()
        if found is None:
            return
        if found.own is not None:
            self._gate.own = found.own
            self.publish(server)
            _log.warning(
                "opcua_certificate_replaced",
                thumbprint=thumbprint(found.own.certificate),
                remedy="trust it in every PLC and client that does not know it yet",
            )
        for client, chain, account in _connected(server, self._gate):
            stranger = chain is not None and identity(chain[0]) in found.strangers
            if stranger or account in found.users:
                _log.warning("opcua_client_shown_out", client=str(client.peer_name), not_trusted=stranger)
                client.transport.close()


def _connected(server: Server, gate: Gate) -> list[tuple[Any, Sequence[x509.Certificate] | None, Account | None]]:
    """Each open connection with its certificates and the user who has logged in on it."""
    found: list[tuple[Any, Sequence[x509.Certificate] | None, Account | None]] = []
    for client in server.bserver.clients if server.bserver is not None else []:
        session = client.processor.session
        user = session.user if session is not None else None
        account = user.account if isinstance(user, StationUser) else None
        found.append((client, gate.chain_of(client.processor._connection), account))
    return found
