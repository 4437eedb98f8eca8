"""The server's own certificate: made at the first start, or given; read, judged and followed by a new one."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.security.certificates import (
    der,
    host_names,
    read_bytes,
    read_certificates,
    uris,
    valid,
    weakness,
)
from edge_inspector.outputs.opcua_server.security.files import PRIVATE, READABLE, Pki, write_file

NEW_KEY_BITS = 2048
"""What every PLC takes; a handshake costs a third of one with 3072 bits."""
RELEASED = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""This software did not run earlier, whatever a clock without a battery says."""
BACK_DATED = timedelta(days=366)  # a PLC whose clock is behind ours still takes the certificate
VALID = timedelta(days=3652)  # ten years: each new certificate must be trusted anew in every PLC
FOLLOWED = timedelta(days=90)  # before its end the next certificate lies ready
REPLACED = timedelta(days=14)  # before its end the next one takes over
_EVERY_ADDRESS = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class OwnCertificate:
    """What the server shows and signs with; `chain` are the issuers sent behind it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return der(self.certificate)

    @property
    def uri(self) -> str:
        """The server's ApplicationUri."""
        return uris(self.certificate)[0]


def application_uri(station: str) -> str:
    """Of a station that has no certificate yet; afterwards its certificate says it, so that it stays."""
    return f"urn:{_this_host()}:edge-inspector:{station}"


def names_of(host: str, further: tuple[str, ...]) -> tuple[str, ...]:
    """DNS names and addresses of this machine that the station file knows."""
    listened = () if host in _EVERY_ADDRESS else (host,)
    return tuple(dict.fromkeys((*listened, *further)))


def given(certificate: Path, key: Path) -> OwnCertificate:
    """What the user provides. ConfigError names what is wrong with it."""
    first, *chain = read_certificates(certificate)
    if key.exists() and key.stat().st_mode & 0o007:
        raise ConfigError(f"{key}: every user of this machine may read this private key; chmod o= it")
    own = OwnCertificate(first, read_key(key), tuple(chain))
    _fits(own, certificate, key)
    weak = weakness(first)
    if weak is not None:
        raise ConfigError(f"{certificate}: {weak}; have one issued for an OPC UA server")
    if len(uris(first)) != 1:
        raise ConfigError(
            f"{certificate}: has {len(uris(first))} application URIs (subjectAltName URI), expected one: clients check"
            " that it is the server's; have it issued with one, such as urn:station-7:edge-inspector"
        )
    return own


def kept(pki: Pki) -> OwnCertificate | None:
    """What lies in the folder, None = nothing yet. ConfigError when it is damaged."""
    if not pki.own_certificate.exists():
        return None
    if not pki.own_key.exists():
        raise ConfigError(f"{pki.own_key}: the key of cert.der beside it is missing; {_REMEDY}")
    own = OwnCertificate(read_certificates(pki.own_certificate)[0], read_key(pki.own_key))
    _fits(own, pki.own_certificate, pki.own_key)
    if not uris(own.certificate):
        raise ConfigError(f"{pki.own_certificate}: has no application URI; {_REMEDY}")
    return own


def make(pki: Pki, uri: str, names: tuple[str, ...], now: datetime) -> OwnCertificate:
    """A new certificate and, where there is none, a new key, in the folder. Blocks for up to a second. OSError."""
    pki.make()
    if pki.own_key.exists():
        key = read_key(pki.own_key)
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=NEW_KEY_BITS)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_file(pki.own_key, pem, PRIVATE)
    own = OwnCertificate(signed(key, uri, names, now), key)
    write_file(pki.own_certificate, own.der, READABLE)
    pki.next_certificate.unlink(missing_ok=True)
    return own


def signed(key: rsa.RSAPrivateKey, uri: str, names: tuple[str, ...], now: datetime) -> x509.Certificate:
    """A self-signed application certificate (OPC 10000-6, 6.2.2), valid for a PLC with the right time.

    `names` are added to this machine's own. `now` may be nonsense: what is before this software counts as its day.
    """
    begin = max(now, RELEASED)
    station = uri.rpartition(":")[2]
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"edge-inspector {station}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "edge-inspector"),
        ]
    )
    public = key.public_key()
    key_id = x509.SubjectKeyIdentifier.from_public_key(public)
    alternative = [x509.UniformResourceIdentifier(uri), *map(_general_name, dict.fromkeys((_this_host(), *names)))]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before((begin - BACK_DATED).replace(microsecond=0))
        .not_valid_after((begin + VALID).replace(microsecond=0))
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(key_id, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
        .sign(key, hashes.SHA256())
    )


def successor(pki: Pki, own: OwnCertificate, names: tuple[str, ...], now: datetime) -> x509.Certificate:
    """The certificate that will follow `own`, from the folder, or made and laid there. OSError, ConfigError."""
    if pki.next_certificate.exists():
        return read_certificates(pki.next_certificate)[0]
    made = signed(own.key, own.uri, names, now)
    write_file(pki.next_certificate, der(made), READABLE)
    return made


def followed(pki: Pki, own: OwnCertificate, names: tuple[str, ...], now: datetime) -> OwnCertificate:
    """The successor takes over: it is `own/cert.der` now. OSError, ConfigError."""
    new = OwnCertificate(successor(pki, own, names, now), own.key)
    _fits(new, pki.next_certificate, pki.own_key)
    write_file(pki.own_certificate, new.der, READABLE)
    pki.next_certificate.unlink(missing_ok=True)
    return new


def is_nonsense(certificate: x509.Certificate, now: datetime) -> bool:
    """It is not valid now: made by a clock that was wrong, or this machine was off when it ended."""
    begin, end = valid(certificate)
    return not begin <= now <= end


def lacks(certificate: x509.Certificate, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of this machine that are not in the certificate."""
    return tuple(name for name in names if name not in host_names(certificate))


def read_key(path: Path) -> rsa.RSAPrivateKey:
    """ConfigError when it is not an RSA key that is free to read."""
    content = read_bytes(path)
    load = (
        serialization.load_pem_private_key
        if content.lstrip().startswith(b"-----BEGIN")
        else serialization.load_der_private_key
    )
    try:
        key = load(content, password=None)
    except TypeError as exc:  # cryptography's word for "it is encrypted"
        raise ConfigError(f"{path}: this private key has a password; expected one without, readable by owner") from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: not a private key, or damaged; {_REMEDY}") from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError(f"{path}: expected an RSA key: the security policies of OPC UA that PLCs know need one")
    return key


_REMEDY = (
    "restore the folder from a backup, or delete it so that the station makes a new one (then every PLC must trust the"
    " new certificate)"
)
_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=True,
    data_encipherment=True,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
"""OPC 10000-6 asks for these; keyCertSign because the certificate signs itself."""


def _fits(own: OwnCertificate, certificate: Path, key: Path) -> None:
    if own.key.public_key() != own.certificate.public_key():
        raise ConfigError(f"{key}: is not the key of {certificate}; put both of one certificate there")


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _this_host() -> str:
    name = socket.gethostname().lower()
    plain = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in name).strip(".-")
    return plain or os.uname().sysname.lower()
