"""The trust list while the server runs: read again when its folders change, strangers noted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import structlog
from cryptography import x509

from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_server.security import trust
from edge_inspector.outputs.opcua_server.security.certificates import (
    Refused,
    identity,
    printable,
    subject,
    thumbprint,
    uris,
    valid,
)
from edge_inspector.outputs.opcua_server.security.files import Pki, stamps
from edge_inspector.outputs.opcua_server.security.rejected import RejectedFolder
from edge_inspector.outputs.opcua_server.security.times import utc

ENDS_SOON = timedelta(days=30)
_log = structlog.get_logger(__name__)


class Trusting:
    """Answers whether a client is trusted by what the folders hold now. Its methods block: for a thread."""

    def __init__(self, pki: Pki, clock: Clock) -> None:
        self._pki = pki
        self._clock = clock
        self._rejected = RejectedFolder(pki)
        self._stamps: object = None
        self._list = trust.TrustList()
        self._warned: dict[bytes, date] = {}

    def check(self, sent: Sequence[x509.Certificate]) -> None:
        """Refused; a certificate that nobody has trusted yet is kept for somebody to look at."""
        self._read_again()
        try:
            self._list.check(sent, utc(self._clock), self._clock.synced())
        except trust.Untrusted:
            self._keep(sent[0])
            raise
        self._warn_of_end(sent[0])

    def refused(self, certificates: Sequence[Sequence[x509.Certificate]]) -> list[bytes]:
        """Those chains of open connections that are not trusted any more, by `identity` of the first of each."""
        self._read_again()
        gone = []
        for sent in certificates:
            try:
                self._list.check(sent, utc(self._clock), self._clock.synced())
            except Refused:
                gone.append(identity(sent[0]))
        return gone

    def _warn_of_end(self, certificate: x509.Certificate) -> None:
        """Once a day, while there is time: a client whose certificate has ended is shut out, also amid a shift."""
        now, end = utc(self._clock), valid(certificate)[1]
        if end - now < ENDS_SOON and self._warned.get(identity(certificate)) != now.date():
            self._warned[identity(certificate)] = now.date()
            _log.warning("opcua_client_certificate_ends", subject=subject(certificate), on=f"{end:%Y-%m-%d}")

    def _read_again(self) -> None:
        seen = stamps(self._pki.trusted, self._pki.issuers, *self._pki.revocations)
        if seen != self._stamps:
            self._list = trust.load(self._pki)
            self._stamps = seen

    def _keep(self, certificate: x509.Certificate) -> None:
        try:
            written = self._rejected.keep(certificate, self._clock.monotonic_ns())
        except OSError as exc:
            _log.error("opcua_rejected_certificate_not_kept", error=str(exc))
            return
        if written:
            _log.warning(
                "opcua_client_not_trusted",
                thumbprint=thumbprint(certificate),
                subject=subject(certificate),
                uris=[printable(uri) for uri in uris(certificate)[:2]],
                remedy="compare the thumbprint at the client, then: edge-inspector opcua trust THUMBPRINT",
            )
