"""The PLC code in docs/how-to/modbus.md, run as it stands there, with the shipped block against the real registers."""

from __future__ import annotations

import importlib.util
import re
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_inspector.datatypes import Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.interfaces import (
    Alive,
    LinkState,
    PlcMessage,
    RecipeAnswer,
    RecipeRequest,
    ResultAcknowledged,
    StationStatus,
    TriggerAccepted,
    TriggerRequest,
)
from edge_inspector.outputs.modbus.link import Config, ModbusServerLink

ROOT = Path(__file__).resolve().parents[2]


def _structured_text() -> Any:
    """The module beside tests/plc/test_plc_code.py that runs PLC code."""
    path = ROOT / "tests" / "plc" / "structured_text.py"
    spec = importlib.util.spec_from_file_location("structured_text_for_modbus", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Program = _structured_text().Program
pytestmark = pytest.mark.anyio
BOOT, PLC_BOOT, RECIPE = 0xFEDCBA98, 0x89ABCDEF, 4660
CYCLE_MS = 10
COUNT = 2**31 + 65535
READY = StationStatus(
    ready=True, busy=False, acquiring=False, halted=False, mode=Mode.PRODUCTION, recipe="r", recipe_no=RECIPE,
    recipe_ready=True, warning=False, error_code=0, error_text="", clock_synced=True, queue_depth=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class FakeClock:
    now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc(self) -> str:
        return ""

    def synced(self) -> bool:
        return True


def in_bytes(text: str) -> list[int]:
    """A STRING(254) as a PLC holds it, in memory of its own."""
    return list(text.encode().ljust(255, b"\0"))


class Plc:
    """Both blocks; a cycle reads 104 registers, runs them, and writes 86."""

    def __init__(self, link: ModbusServerLink, clock: FakeClock) -> None:
        shipped = (ROOT / "deploy" / "plc" / "FB_EdgeInspector.st").read_text(encoding="utf-8")
        page = (ROOT / "docs" / "how-to" / "modbus.md").read_text(encoding="utf-8")
        (code,) = re.findall(r"^(FUNCTION_BLOCK FB_EdgeInspectorModbus\n.*?^END_FUNCTION_BLOCK)$", page, re.M | re.S)
        self.block = Program(shipped)
        self.registers = Program(shipped[: shipped.index("FUNCTION_BLOCK")] + code)
        self.link = link
        self.clock = clock
        self.vision: Any = self.block.memory
        memory: Any = self.registers.memory
        memory.SHR = lambda value, bits: value >> bits
        for name in ("UINT_TO_UDINT", "UDINT_TO_UINT", "UINT_TO_BYTE", "BYTE_TO_UINT"):
            setattr(memory, name, int)
        memory.In.PartId = in_bytes("")
        self.vision.Out.PartId = in_bytes("")
        self.vision.idOf = [in_bytes("") for _ in range(16)]
        self.vision.myBootId, self.vision.orderedNo, self.vision.gateMs = PLC_BOOT, RECIPE, 2000
        self.vision.Out.TriggerSeq = COUNT

    def cycle(self, part_id: str | None = None) -> None:
        self.clock.now_ns += CYCLE_MS * 10**6
        answer = self.link._registers.answer(struct.pack(">BHH", 4, 0, 104))
        memory: Any = self.registers.memory
        memory.r = list(struct.unpack(">104H", answer[2:]))
        self._convert(memory)
        self.vision.In = SimpleNamespace(**{**vars(memory.In), "PartId": list(memory.In.PartId)})
        self.vision.nowMs = self.clock.now_ns // 10**6 % 2**32
        self.vision.trigger, self.vision.newPartId = part_id is not None, in_bytes(part_id or "")
        self.vision.gateSeq = self.vision.Out.TriggerSeq
        self.block.run(self.vision)
        self._convert(memory)
        written = self.link._registers.answer(struct.pack(">BHHB86H", 16, 2000, 86, 172, *memory.w))
        assert written == struct.pack(">BHH", 16, 2000, 86)

    def _convert(self, memory: Any) -> None:
        memory.Out = self.vision.Out
        self.registers.run(memory)


def a_result(asked: TriggerRequest, evaluation: Evaluation, mode: Mode = Mode.PRODUCTION) -> InspectionResult:
    trigger = Trigger(
        1,
        "s.0a.1",
        asked.trigger_seq,
        asked.part_id,
        1,
        mode,
        "r",
        RECIPE,
        BOOT,
        asked.plc_boot_id,
        0,
        10**15,
        "",
        True,
    )
    return InspectionResult(trigger, evaluation, Reason.NONE, "", (), ("top",), 1, (0.25,), "", 0, {})


@pytest.mark.parametrize(
    ("part_id", "evaluation", "mode", "passes"),
    [
        ("PCB-7", Evaluation.OK, Mode.PRODUCTION, True),
        ("Prüfling", Evaluation.OK, Mode.PRODUCTION, True),
        ("x" * 80, Evaluation.OK, Mode.PRODUCTION, True),
        ("x" * 81, Evaluation.OK, Mode.PRODUCTION, False),
        ("PCB-7", Evaluation.NOT_OK, Mode.PRODUCTION, False),
        ("PCB-7", Evaluation.OK, Mode.SIMULATION, False),
    ],
    ids=["OK", "UTF-8", "80 bytes", "81 bytes", "NOT_OK", "Simulation"],
)
async def test_the_code_of_the_page_greets_orders_triggers_and_lets_only_a_good_part_pass(
    part_id: str, evaluation: Evaluation, mode: Mode, passes: bool
) -> None:
    clock = FakeClock()
    config = Config.model_validate({"type": "modbus_server"})
    link = ModbusServerLink("plc", config, Identity("station", BOOT, "1"), clock, Path("unused"))
    plc = Plc(link, clock)

    async def say(*messages: PlcMessage) -> None:
        for message in (Alive(), *messages):
            await link.tell(message)
        plc.cycle()

    await say(READY)
    await say()
    for _ in range(2):
        assert isinstance(await link.receive(), LinkState)
    await say()
    await say()
    asked = await link.receive()
    assert isinstance(asked, RecipeRequest)
    assert (asked.number, asked.name) == (RECIPE, "")
    await say(RecipeAnswer(asked.seq, True, Reason.NONE))
    await say()
    assert plc.vision.ready
    plc.cycle(part_id)
    trigger = await link.receive()
    assert isinstance(trigger, TriggerRequest)
    assert (trigger.trigger_seq, trigger.part_id, trigger.plc_boot_id) == (COUNT + 1, part_id[:80], PLC_BOOT)
    await say(TriggerAccepted(COUNT + 1))
    assert not plc.vision.mayPass
    await say(a_result(trigger, evaluation, mode))
    assert plc.vision.mayPass is passes
    await say()
    assert await link.receive() == ResultAcknowledged(COUNT + 1, ("s.0a.1",))
    assert link._registers.answer(struct.pack(">BHH", 1, 6, 1)) == bytes((1, 1, 0))  # ResultsValid
    for _ in range(200):  # two seconds in which the station says nothing
        plc.cycle()
    assert not plc.vision.mayPass
