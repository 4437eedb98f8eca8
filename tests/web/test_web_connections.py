"""Who opens connections and stays silent does not keep others out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from edge_inspector.web import connections, gate
from edge_inspector.web.connections import OF_ONE_ADDRESS, Connection
from edge_inspector.web.gate import Gate
from edge_inspector.web.limits import Buckets
from edge_inspector.web.problems import Refused

SOON_S = 10.0
"""Longer than any of these takes; what does not end within it never does."""
ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Served = Callable[[Any, Any, Any], Awaitable[None]]


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@asynccontextmanager
async def listening(app: Served) -> AsyncIterator[int]:
    config = uvicorn.Config(app, http=Connection, log_config=None, lifespan="off", timeout_keep_alive=3600)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(config, state, {}), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def run(test: Callable[[int], Awaitable[None]], app: Served = hello) -> None:
    async def all_of_it() -> None:
        async with listening(app) as port:
            await asyncio.wait_for(test(port), SOON_S)

    asyncio.run(all_of_it())


async def hung_up(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_who_does_not_finish_the_head_of_a_request_is_hung_up_on(first: bytes) -> None:
    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        assert await hung_up(reader)
        writer.close()

    run(test)


@pytest.mark.usefixtures("impatient")
def test_a_byte_now_and_then_wins_no_time() -> None:
    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        gone = asyncio.ensure_future(hung_up(reader))
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        while not gone.done():
            writer.write(b"a")
            await asyncio.sleep(0.02)
        assert gone.result()
        writer.close()

    run(test)


@pytest.mark.usefixtures("impatient")
def test_a_silent_connection_after_an_answer_is_hung_up_on_too() -> None:
    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await hung_up(reader)
        writer.close()

    run(test)


@pytest.mark.usefixtures("impatient")
def test_an_answer_may_take_longer_than_a_head() -> None:
    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(5 * connections.HEAD_S)
        await hello(scope, receive, send)

    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        writer.close()

    run(test, slowly)


def test_who_does_not_read_the_answer_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_S", 0.2)
    ended = asyncio.Event()

    async def endless(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = {"type": "http.response.body", "body": bytes(1 << 20), "more_body": True}
        await receive()
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send(more)
        ended.set()

    async def test(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(ASK)
        await ended.wait()
        writer.close()

    run(test, endless)


def test_a_body_that_never_comes_is_answered_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_S", 0.2)

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"{"
        with pytest.raises(Refused) as refused:
            await receive()
        assert refused.value.status_code == 408
        await hello(scope, receive, send)

    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        writer.close()

    run(test, Gate(reads, Buckets(100, 100, lambda: 0.0), {}, tls=False))


class From:
    """A transport of one address."""

    def __init__(self, address: str) -> None:
        self.address, self.aborted = address, False

    def get_extra_info(self, name: str) -> Any:
        return (self.address, 50_000) if name == "peername" else None

    def abort(self) -> None:
        self.aborted = True


def let_in(*addresses: str) -> list[bool]:
    async def all_of_it() -> list[bool]:
        config, state, found = uvicorn.Config(hello, log_config=None), ServerState(), []
        for address in addresses:
            transport, connection = From(address), Connection(config, state, {})
            connection.connection_made(transport)  # type: ignore[arg-type]
            found.append(not transport.aborted)
        return found

    return asyncio.run(all_of_it())


def test_one_address_has_not_all_connections() -> None:
    full = ["192.0.2.1"] * OF_ONE_ADDRESS
    assert all(let_in(*full))
    assert let_in(*full, "192.0.2.1", "192.0.2.2")[-2:] == [False, True]


def test_the_addresses_of_one_ipv6_network_count_together() -> None:
    assert let_in(*["2001:db8::1"] * OF_ONE_ADDRESS, "2001:db8::2", "2001:db8:0:1::2")[-2:] == [False, True]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_proxy_on_this_machine_may_have_more(address: str) -> None:
    assert all(let_in(*[address] * (2 * OF_ONE_ADDRESS)))
