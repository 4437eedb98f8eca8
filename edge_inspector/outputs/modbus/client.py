"""One connection to a Modbus device, one request at a time, each with a bounded time."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from typing import cast

import anyio

from edge_inspector.errors import OutputError
from edge_inspector.outputs.modbus.frames import Frame, StreamError, first_frame

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_WRITE_COIL = 5
_EXCEPTIONS = {1: "illegal function", 2: "illegal address", 3: "illegal value", 4: "device failure", 6: "busy"}


class ModbusClient(asyncio.Protocol):
    """A device that answers late is given up: its connection is reset, so that nothing we sent reaches it later."""

    def __init__(self, host: str, port: int, unit: int, timeout_s: float) -> None:
        self.where = f"Modbus device {host}:{port}"
        self._host = host
        self._port = port
        self._unit = unit
        self._timeout_s = timeout_s
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._transaction = 0
        self._answer: asyncio.Future[Frame] | None = None

    async def open(self) -> None:
        """OutputError: nobody answers there."""
        self._received.clear()
        try:
            with anyio.fail_after(self._timeout_s):
                await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)
        except TimeoutError:
            raise OutputError(f"{self.where}: no connection within {self._timeout_s:g} s; is it on?") from None
        except OSError as exc:
            raise OutputError(f"{self.where}: no connection: {exc.strerror or exc}; is it on?") from exc

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def write_coil(self, address: int, on: bool, within_s: float = math.inf) -> None:
        """Returns when the device has confirmed it. OutputError: it did not; the connection is of no use any more.

        `within_s` is how much time there is when it is less than the device's; none = it is not even asked.
        """
        if within_s <= 0:
            raise OutputError(f"{self.where}: too slow: the time for coil {address} is over before it is written")
        pdu = struct.pack(">BHH", _WRITE_COIL, address, 0xFF00 if on else 0)
        answer = await self._ask(pdu, min(self._timeout_s, within_s))
        if answer == pdu:
            return
        self.close()
        if len(answer) == 2 and answer[0] == _WRITE_COIL | 0x80:
            why = _EXCEPTIONS.get(answer[1], "unknown")
            raise OutputError(
                f"{self.where}: coil {address} is refused, exception {answer[1]} ({why}); correct its number"
            )
        raise OutputError(f"{self.where}: coil {address} is confirmed by {answer.hex()}, expected {pdu.hex()}")

    async def _ask(self, pdu: bytes, timeout_s: float) -> bytes:
        if self._transport is None:
            raise OutputError(f"{self.where}: the connection is lost")
        self._transaction = (self._transaction + 1) % 2**16
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(Frame(self._transaction, self._unit, pdu).packed())
        try:
            with anyio.fail_after(timeout_s):
                return (await self._answer).pdu
        except TimeoutError:
            self.close()
            raise OutputError(f"{self.where}: no answer within {timeout_s:.3g} s") from None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(OutputError(f"{self.where}: the connection is lost: {exc or 'closed by it'}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while True:
                frame, length = first_frame(self._received)
                if frame is None:
                    return
                del self._received[:length]
                waiting = self._answer is not None and not self._answer.done()
                if waiting and frame.transaction == self._transaction:  # else of a request that nobody waits for
                    cast("asyncio.Future[Frame]", self._answer).set_result(frame)
        except StreamError:
            self.close()
