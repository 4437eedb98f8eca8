"""The security of the OPC UA server: endpoints, certificates, trust, users."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import anyio.to_thread
import structlog
from asyncua import Server, ua

from edge_inspector.datatypes import Identity
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_server.security import endpoints, own, patches
from edge_inspector.outputs.opcua_server.security.access import Access
from edge_inspector.outputs.opcua_server.security.certificates import thumbprint
from edge_inspector.outputs.opcua_server.security.config import SecurityConfig, is_loopback
from edge_inspector.outputs.opcua_server.security.files import Pki, made_private
from edge_inspector.outputs.opcua_server.security.gate import Doorkeeper, Gate
from edge_inspector.outputs.opcua_server.security.logins import Logins
from edge_inspector.outputs.opcua_server.security.own import OwnCertificate
from edge_inspector.outputs.opcua_server.security.times import utc
from edge_inspector.outputs.opcua_server.security.trusting import Trusting

__all__ = ["Access", "SecurityConfig", "pki_of", "secure"]

PATH = "/edge-inspector"
_log = structlog.get_logger(__name__)


def pki_of(folder: Path) -> Pki:
    """Where the link whose own folder this is keeps certificates and users."""
    return Pki(folder / "pki")


async def secure(
    server: Server,
    config: SecurityConfig,
    *,
    host: str,
    port: int,
    identity: Identity,
    clock: Clock,
    folder: Path,
) -> Access:
    """Give a server its endpoints, application URI, certificate and users; between its `init` and its `start`.

    Its name must be set, its namespaces may come later. ConfigError names a certificate, key or users file that is
    damaged, and what to do.
    """
    patches.apply()
    pki, loopback = pki_of(folder), is_loopback(host)
    names = own.names_of(host, config.host_names)
    try:
        ours = await anyio.to_thread.run_sync(_own, pki, config, identity.station, names, loopback, clock)
        logins = await anyio.to_thread.run_sync(Logins, pki, clock)
    except OSError as exc:
        raise ConfigError(
            f"{pki.root}: cannot be written: {exc.strerror}; give it to the user of the station, or free space"
        ) from exc
    offer = _offer(config, loopback, ours)
    gate = Gate(offer, ours, Trusting(pki, clock), logins, clock)
    patches.put(server.iserver, gate)
    server.iserver.user_manager = Doorkeeper()
    server.allow_remote_admin(False)
    server.set_security_policy([])  # asyncua would make endpoints of its own, with all users on each
    server.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken])
    await server.set_application_uri(own.application_uri(identity.station) if ours is None else ours.uri)
    server.socket_address = (host, port)
    server.set_endpoint(f"opc.tcp://{_shown(host)}:{port}{PATH}")
    access = Access(gate, offer, pki, clock, names, makes_own=config.certificate is None)
    access.publish(server)
    if not loopback and not logins.count:
        _log.warning("opcua_no_users", remedy="nobody can log in: edge-inspector opcua user add NAME --role plc")
    return access


def _own(
    pki: Pki, config: SecurityConfig, station: str, names: tuple[str, ...], loopback: bool, clock: Clock
) -> OwnCertificate | None:
    """The certificate to begin with; None = nobody needs one: nothing but this machine, and no folder. Blocks."""
    if config.certificate is not None and config.private_key is not None:
        return own.given(config.certificate, config.private_key)
    for private in (pki.own_key, pki.users):
        if private.exists() and made_private(private):
            _log.warning(
                "opcua_file_was_readable", file=str(private), remedy="mended; replace what it held if in doubt"
            )
    kept = own.kept(pki)
    if kept is None and loopback and not pki.root.exists():
        return None
    pki.make()
    if kept is None:
        return _told(own.make(pki, own.application_uri(station), names, utc(clock)), "none was there")
    if lacking := own.lacks(kept.certificate, names):
        return _told(own.make(pki, kept.uri, names, utc(clock)), f"it lacked {', '.join(lacking)}")
    return kept


def _told(made: OwnCertificate, why: str) -> OwnCertificate:
    remedy = "trust it in every PLC and client"
    _log.warning("opcua_certificate_made", thumbprint=thumbprint(made.certificate), why=why, remedy=remedy)
    return made


def _offer(config: SecurityConfig, loopback: bool, ours: OwnCertificate | None) -> endpoints.Offer:
    if loopback:
        return endpoints.ON_THIS_MACHINE if ours is None else endpoints.ON_THIS_MACHINE_SECURED
    return endpoints.ON_A_NETWORK_READABLE if config.allow_unencrypted_reading else endpoints.ON_A_NETWORK


def _shown(host: str) -> str:
    """The host in an address that clients can use; who asks by another name is told that one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if address.version == 6 else host
