"""One MQTT session of an edge node: which message comes next, and its sequence number. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edge_inspector.datatypes import Identity, OutboxMessage
from edge_inspector.outputs.payloads import EventPayload, ResultPayload
from edge_inspector.outputs.sparkplug import metrics
from edge_inspector.outputs.sparkplug.payload import Metric, encode

NAMESPACE = "spBv1.0"
_MODULUS = 256  # of seq and bdSeq
EVENT_SCHEMA = "vision.event/1"


@dataclass(frozen=True)
class Node:
    """Where a station stands in the topic tree."""

    group: str
    edge_node: str
    device: str

    def topic(self, verb: str) -> str:
        """`verb`: NBIRTH and the like, without a device; DBIRTH and the like with it."""
        end = f"/{self.device}" if verb.startswith("D") else ""
        return f"{NAMESPACE}/{self.group}/{verb}/{self.edge_node}{end}"


class Session:
    """Begins with `birth`; every message of it must be sent in the order in which it was made."""

    def __init__(self, identity: Identity, bd_seq: int) -> None:
        """`bd_seq` is how many sessions this process had before; it comes round after 256."""
        self._identity = identity
        self.bd_seq = bd_seq % _MODULUS
        self._seq = 0
        self._result: ResultPayload | None = None
        self._event: EventPayload | None = None
        self._born_ms = 0

    def node_death(self, now_ms: int) -> bytes:
        """The will, and what is said at an intended end: bdSeq alone, no sequence number."""
        return encode([metrics.bd_seq_metric(self.bd_seq, now_ms)], now_ms, None)

    def node_birth(self, now_ms: int) -> bytes:
        """NBIRTH, also a repeated one: it begins the sequence at 0."""
        self._seq = 0
        return self._numbered(metrics.of_node(self._identity, self.bd_seq, now_ms), now_ms)

    def device_birth(self, state: tuple[str, int, str], now_ms: int) -> bytes:
        """DBIRTH with every metric that the device will ever have; what was told last stands in it."""
        self._born_ms = now_ms
        told = [*metrics.of_result(self._result, now_ms), *metrics.of_event(self._event, now_ms)]
        return self._numbered([*metrics.of_state(*state, now_ms), *told], now_ms)

    def device_death(self, now_ms: int) -> bytes:
        return self._numbered([], now_ms)

    def state(self, state: tuple[str, int, str], now_ms: int) -> bytes:
        """DDATA of the station's own state."""
        return self._numbered(metrics.of_state(*state, now_ms), now_ms)

    def data(self, message: OutboxMessage, now_ms: int) -> bytes:
        """DDATA of one result or event; historical when it is older than the device's birth: it is not its present."""
        if message.schema == EVENT_SCHEMA:
            event = EventPayload.model_validate_json(message.payload)
            late = metrics.milliseconds(event.ts) < self._born_ms
            if not late:
                self._event = event
            return self._numbered(metrics.of_event(event, now_ms, historical=late), now_ms)
        result = ResultPayload.model_validate_json(message.payload)
        late = bool(result.replayed) or metrics.milliseconds(result.ts) < self._born_ms
        if not late:
            self._result = result
        return self._numbered(metrics.of_result(result, now_ms, historical=late), now_ms)

    def _numbered(self, told: list[Metric], now_ms: int) -> bytes:
        payload = encode(told, now_ms, self._seq)
        self._seq = (self._seq + 1) % _MODULUS
        return payload
