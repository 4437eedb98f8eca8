"""A TCP relay that keeps what the client says, so that a test can say it again, a little wrong."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

_CHUNK = 65536


class Relay:
    """Listens on `port` and passes everything to `target` and back; by connection, `streams` is what the clients said.

    `answers` is what they were told.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.streams: list[bytearray] = []
        self.answers: list[bytearray] = []
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for open_socket in self._sockets:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="relay")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                return
            server.settimeout(None)
            self._sockets += [client, server]
            self.streams.append(bytearray())
            self.answers.append(bytearray())
            self._start(_pass, client, server, self.streams[-1])
            self._start(_pass, server, client, self.answers[-1])


def _pass(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    while True:
        try:
            data = source.recv(_CHUNK)
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            kept.extend(data)
            sink.sendall(data)
        except OSError:
            return


def opcua_messages(stream: bytes) -> list[bytes]:
    """The messages of one OPC UA connection, each with its header."""
    return _split(stream, 8, lambda head: struct.unpack_from("<I", head, 4)[0])


def modbus_frames(stream: bytes) -> list[bytes]:
    """The requests of one Modbus TCP connection, each with its header."""
    return _split(stream, 6, lambda head: 6 + struct.unpack_from(">H", head, 4)[0])


def _split(stream: bytes, head: int, size: Callable[[bytes], int]) -> list[bytes]:
    out, at = [], 0
    while at + head <= len(stream):
        length = size(stream[at : at + head])
        out.append(bytes(stream[at : at + length]))
        at += length
    return out
