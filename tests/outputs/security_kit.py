"""Certificates, a clock and clients for the tests of the OPC UA server's security."""

from __future__ import annotations

import datetime as dt
import functools
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncua import Client, Server, ua
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_inspector.datatypes import Identity
from edge_inspector.outputs.opcua_server.security import Access, SecurityConfig, pki_of, secure, users
from edge_inspector.outputs.opcua_server.security.files import Pki

NOW = dt.datetime(2027, 3, 1, 12, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)
AES = security_policies.SecurityPolicyAes256Sha256RsaPss
BASIC = security_policies.SecurityPolicyBasic256Sha256
PASSWORD = "correct horse"
URI = "urn:plc-7:client"
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass
class Clock:
    """A clock that stands where it was put; the monotonic one runs a second a call."""

    now: dt.datetime = NOW
    is_synced: bool = True
    calls: int = 0

    def monotonic_ns(self) -> int:
        self.calls += 1
        return self.calls * 1_000_000_000

    def utc(self) -> str:
        return self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def synced(self) -> bool:
        return self.is_synced


@functools.cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One key for each name in a whole run: they take time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True)
class Party:
    """Somebody with a certificate and its key."""

    certificate: x509.Certificate
    key: Any
    uri: str = URI

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        pem: bytes = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem


def party(
    name: str = "plc",
    *,
    issuer: Party | None = None,
    uri: str = URI,
    begin: dt.datetime = NOW - DAY,
    end: dt.datetime = NOW + 365 * DAY,
    ca: bool = False,
    path_length: int | None = None,
    usage: str | None = "all",
    extended: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    private: Any = None,
    digest: Any = None,
) -> Party:
    """A certificate as a PLC or a CA would have it, unless an argument says otherwise."""
    private = private or key(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    if uri:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
    if usage is not None:
        whole = x509.KeyUsage(True, True, True, True, False, ca, ca, False, False)
        builder = builder.add_extension(whole if usage == "all" else _signs_only(), critical=True)
    if extended is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    signer = issuer.key if issuer else private
    return Party(builder.sign(signer, digest or hashes.SHA256()), private, uri)


def revocations(ca: Party, *revoked: Party) -> bytes:
    """The CA's list, DER."""
    builder = x509.CertificateRevocationListBuilder(ca.certificate.subject, NOW - DAY, NOW + DAY)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder(one.certificate.serial_number, NOW - DAY).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def trust(pki: Pki, *parties: Party) -> None:
    pki.make()
    for one in parties:
        name = one.certificate.fingerprint(hashes.SHA256()).hex()
        (pki.trusted / f"{name}.der").write_bytes(one.der)


def distrust(pki: Pki, one: Party) -> None:
    (pki.trusted / f"{one.certificate.fingerprint(hashes.SHA256()).hex()}.der").unlink()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Station:
    """A secured server with one variable, and how to reach it."""

    server: Server
    access: Access
    pki: Pki
    clock: Clock
    port: int
    variable: ua.NodeId
    seen: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/edge-inspector"


@asynccontextmanager
async def served(folder: Path, host: str, clock: Clock | None = None, **options: Any) -> AsyncIterator[Station]:
    """A bare asyncua server behind our security."""
    clock, port = clock or Clock(), free_port()
    server = Server()
    await server.init()
    server.disable_clock()  # its task ends only after a second
    config, identity = SecurityConfig(**options), Identity("station-7", 1, "0")
    access = await secure(server, config, host=host, port=port, identity=identity, clock=clock, folder=folder)
    index = await server.register_namespace("urn:test")
    variable = await server.nodes.objects.add_variable(ua.NodeId("value", index), "value", 1)
    await variable.set_writable()
    async with server:
        yield Station(server, access, pki_of(folder), clock, port, variable.nodeid)


def add_users(pki: Pki, scada: Party) -> None:
    """plc and reader by password, scada (a reader) by certificate."""
    role = users.Role
    found = [
        users.with_password("line", role.PLC, PASSWORD),
        users.with_password("admin", role.READER, PASSWORD),
        users.with_certificate("scada", role.READER, scada.certificate),
    ]
    users.write_users(pki.users, {one.name: one for one in found})


async def client_of(
    station: Station,
    who: Party | None,
    policy: Any = AES,
    *,
    user: str | None = None,
    password: str = PASSWORD,
    by: Party | None = None,
    uri: str | None = None,
    mode: ua.MessageSecurityMode = ua.MessageSecurityMode.SignAndEncrypt,
    chain: Sequence[Party] = (),
    server_certificate: bytes | None = None,
) -> Client:
    """A client that has not connected yet; `who` None = without security."""
    client = Client(station.url, timeout=30)
    if who is not None:
        client.application_uri = uri or who.uri
        ours = server_certificate or station.pki.own_certificate.read_bytes()
        await client.set_security(
            policy,
            CertProperties(who.der, "der"),
            CertProperties(who.key_pem, "pem"),
            server_certificate=CertProperties(ours, "der"),
            mode=mode,
            certificate_chain=[CertProperties(one.der, "der") for one in chain],
        )
    if user is not None:
        client.set_user(user)
        client.set_password(password)
    if by is not None:
        await client.load_client_certificate(by.der, "der")
        await client.load_private_key(by.key_pem, None, "pem")
    return client


def _signs_only() -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, False, False, False, False)
