"""Sparkplug B payloads: protobuf (proto2) as Sparkplug 3.0, chapter 6.4, has it, of the parts that a station uses."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
_MOST_VARINT_BYTES = 10  # 64 bits, seven in a byte


class DataType(enum.IntEnum):
    """Of a metric's value; numbers of the specification.

    No unsigned ones: of a UInt32 the specification says uint32, and common decoders look for it among the uint64.
    """

    INT32 = 3
    INT64 = 4
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


@dataclass(frozen=True)
class Metric:
    """One named value; None = null. `timestamp_ms` is UTC since 1970; `historical`: not the newest of its name."""

    name: str
    datatype: DataType
    value: Value | None
    timestamp_ms: int
    historical: bool = False


def encode(metrics: Sequence[Metric], timestamp_ms: int, seq: int | None) -> bytes:
    """A payload; `seq` None = a node's death, which has none. ValueError: an integer that its type cannot hold."""
    out = bytearray(_number(1, timestamp_ms))
    for metric in metrics:
        out += _bytes(2, _metric(metric))
    if seq is not None:
        out += _number(3, seq)
    return bytes(out)


def booleans(payload: bytes) -> dict[str, bool]:
    """The Boolean metrics of a command by name. ValueError when it is no payload.

    That is all that an edge node is told: see NCMD in publisher.py.
    """
    found = {}
    for field, body in _fields(payload):
        if field != 2 or not isinstance(body, bytes):
            continue
        name, value = "", None
        for inner, content in _fields(body):
            if inner == 1 and isinstance(content, bytes):
                name = content.decode("utf-8")
            elif inner == 14 and isinstance(content, int):
                value = bool(content)
        if name and value is not None:
            found[name] = value
    return found


def _metric(metric: Metric) -> bytes:
    """The datatype also in data, where it should not be: npm's sparkplug-payload 1.0 reads null without it."""
    out = bytearray(_bytes(1, metric.name.encode()))
    out += _number(3, metric.timestamp_ms) + _number(4, metric.datatype)
    if metric.historical:
        out += _number(5, 1)
    value = metric.value
    if value is None:
        return bytes(out + _number(7, 1))
    if metric.datatype is DataType.INT32:
        out += _number(10, _signed(metric, 32))
    elif metric.datatype is DataType.INT64:
        out += _number(11, _signed(metric, 64))
    elif metric.datatype is DataType.DOUBLE:
        out += _key(13, _FIXED64) + struct.pack("<d", value)
    elif metric.datatype is DataType.BOOLEAN:
        out += _number(14, int(value))
    else:
        out += _bytes(15, str(value).encode("utf-8", "replace"))
    return bytes(out)


def _signed(metric: Metric, bits: int) -> int:
    """Two's complement of so many bits, as the specification wants it."""
    value = int(metric.value or 0)
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f"metric {metric.name} is {value}, expected an integer of {bits} bits")
    return value & (1 << bits) - 1


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _number(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _bytes(field: int, body: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Every field of a protobuf message with its number; fixed-size ones as bytes. ValueError when it is none."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            value, at = _read_varint(message, at)
            yield key >> 3, value
            continue
        if wire_type == _BYTES:
            length, at = _read_varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {at}, expected 0, 1, 2 or 5")
        if at + length > len(message):
            raise ValueError(f"a field of {length} bytes at byte {at} of {len(message)}")
        yield key >> 3, message[at : at + length]
        at += length


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(message[at : at + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError(f"a number at byte {at} has no end")
