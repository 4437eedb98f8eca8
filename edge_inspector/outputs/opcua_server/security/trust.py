"""Whom the server trusts: client certificates, the CAs behind them, and what those have taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from asyncua import ua
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.security.certificates import (
    Refused,
    identity,
    read_bytes,
    read_certificates,
    subject,
    valid,
    weakness,
)
from edge_inspector.outputs.opcua_server.security.files import Pki

_log = structlog.get_logger(__name__)
_UNTRUSTED = ua.StatusCodes.BadSecurityChecksFailed
"""OPC 10000-4, 5.5.2: a client learns no more than this of what the trust list holds."""


class Untrusted(Refused):
    """Nothing is wrong with the certificate but that nobody has trusted it: worth keeping for somebody to look at."""


@dataclass(frozen=True)
class TrustList:
    """What the folders `trusted` and `issuers` held when they were read."""

    trusted: tuple[x509.Certificate, ...] = ()
    issuers: tuple[x509.Certificate, ...] = ()
    revocations: tuple[x509.CertificateRevocationList, ...] = ()

    def check(self, sent: Sequence[x509.Certificate], now: datetime, synced: bool) -> None:
        """Refused when the first of `sent` is no application that we trust; the others are its issuers.

        Checks in the order of OPC 10000-4, 6.1.3. While our clock is not `synced`, nothing counts as too young.
        """
        leaf = sent[0]
        weak = weakness(leaf)
        if weak is not None:
            raise Refused(_UNTRUSTED, weak)
        issuers = self._issuers_of(leaf, sent[1:])
        _is_in_time(leaf, now, synced, ua.StatusCodes.BadCertificateTimeInvalid)
        for issuer in issuers:
            _is_in_time(issuer, now, synced, ua.StatusCodes.BadCertificateIssuerTimeInvalid)
        _is_for_clients(leaf)
        self._are_not_revoked(leaf, issuers)

    def trusts(self, certificate: x509.Certificate) -> bool:
        """Whether it lies itself in `trusted`."""
        return any(identity(certificate) == identity(one) for one in self.trusted)

    def _issuers_of(self, leaf: x509.Certificate, sent: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
        """The CAs from the one that issued `leaf` up to one that is trusted; none when `leaf` is trusted itself."""
        if self.trusts(leaf):
            return ()
        chain: list[x509.Certificate] = []
        below = leaf
        while not chain or not self.trusts(chain[-1]):
            found = _issued(below, (*self.trusted, *self.issuers, *sent), len(chain))
            above = max(found, key=lambda one: (self.trusts(one), valid(one)[1]), default=None)
            if above is None or above in chain:
                raise Untrusted(_UNTRUSTED, "neither it nor a CA above it is trusted")
            if (weak := weakness(above)) is not None:
                raise Refused(_UNTRUSTED, f"its CA {subject(above)}: {weak}")
            chain.append(above)
            below = above
        return tuple(chain)

    def _are_not_revoked(self, leaf: x509.Certificate, issuers: tuple[x509.Certificate, ...]) -> None:
        for below, above in zip((leaf, *issuers), issuers, strict=False):
            lists = self._lists_of(above)
            if not lists:
                name = subject(above)
                code = ua.StatusCodes.BadCertificateRevocationUnknown if below is leaf else _UNTRUSTED
                raise Refused(code, f"no revocation list of its CA {name}: put one into trusted/crl or issuers/crl")
            if any(one.get_revoked_certificate_by_serial_number(below.serial_number) is not None for one in lists):
                raise Refused(_UNTRUSTED, "its CA has revoked it")

    def _lists_of(self, issuer: x509.Certificate) -> list[x509.CertificateRevocationList]:
        key = issuer.public_key()
        return [
            one
            for one in self.revocations
            if one.issuer == issuer.subject and isinstance(key, rsa.RSAPublicKey) and one.is_signature_valid(key)
        ]


def load(pki: Pki) -> TrustList:
    """What lies in the folders now. A file that cannot be read trusts nobody, and is told in the log."""
    return TrustList(
        tuple(_certificates(pki.trusted)),
        tuple(_certificates(pki.issuers)),
        tuple(one for folder in pki.revocations for one in _revocations(folder)),
    )


def files_in(folder: Path) -> list[Path]:
    """Those that people put there; what begins with a dot is not whole yet."""
    return sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")) if folder.is_dir() else []


def _certificates(folder: Path) -> Iterator[x509.Certificate]:
    for path in files_in(folder):
        try:
            yield from read_certificates(path)
        except ConfigError as exc:
            _log.error("opcua_trust_file_unreadable", error=str(exc))


def _revocations(folder: Path) -> Iterator[x509.CertificateRevocationList]:
    for path in files_in(folder):
        try:
            content = read_bytes(path)
            if content.lstrip().startswith(b"-----BEGIN"):
                yield x509.load_pem_x509_crl(content)
            else:
                yield x509.load_der_x509_crl(content)
        except (ConfigError, ValueError) as exc:
            _log.error("opcua_trust_file_unreadable", file=str(path), error=str(exc))


def _issued(
    below: x509.Certificate, candidates: Sequence[x509.Certificate], cas_below: int
) -> Iterator[x509.Certificate]:
    """Those of `candidates` that are a CA and have signed `below`."""
    for above in candidates:
        if above.subject != below.issuer or not _is_ca(above, cas_below):
            continue
        try:
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            continue
        yield above


def _is_ca(certificate: x509.Certificate, cas_below: int) -> bool:
    try:
        limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    usage = _usage(certificate)
    signs = usage is None or usage.key_cert_sign
    return bool(limits.ca and signs and (limits.path_length is None or cas_below <= limits.path_length))


def _is_in_time(certificate: x509.Certificate, now: datetime, synced: bool, code: int) -> None:
    begin, end = valid(certificate)
    name = subject(certificate)
    if now > end:
        raise Refused(code, f"{name} has ended on {end:%Y-%m-%d}")
    if synced and now < begin:
        raise Refused(code, f"{name} begins on {begin:%Y-%m-%d %H:%M} UTC")


def _is_for_clients(certificate: x509.Certificate) -> None:
    """What a certificate says of its own use must include an OPC UA client; one that says nothing may do anything."""
    usage = _usage(certificate)
    if usage is not None and not (usage.digital_signature and usage.key_encipherment and usage.data_encipherment):
        expected = "digitalSignature, keyEncipherment and dataEncipherment"
        raise Refused(ua.StatusCodes.BadCertificateUseNotAllowed, f"its key usage lacks one of {expected}")
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        raise Refused(ua.StatusCodes.BadCertificateUseNotAllowed, "its extended key usage lacks clientAuth")


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
