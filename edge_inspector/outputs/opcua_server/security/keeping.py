"""What people do with the trust list: look, trust, take back. For commands; a running server sees it by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from edge_inspector.errors import ConfigError
from edge_inspector.outputs.opcua_server.security.certificates import (
    der,
    printable,
    read_bytes,
    read_certificates,
    subject,
    thumbprint,
    uris,
    valid,
)
from edge_inspector.outputs.opcua_server.security.files import READABLE, Pki, sync, write_file
from edge_inspector.outputs.opcua_server.security.trust import files_in

MIN_DIGITS = 16
"""Of a thumbprint that is not written out."""
_HEX = re.compile(rf"[0-9A-F]{{{MIN_DIGITS},40}}")


@dataclass(frozen=True)
class Kept:
    """One certificate of a folder; `file` is where."""

    file: Path
    certificate: x509.Certificate

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.certificate)

    @property
    def subject(self) -> str:
        return subject(self.certificate)

    @property
    def uris(self) -> tuple[str, ...]:
        return tuple(map(printable, uris(self.certificate)))

    @property
    def valid(self) -> tuple[datetime, datetime]:
        return valid(self.certificate)

    @property
    def is_ca(self) -> bool:
        try:
            return self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            return False


def kept_in(place: Path) -> tuple[list[Kept], list[ConfigError]]:
    """The certificates of a folder or a file, and what is wrong with the files that hold none: they trust nobody."""
    kept: list[Kept] = []
    damaged: list[ConfigError] = []
    for file in [place] if place.is_file() else files_in(place):
        try:
            kept += [Kept(file, one) for one in read_certificates(file)]
        except ConfigError as exc:
            damaged.append(exc)
    return kept, damaged


def trust_rejected(pki: Pki, digits: str) -> Kept:
    """Trust a client that has knocked, by (the beginning of) its thumbprint. ConfigError, OSError."""
    knocked, _ = kept_in(pki.rejected)
    found = _one(knocked, digits, "rejected", "let the client try to connect first, or give its file")
    return _trust(pki, found)


def trust_file(pki: Pki, file: Path) -> list[Kept]:
    """Trust the certificates of a file: clients, or CAs and so all that those issue. ConfigError, OSError."""
    return [_trust(pki, Kept(file, one)) for one in read_certificates(file)]


def keep_revocations(pki: Pki, file: Path) -> x509.CertificateRevocationList | None:
    """Keep the revocation list of a CA; None = the file holds none. OSError."""
    content = read_bytes(file)
    try:
        if content.lstrip().startswith(b"-----BEGIN"):
            found = x509.load_pem_x509_crl(content)
        else:
            found = x509.load_der_x509_crl(content)
    except ValueError:
        return None
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in found.issuer.rfc4514_string())[:80]
    write_file(pki.revocations[0] / f"{name}.crl", found.public_bytes(serialization.Encoding.DER), READABLE)
    return found


def distrust(pki: Pki, digits: str) -> Kept:
    """Take the trust from a client or a CA back, in every file that holds it. ConfigError, OSError."""
    trusted, _ = kept_in(pki.trusted)
    found = _one(trusted, digits, "trusted", "see `edge-inspector opcua certificates`")
    for one in trusted:
        if one.thumbprint == found.thumbprint:
            one.file.unlink(missing_ok=True)
    sync(pki.trusted)  # no power cut brings the trust back
    return found


def is_thumbprint(text: str) -> bool:
    """Whether it is one, or its beginning, with or without colons and blanks."""
    return _HEX.fullmatch(_digits(text)) is not None


def _trust(pki: Pki, found: Kept) -> Kept:
    name = f"{found.thumbprint}.der"
    write_file(pki.trusted / name, der(found.certificate), READABLE)
    (pki.rejected / name).unlink(missing_ok=True)
    return Kept(pki.trusted / name, found.certificate)


def _one(kept: list[Kept], digits: str, where: str, remedy: str) -> Kept:
    if not is_thumbprint(digits):
        raise ConfigError(f"thumbprint {digits!r}: expected at least {MIN_DIGITS} of its 40 hex digits")
    found = {one.thumbprint: one for one in kept if one.thumbprint.startswith(_digits(digits))}
    if len(found) != 1:
        known = "several" if found else "no"
        raise ConfigError(f"thumbprint {digits}: {known} {where} certificate begins so; {remedy}")
    return next(iter(found.values()))


def _digits(text: str) -> str:
    return re.sub(r"[\s:]", "", text).upper()
