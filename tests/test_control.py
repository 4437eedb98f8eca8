"""The daemon's socket and who calls it: what is said, what is too much, and what happens when nobody answers."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from edge_inspector.control import MAX_LINE, Control, ControlClient, StationAway
from edge_inspector.control.server import BURST, REQUESTS_PER_S
from edge_inspector.interfaces import Order, OrderAnswer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Control, ControlClient]]:
    control = Control(folder / "c.sock")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(control.serve)
        client = ControlClient(control.path)
        with anyio.fail_after(5):
            while True:
                try:
                    await client.ask_async({"command": "counters"})
                except StationAway:  # not yet
                    await anyio.sleep(0.005)
                else:
                    break
        yield control, client
        with anyio.fail_after(5):  # anyio complains of a hang-up and a cancel in the same turn of the loop
            while control._clients:  # noqa: ASYNC110 - nobody tells that the last one has gone
                await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()


async def talk(control: Control, *lines: bytes) -> list[object]:
    """What is answered to each line, over one connection."""
    async with await anyio.connect_unix(control.path) as stream:
        buffered = BufferedByteReceiveStream(stream)
        answers = []
        for line in lines:
            await stream.send(line + b"\n")
            answers.append(json.loads(await buffered.receive_until(b"\n", 2**20)))
        return answers


async def test_the_client_reads_status_counters_and_metrics(tmp_path: Path) -> None:
    async with serving(tmp_path) as (control, client):
        control.status, control.facts = lambda: {"ready": True}, lambda: {"station": "s"}
        control.counters, control.metrics = lambda: {"parts": 3.0}, lambda: "# EOF\n"
        to_thread = anyio.to_thread.run_sync
        assert await to_thread(client.status) == {"ready": True}
        assert await to_thread(client.counters) == {"parts": 3.0}
        assert await to_thread(client.metrics) == "# EOF\n"
        assert await client.ask_async({"command": "status"}) == {"status": {"ready": True}, "station": "s"}


async def test_an_order_arrives_with_the_name_that_was_given_and_the_user_that_the_kernel_knows(tmp_path: Path) -> None:
    seen: list[Order] = []

    async def carry_out(order: Order) -> OrderAnswer:
        seen.append(order)
        return OrderAnswer(done=False, text="not now", facts={"in_s": 2})

    async with serving(tmp_path) as (control, client):
        control.order = carry_out
        answer = await client.order_async(Order("halt", "anna", {"why": "lens"}))
        assert answer == OrderAnswer(done=False, text="not now", facts={"in_s": 2})
        await client.order_async(Order("halt", ""))
        await client.order_async(Order("halt", "a\nb\ud800" + "x" * 200))
    uid = f"uid {os.geteuid()}"
    assert [(o.name, o.who, o.arguments) for o in seen] == [
        ("halt", f"anna ({uid})", {"why": "lens"}),
        ("halt", uid, {}),
        ("halt", f"a?b?{'x' * 60} ({uid})", {}),
    ]


@pytest.mark.parametrize(
    "line",
    [b'{"command": "order"}', b'{"command": "order", "name": 7}', b'{"command": "order", "name": "halt", "who": 1}',
     b'{"command": "order", "name": "halt", "arguments": []}', b"[]", b"7", b"{", b"[" * 4000, b'{"command": "fly"}',
     *(b'{"command": ' + b"[" * depth + b"]" * depth + b"}" for depth in (100, 900, 960, 980, 1500)),
     b'{"command": "\\ud800"}'],
)  # fmt: skip
async def test_what_is_no_request_is_an_error_that_says_what_was_expected(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path) as (control, _):
        (answer, after) = await talk(control, line, b'{"command": "counters"}')
    assert isinstance(answer, dict)
    assert "expected" in answer["error"]
    assert after == {"counters": {}}


async def test_a_station_without_a_daemon_is_away(tmp_path: Path) -> None:
    client = ControlClient(tmp_path / "nobody.sock")
    with pytest.raises(StationAway, match=r"no station answers at .*nobody\.sock .*edge-inspector run"):
        await anyio.to_thread.run_sync(client.status)
    with pytest.raises(StationAway):
        async for _ in client.events():
            pass


async def test_a_daemon_that_is_late_with_its_answer_is_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as (control, client):
        answered = anyio.Event()

        async def think(_: Order) -> OrderAnswer:
            await answered.wait()
            return OrderAnswer(done=True)

        control.order = think
        with pytest.raises(StationAway, match=r"has not answered within 0\.1 s"):
            await client.order_async(Order("halt", "anna"), timeout_s=0.1)
        answered.set()
        assert await client.ask_async({"command": "counters"}) == {"counters": {}}


async def test_a_request_that_is_too_long_is_not_even_sent(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        with pytest.raises(ValueError, match=f"expected at most {MAX_LINE}"):
            await client.ask_async({"command": "x" * MAX_LINE})


async def test_listeners_hear_what_happens_also_text_that_no_utf8_has(tmp_path: Path) -> None:
    async with serving(tmp_path) as (control, client):
        heard = []
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                async for message in client.events():
                    heard.append(message)
                    if len(heard) == 2:
                        return

            tasks.start_soon(listen)
            with anyio.fail_after(5):
                while not control._readers:  # noqa: ASYNC110 - nobody tells that somebody listens
                    await anyio.sleep(0.005)
            control.emit("event", {"text": "part \ud800"})
            control.emit("event", {"text": "ä"})
    assert [message["record"]["text"] for message in heard] == ["part \ud800", "ä"]


async def test_many_scrapers_share_one_text_that_is_rendered_once_and_not_on_the_loop(tmp_path: Path) -> None:
    rendered: list[int] = []

    def render() -> str:
        rendered.append(threading.get_ident())
        time.sleep(0.2)
        return "# EOF\n"

    async with serving(tmp_path) as (control, client):
        control.metrics = render
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(client.ask_async, {"command": "metrics"})
    assert len(rendered) == 1
    assert rendered[0] != threading.get_ident()


async def test_a_flood_of_requests_is_answered_at_the_pace_of_all_clients_together(tmp_path: Path) -> None:
    async with serving(tmp_path) as (control, _):
        begun, count = time.monotonic(), BURST + 100
        lines = [b'{"command": "counters"}'] * (count // 4)
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(talk, control, *lines)
        took_s = time.monotonic() - begun
    assert took_s >= 0.9 * (4 * len(lines) - BURST) / REQUESTS_PER_S


async def test_a_client_that_asks_and_never_reads_is_dropped_and_the_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_inspector.control.server.READ_S", 0.2)
    async with serving(tmp_path) as (control, client):
        control.metrics = lambda: "x" * 10_000_000  # more than the socket's buffers take
        async with await anyio.connect_unix(control.path) as stream:
            await stream.send(b'{"command": "metrics"}\n')
            with anyio.fail_after(5):
                while control._clients:  # noqa: ASYNC110 - nobody tells that somebody was dropped
                    await anyio.sleep(0.01)
        assert await client.ask_async({"command": "counters"}) == {"counters": {}}


async def test_who_asks_nothing_makes_room_and_who_listens_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_inspector.control.server.IDLE_S", 0.2)
    async with serving(tmp_path) as (control, _), await anyio.connect_unix(control.path) as listening:
        await listening.send(b'{"command": "events"}\n')
        assert json.loads(await listening.receive()) == {"ok": True}
        async with await anyio.connect_unix(control.path) as idle:
            with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
                await idle.receive()
        control.emit("event", {"text": "later"})
        with anyio.fail_after(5):
            assert json.loads(await listening.receive())["record"] == {"text": "later"}


async def test_metrics_that_cannot_be_made_are_an_error_for_who_asks_and_nothing_else(tmp_path: Path) -> None:
    def broken() -> str:
        raise RuntimeError("a sensor's driver has lost its mind")

    async with serving(tmp_path) as (control, client):
        control.metrics = broken
        for _ in range(2):
            answer = await client.ask_async({"command": "metrics"})
            assert answer == {"error": "the metrics cannot be made: a sensor's driver has lost its mind"}
        control.metrics = lambda: "# EOF\n"
        assert await client.ask_async({"command": "metrics"}) == {"metrics": "# EOF\n"}


async def test_a_machine_that_has_no_file_descriptor_left_is_no_end_of_the_socket(tmp_path: Path) -> None:
    async with serving(tmp_path) as (control, client):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            lowest = os.dup(caller.fileno())
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                caller.connect(str(control.path))
                await anyio.sleep(0.05)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert "counters" in await client.ask_async({"command": "counters"})


async def test_a_stop_is_ordered_in_the_name_of_the_user_at_the_other_end(tmp_path: Path) -> None:
    asked: list[str] = []

    def stop(who: str = "") -> None:
        asked.append(who)

    async with serving(tmp_path) as (control, client):
        control.stop = stop
        assert await client.ask_async({"command": "stop"}) == {"ok": True}
    assert asked == [f"uid {os.getuid()}"]


async def test_more_clients_than_there_are_places_are_turned_away_and_a_place_that_is_left_is_given(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as (control, client):
        with anyio.fail_after(10):
            async with AsyncExitStack() as clients:
                for _ in range(32):
                    await clients.enter_async_context(await anyio.connect_unix(control.path))
                while control._clients < 32:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.005)
                with pytest.raises(StationAway):
                    await client.ask_async({"command": "counters"})
            while control._clients:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.005)
            assert "counters" in await client.ask_async({"command": "counters"})
