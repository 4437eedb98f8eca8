"""Who we are for a secured server, and whether the server is the one that it should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from edge_inspector.errors import ConfigError, OutputError
from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_client.config import ServerConfig
from edge_inspector.outputs.opcua_server.security import certificates, own, trust
from edge_inspector.outputs.opcua_server.security.files import Pki
from edge_inspector.outputs.opcua_server.security.rejected import RejectedFolder
from edge_inspector.outputs.opcua_server.security.times import utc


@dataclass(frozen=True)
class Keeper:
    """The certificates of one link, in the folder `pki` of its state: own, trusted and rejected ones."""

    config: ServerConfig
    folder: Path
    station: str
    clock: Clock

    @property
    def pki(self) -> Pki:
        return Pki(self.folder / "pki")

    def own(self) -> own.OwnCertificate:
        """Ours: given, kept, or made now (blocks for up to a second). OutputError."""
        try:
            if self.config.certificate is not None and self.config.key is not None:
                return own.given(self.config.certificate, self.config.key)
            kept = own.kept(self.pki)
            if kept is not None:
                return kept
            return own.make(self.pki, own.application_uri(self.station), own.names_of("", ()), utc(self.clock))
        except ConfigError as exc:
            raise OutputError(str(exc)) from exc
        except OSError as exc:
            raise OutputError(f"{self.pki.root}: no certificate can be made there: {exc.strerror}") from exc

    def check(self, sent: bytes) -> x509.Certificate:
        """The server's certificate when it is to be trusted itself. OutputError says what to do when it is not.

        A CA behind it trusts nobody: then we would have to know what the CA has revoked.
        """
        try:
            server = certificates.sent_by_client(sent)[0]
        except certificates.Refused as exc:
            raise OutputError(f"{self.config.url} shows {exc.reason}; give the server a certificate") from exc
        shown = f"the certificate of {self.config.url} ({certificates.subject(server) or 'no name'})"
        self._trusted(server, shown)
        weak = certificates.weakness(server)
        if weak is not None:
            raise OutputError(f"{shown} is too weak: {weak}; make a new one in the PLC")
        begin, end = certificates.valid(server)
        now = utc(self.clock)
        if now > end or (self.clock.synced() and now < begin):
            raise OutputError(f"{shown} is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d} only: renew it in the PLC")
        return server

    def _trusted(self, server: x509.Certificate, shown: str) -> None:
        pinned = self.config.server_certificate
        try:
            known = trust.load(self.pki).trusted if pinned is None else certificates.read_certificates(pinned)
        except ConfigError as exc:
            raise OutputError(str(exc)) from exc
        if any(certificates.identity(one) == certificates.identity(server) for one in known):
            return
        why = self._rejected(server) if pinned is None else f"it is not that of server_certificate = {pinned}"
        raise OutputError(f"{shown} is not trusted: {why}")

    def _rejected(self, server: x509.Certificate) -> str:
        thumbprint = certificates.thumbprint(server)
        path = self.pki.rejected / f"{thumbprint}.der"
        try:
            self.pki.make()
            RejectedFolder(self.pki).keep(server, self.clock.monotonic_ns())
        except OSError as exc:
            return f"it could not be kept in {path.parent}: {exc.strerror}"
        return f"compare its thumbprint {thumbprint} with the PLC's, then move {path} into {self.pki.trusted}"


def password_of(config: ServerConfig) -> str:
    """The first line of the password file, empty = there is no user. OutputError."""
    if config.password_file is None:
        return ""
    try:
        lines = config.password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise OutputError(f"{config.password_file}: cannot be read: {exc}; expected the password of user") from exc
    if not lines or not lines[0]:
        raise OutputError(f"{config.password_file}: is empty; expected the password in its first line")
    return lines[0]
