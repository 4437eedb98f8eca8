"""The Modbus server as a PLC sees it: the handshake, who may come in, and what bad clients cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pydantic
import pytest
import tomli
from pymodbus.client import AsyncModbusTcpClient
from structlog.testing import capture_logs

from edge_inspector.datatypes import Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.errors import OutputError
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import (
    Alive,
    LinkState,
    RecipeRequest,
    ResultAcknowledged,
    StationStatus,
    TriggerAccepted,
    TriggerRequest,
)
from edge_inspector.outputs.modbus.connection import BURST, Connection
from edge_inspector.outputs.modbus.link import Config, ModbusServerLink
from edge_inspector.outputs.modbus.registers import WordOrder
from edge_inspector.outputs.modbus.server import CONNECTIONS, PER_ADDRESS, ModbusServer

pytestmark = pytest.mark.anyio
BOOT, PLC_BOOT = 0x01020304, 0x0A0B0C0D
PATIENT_S = 20.0
FIRST_FREE_PORT = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
READY = StationStatus(
    ready=True, busy=False, acquiring=False, halted=False, mode=Mode.PRODUCTION, recipe="r", recipe_no=1,
    recipe_ready=True, warning=False, error_code=0, error_text="", clock_synced=True, queue_depth=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def a_link(**settings: Any) -> tuple[ModbusServerLink, int]:
    config = Config(type="modbus_server", **{"port": free_port(), "heartbeat_timeout_s": 60, **settings})
    link = ModbusServerLink("plc", config, Identity("station", BOOT, "1.2.3"), SystemClock(), Path("unused"))
    return link, config.port


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[ModbusServerLink, int]]:
    link, port = a_link(**settings)
    with anyio.fail_after(2 * PATIENT_S):
        async with link:
            await link.tell(READY)
            yield link, port


class Raw:
    """A client of its own bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> bytes:
        """The next answer without its header."""
        header = await self.reader.readexactly(7)
        return await self.reader.readexactly(int.from_bytes(header[4:6], "big") - 1)

    async def ask(self, pdu: bytes, unit: int = 1) -> bytes:
        self.writer.write(request(pdu, unit))
        return await self.answer()

    async def ended(self) -> bytes:
        """What still came before the server closed the connection."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


def request(pdu: bytes, unit: int = 1, tid: int = 1) -> bytes:
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu


READ_VERSION = struct.pack(">BHH", 4, 0, 1)
READ_ALL = struct.pack(">BHH", 3, 0, 125)
VERSION = bytes((4, 2, 0, 1))


@asynccontextmanager
async def raw(port: int, source: str = "127.0.0.1") -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def a_result(seq: int, evaluation: Evaluation = Evaluation.OK, part_id: str = "PCB-7") -> InspectionResult:
    trigger = Trigger(
        seq, f"station.0a.{seq}", seq, part_id, 1, Mode.PRODUCTION, "r", 1, BOOT, PLC_BOOT, 0, 10**15,
        "2026-11-22T01:02:03.004Z", True,
    )  # fmt: skip
    return InspectionResult(
        trigger, evaluation, Reason.NONE, "", (), ("top",), 1, (0.25,), "ab" * 32, 2_000_000, {"infer": 1_500_000}
    )


class Plc:
    """pymodbus as the PLC, in the word order of the station."""

    def __init__(self, client: AsyncModbusTcpClient, order: WordOrder) -> None:
        self.client = client
        self.order = order

    async def write(self, address: int, *values: int, text: str = "", size: int = 0) -> None:
        kind = self.client.DATATYPE
        registers = self.client.convert_to_registers(text, kind.STRING) + [0] * size if text else []
        registers = registers[:size] if size else registers
        for value in values:
            registers += self.client.convert_to_registers(value, kind.UINT32, word_order=self.order)
        assert not (await self.client.write_registers(address, registers)).isError()

    async def greet(self, link: ModbusServerLink, count: int = 0) -> None:
        """As after a start of the PLC whose count stands at `count`."""
        await self.write(2000, 1, PLC_BOOT)
        await self.write(2048, count)
        assert await link.receive() == LinkState(False, PLC_BOOT)
        await self.write(2004, BOOT)
        assert await link.receive() == LinkState(True, PLC_BOOT)

    async def read(self, address: int, kind: str = "UINT32", count: int = 0) -> Any:
        known = self.client.DATATYPE[kind]
        answer = await self.client.read_input_registers(address, count=count or known.value[1])
        assert not answer.isError()
        order = "big" if kind == "STRING" else self.order  # the word order does not touch a text
        return self.client.convert_from_registers(answer.registers, known, word_order=order)


@asynccontextmanager
async def plc(port: int, order: WordOrder) -> AsyncIterator[Plc]:
    client = AsyncModbusTcpClient("127.0.0.1", port=port, reconnect_delay=0, retries=0)
    assert await client.connect()
    try:
        yield Plc(client, order)
    finally:
        client.close()


@pytest.mark.parametrize("order", ["big", "little"])
async def test_the_handshake_from_greeting_to_acknowledgement(order: WordOrder) -> None:
    async with served(word_order=order) as (link, port), plc(port, order) as side:
        assert await side.read(4) == BOOT
        await side.greet(link, count=10)
        assert (await side.client.read_coils(0, count=16)).bits[1] is True  # TriggerReady
        await side.write(2008, 11, text="PCB-7", size=40)  # PartId and TriggerSeq in one request
        asked = await link.receive()
        assert isinstance(asked, TriggerRequest)
        assert (asked.trigger_seq, asked.part_id, asked.plc_boot_id) == (11, "PCB-7", PLC_BOOT)
        await link.tell(TriggerAccepted(11))
        assert await side.read(10) == 11
        await link.tell(a_result(11))
        assert (await side.client.read_discrete_inputs(6, count=3)).bits[:3] == [True, True, True]  # valid, toggle, OK
        assert [await side.read(32), await side.read(34), await side.read(36)] == [11, BOOT, PLC_BOOT]
        assert [await side.read(a, "UINT16") for a in (38, 39, 41)] == [1, 1, 1]
        assert await side.read(64, "STRING", 40) == "PCB-7"
        assert await side.read(52, "FLOAT32") == 2.0
        assert await side.read(304, "STRING", 48) == "station.0a.11"
        assert (await side.read(656, "UINT32", 16))[:2] == [11, 0x101]
        await side.write(2006, 11)
        assert await link.receive() == ResultAcknowledged(11, ("station.0a.11",))
        assert await side.read(32) == 0


async def test_a_recipe_is_ordered_by_number_and_name_in_one_request() -> None:
    async with served() as (link, port), plc(port, "big") as side:
        await side.greet(link)
        text = struct.unpack(">33H", b"board-a".ljust(66, b"\0"))
        answer = await side.client.write_registers(2050, [0, *text, 0, 5])
        assert not answer.isError()
        assert await link.receive() == RecipeRequest(5, 0, "board-a")


async def test_a_sequence_number_written_in_halves_triggers_nothing() -> None:
    async with served() as (link, port), plc(port, "big") as side, raw(port) as half:
        await side.greet(link)
        assert await half.ask(struct.pack(">BHH", 6, 2048, 1)) == b"\x86\x02"
        assert await half.ask(struct.pack(">BHH", 6, 2049, 1)) == b"\x86\x02"
        await side.write(2048, 1)
        asked = await link.receive()  # the first request to come is the whole one
        assert isinstance(asked, TriggerRequest)
        assert asked.trigger_seq == 1


async def test_no_read_shows_half_of_a_result() -> None:
    async with served(acknowledge=False) as (link, port), plc(port, "big") as side, raw(port) as reader:
        await side.greet(link)
        shown = 0
        for seq in range(1, 40):
            reader.writer.write(request(READ_ALL) * 2)
            await link.tell(a_result(seq, part_id=f"part {seq}"))
            for _ in range(2):
                registers = (await reader.answer())[2:]
                shown = int.from_bytes(registers[64:68], "big")
                text = registers[128:208].rstrip(b"\0").decode()
                newest = int.from_bytes(registers[2 * 118 : 2 * 120], "big")  # in Status.Block
                assert (text, newest) == ((f"part {shown}", shown) if shown else ("", 0))
    assert shown >= 38


async def test_a_stranger_is_closed_before_a_byte_of_it_is_taken_and_named_once() -> None:
    with capture_logs() as logs:
        async with served(clients=["127.0.0.1"]) as (_link, port), raw(port) as known:
            for _ in range(3):
                async with raw(port, source="127.0.0.2") as stranger:
                    stranger.writer.write(request(struct.pack(">BHH", 6, 2050, 7)))
                    assert await stranger.ended() == b""
            assert await known.ask(struct.pack(">BHH", 3, 2050, 1)) == bytes((3, 2, 0, 0))
    refused = [(entry["client"], entry["why"]) for entry in logs if entry["event"] == "modbus_client_refused"]
    assert refused == [("127.0.0.2", "not listed in clients")]


async def test_a_listed_network_lets_its_addresses_in() -> None:
    async with served(clients=["127.0.0.8/30"]) as (_link, port):
        async with raw(port, source="127.0.0.9") as inside:
            assert await inside.ask(READ_VERSION) == VERSION
        async with raw(port, source="127.0.0.12") as outside:
            assert await outside.ended() == b""


async def test_every_unit_but_the_own_one_is_said_to_be_away() -> None:
    async with served(unit=7) as (_link, port), raw(port) as client:
        assert [await client.ask(READ_VERSION, unit) for unit in (7, 0, 255)] == [VERSION] * 3
        assert await client.ask(READ_VERSION, 1) == b"\x84\x0b"


async def test_requests_sent_in_one_go_are_all_answered_in_their_order() -> None:
    async with served() as (_link, port), raw(port) as client:
        pdus = [struct.pack(">BHH", 6, 2050, n) for n in range(3 * BURST)]
        client.writer.write(b"".join(request(pdu, tid=n) for n, pdu in enumerate(pdus)))
        assert [await client.answer() for _ in pdus] == pdus


async def test_a_frame_that_comes_byte_by_byte_is_still_one() -> None:
    async with served() as (_link, port), raw(port) as client:
        for byte in request(READ_VERSION):
            client.writer.write(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.answer() == VERSION


async def test_half_a_frame_costs_its_client_the_connection_and_nobody_else_anything() -> None:
    async with served() as (_link, port), raw(port) as half, raw(port) as other:
        half.writer.write(request(READ_VERSION)[:9])
        ended = asyncio.ensure_future(half.ended())
        while not ended.done():
            assert await other.ask(READ_VERSION) == VERSION
        assert await ended == b""


async def test_a_silent_client_is_disconnected() -> None:
    async with served(idle_timeout_s=1) as (_link, port), raw(port) as silent:
        assert await silent.ask(READ_VERSION) == VERSION
        assert await silent.ended() == b""


async def test_what_is_no_modbus_is_disconnected_after_the_answers_before_it() -> None:
    async with served() as (_link, port), raw(port) as client:
        assert await client.ask(READ_VERSION) == VERSION
        client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await client.ended() == b""


async def test_a_client_that_floods_waits_while_others_are_served() -> None:
    async with served() as (_link, port), raw(port) as flood, raw(port) as quiet:
        many = 4000
        flood.writer.write(request(READ_ALL) * many)
        for _ in range(50):
            assert await quiet.ask(READ_VERSION) == VERSION
        for _ in range(2 * BURST):  # it is answered, too
            assert (await flood.answer())[:2] == bytes((3, 250))
        assert await quiet.ask(READ_VERSION) == VERSION
        got_already = len(await flood.reader.read(2**24)) // len(request(bytes(252)))
        assert 2 * BURST + got_already < many


async def test_a_client_that_opens_one_more_loses_its_longest_silent_connection() -> None:
    async with served() as (_link, port), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw(port)) for _ in range(PER_ADDRESS)]
        for client in (clients[1], clients[0], *clients[2:]):
            assert await client.ask(READ_VERSION) == VERSION
        newest = await stack.enter_async_context(raw(port))
        assert await newest.ask(READ_VERSION) == VERSION
        assert await clients[1].ended() == b""
        assert await clients[0].ask(READ_VERSION) == VERSION


async def test_connections_of_all_clients_together_are_limited() -> None:
    async with served(clients=["127.0.0.0/8"]) as (_link, port), contextlib.AsyncExitStack() as stack:
        for n in range(CONNECTIONS):
            source = f"127.0.0.{1 + n // PER_ADDRESS}"
            client = await stack.enter_async_context(raw(port, source))
            assert await client.ask(READ_VERSION) == VERSION
        one_more = await stack.enter_async_context(raw(port, "127.0.1.1"))
        assert await one_more.ended() == b""


async def test_closing_ends_every_connection_and_the_port_is_free_at_once() -> None:
    link, port = a_link()
    async with contextlib.AsyncExitStack() as stack:
        async with link:
            clients = [await stack.enter_async_context(raw(port)) for _ in range(3)]
            assert await clients[0].ask(READ_VERSION) == VERSION
        assert [await client.ended() for client in clients] == [b""] * 3
        again, _ = a_link(port=port)
        async with again, raw(port) as client:
            assert await client.ask(READ_VERSION) == VERSION
    await link.tell(Alive())  # a last word after the end harms nobody


async def test_closing_ends_every_connection_also_while_the_station_is_cancelled() -> None:
    link, port = a_link()
    async with contextlib.AsyncExitStack() as stack:
        with anyio.CancelScope() as station:
            async with link:
                client = await stack.enter_async_context(raw(port))
                assert await client.ask(READ_VERSION) == VERSION
                station.cancel()
                await anyio.sleep(PATIENT_S)
        assert link._server._connections == []
        assert await client.ended() == b""


async def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    async with served() as (_link, port):
        second, _ = a_link(port=port)
        with pytest.raises(OutputError, match=rf"'plc' cannot listen on 127.0.0.1:{port}: another program holds"):
            await second.__aenter__()
        await second.__aexit__(None, None, None)


async def test_an_address_that_this_machine_does_not_have_is_named_with_the_remedy() -> None:
    link, _ = a_link(host="192.0.2.1", clients=["192.0.2.2"])
    with pytest.raises(OutputError, match=r"192\.0\.2\.1.*no interface of this machine has the address"):
        await link.__aenter__()


@pytest.mark.usefixtures("ordinary_user")
async def test_a_low_port_without_the_right_to_it_is_named_with_both_remedies() -> None:
    if FIRST_FREE_PORT <= 1:
        pytest.skip("on this machine everybody may listen on every port (net.ipv4.ip_unprivileged_port_start)")
    link, _ = a_link(port=1)
    with pytest.raises(OutputError, match=r"CAP_NET_BIND_SERVICE.*or choose port = 1502"):
        await link.__aenter__()


async def test_mutated_frames_end_no_server_and_move_no_tag_of_the_station() -> None:
    dice = random.Random(20261122)
    seeds = (
        *(READ_VERSION, READ_ALL, struct.pack(">BHH", 1, 0, 32), struct.pack(">BHH", 6, 2050, 7)),
        struct.pack(">BHHBIII", 16, 2000, 6, 12, 1, PLC_BOOT, BOOT),
    )
    async with served() as (link, port), raw(port) as witness:
        before = [await witness.ask(struct.pack(">BHH", 3, start, 114)) for start in range(0, 912, 114)]
        for _ in range(300):
            stream = bytearray(b"".join(request(dice.choice(seeds)) for _ in range(dice.randint(1, 5))))
            for _ in range(dice.randint(1, 6)):
                stream[dice.randrange(len(stream))] = dice.choice((0, 1, 16, 127, 255, dice.randrange(256)))
            async with raw(port) as client:
                client.writer.write(stream[: dice.randint(1, len(stream))])
                client.writer.write_eof()
                await client.ended()
        after = [await witness.ask(struct.pack(">BHH", 3, start, 114)) for start in range(0, 912, 114)]
        unread = {n for n in range(8) if before[n] != after[n]}
        assert unread <= {0, 1}  # at most the PLC's own greeting shows, in Status and in the counters
        assert after[0][2 + 8 : 2 + 12] == struct.pack(">I", BOOT)
        await link.tell(Alive())
        assert (await witness.ask(struct.pack(">BHH", 3, 2, 2)))[2:] == struct.pack(">I", 1)


class Wire(asyncio.Transport):
    """Stands where asyncio writes to a socket."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 4711)})
        self.written: list[bytes] = []
        self.reading = True
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert high < 100_000

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted = True


