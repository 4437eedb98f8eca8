"""mbpoll (libmodbus) as the PLC: it reads every register and bit in both word orders, and writes its own ones."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from edge_inspector.datatypes import Defect, Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.health.clock import SystemClock
from edge_inspector.interfaces import (
    Alive,
    CommandAnswer,
    CommandRequest,
    LinkState,
    RecipeAnswer,
    RecipeRequest,
    TriggerAccepted,
    TriggerRefused,
    TriggerRequest,
    Unannounced,
    Vitals,
)
from edge_inspector.outputs.modbus.link import Config, ModbusServerLink
from edge_inspector.outputs.modbus.registers import CONTROL, IMAGE, Place, WordOrder
from edge_inspector.plc.image import identity_image
from edge_inspector.plc.states import STARTING
from edge_inspector.plc.tags import Value

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]
MBPOLL = shutil.which("mbpoll")
if MBPOLL is None:
    pytest.skip("mbpoll is not installed: apt-get install mbpoll", allow_module_level=True)

IDENTITY = Identity("station-äöü", 0xFEDCBA98, "1.2.3")
PLC_BOOT = 0x89ABCDEF
READY = replace(STARTING, ready=True, recipe="board-a", recipe_no=4660, recipe_ready=True, error_text="", queue_depth=3)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Mbpoll:
    """One call of the program each; numbers as it prints them."""

    def __init__(self, port: int, order: WordOrder) -> None:
        self.port = port
        self.order = order

    async def run(self, *arguments: str, values: Sequence[int] = ()) -> str:
        order = ["-B"] if self.order == "big" else []
        line = ["-m", "tcp", "-p", str(self.port), "-a", "1", "-0", "-1", "-q", *order, *arguments, "127.0.0.1"]
        numbers = ["--", *(str(value) for value in values)] if values else []
        process = await asyncio.create_subprocess_exec(
            cast(str, MBPOLL), *line, *numbers, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return output.decode()

    async def read(self, kind: str, address: int, count: int) -> list[str]:
        """`count` values beginning at `address`, in as many calls as it needs."""
        wide = 2 if kind.endswith((":int", ":float")) else 1
        found: list[str] = []
        while len(found) < count:
            now = min(count - len(found), 62 if wide == 2 else 125)
            output = await self.run("-t", kind, "-r", str(address + wide * len(found)), "-c", str(now))
            read = re.findall(r"^\[\d+\]:\s+(\S+)", output, re.MULTILINE)
            assert len(read) == now, output
            found += read
        return found

    async def write(self, kind: str, address: int, *values: int) -> str:
        return await self.run("-t", kind, "-r", str(address), values=values)

    async def value(self, place: Place, table: str) -> Value:
        tag, count = place.tag, max(1, place.tag.length)
        if tag.type == "String":
            words = await self.read(f"{table}:hex", place.address, place.registers)
            return b"".join(int(word, 16).to_bytes(2, "big") for word in words).rstrip(b"\0").decode()
        if tag.type == "DateTime":
            seconds = int((await self.read(f"{table}:int", place.address, 1))[0])
            return f"{seconds}.{int((await self.read(table, place.address + 2, 1))[0]):03}"
        kind = {"UInt16": table, "UInt32": f"{table}:int", "Int32": f"{table}:int", "Float": f"{table}:float"}[tag.type]
        read = await self.read(kind, place.address, count)
        numbers: tuple[int | float, ...] = tuple(float(one) if tag.type == "Float" else int(one) for one in read)
        if tag.type == "UInt32":  # it prints them with a sign
            numbers = tuple(int(number) % 2**32 for number in numbers)
        return cast(Value, numbers if tag.length else numbers[0])


@asynccontextmanager
async def served(order: WordOrder) -> AsyncIterator[tuple[ModbusServerLink, Mbpoll]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = Config.model_validate(
        {"type": "modbus_server", "port": port, "word_order": order, "commands": True, "heartbeat_timeout_s": 60}
    )
    async with ModbusServerLink("plc", config, IDENTITY, SystemClock(), Path("unused")) as link:
        yield link, Mbpoll(port, order)


def a_result(seq: int) -> InspectionResult:
    trigger = Trigger(
        seq, f"station.0a.{seq}", seq, "Prüfling-7", 2, Mode.PRODUCTION, "board-a", 4660, IDENTITY.boot_id, PLC_BOOT,
        0, 10**15, "2026-11-22T01:02:03.004Z", True,
    )  # fmt: skip
    defects = tuple(Defect("open", 300 + n, 0.5 + n / 64, (1.5 + n, 2.5, 30.25, 4e6), "top") for n in range(16))
    return InspectionResult(
        trigger,
        Evaluation.NOT_OK,
        Reason.DEFECT,
        "open 0.75 in top",
        defects,
        ("side", "top"),
        2,
        (0.25,),
        "ab" * 32,
        2_000_000,
        {"infer": 1_500_000, "acquire": 250_000},
    )


def same(read: Value, wanted: Value, place: Place) -> bool:
    if place.tag.type == "DateTime":
        return read == ("1795309323.004" if wanted else "0.000")
    if place.tag.type == "Float":
        many, expected = (value if isinstance(value, tuple) else (value,) for value in (read, wanted))
        return bool(many == pytest.approx(expected, rel=1e-5))
    return read == wanted


@pytest.mark.parametrize("order", ["big", "little"])
async def test_mbpoll_reads_every_register_and_bit_and_writes_all_that_may_be_written(order: WordOrder) -> None:
    async with served(order) as (link, mbpoll):
        for address, value in ((2000, 1), (2002, PLC_BOOT - 2**32), (2048, 10)):
            assert "Written 1 references" in await mbpoll.write("4:int", address, value)
        assert await link.receive() == LinkState(False, PLC_BOOT)
        await mbpoll.write("4:int", 2004, IDENTITY.boot_id - 2**32)
        assert await link.receive() == LinkState(True, PLC_BOOT)

        await mbpoll.write("4", 2050, 4660)
        text = b"board-a".ljust(66, b"\0")
        await mbpoll.write("4", 2051, *(int.from_bytes(text[i : i + 2], "big") for i in range(0, 66, 2)))
        await mbpoll.write("4:int", 2084, 3)
        assert await link.receive() == RecipeRequest(3, 4660, "board-a")
        await mbpoll.write("4", 2100, 9, 5)
        await mbpoll.write("4:int", 2102, 1)
        await mbpoll.write("4:int", 2104, 6)
        assert await link.receive() == CommandRequest(6, 5)

        part = "Prüfling-7".encode().ljust(80, b"\0")
        await mbpoll.write("4", 2008, *(int.from_bytes(part[i : i + 2], "big") for i in range(0, 80, 2)))
        await mbpoll.write("4:int", 2048, 11)
        asked = await link.receive()
        assert isinstance(asked, TriggerRequest)
        assert (asked.trigger_seq, asked.part_id, asked.plc_boot_id) == (11, "Prüfling-7", PLC_BOOT)
        await mbpoll.write("4:int", 2006, 10)

        messages = (
            *(READY, RecipeAnswer(3, True, Reason.NONE), CommandAnswer(6, 0), TriggerAccepted(11), a_result(11)),
            *(Alive(), Unannounced("top"), TriggerRefused(9, Reason.OVERLOAD), Vitals(61.5, 0.25, 12.75, "MAXN")),
            replace(READY, error_code=101, error_text="camera top: weg", line_stop=1000),
        )
        for message in messages:
            await link.tell(message)

        wanted = dict(identity_image(IDENTITY)) | dict(link._live.image)
        for place in IMAGE:
            for table in ("3", "4"):
                read = await mbpoll.value(place, table)
                assert same(read, wanted[place.tag.name], place), (place.tag.name, table, read, wanted[place.tag.name])
        written = {
            "Control.Heartbeat": 1, "Control.PlcBootId": PLC_BOOT, "Control.BootIdEcho": IDENTITY.boot_id,
            "Control.ResultAckSeq": 10, "Control.PartId": "Prüfling-7", "Control.TriggerSeq": 11,
            "Control.RecipeReqNo": 4660, "Control.RecipeReq": "board-a", "Control.RecipeReqSeq": 3,
            "Control.PartFeedback": 9, "Control.Command": 5, "Control.FeedbackSeq": 1, "Control.CommandSeq": 6,
        }  # fmt: skip
        assert {place.tag.name: await mbpoll.value(place, "4") for place in CONTROL} == written
        assert await mbpoll.read("3", 0, 1) == ["1"]

        bits = cast(int, wanted["Status.Word"]) | cast(int, wanted["Status.Word2"]) << 16
        for table in ("0", "1"):
            assert [int(bit) for bit in await mbpoll.read(table, 0, 32)] == [bits >> n & 1 for n in range(32)]
        assert bits & 1 << 14  # Error
        assert bits & 1 << 16 + 2  # LineStop


async def test_mbpoll_is_told_what_is_not_allowed() -> None:
    async with served("big") as (_link, mbpoll):
        assert "Illegal data address" in await mbpoll.write("4", 6, 1)
        assert "Illegal data address" in await mbpoll.write("4", 2000, 1)  # half of a 32-bit value
        assert "Illegal function" in await mbpoll.write("0", 0, 1)
        assert "Illegal data address" in await mbpoll.run("-t", "3", "-r", "912", "-c", "1")
