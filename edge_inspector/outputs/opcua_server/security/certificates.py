"""Certificates: read from files and from clients, told to people."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from asyncua import ua
from asyncua.common.utils import ServiceError
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from edge_inspector.errors import ConfigError

KEY_BITS = (2048, 4096)
"""What both security policies allow (OPC 10000-7)."""
MAX_SENT_BYTES = 16_384
MAX_SENT = 5
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_DAMAGED = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion)


class Refused(ServiceError):  # type: ignore[misc]
    """A client does not get what it asks for: `code` goes to the client, the text only into our log."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code)
        self.reason = reason


def thumbprint(certificate: x509.Certificate) -> str:
    """As the trade shows it: SHA-1 of the certificate, 40 capital hex digits. Not used to decide anything."""
    return certificate.fingerprint(hashes.SHA1()).hex().upper()


def identity(certificate: x509.Certificate) -> bytes:
    """What two certificates must share to be the same one."""
    return certificate.fingerprint(hashes.SHA256())


def subject(certificate: x509.Certificate) -> str:
    """Whose it is, for people; what a stranger wrote there cannot drive a terminal."""
    return printable(certificate.subject.rfc4514_string())


def printable(text: str) -> str:
    """At most 120 characters of a stranger's text, none of which does anything."""
    return "".join(c if c.isprintable() else "?" for c in text[:120])


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def uris(certificate: x509.Certificate) -> tuple[str, ...]:
    """The application URIs in it; an application's own certificate has one."""
    names = _alternative_names(certificate)
    return () if names is None else tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses in it."""
    names = _alternative_names(certificate)
    if names is None:
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def valid(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """From when until when, UTC."""
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def weakness(certificate: x509.Certificate) -> str | None:
    """What is too weak or too new in a certificate for both security policies, None = nothing."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return "its key is not RSA"
    if not KEY_BITS[0] <= key.key_size <= KEY_BITS[1]:
        return f"its key has {key.key_size} bits, expected {KEY_BITS[0]} to {KEY_BITS[1]}"
    try:
        signed_with = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:  # a number that nobody has given to an algorithm
        signed_with = None
    if not isinstance(signed_with, _HASHES):
        name = getattr(signed_with, "name", "an unknown hash")
        return f"it is signed with {name}, expected SHA-256 or better"
    return None


def sent_by_client(data: bytes | None) -> tuple[x509.Certificate, ...]:
    """The certificate of a client and the issuers that it sent behind it. Refused when they cannot be read."""
    if not data or len(data) > MAX_SENT_BYTES:
        raise Refused(
            ua.StatusCodes.BadSecurityChecksFailed,
            f"a certificate of {len(data or b'')} bytes, expected 1 to {MAX_SENT_BYTES}",
        )
    found: list[x509.Certificate] = []
    rest = bytes(data)
    try:
        while rest:
            size = _der_size(rest)
            found.append(_checked(x509.load_der_x509_certificate(rest[:size])))
            rest = rest[size:]
    except _DAMAGED as exc:
        raise Refused(ua.StatusCodes.BadSecurityChecksFailed, f"a damaged certificate: {exc}") from exc
    if len(found) > MAX_SENT:
        raise Refused(ua.StatusCodes.BadSecurityChecksFailed, f"{len(found)} certificates, expected {MAX_SENT} at most")
    return tuple(found)


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """All certificates of a file, DER or PEM. ConfigError."""
    content = read_bytes(path)
    try:
        if content.lstrip().startswith(b"-----BEGIN"):
            found = tuple(x509.load_pem_x509_certificates(content))
        else:
            found = (x509.load_der_x509_certificate(content),)
        return tuple(map(_checked, found))
    except _DAMAGED as exc:
        raise ConfigError(f"{path}: not a certificate: {exc}; expected X.509 in DER or PEM form") from exc


def read_bytes(path: Path) -> bytes:
    """ConfigError when a file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}; name a file that this user may read") from exc


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _checked(certificate: x509.Certificate) -> x509.Certificate:
    """Parts are read only when they are asked for: do it now, so that a damaged one is found here."""
    _ = (certificate.extensions, certificate.subject, certificate.issuer, certificate.public_key(), valid(certificate))
    return certificate


def _der_size(data: bytes) -> int:
    """Bytes of the first DER sequence in `data`. ValueError."""
    if len(data) < 2 or data[0] != 0x30:
        raise ValueError("no DER sequence")
    if data[1] < 0x80:
        return 2 + data[1]
    digits = data[1] & 0x7F
    if not 1 <= digits <= 3 or len(data) < 2 + digits:
        raise ValueError("a DER length that no certificate has")
    return 2 + digits + int.from_bytes(data[2 : 2 + digits], "big")
