"""The registers as they stand, and the answers to what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from edge_inspector.outputs.modbus import frames
from edge_inspector.outputs.modbus.frames import Code, RefusedError
from edge_inspector.outputs.modbus.registers import (
    BITS,
    CONTROL,
    CONTROL_END,
    CONTROL_START,
    IMAGE,
    IMAGE_END,
    MAP_VERSION,
    Place,
    WordOrder,
    decoded,
    encoded,
)
from edge_inspector.plc.tags import Value

READ_COILS, READ_INPUTS, READ_HOLDING, READ_INPUT_REGISTERS, WRITE_ONE, WRITE_SEVERAL = 1, 2, 3, 4, 6, 16

_SHOWN: Mapping[str, Place] = {place.tag.name: place for place in IMAGE}
_WRITABLE: Mapping[int, Place] = {place.address: place for place in CONTROL}


class Registers:
    """One unit's registers. FC03 and FC04 read the same ones, FC01 and FC02 the same bits.

    `took` is called with the tags of each write that is taken, before it is answered.
    """

    def __init__(self, order: WordOrder, commands: bool, took: Callable[[Mapping[str, Value]], None]) -> None:
        self._order = order
        self._commands = commands
        self._took = took
        self._image = bytearray(2 * IMAGE_END)
        self._image[0:2] = MAP_VERSION.to_bytes(2, "big")
        self._control = bytearray(2 * (CONTROL_END - CONTROL_START))
        self._bits = dict.fromkeys(BITS, 0)

    def show(self, changed: Iterable[tuple[str, Value]]) -> None:
        """New values of the station's tags; those that have no register of their own are skipped."""
        for name, value in changed:
            place = _SHOWN.get(name)
            if place is not None:
                self._image[2 * place.address : 2 * place.end] = encoded(place, value, self._order)
            if name in self._bits and isinstance(value, int):
                self._bits[name] = value

    def answer(self, pdu: bytes) -> bytes:
        """The answer to one request; what is not allowed is answered by its exception code."""
        function = pdu[0]
        try:
            if function in (READ_HOLDING, READ_INPUT_REGISTERS):
                registers = self._read(*frames.asked(pdu, frames.MOST_REGISTERS))
                return bytes((function, len(registers))) + registers
            if function in (READ_COILS, READ_INPUTS):
                bits = self._read_bits(*frames.asked(pdu, frames.MOST_BITS))
                return bytes((function, len(bits))) + bits
            if function == WRITE_ONE:
                self._write(*frames.single(pdu))
                return pdu
            if function == WRITE_SEVERAL:
                self._write(*frames.several(pdu))
                return pdu[:5]
            raise RefusedError(Code.ILLEGAL_FUNCTION)
        except RefusedError as refused:
            return bytes((function | 0x80, refused.code))

    def _read(self, address: int, count: int) -> bytes:
        """Nothing changes between two registers of one request: it is answered in one go."""
        if address + count <= IMAGE_END:
            return bytes(self._image[2 * address : 2 * (address + count)])
        first = address - CONTROL_START
        if first >= 0 and address + count <= CONTROL_END:
            return bytes(self._control[2 * first : 2 * (first + count)])
        raise RefusedError(Code.ILLEGAL_ADDRESS)

    def _read_bits(self, address: int, count: int) -> bytes:
        if address + count > 16 * len(BITS):
            raise RefusedError(Code.ILLEGAL_ADDRESS)
        every = sum(self._bits[name] << 16 * i for i, name in enumerate(BITS))
        wanted = every >> address & (1 << count) - 1
        return wanted.to_bytes((count + 7) // 8, "little")

    def _write(self, address: int, registers: bytes) -> None:
        """All of it or nothing: no value is taken in halves, whose other half would come later or never.

        Only a text may be cut short: what is left of it is then empty.
        """
        values: dict[str, Value] = {}
        kept = bytearray(self._control)
        at, end = address, address + len(registers) // 2
        while at < end:
            place = _WRITABLE.get(at)
            if place is None or (place.command and not self._commands):
                raise RefusedError(Code.ILLEGAL_ADDRESS)
            if place.end > end and place.tag.type != "String":
                raise RefusedError(Code.ILLEGAL_ADDRESS)
            value = decoded(place, registers[2 * (at - address) : 2 * (place.end - address)], self._order)
            values[place.tag.name] = value
            start = 2 * (place.address - CONTROL_START)
            kept[start : start + 2 * place.registers] = encoded(place, value, self._order)
            at = place.end
        self._control = kept
        self._took(values)
