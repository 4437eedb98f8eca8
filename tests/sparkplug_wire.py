"""Sparkplug and MQTT as they are on the wire, by the test's own reading of the two specifications."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14
_VALUES = {10: "int", 11: "long", 12: "float", 13: "double", 14: "boolean", 15: "string"}


@dataclass(frozen=True)
class Told:
    """A metric as it arrived; `fields` are the numbers of the protobuf fields that were there."""

    name: str
    value: Any
    datatype: int | None
    timestamp: int | None
    historical: bool
    null: bool
    kind: str | None
    fields: tuple[int, ...]


@dataclass(frozen=True)
class Body:
    """A Sparkplug B payload as it arrived."""

    metrics: tuple[Told, ...]
    timestamp: int | None
    seq: int | None

    def __getitem__(self, name: str) -> Any:
        (found,) = [metric for metric in self.metrics if metric.name == name]
        return found.value


@dataclass(frozen=True)
class Packet:
    """One MQTT packet that the client sent; what it has not is None."""

    kind: int
    topic: str = ""
    qos: int = 0
    retain: bool = False
    payload: bytes = b""
    reason: int = 0
    clean: bool | None = None
    expiry_s: int | None = None
    will: Packet | None = None

    @property
    def verb(self) -> str:
        return self.topic.split("/")[2]

    @functools.cached_property
    def body(self) -> Body:
        return decode(self.payload)


def decode(payload: bytes) -> Body:
    """By the test's own reading of the specification's protobuf."""
    metrics, timestamp, seq = [], None, None
    for field, value in protobuf(payload):
        if field == 1:
            timestamp = value
        elif field == 2:
            metrics.append(_metric(value))
        elif field == 3:
            seq = value
        else:
            raise AssertionError(f"field {field} of a payload, expected 1, 2 or 3")
    return Body(tuple(metrics), timestamp, seq)


def protobuf(message: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size, at = _varint(message, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
        assert at + size <= len(message), "a field goes beyond its message"
        yield key >> 3, message[at : at + size]
        at += size


def _metric(message: bytes) -> Told:
    found = dict(protobuf(message))
    kinds = [number for number in found if number >= 10]
    assert len(kinds) <= 1, f"values {kinds}, expected one"
    kind = _VALUES[kinds[0]] if kinds else None
    value: Any = found[kinds[0]] if kinds else None
    if kind == "double":
        (value,) = struct.unpack("<d", value)
    elif kind == "string":
        value = value.decode()
    elif kind == "boolean":
        assert value in (0, 1)
        value = value == 1
    elif kind is not None:
        bits = 32 if kind == "int" else 64
        assert 0 <= value < 1 << bits
        value -= (value >> bits - 1) << bits
    return Told(
        name=found[1].decode(),
        value=value,
        datatype=found.get(4),
        timestamp=found.get(3),
        historical=bool(found.get(5, 0)),
        null=bool(found.get(7, 0)),
        kind=kind,
        fields=tuple(found),
    )


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at


def packets(stream: bytes, protocol: str) -> list[Packet]:
    """What the client said in one connection; a last packet that is not whole is left out."""
    out, at = [], 0
    while at < len(stream):
        try:
            size, body = _varint(stream, at + 1)
        except IndexError:
            break
        if body + size > len(stream):
            break
        out.append(_packet(stream[at], bytes(stream[body : body + size]), protocol == "5"))
        at = body + size
    return out


def _packet(head: int, body: bytes, v5: bool) -> Packet:
    kind = head >> 4
    if kind == CONNECT:
        return _connect(body, v5)
    if kind == PUBLISH:
        topic, at = _text(body, 0)
        qos = head >> 1 & 3
        _, at = _properties(body, at + (2 if qos else 0), v5)
        return Packet(kind, topic, qos, bool(head & 1), body[at:])
    if kind == SUBSCRIBE:
        _, at = _properties(body, 2, v5)
        topic, at = _text(body, at)
        return Packet(kind, topic, body[at] & 3)
    return Packet(kind, reason=body[0] if kind == DISCONNECT and body else 0)


def _connect(body: bytes, v5: bool) -> Packet:
    assert body[2:6] == b"MQTT"
    assert body[6] == (5 if v5 else 4)
    flags = body[7]
    properties, at = _properties(body, 10, v5)
    _, at = _text(body, at)
    will = None
    if flags & 4:
        _, at = _properties(body, at, v5)
        topic, at = _text(body, at)
        size = struct.unpack_from(">H", body, at)[0]
        will = Packet(PUBLISH, topic, flags >> 3 & 3, bool(flags & 32), body[at + 2 : at + 2 + size])
    told = {properties[i]: struct.unpack_from(">I", properties, i + 1)[0] for i in range(0, len(properties), 5)}
    assert set(told) <= {0x11, 0x27}, f"properties {told}; this reader knows those of 32 bits that paho is given"
    return Packet(CONNECT, clean=bool(flags & 2), expiry_s=told.get(0x11), will=will)


def _text(body: bytes, at: int) -> tuple[str, int]:
    size = struct.unpack_from(">H", body, at)[0]
    return body[at + 2 : at + 2 + size].decode(), at + 2 + size


def _properties(body: bytes, at: int, v5: bool) -> tuple[bytes, int]:
    if not v5:
        return b"", at
    size, at = _varint(body, at)
    return body[at : at + size], at + size
