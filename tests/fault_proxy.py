"""A TCP proxy before a TLS server that fails as networks do: silent, closed, or cut in the middle of a packet."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

Way = Literal["up", "down"]
"""up: from the client to the server."""
_CHUNK = 65536
_HEADER = 5  # of a TLS record: type, version, length
_APPLICATION_DATA = 23
_CONNECT_S = 5.0
_POLL_S = 0.05
_SLOW = 256  # bytes at once where they are counted by the second


@dataclass(frozen=True)
class Cut:
    """A record of which only the first `passed` of its `size` bytes were passed on."""

    way: Way
    passed: int
    size: int


@dataclass(frozen=True)
class Toxics:
    """What a network does to each connection through it; the eight kinds are those of toxiproxy.

    Each way: `latency_s` before each record, at most `bytes_per_s`, pieces of `slice_bytes`. So long after a connection
    was made nothing passes any more and it is hung up (`timeout_s`), or it is reset (`reset_s`). After `limit_bytes` of
    one way it ends. The other end hears of an end `close_s` later. `down`: nobody can connect.
    """

    latency_s: float = 0.0
    bytes_per_s: float | None = None
    slice_bytes: int | None = None
    timeout_s: float | None = None
    reset_s: float | None = None
    limit_bytes: int | None = None
    close_s: float = 0.0
    down: bool = False


SOUND = Toxics()


class FaultProxy:
    """Listens on `port` of the loopback and passes whole TLS records to `target` and back, until it is told not to.

    A client such as paho sends each MQTT packet in a record of its own: who cuts a record cuts a packet.
    """

    def __init__(self, target: int) -> None:
        self.cuts: list[Cut] = []
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._armed: tuple[Way, int, int] | None = None
        self._again = False
        self._toxics = SOUND
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> FaultProxy:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._open.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            _hang_up(one)
        for thread in self._threads:
            thread.join(_CONNECT_S)

    def cut(self, way: Way, after: int, at_least: int = 0, again: bool = False) -> None:
        """Pass `after` more records of that way, then half of the first one of `at_least` bytes, and hang up.

        `again`: each later connection breaks at its first one of that size, too, until `mend`.
        """
        with self._lock:
            self._armed, self._again = (way, after, at_least), again

    def mend(self) -> None:
        """Cut nothing more."""
        with self._lock:
            self._armed = None

    def suffer(self, toxics: Toxics) -> None:
        """From now on, connections that there are included; `SOUND` ends it."""
        self._toxics = toxics
        if toxics.down:
            for one in list(self._sockets):
                _hang_up(one)

    def hold(self) -> None:
        """Pass nothing on, as a pulled cable does: connections stay and say nothing."""
        self._open.clear()

    def release(self) -> None:
        """What was held goes on."""
        self._open.set()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="fault-proxy")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._toxics.down:
                _hang_up(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), _CONNECT_S)
            except OSError:
                _hang_up(client)
                continue
            server.settimeout(None)
            self._sockets += [client, server]
            self._start(self._pass, client, server, "up")
            self._start(self._pass, server, client, "down")
            if self._closing or self._toxics.down:  # said while this one came in
                _hang_up(client)
                _hang_up(server)

    def _pass(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        waiting, begun, passed = b"", time.monotonic(), 0
        try:
            while data := source.recv(_CHUNK):
                waiting += data
                while (record := _first_record(waiting)) is not None:
                    waiting = waiting[len(record) :]
                    self._open.wait()
                    if self._is_the_one(way, record):
                        sink.sendall(record[: len(record) // 2])
                        self.cuts.append(Cut(way, len(record) // 2, len(record)))
                        _hang_up(source)  # first, so that it hears nothing of what the other end says to that
                        return
                    if not self._sent(sink, record, time.monotonic() - begun, passed):
                        return
                    passed += len(record)
        except OSError:
            return
        finally:
            _hang_up(source)
            if self._toxics.close_s and not self._closing:
                time.sleep(self._toxics.close_s)
            _hang_up(sink)

    def _sent(self, sink: socket.socket, record: bytes, age_s: float, passed: int) -> bool:
        """Pass a record on as the network does; False = the connection ends with it."""
        toxics = self._toxics
        if toxics.reset_s is not None and age_s >= toxics.reset_s:
            for one in self._sockets:
                _reset(one)
            return False
        if toxics.timeout_s is not None:
            return age_s < toxics.timeout_s  # swallowed, until it is hung up
        if toxics.latency_s:
            time.sleep(toxics.latency_s)
        whole = len(record) if toxics.limit_bytes is None else max(0, toxics.limit_bytes - passed)
        size = toxics.slice_bytes or (_CHUNK if toxics.bytes_per_s is None else _SLOW)
        for at in range(0, min(whole, len(record)), size):
            piece = record[at : min(at + size, whole)]
            sink.sendall(piece)
            if toxics.bytes_per_s is not None:
                time.sleep(len(piece) / toxics.bytes_per_s)
        return whole >= len(record)

    def _is_the_one(self, way: Way, record: bytes) -> bool:
        """Whether this is a record that `cut` is for."""
        with self._lock:
            if self._armed is None or self._armed[0] != way or record[0] != _APPLICATION_DATA:
                return False
            _, after, at_least = self._armed
            if after > 0:
                self._armed = (way, after - 1, at_least)
                return False
            if len(record) < at_least:
                return False
            self._armed = (way, 0, at_least) if self._again else None
            return True


def _first_record(data: bytes) -> bytes | None:
    """The whole TLS record at the beginning; None while it is not whole."""
    if len(data) < _HEADER:
        return None
    size = _HEADER + int(struct.unpack_from(">H", data, 3)[0])
    return data[:size] if len(data) >= size else None


def _reset(one: socket.socket) -> None:
    """Have the kernel say RST instead of FIN."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RD)  # its thread is let out of `recv`, and nothing is said yet
    one.close()


def _hang_up(one: socket.socket) -> None:
    """Say that it is over, and let its thread out of `recv`."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
