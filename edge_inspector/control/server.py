"""The daemon's side of its Unix socket: events out, commands and orders in, one JSON object a line."""

from __future__ import annotations

import itertools
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.abc
import structlog
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from edge_inspector.control.client import MAX_LINE
from edge_inspector.errors import StorageError
from edge_inspector.interfaces import Order, OrderAnswer

log = structlog.get_logger()
COMMANDS = ("status", "counters", "metrics", "events", "order", "stop")
MAX_WHO = 64
REQUESTS_PER_S, BURST = 50, 64
"""Of all clients together: at 0.6 ms each, measured, they take 3 % of the loop on which verdicts are made."""
READ_S = 10.0
"""A client that takes nothing of what it is sent for this long is dropped."""
IDLE_S = 60.0
"""A client that asks nothing for this long, and does not listen to events, makes room for another one."""
ORDER_S = 90.0
"""A picture may be inspected for a minute, if its recipe says so; nobody waits for longer."""
ACCEPT_AGAIN_S = 1.0
"""While the process has no file descriptor left."""
FINISH_S = 0.5
"""How long a station that stops waits for those who still wait for it."""
METRICS_S = 0.5
"""Whoever asks again within this time is given the same text."""
_BACKLOG = 256
_MAX_CLIENTS = 32
_UNGREETED = 64
"""More are turned away: each costs a file descriptor, and the PLC's server needs some, too."""
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class Stopping(Protocol):
    """`who` orders it, empty = the program itself."""

    def __call__(self, who: str = "") -> None: ...


class Control:
    """Serves `path`; the station sets the public attributes.

    A slow reader loses events, never time of the station.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: Callable[[], Mapping[str, object]] = dict
        """Who is speaking; told with the status."""
        self.status: Callable[[], object] = lambda: None
        self.counters: Callable[[], Mapping[str, float]] = dict
        self.metrics: Callable[[], str] = str
        """Called on a worker thread, never twice at a time."""
        self.order: Callable[[Order], Awaitable[OrderAnswer]] = _nobody
        self.stop: Stopping = _no_stop
        self._readers: set[anyio.abc.ObjectSendStream[bytes]] = set()
        self._clients = self._answering = 0
        self._due_s = 0.0
        self._rendering: anyio.Lock
        self._rendered: tuple[float, str] | None = None

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

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled; it has started when somebody may call. StorageError: the socket cannot be made."""
        self._rendering = anyio.Lock()  # not before: anyio 4.4 makes it only where a loop runs
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            listener = await anyio.create_unix_listener(self.path, mode=0o660, backlog=_UNGREETED)
        except OSError as exc:
            raise StorageError(
                f"control socket {self.path} cannot be made: {exc}; let this user write in its folder, or free space"
            ) from exc
        async with listener, anyio.create_task_group() as tasks:
            task_status.started()
            while True:
                try:
                    stream = await listener.accept()
                except anyio.BrokenResourceError as exc:  # too many open files; who calls waits
                    log.warning("control_accepts_nobody", error=str(exc.__cause__))
                    await anyio.sleep(ACCEPT_AGAIN_S)
                    continue
                await self._pace()
                tasks.start_soon(self._greet, stream)

    async def finish(self) -> None:
        """Let answers that are there go out, before `serve` is cancelled."""
        with anyio.move_on_after(FINISH_S):
            while self._answering:  # noqa: ASYNC110 - a few turns of the loop
                await anyio.sleep(0.005)

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
        writing = anyio.Lock()
        async with stream, send, receive, anyio.create_task_group() as tasks:
            try:
                tasks.start_soon(_pump, receive, stream, writing, tasks.cancel_scope)
                buffered = BufferedByteReceiveStream(stream)
                peer = _peer(stream)
                for number in itertools.count():
                    with anyio.fail_after(None if send in self._readers else IDLE_S):
                        request = _read(await buffered.receive_until(b"\n", MAX_LINE))
                    self._answering += 1
                    try:
                        if number:  # the first one's turn was that of the connection
                            await self._pace()
                        answer = _line(await self._answer(request, peer))
                        with anyio.fail_after(READ_S):
                            async with writing:
                                if request.get("command") == "events":
                                    self._readers.add(send)
                                await stream.send(answer)
                    finally:
                        self._answering -= 1
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError):
                pass
            except TimeoutError:
                log.warning("control_client_dropped", why="it neither asks nor listens, or does not read its answers")
            finally:
                self._readers.discard(send)
                tasks.cancel_scope.cancel()

    async def _pace(self) -> None:
        """Wait for the turn of the next request or connection."""
        now = anyio.current_time()
        self._due_s = max(self._due_s, now - BURST / REQUESTS_PER_S) + 1 / REQUESTS_PER_S
        if self._due_s > now:
            await anyio.sleep(self._due_s - now)

    async def _answer(self, request: Mapping[str, Any], peer: str) -> Mapping[str, object]:
        command = request.get("command")
        if command == "status":
            return {"status": self.status(), **self.facts()}
        if command == "counters":
            return {"counters": self.counters()}
        if command == "metrics":
            try:
                return {"metrics": await self._metrics()}
            except Exception as exc:  # noqa: BLE001 - sensors and drivers of all kinds; verdicts do not wait for a figure
                log.error("metrics_failed", error=repr(exc))
                return {"error": f"the metrics cannot be made: {exc}"}
        if command == "order":
            order = _order(request, peer)
            return {"error": order} if isinstance(order, str) else {"answer": await self._carried_out(order)}
        if command == "stop":
            self.stop(peer)
        elif command != "events":
            said = repr(command) if isinstance(command, str) else "that is no text"  # repr of deep lists would raise
            error = f"unknown command {said}: expected one of {', '.join(COMMANDS)}"
            return {"error": error if request else 'expected one JSON object a line, such as {"command": "status"}'}
        return {"ok": True}

    async def _carried_out(self, order: Order) -> OrderAnswer:
        with anyio.move_on_after(ORDER_S):
            return await self.order(order)
        return OrderAnswer(done=False, text=f"the station has not answered order {order.name} within {ORDER_S:g} s")

    async def _metrics(self) -> str:
        """Made on a thread of its own, so that the loop goes on; one scraper's text serves the others, too."""
        async with self._rendering:
            if self._rendered is None or anyio.current_time() - self._rendered[0] > METRICS_S:
                text = await anyio.to_thread.run_sync(self.metrics, abandon_on_cancel=True)
                self._rendered = anyio.current_time(), text
            return self._rendered[1]


