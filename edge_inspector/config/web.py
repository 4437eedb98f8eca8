"""How the web service listens, and who may use it."""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from edge_inspector.settings import LocalPath, Settings


class WebSettings(Settings):
    """`edge-inspector web`: REST, events and the operators' page."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on, or localhost; others than loopback need TLS and a token.",
    )
    port: int = Field(8080, ge=1, le=65535, description="TCP port.")
    certificate: LocalPath | None = Field(None, description="TLS certificate with its chain, PEM.")
    private_key: LocalPath | None = Field(None, description="Its private key, PEM, without a password.")
    requests_per_s: float = Field(
        50.0, gt=0, le=10_000, description="Requests a second of one token, and of one address; twice that in a burst."
    )
    max_picture_mb: float = Field(32.0, gt=0, le=1024, description="Largest body of POST /v1/inspect.")
    max_picture_mpx: float = Field(
        64.0, gt=0, le=1000, description="Most that its pictures may have together, megapixels."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> WebSettings:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("expected certificate and private_key together: TLS needs both")
        return self

    @property
    def tls(self) -> bool:
        return self.certificate is not None

    @property
    def loopback(self) -> bool:
        """Whether nobody outside of this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Of an address or a name; of names only localhost counts."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
