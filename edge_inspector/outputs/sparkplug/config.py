"""What the station file says of one Sparkplug edge node."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from edge_inspector.outputs.mqtt.config import Broker

Id = Annotated[str, StringConstraints(pattern=r"^[^/#+\x00-\x1f]+$", max_length=120)]
"""One level of a topic."""


class Config(Broker):
    """One broker of a Sparkplug B infrastructure; the station is a device of the edge node."""

    type: Literal["sparkplug"] = "sparkplug"
    group: Id = Field(description="Group id: the site, say.")
    edge_node: Id | None = Field(
        None, description="Edge node id, unique in the group; the machine's host name when not given."
    )
    primary_host: Id | None = Field(
        None,
        description="Host application without which nothing is sent: while its STATE says that it is offline, all waits"
        " in the outbox. Without this key nobody knows whether a host was there to listen.",
    )
