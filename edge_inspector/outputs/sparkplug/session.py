"""What an edge node says, over one MQTT session after the other: certificates, data and their sequence. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class _Told:
    """The newest of each kind that a host was told; `late`: only as history, it does not show it as the present."""

    result: ResultPayload | None = None
    event: EventPayload | None = None
    result_is_late: bool = False
    event_is_late: bool = False


class Session:
    """Each payload is either sent, and `sent` called, before the next one is made, or never sent."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._bd_seq = 0
        self._seq = 0
        self._began_ms: int | None = None
        self._told = self._coming = _Told()

    def begin(self, bd_seq: int) -> None:
        """A new MQTT session; `bd_seq` is how many CONNECT packets this process has sent before: it goes round."""
        self._bd_seq = bd_seq % _MODULUS
        self._began_ms = None

    def sent(self) -> None:
        """The payload that was made last is on its way."""
        self._seq = (self._seq + 1) % _MODULUS
        self._told = self._coming

    def node_death(self, now_ms: int) -> bytes:
        """The will, and what is said at an intended end: bdSeq alone, without sequence number; not for `sent`."""
        return encode([metrics.bd_seq_metric(self._bd_seq, now_ms)], now_ms, None)

    def node_birth(self, now_ms: int) -> bytes:
        """NBIRTH, also a repeated one: it begins the sequence at 0."""
        self._seq = 0
        if self._began_ms is None:
            self._began_ms = now_ms
        return self._payload(metrics.of_node(self._identity, self._bd_seq, now_ms), now_ms, self._told)

    def device_birth(self, state: tuple[str, int, str], now_ms: int) -> bytes:
        """DBIRTH with every metric that the device will ever have; what was told last stands in it as the present."""
        told = replace(self._told, result_is_late=False, event_is_late=False)
        values = [*metrics.of_result(told.result, now_ms), *metrics.of_event(told.event, now_ms)]
        return self._payload([*values, *metrics.of_state(*state, now_ms)], now_ms, told)

    def device_death(self, now_ms: int) -> bytes:
        return self._payload([], now_ms, self._told)

    def state(self, state: tuple[str, int, str], now_ms: int) -> bytes:
        """DDATA of the station's own state."""
        return self._payload(metrics.of_state(*state, now_ms), now_ms, self._told)

    def data(self, message: OutboxMessage, now_ms: int) -> bytes:
        """DDATA of one result or event; historical when it is older than this session, or of an earlier start.

        ValueError when the message is none of them.
        """
        if message.schema == EVENT_SCHEMA:
            event = EventPayload.model_validate_json(message.payload)
            late = self._is_late(event.ts, now_ms)
            told = replace(self._told, event=event, event_is_late=late)
            return self._payload(metrics.of_event(event, now_ms, historical=late), now_ms, told)
        result = ResultPayload.model_validate_json(message.payload)
        late = result.boot_id != self._identity.boot_id or self._is_late(result.ts, now_ms)
        told = replace(self._told, result=result, result_is_late=late)
        return self._payload(metrics.of_result(result, now_ms, historical=late), now_ms, told)

    def present(self, now_ms: int) -> bytes | None:
        """DDATA that says the newest once more when it was told as history; None when a host shows it already."""
        told = self._told
        values = []
        if told.result_is_late:
            values += metrics.of_result(told.result, now_ms)
        if told.event_is_late:
            values += metrics.of_event(told.event, now_ms)
        if not values:
            return None
        return self._payload(values, now_ms, replace(told, result_is_late=False, event_is_late=False))

    def _is_late(self, ts: str, now_ms: int) -> bool:
        """Never by a clock that was set back since the session began."""
        began_ms = now_ms if self._began_ms is None else self._began_ms
        return metrics.milliseconds(ts) < began_ms <= now_ms

    def _payload(self, told: list[Metric], now_ms: int, coming: _Told) -> bytes:
        """In the order of time, as the specification wants what is no history."""
        payload = encode(sorted(told, key=lambda metric: metric.timestamp_ms), now_ms, self._seq)
        self._coming = coming
        return payload
