"""One client's connection to the Modbus server: whole frames in, answers out, within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from edge_inspector.outputs.modbus.frames import LONGEST, Code, Frame, StreamError, first_frame

REQUESTS_PER_S = 500.0
"""What one connection is answered; who asks faster waits, by TCP's own means."""
BURST = 32
"""Requests that are answered in one go."""
PARTIAL_S = 2.0
"""How long the rest of a frame may be on its way."""
_BUFFER = 4 * LONGEST
_UNANSWERED = 16 * LONGEST
"""Bytes of answers that a client may leave unread before it is asked no more."""
_ANY_UNIT = (0, 255)
"""What clients send that do not care: on TCP the address is the unit's."""


class House(Protocol):
    """What a connection asks of its server."""

    unit: int
    answer: Callable[[bytes], bytes]

    def arrived(self, connection: Connection) -> bool:
        """Whether this client may stay."""
        ...

    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """Memory and work are bounded by construction: a fixed buffer, and nothing is read while the budget is spent."""

    def __init__(self, house: House) -> None:
        self.address = ""
        self.asked_s = 0.0
        """When the last whole request came, by the loop's clock."""
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_BUFFER)
        self._filled = 0
        self._budget = float(BURST)
        self._counted_s = self._loop.time()
        self._partial_s: float | None = None
        self._unread = False
        self._later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_UNANSWERED)
        self.asked_s = self._loop.time()
        peer = self._transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if not self._house.arrived(self):
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._forget_later()
        self._house.left(self)

    def drop(self) -> None:
        """Close at once; what is not sent yet never is."""
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, now_s: float, idle_s: float) -> bool:
        """Whether it has asked nothing for too long, or half a frame is all that came."""
        if self._partial_s is not None and now_s - self._partial_s > PARTIAL_S:
            return True
        return now_s - self.asked_s > idle_s

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self._serve(least=1)  # who sends a frame byte by byte wakes us as often

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        self._serve()

    def _serve(self, least: int = 0) -> None:
        """Answer what is whole, as far as the budget goes, of which it costs at `least` so much; read on, or later."""
        self._forget_later()
        self._earn()
        at = answered = 0
        while self._open and not self._unread and answered <= self._budget:
            try:
                frame, length = first_frame(memoryview(self._buffer)[at : self._filled])
            except StreamError:
                self.drop()
                return
            if frame is None:
                break
            at += length
            answered += 1
            self.asked_s = self._loop.time()
            cast(asyncio.Transport, self._transport).write(self._answer(frame).packed())
        self._budget -= max(least, answered)
        self._keep(at)
        self._read_on()

    def _answer(self, frame: Frame) -> Frame:
        if frame.unit not in (self._house.unit, *_ANY_UNIT):
            pdu = bytes((frame.pdu[0] | 0x80, Code.NO_SUCH_UNIT))
        else:
            pdu = self._house.answer(frame.pdu)
        return Frame(frame.transaction, frame.unit, pdu)

    def _keep(self, at: int) -> None:
        """Move what is left to the front."""
        left = self._filled - at
        self._buffer[:left] = self._buffer[at : self._filled]
        self._filled = left
        if not left:
            self._partial_s = None
        elif at or self._partial_s is None:
            self._partial_s = self._loop.time()

    def _read_on(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._budget >= 0 and not self._unread:
            self._transport.resume_reading()
            return
        self._transport.pause_reading()
        self._partial_s = None  # it is we who wait
        if self._budget < 0:
            self._later = self._loop.call_later(BURST / 2 / REQUESTS_PER_S, self._serve)

    @property
    def _open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _earn(self) -> None:
        now = self._loop.time()
        self._budget = min(float(BURST), self._budget + (now - self._counted_s) * REQUESTS_PER_S)
        self._counted_s = now

    def _forget_later(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
