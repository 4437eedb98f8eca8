"""A server that is none, or somebody in between: the station's link says so, and nothing worse happens."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import security_kit as kit
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary
from opcua_wire import NONE_URI, frame

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client.config import ServerConfig
from edge_inspector.outputs.opcua_client.dial import open_session
from edge_inspector.outputs.opcua_client.trust import Keeper
from edge_inspector.outputs.opcua_server.security.rejected import MAX_FILES

pytestmark = pytest.mark.anyio
OPENED = nodeid_to_binary(ua.FourByteNodeId(ua.ObjectIds.OpenSecureChannelResponse_Encoding_DefaultBinary))
GOOD = struct.pack("<qIIb", 0, 1, 0, 0)  # time, handle, service result, no diagnostics
BACKWARDS = struct.pack("<ii", 2**31 - 1, -4)
NO_EXTENSION = struct.pack("<i", -1) + bytes(3)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def rogue(opened: bytes) -> AsyncIterator[int]:
    """Acknowledges Hello and answers OpenSecureChannel with this body; gives the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, size = struct.unpack("<4sI", await reader.readexactly(8))
                await reader.readexactly(size - 8)
                if kind == b"HELF":
                    writer.write(frame(b"ACKF", struct.pack("<5I", 0, 65536, 65536, 0, 0)))
                else:
                    header = struct_to_binary(ua.AsymmetricAlgorithmHeader(NONE_URI))
                    writer.write(frame(b"OPNF", struct.pack("<I", 7) + header + struct.pack("<II", 1, 1) + opened))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(OPENED, id="no header"),
        pytest.param(OPENED + GOOD + BACKWARDS, id="a list that never ends"),
        pytest.param(OPENED + GOOD + NO_EXTENSION, id="no result"),
        pytest.param(b"\x01\x00\xff\xff" + bytes(60), id="another answer"),
        pytest.param(b"\x3c" + bytes(60), id="no type"),
    ],
)
async def test_an_answer_that_is_no_opc_ua_is_a_lost_link_and_not_the_end_of_the_station(
    tmp_path: Path, opened: bytes
) -> None:
    async with rogue(opened) as port:
        config = ServerConfig(endpoint=f"opc.tcp://127.0.0.1:{port}", security="None", timeout_s=1)
        with pytest.raises(OutputError, match=f"127.0.0.1:{port}"):
            await asyncio.wait_for(open_session(config, Keeper(config, tmp_path, "cell", kit.Clock()), "plc"), 10)


def test_ever_new_certificates_do_not_fill_the_disk(tmp_path: Path) -> None:
    config = ServerConfig(endpoint="opc.tcp://192.0.2.7")
    keeper = Keeper(config, tmp_path, "cell", kit.Clock())
    for number in range(MAX_FILES + 3):
        with pytest.raises(OutputError, match="not trusted"):
            keeper.check(kit.party("server", end=kit.NOW + (1 + number) * kit.DAY).der)
    assert len(list(keeper.pki.rejected.iterdir())) == MAX_FILES


def test_the_name_in_a_certificate_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    config = ServerConfig(endpoint="opc.tcp://192.0.2.7")
    with pytest.raises(OutputError) as caught:
        Keeper(config, tmp_path, "cell", kit.Clock()).check(kit.party("\x1b]0;owned\x07").der)
    assert str(caught.value).isprintable()
