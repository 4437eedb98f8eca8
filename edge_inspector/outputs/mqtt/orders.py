"""Orders that come in over MQTT: what is let through, and where the answer goes."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import structlog

from edge_inspector.interfaces import Order

log = structlog.get_logger()
MAX_BYTES = 4096
MAX_WAITING = 16
_WHO = re.compile(r"[^A-Za-z0-9_.@ -]")
_WHO_CHARS = 64
_TOPIC_CHARS = 400


@dataclass(frozen=True)
class ReplyTo:
    """Where an answer goes; an empty topic = nowhere, as with MQTT 3.1.1."""

    command: str
    topic: str = ""
    correlation: bytes | None = None


@dataclass(frozen=True)
class RefusedOrder:
    """An order that the station need not see."""

    reply_to: ReplyTo
    why: str


class OrderInbox:
    """Takes messages on `<base>/cmd/<name>`; each is an order, or a reason why it is none."""

    def __init__(self, destination: str, base: str, commands: Collection[str]) -> None:
        self.topics = tuple(f"{base}/cmd/{command}" for command in commands)
        self._destination = destination
        self._base = base
        self._orders: deque[tuple[ReplyTo, Order]] = deque()
        self.refused: deque[RefusedOrder] = deque(maxlen=MAX_WAITING)

    def take(self, message: Any) -> None:
        """One of paho's messages on one of `topics`. A retained one is nobody's order of now."""
        command = str(message.topic).rpartition("/")[2]
        reply_to = self._reply_to(command, message)
        arguments, who, why = _arguments(bytes(message.payload))
        if message.retain:
            why = "a retained message is no order: it would be carried out again at each connection"
        elif not why and len(self._orders) >= MAX_WAITING:
            why = f"{MAX_WAITING} orders wait already"
        if why:
            log.warning("order_refused", destination=self._destination, order=command, why=why)
            self.refused.append(RefusedOrder(reply_to, why))
            return
        said = f"mqtt:{self._destination}:{who}" if who else f"mqtt:{self._destination}"
        self._orders.append((reply_to, Order(command, said, arguments)))

    def taken(self) -> list[tuple[object, Order]]:
        """What came in since the last call."""
        orders: list[tuple[object, Order]] = list(self._orders)
        self._orders.clear()
        return orders

    def _reply_to(self, command: str, message: Any) -> ReplyTo:
        """MQTT 5's response topic, unless it is one of the station's own: nobody shall speak in its name."""
        topic = getattr(message.properties, "ResponseTopic", "")
        own = topic == self._base or topic.startswith(f"{self._base}/")
        if not topic or own or topic.startswith("$") or len(topic) > _TOPIC_CHARS or set(topic) & set("+#\x00"):
            return ReplyTo(command)
        return ReplyTo(command, topic, getattr(message.properties, "CorrelationData", None))


def _arguments(payload: bytes) -> tuple[dict[str, Any], str, str]:
    """Arguments, who says to have sent them, and what is wrong with them."""
    if len(payload) > MAX_BYTES:
        return {}, "", f"{len(payload)} bytes, expected at most {MAX_BYTES}"
    if not payload.strip():
        return {}, "", ""
    try:
        arguments = json.loads(payload)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        return {}, "", "expected nothing, or a JSON object with the order's arguments"
    who = arguments.pop("who", "")
    if not isinstance(who, str):
        return {}, "", "expected text in who"
    return arguments, _WHO.sub("_", who)[:_WHO_CHARS], ""
