"""The daemon's Unix socket: events out, commands in, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import structlog
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import TypeAdapter

log = structlog.get_logger()
_BACKLOG = 256
_MAX_CLIENTS = 32
"""More are turned away: each costs a file descriptor, and the PLC's server needs some, too."""
_MAX_LINE = 4096
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class Control:
    """Serves `path`; the station sets `status`, `counters` and `stop`.

    A slow reader loses events, never time of the station.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.status: Callable[[], object] = lambda: None
        self.counters: Callable[[], Mapping[str, float]] = dict
        self.stop: Callable[[], None] = lambda: None
        self._readers: set[anyio.abc.ObjectSendStream[bytes]] = set()
        self._clients = 0

    def emit(self, kind: str, record: object) -> None:
        """Tell every listener; costs nothing when nobody listens."""
        if not self._readers:
            return
        line = _line({"event": kind, "record": record})
        for reader in list(self._readers):
            try:
                reader.send_nowait(line)  # type: ignore[attr-defined]
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                continue

    async def serve(self) -> None:
        """Answer until cancelled."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        listener = await anyio.create_unix_listener(self.path, mode=0o660)
        async with listener:
            await listener.serve(self._greet)

    async def _greet(self, stream: anyio.abc.SocketStream) -> None:
        if self._clients >= _MAX_CLIENTS:
            await stream.aclose()
            return
        self._clients += 1
        try:
            await self._talk(stream)
        finally:
            self._clients -= 1

    async def _talk(self, stream: anyio.abc.SocketStream) -> None:
        """Until the client hangs up, sends a line without an end, or does not read its answers."""
        send, receive = anyio.create_memory_object_stream[bytes](_BACKLOG)
        async with stream, send, receive, anyio.create_task_group() as tasks:
            try:
                tasks.start_soon(_pump, receive, stream)
                buffered = BufferedByteReceiveStream(stream)
                while True:
                    request = await buffered.receive_until(b"\n", _MAX_LINE)
                    send.send_nowait(_line(self._answer(request, send)))
            except (
                anyio.EndOfStream,
                anyio.IncompleteRead,
                anyio.DelimiterNotFound,
                anyio.BrokenResourceError,
                anyio.WouldBlock,
            ):
                pass
            finally:
                self._readers.discard(send)
                tasks.cancel_scope.cancel()

    def _answer(self, request: bytes, send: anyio.abc.ObjectSendStream[bytes]) -> dict[str, Any]:
        try:
            command = json.loads(request).get("command")
        except (ValueError, AttributeError, RecursionError):  # the last one: thousands of brackets
            return {"error": 'expected one JSON object a line, such as {"command": "status"}'}
        if command == "status":
            return {"status": self.status()}
        if command == "counters":
            return {"counters": self.counters()}
        if command == "events":
            self._readers.add(send)
            return {"ok": True}
        if command == "stop":
            self.stop()
            return {"ok": True}
        return {"error": f"unknown command {command!r}: expected status, counters, events or stop"}


async def _pump(receive: anyio.abc.ObjectReceiveStream[bytes], stream: anyio.abc.SocketStream) -> None:
    try:
        async for line in receive:
            await stream.send(line)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


def _line(record: object) -> bytes:
    return _ANYTHING.dump_json(record) + b"\n"