def _no_stop(who: str = "") -> None:
    """The station is starting."""


async def _nobody(order: Order) -> OrderAnswer:
    return OrderAnswer(done=False, text="the station is starting")


def _read(line: bytes) -> Mapping[str, Any]:
    """The request; empty when the line is no JSON object."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):  # the last one: thousands of brackets
        return {}
    return request if isinstance(request, dict) else {}


def _order(request: Mapping[str, Any], peer: str) -> Order | str:
    """The order, or what is wrong with it."""
    name, who, arguments = request.get("name"), request.get("who", ""), request.get("arguments", {})
    if not isinstance(name, str) or not isinstance(who, str) or not isinstance(arguments, dict):
        return 'expected {"command": "order", "name": "...", "who": "...", "arguments": {...}}'
    said = "".join(one if one.isprintable() else "?" for one in who[:MAX_WHO])
    return Order(name, f"{said} ({peer})" if said else peer, arguments)


def _peer(stream: anyio.abc.SocketStream) -> str:
    """The user of the machine at the other end, as the kernel knows it (unix(7)); a name would need a look-up."""
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    _, uid, _ = struct.unpack("3i", raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return f"uid {uid}"


async def _pump(
    receive: anyio.abc.ObjectReceiveStream[bytes],
    stream: anyio.abc.SocketStream,
    writing: anyio.Lock,
    talk: anyio.CancelScope,
) -> None:
    """Hand on events; end the talk with a client that does not read."""
    try:
        async for line in receive:
            with anyio.fail_after(READ_S):
                async with writing:
                    await stream.send(line)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
        talk.cancel()


def _line(record: object) -> bytes:
    try:
        return _ANYTHING.dump_json(record) + b"\n"
    except PydanticSerializationError:  # a lone surrogate in somebody's text
        return json.dumps(_ANYTHING.dump_python(record), default=str).encode() + b"\n"
