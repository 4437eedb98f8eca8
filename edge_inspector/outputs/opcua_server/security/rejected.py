"""The certificates of clients that nobody trusts yet, kept for somebody to look at."""

from __future__ import annotations

from contextlib import suppress

from cryptography import x509

from edge_inspector.outputs.opcua_server.security.certificates import der, thumbprint
from edge_inspector.outputs.opcua_server.security.files import READABLE, Pki, write_file

MAX_FILES = 32
MIN_INTERVAL_NS = 1_000_000_000
"""Strangers write on our disk: not more than one file a second, and never more than MAX_FILES."""


class RejectedFolder:
    """The folder `rejected/certs`, one file a certificate, named by its thumbprint: nothing of a stranger's choice."""

    def __init__(self, pki: Pki) -> None:
        self._folder = pki.rejected
        self._last_ns: int | None = None

    def keep(self, certificate: x509.Certificate, now_ns: int) -> bool:
        """Write it unless it is there; the oldest gives way. False = it was there, or too soon. Blocks. OSError."""
        path = self._folder / f"{thumbprint(certificate)}.der"
        if path.exists() or (self._last_ns is not None and now_ns - self._last_ns < MIN_INTERVAL_NS):
            return False
        self._last_ns = now_ns
        kept = (
            sorted(self._folder.glob("*.der"), key=lambda one: one.stat().st_mtime_ns) if path.parent.is_dir() else []
        )
        for oldest in kept[: max(0, len(kept) + 1 - MAX_FILES)]:
            with suppress(FileNotFoundError):
                oldest.unlink()
        write_file(path, der(certificate), READABLE)
        return True
