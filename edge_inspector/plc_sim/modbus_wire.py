"""The station's tags over Modbus TCP, as a PLC reads and writes registers. High word first."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import cast

from edge_inspector.errors import ConfigError, OutputError
from edge_inspector.outputs.modbus.registers import CONTROL, IMAGE, RING_ROW, Place
from edge_inspector.plc.tags import Value

REQUEST_S = 2.0
UNIT = 1
_READ_HOLDING, _WRITE_MULTIPLE = 3, 16
_MOST_READ = 125
_RING_READ = _MOST_READ // RING_ROW * RING_ROW  # whole rows, so that none is torn
_PLACES: Mapping[str, Place] = {place.tag.name: place for place in (*IMAGE, *CONTROL)}
_BITS: Mapping[str, int] = {"Status.TriggerReady": 1, "Status.ResultsValid": 6, "Status.PlcLinkOk": 15}
"""Flags that have no register of their own, and their bit of Status.Word."""
_FORMATS: Mapping[str, str] = {"UInt16": "H", "UInt32": "I", "Int32": "i"}


class ModbusWire:
    """A Modbus client that reads what the rule needs (registers 0..103) in one request, rows of the ring whole."""

    def __init__(self, address: str) -> None:
        """`address` is HOST:PORT."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ConfigError(f"Modbus address {address!r}: expected HOST:PORT, such as 192.168.10.5:502")
        self.address = address
        self._host, self._port = host.strip("[]"), int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._transaction = 0

    async def __aenter__(self) -> ModbusWire:
        async with self._told():
            self._streams = await asyncio.wait_for(asyncio.open_connection(self._host, self._port), REQUEST_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def read(self, names: Sequence[str]) -> dict[str, Value]:
        words: dict[int, int] = {}
        for start, end in _requests({_place(name).address: _place(name) for name in names}.values()):
            answer = await self._ask(struct.pack(">BHH", _READ_HOLDING, start, end - start))
            if len(answer) != 2 + 2 * (end - start):
                raise OutputError(f"registers {start}..{end - 1} are answered with {len(answer) - 2} bytes")
            words |= dict(zip(range(start, end), struct.unpack(f">{end - start}H", answer[2:]), strict=True))
        return {name: _value(name, words) for name in names}

    async def write(self, values: Mapping[str, Value]) -> None:
        """Tags whose registers follow each other go into one request, such as PartId and TriggerSeq."""
        pending: list[tuple[int, bytes]] = []
        for name, value in values.items():
            place, data = _PLACES[name], _encoded(_PLACES[name], value)
            if pending and pending[-1][0] + len(pending[-1][1]) // 2 == place.address:
                start, before = pending.pop()
                pending.append((start, before + data))
            else:
                pending.append((place.address, data))
        for start, data in pending:
            count = len(data) // 2
            await self._ask(struct.pack(">BHHB", _WRITE_MULTIPLE, start, count, len(data)) + data)

    async def _ask(self, pdu: bytes) -> bytes:
        if self._streams is None:
            raise OutputError(f"the connection to {self.address} is closed")
        reader, writer = self._streams
        self._transaction = (self._transaction + 1) % 2**16
        async with self._told():
            writer.write(struct.pack(">HHHB", self._transaction, 0, len(pdu) + 1, UNIT) + pdu)
            transaction, _, length, _ = struct.unpack(">HHHB", await asyncio.wait_for(reader.readexactly(7), REQUEST_S))
            answer = await asyncio.wait_for(reader.readexactly(length - 1), REQUEST_S)
        if transaction != self._transaction or answer[0] != pdu[0]:
            await self._close()
            raise OutputError(f"function {pdu[0]} is answered with {answer.hex()}, expected function {pdu[0]}")
        return answer

    async def _close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):  # it is closed: the station may be gone
                await streams[1].wait_closed()

    @contextlib.asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        try:
            yield
        except (OSError, EOFError, asyncio.TimeoutError) as exc:
            await self._close()
            raise OutputError(str(exc) or type(exc).__name__) from exc


def _place(name: str) -> Place:
    return _PLACES["Status.Word" if name in _BITS else name]


def _requests(places: Iterable[Place]) -> list[tuple[int, int]]:
    """From which register to which (not included) to read: as few requests as hold all places."""
    found: list[tuple[int, int]] = []
    for place in sorted(places, key=lambda one: one.address):
        if place.registers > _MOST_READ:
            found += [(at, min(at + _RING_READ, place.end)) for at in range(place.address, place.end, _RING_READ)]
        elif found and place.end - found[-1][0] <= _MOST_READ:
            found[-1] = (found[-1][0], place.end)
        else:
            found.append((place.address, place.end))
    return found


def _value(name: str, words: Mapping[int, int]) -> Value:
    place = _place(name)
    data = struct.pack(f">{place.registers}H", *(words[place.address + i] for i in range(place.registers)))
    if name in _BITS:
        return bool(int.from_bytes(data, "big") >> _BITS[name] & 1)
    if place.tag.type == "String":
        return data.split(b"\0", 1)[0].decode("utf-8", "replace")
    numbers = struct.unpack(f">{max(1, place.tag.length)}{_FORMATS[place.tag.type]}", data)
    return numbers if place.tag.length else cast(int, numbers[0])


def _encoded(place: Place, value: Value) -> bytes:
    if place.tag.type == "String":
        return str(value).encode()[: 2 * place.registers].ljust(2 * place.registers, b"\0")
    return struct.pack(f">{_FORMATS[place.tag.type]}", value)