def wired() -> tuple[Connection, Wire]:
    server = ModbusServer("plc", 1, Config.model_validate({"type": "modbus_server"}).networks, idle_s=30)
    server.answer = lambda pdu: VERSION
    connection, wire = Connection(server), Wire()
    connection.connection_made(wire)
    return connection, wire


def receive(connection: Connection, data: bytes) -> None:
    connection.get_buffer(len(data))[: len(data)] = data
    connection.buffer_updated(len(data))


async def test_a_client_that_reads_no_answers_is_asked_no_more_until_it_does() -> None:
    connection, wire = wired()
    receive(connection, request(READ_VERSION))
    assert len(wire.written) == 1
    connection.pause_writing()  # asyncio: too much is unsent
    receive(connection, request(READ_VERSION))
    assert (len(wire.written), wire.reading) == (1, False)
    connection.resume_writing()
    assert (len(wire.written), wire.reading) == (2, True)
    connection.connection_lost(None)


async def test_of_many_requests_in_one_go_only_a_burst_is_answered_before_others_have_their_turn() -> None:
    connection, wire = wired()
    receive(connection, request(READ_VERSION) * 80)
    assert BURST <= len(wire.written) <= BURST + 1
    assert not wire.reading
    connection.connection_lost(None)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"host": "0.0.0.0", "clients": ["10.0.0.1"]}, "one interface"),
        ({"host": "::", "clients": ["10.0.0.1"]}, "one interface"),
        ({"host": "eth0"}, "IP address of an interface"),
        ({"host": "10.0.0.5"}, "clients is empty, so nobody could connect to 10.0.0.5"),
        ({"clients": ["10.0.0.5/24"]}, "host bits set; expected an address or a network"),
        ({"clients": ["plc.local"]}, "expected an address or a network"),
        ({"unit": 0}, "greater than or equal to 1"),
        ({"word_order": "middle"}, "'big' or 'little'"),
    ],
)
def test_a_setting_that_would_open_or_close_too_much_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=text):
        Config(type="modbus_server", **settings)


def test_without_a_word_in_the_file_only_this_machine_may_connect() -> None:
    config = Config.model_validate({"type": "modbus_server"})
    assert (config.host, config.commands, config.word_order) == ("127.0.0.1", False, "big")
    assert [str(network) for network in config.networks] == ["127.0.0.0/8", "::1/128"]


def test_the_example_in_the_how_to_is_right() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "modbus.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    config = Config.model_validate(tomli.loads(example)["plc"]["line1"])
    assert [str(network) for network in config.networks] == ["192.168.10.20/32"]
