"""What the station file says of a link into the PLC's own OPC UA server."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from edge_inspector.outputs.opcua_client import mapping
from edge_inspector.settings import HandshakeConfig, LocalPath, Settings

PORT = 4840
"""IANA's for OPC UA."""
Policy = Literal["None", "Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"]
NodeText = Annotated[str, StringConstraints(min_length=3, max_length=4096)]


def _grouped(raw: Any) -> Any:
    """ "Result.TriggerSeq" = ... in quotes means the same as Result.TriggerSeq = ... without."""
    if not isinstance(raw, dict):
        return raw
    grouped: dict[str, Any] = {key: dict(value) for key, value in raw.items() if isinstance(value, dict)}
    for key, value in raw.items():
        group, dot, leaf = key.partition(".")
        if dot:
            grouped.setdefault(group, {})[leaf] = value
        else:
            grouped.setdefault(key, value)
    return grouped


Endpoint = Annotated[str, StringConstraints(pattern=r"^opc\.tcp://\S+$", max_length=400)]
TagMap = Annotated[dict[str, dict[str, NodeText]], BeforeValidator(_grouped)]


class ServerConfig(Settings):
    """How to reach an OPC UA server, and how to prove who is who."""

    endpoint: Endpoint = Field(description="Address of the server: opc.tcp://HOST:PORT, 4840 without a port.")
    security: Policy = Field("Basic256Sha256", description="Security policy; None: neither signed nor encrypted.")
    mode: Literal["Sign", "SignAndEncrypt"] = Field("SignAndEncrypt", description="What the policy is used for.")
    certificate: LocalPath | None = Field(
        None, description="Our certificate (PEM or DER); without one it is made on first use, in the state folder."
    )
    key: LocalPath | None = Field(None, description="The private key of certificate (PEM or DER, without a password).")
    server_certificate: LocalPath | None = Field(
        None,
        description="The one certificate (PEM or DER) that the server may have; without it, those in the folder"
        " trusted/ beside ours, where an unknown one is put into rejected/.",
    )
    user: str | None = Field(None, min_length=1, max_length=256, description="Without one: anonymous.")
    password_file: LocalPath | None = Field(None, description="File with the password of user in its first line.")
    timeout_s: float = Field(2.0, ge=0.1, le=30, description="How long the server may take for one answer.")

    @model_validator(mode="after")
    def _belongs_together(self) -> ServerConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")
        parts = urlsplit(self.endpoint)
        if parts.username is not None or parts.password is not None:
            raise ValueError("endpoint must not hold a user or password: give user and password_file")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if not parts.hostname or port == 0:
            raise ValueError("endpoint: expected opc.tcp://HOST:PORT with a port from 1 to 65535")
        return self

    @property
    def url(self) -> str:
        """The endpoint with its port."""
        parts = urlsplit(self.endpoint)
        return self.endpoint if parts.port else parts._replace(netloc=f"{parts.netloc}:{PORT}").geturl()

    @property
    def on_this_machine(self) -> bool:
        host = urlsplit(self.endpoint).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(re.sub(r"%.*", "", host)).is_loopback
        except ValueError:
            return False


class Config(HandshakeConfig, ServerConfig):
    """A client of the PLC's own OPC UA server: reads and writes variables of its program."""

    type: Literal["opcua_client"]
    cycle_ms: float = Field(
        50.0, ge=5, le=1000, description="How often the PLC's tags are read; a third of heartbeat_timeout_s at most."
    )
    subscribe: bool = Field(
        False, description="Let the server tell of changes each cycle_ms instead of reading all the time."
    )
    heartbeat_ms: float = Field(
        250.0,
        ge=50,
        le=5000,
        description="How often Status.Heartbeat is written; shorter than the PLC's watch over it.",
    )
    map: TagMap = Field(
        description='Our tag = the NodeId of a variable, such as Result.Mode = \'ns=3;s="DB_Vision"."Mode"\', or with'
        " the namespace's name: 'nsu=http://some.uri;s=Name'."
    )

    @model_validator(mode="after")
    def _complete(self) -> Config:
        found = list(mapping.problems(self.nodes, self.acknowledge))
        if found:
            raise ValueError("map: " + "; ".join(found))
        if self.cycle_ms * 3 > self.heartbeat_timeout_s * 1000:
            raise ValueError(
                f"heartbeat_timeout_s = {self.heartbeat_timeout_s:g} is shorter than three times"
                f" cycle_ms = {self.cycle_ms:g}"
            )
        return self

    @property
    def nodes(self) -> Mapping[str, str]:
        """Tag name -> NodeId text, in the order of the file."""
        return {f"{group}.{leaf}": text for group, leaves in self.map.items() for leaf, text in leaves.items()}
