"""A PLC that refuses us is told once by the link, and not again by each attempt of asyncua's."""

from __future__ import annotations

import asyncio
import struct

import pytest
from asyncua import ua
from opcua_client_rig import free_port

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client.config import ServerConfig
from edge_inspector.outputs.opcua_client.dial import endpoints

ERROR = struct.pack("<4sIIi", b"ERRF", 16, int(ua.StatusCodes.BadSecurityChecksFailed), -1)


def test_a_refused_attempt_is_an_error_and_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(ERROR)
        await writer.drain()
        await reader.read()
        writer.close()

    async def dial() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", port):
            await endpoints(ServerConfig(endpoint=f"opc.tcp://127.0.0.1:{port}"))

    with pytest.raises(OutputError, match="BadSecurityChecksFailed"):
        asyncio.run(dial())
    assert [record.getMessage() for record in caplog.records if record.name.startswith("asyncua")] == []
