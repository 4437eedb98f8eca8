"""What the station file says of one Sparkplug edge node."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from edge_inspector.outputs.mqtt.config import Broker

Id = Annotated[str, StringConstraints(pattern=r"^[^/#+\x00-\x1f]+$", max_length=120)]
"""One level of a topic."""


def _no_state(group: str) -> str:
    if group == "STATE":
        raise ValueError("is where host applications say that they are online; expected another name")
    return group


class Config(Broker):
    """One broker of a Sparkplug B infrastructure; the station is a device of the edge node."""

    type: Literal["sparkplug"] = "sparkplug"
    group: Annotated[Id, AfterValidator(_no_state)] = Field(description="Group id: the site, say.")
    edge_node: Id | None = Field(
        default=None,
        description="Edge node id, unique in the group; the station's name when not given, as for the device id.",
    )
    primary_host: Id | None = Field(
        default=None,
        description="Host application without which nothing is sent: while its STATE says that it is offline, all waits"
        " in the outbox. Without this key nobody knows whether a host was there to listen.",
    )
