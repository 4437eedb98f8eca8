"""Modbus TCP on the wire: frames out of a stream, requests out of frames, and why one is refused."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from edge_inspector.errors import EdgeInspectorError

MOST_REGISTERS = 125
MOST_WRITTEN = 123
MOST_BITS = 2000
LONGEST = 260
"""Bytes of a frame: seven of the header, then at most 253."""
_HEADER = struct.Struct(">HHHB")


class Code(enum.IntEnum):
    """Exception codes of the Modbus specification."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    NO_SUCH_UNIT = 11


class RefusedError(EdgeInspectorError):
    """This request is answered with an exception code, and changes nothing."""

    def __init__(self, code: Code) -> None:
        super().__init__(f"Modbus exception {code} ({code.name})")
        self.code = code


class StreamError(EdgeInspectorError):
    """What comes is no Modbus TCP: where the next frame begins is not known any more."""


@dataclass(frozen=True)
class Frame:
    """One request or answer: `pdu` begins with the function code."""

    transaction: int
    unit: int
    pdu: bytes

    def packed(self) -> bytes:
        return _HEADER.pack(self.transaction, 0, len(self.pdu) + 1, self.unit) + self.pdu


def first_frame(received: bytes | bytearray | memoryview) -> tuple[Frame | None, int]:
    """The frame with which these bytes begin, and its length; None, 0 = there is more to come. StreamError."""
    if len(received) < _HEADER.size:
        return None, 0
    transaction, protocol, length, unit = _HEADER.unpack_from(received)
    if protocol != 0 or not 2 <= length <= LONGEST - 6:
        raise StreamError(f"no Modbus TCP header: protocol {protocol}, length {length}; expected 0 and 2..254")
    end = 6 + length
    if len(received) < end:
        return None, 0
    return Frame(transaction, unit, bytes(received[_HEADER.size : end])), end


def asked(pdu: bytes, most: int) -> tuple[int, int]:
    """Address and count of a request to read. RefusedError: not of this shape, or more than `most`."""
    if len(pdu) != 5:
        raise RefusedError(Code.ILLEGAL_VALUE)
    address, count = struct.unpack_from(">HH", pdu, 1)
    if not 1 <= count <= most:
        raise RefusedError(Code.ILLEGAL_VALUE)
    return address, count


def single(pdu: bytes) -> tuple[int, bytes]:
    """Address and the two bytes of FC06. RefusedError: not of this shape."""
    if len(pdu) != 5:
        raise RefusedError(Code.ILLEGAL_VALUE)
    return int.from_bytes(pdu[1:3], "big"), pdu[3:5]


def several(pdu: bytes) -> tuple[int, bytes]:
    """Address and the registers of FC16 as bytes. RefusedError: not of this shape, or more than 123."""
    if len(pdu) < 6:
        raise RefusedError(Code.ILLEGAL_VALUE)
    address, count, size = struct.unpack_from(">HHB", pdu, 1)
    if not 1 <= count <= MOST_WRITTEN or size != 2 * count or len(pdu) != 6 + size:
        raise RefusedError(Code.ILLEGAL_VALUE)
    return address, pdu[6:]
