"""What the station file says about the security of the OPC UA server: the table `[plc.NAME.security]`."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from edge_inspector.settings import LocalPath, Settings

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9:])?$")]
"""A DNS name or an IP address."""


class SecurityConfig(Settings):
    """On a loopback address everybody on this machine may write. On any other one a client needs a trusted certificate
    and a user: `edge-inspector opcua trust` and `edge-inspector opcua user add`.
    """

    allow_unencrypted_reading: bool = Field(
        False,
        description="Beyond this machine: let anybody read without certificate, user and encryption. Nobody writes so.",
    )
    host_names: tuple[HostName, ...] = Field(
        (), max_length=16, description="Further DNS names and addresses of this station, for its own certificate."
    )
    certificate: LocalPath | None = Field(
        None,
        description="Certificate of this server (DER or PEM, issuers behind it), where a CA of the plant issues them."
        " Without one the station makes its own.",
    )
    private_key: LocalPath | None = Field(None, description="The key of `certificate` (DER or PEM, no password).")

    @model_validator(mode="after")
    def _both_or_neither(self) -> SecurityConfig:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("expected certificate and private_key together, or neither: a key without its certificate")
        return self


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
