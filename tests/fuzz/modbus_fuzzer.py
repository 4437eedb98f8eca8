"""Honest Modbus TCP requests, said again a little wrong."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from mutations import mutated
from watchdog import BEAT_S

from edge_inspector.outputs.modbus.registers import CONTROL_START, IMAGE, IMAGE_END

BATCH = 25
TIMEOUT_S = 5.0
UNIT = 1
_FENCE = 0xFE2C
_STREAM_SHARE = 0.3
_RECIPE_READY = 0x10  # bit 12 of Status.Word, in the high byte of register 6
_MOVING = ("Status.Heartbeat", "Status.Block", "Status.ErrorText", "Health.")


class Hang(AssertionError):
    """The server neither answers nor closes."""


def frame(transaction: int, pdu: bytes, unit: int = UNIT) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def honest_frames() -> tuple[bytes, ...]:
    """Every function that the specification has, as a PLC would use it on our map, and some that we do not offer."""
    start, some = CONTROL_START, bytes(range(8))
    pdus = [
        *(struct.pack(">BHH", code, at, n) for code in (1, 2) for at, n in ((0, 32), (16, 1))),
        *(struct.pack(">BHH", code, at, n) for code in (3, 4) for at, n in ((0, 104), (656, 120), (start, 86), (0, 1))),
        struct.pack(">BHH", 5, 0, 0xFF00),
        struct.pack(">BHH", 6, start + 50, 7),
        struct.pack(">BHHBB", 15, 0, 8, 1, 0xFF),
        struct.pack(">BHHB", 16, start, 4, 8) + some,
        struct.pack(">BHHB", 16, start + 8, 40, 80) + b"part-4711".ljust(80, b"\0"),
        struct.pack(">BHHB", 16, start + 48, 2, 4) + struct.pack(">I", 1),
        struct.pack(">BHHB", 16, start + 100, 6, 12) + bytes(12),
        struct.pack(">BHHB", 16, 0, 2, 4) + bytes(4),
        struct.pack(">BHHH", 22, start, 0xF2, 0x25),
        struct.pack(">BHHHHB", 23, 0, 16, start, 2, 4) + bytes(4),
        *(b"\x07", b"\x08\x00\x00\x12\x34", b"\x0b", b"\x11", b"\x18\x00\x00", b"\x2b\x0e\x01\x00"),
    ]
    return tuple(frame(number + 1, pdu) for number, pdu in enumerate(pdus))


class ModbusFuzzer:
    """`run(batch)` says `BATCH` frames; the same seed and batch say the same again."""

    def __init__(self, port: int, frames: Sequence[bytes], seed: int) -> None:
        self._port = port
        self._frames = frames
        self._seed = seed
        self.sent = 0
        self.closed = 0

    def run(self, batch: int) -> None:
        """Hang: no answer although the framing was right, or an open connection after the client has ended its own."""
        rng = random.Random(f"modbus:{self._seed}:{batch}")
        try:
            if rng.random() < _STREAM_SHARE:
                self._damaged_stream(rng)
            else:
                self._damaged_requests(rng)
        except ConnectionError:
            self.closed += 1
        except TimeoutError as exc:
            raise Hang(f"nothing within {TIMEOUT_S} s in batch {batch} of seed {self._seed}") from exc

    def _damaged_stream(self, rng: random.Random) -> None:
        """Headers and lengths are wrong as well."""
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S) as wire:
            for _ in range(BATCH):
                self.sent += 1
                wire.sendall(mutated(rng.choice(self._frames), rng, self._frames))
            wire.shutdown(socket.SHUT_WR)
            while wire.recv(65536):
                pass

    def _damaged_requests(self, rng: random.Random) -> None:
        """Right headers; what is in the requests is wrong."""
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S) as wire:
            for number in range(BATCH):
                self.sent += 1
                pdu = mutated(rng.choice(self._frames)[7:], rng, self._frames)[:253] or b"\0"
                wire.sendall(frame(number, pdu, rng.choice((UNIT, UNIT, UNIT, 0, 255, 77))))
            wire.sendall(frame(_FENCE, struct.pack(">BHH", 3, 0, 1)))
            buffer = b""
            while struct.pack(">HHH", _FENCE, 0, 5) not in buffer:
                more = wire.recv(65536)
                if not more:
                    raise ConnectionError("closed by the server")
                buffer = buffer[-8:] + more


class ModbusWatchdog:
    """An honest client that reads the station's registers all the time; what it finds is as in `Watchdog`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name="modbus-watchdog")
        self.faults: list[str] = []
        self.changes: dict[str, tuple[bytes, bytes]] = {}
        self.slowest_s = 0.0
        self.reads = 0

    def __enter__(self) -> ModbusWatchdog:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)

    def _guarded(self) -> None:
        try:
            self._watch()
        except OSError as exc:
            self.faults.append(f"the honest client lost its connection: {exc!r}")

    def _watch(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S) as wire:
            before = _registers(wire)
            while not before[12] & _RECIPE_READY and not self._stop.wait(0.1):  # the station is still starting
                before = _registers(wire)
            beat, beaten = before[4:8], time.monotonic()
            while not self._stop.wait(0.05):
                asked = time.monotonic()
                now = _registers(wire)
                self.slowest_s = max(self.slowest_s, time.monotonic() - asked)
                self.reads += 1
                if now[4:8] != beat:
                    beat, beaten = now[4:8], time.monotonic()
                elif time.monotonic() - beaten > BEAT_S:
                    self.faults.append(f"the heartbeat stood for more than {BEAT_S} s")
                    return
                for place in IMAGE:
                    words = slice(2 * place.address, 2 * place.end)
                    if not place.tag.name.startswith(_MOVING) and now[words] != before[words]:
                        self.changes.setdefault(place.tag.name, (before[words], now[words]))


def _registers(wire: socket.socket) -> bytes:
    out = b""
    for start in range(0, IMAGE_END, 114):
        count = min(114, IMAGE_END - start)
        wire.sendall(frame(1, struct.pack(">BHH", 4, start, count)))
        answer = b""
        while len(answer) < 9 + 2 * count:
            more = wire.recv(65536)
            if not more:
                raise ConnectionError("closed by the server")
            answer += more
        out += answer[9:]
    return out
