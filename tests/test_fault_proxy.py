from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from fault_proxy import SOUND, Cut, FaultProxy, Toxics

TIMEOUT_S = 5.0


def record(body: bytes, kind: int = 23) -> bytes:
    return bytes((kind, 3, 3)) + len(body).to_bytes(2, "big") + body


def read(one: socket.socket, count: int) -> bytes:
    """So many bytes, or what came before the other side hung up."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while len(data) < count and (more := one.recv(count - len(data))):
            data += more
    return data


@pytest.fixture
def ends() -> Iterator[tuple[FaultProxy, socket.socket, socket.socket]]:
    """The proxy, and the sockets of a client and of the server behind it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy = stack.enter_context(FaultProxy(listener.getsockname()[1]))
        client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S))
        server = stack.enter_context(listener.accept()[0])
        server.settimeout(TIMEOUT_S)
        yield proxy, client, server


def test_both_ways_are_passed_byte_for_byte(ends: tuple[FaultProxy, socket.socket, socket.socket]) -> None:
    _, client, server = ends
    said = record(b"a") + record(b"b" * 20_000)
    client.sendall(said[:3])  # a record may come in pieces
    client.sendall(said[3:])
    server.sendall(said)
    assert read(server, len(said)) == said
    assert read(client, len(said)) == said


def test_a_cut_passes_half_of_the_record_and_hangs_up_on_both(
    ends: tuple[FaultProxy, socket.socket, socket.socket],
) -> None:
    proxy, client, server = ends
    proxy.cut("up", after=1, at_least=50)
    handshake, first, small, large = (record(b"h" * 90, 22), record(b"f" * 90), record(b"s"), record(b"l" * 95))
    client.sendall(handshake + first + small + large + record(b"never"))
    passed = handshake + first + small + large[:50]
    assert read(server, len(passed) + 1) == passed
    assert read(client, 1) == b""
    assert proxy.cuts == [Cut("up", 50, 100)]


def test_a_cut_on_the_way_back_leaves_what_was_said_before(
    ends: tuple[FaultProxy, socket.socket, socket.socket],
) -> None:
    proxy, client, server = ends
    proxy.cut("down", after=0)
    client.sendall(record(b"question"))
    assert read(server, len(record(b"question"))) == record(b"question")
    server.sendall(record(b"answer"))
    assert read(client, 100) == record(b"answer")[:5]
    assert proxy.cuts == [Cut("down", 5, 11)]


def test_what_is_held_comes_after_the_release(ends: tuple[FaultProxy, socket.socket, socket.socket]) -> None:
    proxy, client, server = ends
    proxy.hold()
    client.sendall(record(b"held"))
    server.settimeout(0.2)
    with pytest.raises(TimeoutError):
        server.recv(1)
    server.settimeout(TIMEOUT_S)
    proxy.release()
    assert read(server, len(record(b"held"))) == record(b"held")


def test_a_client_of_a_server_that_is_away_is_let_go() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            FaultProxy(unused.getsockname()[1]) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as client,
        ):
            assert read(client, 1) == b""


def test_every_connection_is_cut_until_it_is_mended() -> None:
    whole = record(b"x" * 95)
    with socket.create_server(("127.0.0.1", 0)) as listener, FaultProxy(listener.getsockname()[1]) as proxy:
        proxy.cut("up", after=0, at_least=50, again=True)
        for arrives in (whole[:50], whole[:50], whole):
            if arrives is whole:
                proxy.mend()
            with (
                socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as client,
                listener.accept()[0] as server,
            ):
                server.settimeout(TIMEOUT_S)
                client.sendall(whole)
                assert read(server, len(whole)) == arrives
        assert proxy.cuts == [Cut("up", 50, 100)] * 2


@pytest.mark.parametrize(
    ("toxics", "arrives"),
    [
        pytest.param(Toxics(slice_bytes=3), 5 + 90, id="slices are whole in the end"),
        pytest.param(Toxics(bytes_per_s=20_000), 5 + 90, id="slow, and whole"),
        pytest.param(Toxics(limit_bytes=40), 40, id="no byte beyond the limit"),
        pytest.param(Toxics(timeout_s=0.0), 0, id="nothing, and then the end"),
        pytest.param(Toxics(reset_s=0.0), 0, id="a reset"),
    ],
)
def test_a_toxic_passes_so_many_bytes(
    ends: tuple[FaultProxy, socket.socket, socket.socket], toxics: Toxics, arrives: int
) -> None:
    proxy, client, server = ends
    proxy.suffer(toxics)
    said = record(b"t" * 90)
    client.sendall(said)
    if arrives == len(said):
        assert read(server, len(said)) == said
    else:
        assert read(server, arrives + 1) == said[:arrives]
        assert read(client, 1) == b""
    proxy.suffer(SOUND)


def test_while_the_network_is_down_nobody_stays_connected_and_nobody_comes_in(
    ends: tuple[FaultProxy, socket.socket, socket.socket],
) -> None:
    proxy, client, _ = ends
    proxy.suffer(Toxics(down=True))
    assert read(client, 1) == b""
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as late:
        assert read(late, 1) == b""
