"""What the station file says of one broker."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from edge_inspector.settings import LocalPath, PluginConfig, Settings

PORT, TLS_PORT = 1883, 8883  # IANA's

Topic = Annotated[str, StringConstraints(pattern=r"^[^/#+\x00]+(/[^/#+\x00]+)*$", max_length=400)]
Command = Literal["ack_line_stop", "reset", "halt", "resume", "setup", "recipe", "feedback", "golden"]


class Tls(Settings):
    """TLS 1.2 or newer; the broker's name is always checked."""

    ca_file: LocalPath | None = Field(default=None, description="Certificates to trust; the system's own without it.")
    cert_file: LocalPath | None = Field(default=None, description="Our certificate, when the broker asks for one.")
    key_file: LocalPath | None = Field(default=None, description="The key of cert_file.")

    @model_validator(mode="after")
    def _pair(self) -> Tls:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or none")
        return self


class Broker(PluginConfig):
    """How a broker is reached, and how fast it is fed."""

    host: str = Field(default="localhost", min_length=1, description="Name or address of the broker.")
    port: int | None = Field(default=None, ge=1, le=65535, description="1883, or 8883 with tls, when not given.")
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="edge-inspector-<station> when not given, and -sparkplug for Sparkplug; unique at the broker.",
    )
    username: str | None = Field(default=None, description="Without one the station logs in as nobody.")
    password_file: LocalPath | None = Field(default=None, description="File with the password in its first line.")
    tls: Tls | None = Field(default=None, description="Encrypt; an empty table trusts the system's certificates.")
    keepalive_s: int = Field(
        default=12, ge=2, le=600, description="A frozen station is reported offline after 1.5 times this."
    )
    protocol: Literal["5", "3.1.1"] = Field(
        default="5", description="Version of MQTT that the broker speaks; with 3.1.1 it cannot say what it refuses."
    )
    in_flight: int = Field(default=20, ge=1, le=1000, description="Messages on their way at once; 20 measured best.")
    replay_per_s: float = Field(
        default=500.0,
        ge=1,
        le=100_000,
        description="Most messages a second while a backlog is sent after an outage; what is no backlog is not slowed.",
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="How long the broker may take to answer; then it is tried again."
    )
    ack_timeout_s: float = Field(
        default=10.0, gt=0, le=120, description="Without any PUBACK for so long the connection is given up."
    )

    @model_validator(mode="after")
    def _user(self) -> Broker:
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file is given without username: give both or none")
        return self

    @property
    def broker_port(self) -> int:
        return self.port or (TLS_PORT if self.tls else PORT)


class Config(Broker):
    """One broker."""

    type: Literal["mqtt"] = "mqtt"
    prefix: Topic = Field(
        default="edge/site/area/line/cell",
        description="ISA-95 path; topics are <prefix>/vision/<station>/..., no # or +.",
    )
    commands: tuple[Command, ...] = Field(
        default=(),
        description="Orders that the station takes from <prefix>/vision/<station>/cmd/<name>; none by default.",
    )
