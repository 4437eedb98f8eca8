"""The PLC code that we ship does what plc/function_block.py does: both run side by side on the same scans."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structured_text import Program

from edge_inspector.plc.function_block import FunctionBlock
from edge_inspector.plc.tags import Value

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "plc"
SOURCES = ("FB_EdgeInspector.st", "FB_EdgeInspector.scl")
MS = 1_000_000
GATE_MS = 2000
IN = {
    "BootId": "Status.BootId",
    "Heartbeat": "Status.Heartbeat",
    "PlcLinkOk": "Status.PlcLinkOk",
    "TriggerReady": "Status.TriggerReady",
    "TriggerAckSeq": "Status.TriggerAckSeq",
    "RefusedSeq": "Status.RefusedSeq",
    "RecipeReqAckSeq": "Status.RecipeReqAckSeq",
    "RecipeReqResult": "Status.RecipeReqResult",
    "ResultsValid": "Status.ResultsValid",
    "ResultSeq": "Result.TriggerSeq",
    "ResultBootId": "Result.BootId",
    "ResultPlcBootId": "Result.PlcBootId",
    "Evaluation": "Result.Evaluation",
    "Mode": "Result.Mode",
    "RecipeNo": "Result.RecipeNo",
    "PartId": "Result.PartId",
}
"""Element of the block's input -> tag."""


class Shipped:
    """A shipped block between reads and writes."""

    def __init__(self, source: str, recipe_no: int, first_seq: int = 0) -> None:
        self.program = Program((FOLDER / source).read_text(encoding="utf-8"))
        memory: Any = self.program.memory
        self.memory = memory
        self.tags_in = memory.inTags if hasattr(memory, "inTags") else memory.In
        self.tags_out = memory.outTags if hasattr(memory, "outTags") else memory.Out
        memory.myBootId, memory.orderedNo, memory.gateMs = 9, recipe_no, GATE_MS
        self.tags_out.TriggerSeq = first_seq

    def scan(self, tags: dict[str, Value], now_ms: int, part_id: str | None) -> None:
        for name, tag in IN.items():
            setattr(self.tags_in, name, tags[tag])
        self.memory.nowMs = now_ms % 2**32
        self.memory.trigger, self.memory.newPartId = part_id is not None, part_id or ""
        self.program.run(self.memory)

    def passes(self, seq: int) -> bool:
        """What the block says of a part at the gate, in the cycle that was just run."""
        memory = copy.deepcopy(self.memory)
        memory.gateSeq, memory.trigger = seq, False
        self.program.run(memory)
        return bool(memory.mayPass)


def scans() -> st.SearchStrategy[list[tuple[dict[str, Value], int, bool]]]:
    """Scans of anything that could stand in the tags, mostly near the truth: tags, ms since the last one, a part."""
    seq = st.integers(0, 3) | st.sampled_from([2**32 - 2, 2**32 - 1])
    mostly = {
        "Status.BootId": st.sampled_from([7, 7, 7, 7, 7, 7, 8, 0]),
        "Status.Heartbeat": st.integers(0, 3),
        "Status.PlcLinkOk": st.sampled_from([True, True, True, False]),
        "Status.TriggerReady": st.booleans(),
        "Status.TriggerAckSeq": seq,
        "Status.RefusedSeq": st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
        "Status.RecipeReqAckSeq": st.integers(0, 2),
        "Status.RecipeReqResult": st.sampled_from([0, 0, 0, 13]),
        "Status.ResultsValid": st.sampled_from([True, True, True, False]),
        "Result.TriggerSeq": seq,
        "Result.BootId": st.sampled_from([7, 7, 7, 7, 8]),
        "Result.PlcBootId": st.sampled_from([9, 9, 9, 9, 3]),
        "Result.Evaluation": st.sampled_from([1, 1, 1, 1, 2, 0]),
        "Result.Mode": st.sampled_from([1, 1, 1, 1, 3]),
        "Result.RecipeNo": st.sampled_from([5, 5, 5, 6]),
        "Result.PartId": st.sampled_from(["part", "part", "part", "other"]),
    }
    step = st.sampled_from([1, 10, 100, 499, 502, 998, 1002, 2001])
    return st.lists(st.tuples(st.fixed_dictionaries(mostly), step, st.booleans()), min_size=2, max_size=14)


@pytest.mark.parametrize("source", SOURCES)
@given(scans=scans(), first=st.sampled_from([0, 2**32 - 2]), start_ms=st.sampled_from([0, 2**32 - 3000]))
def test_the_shipped_block_decides_as_ours_does(
    source: str, scans: list[tuple[dict[str, Value], int, bool]], first: int, start_ms: int
) -> None:
    theirs = Shipped(source, 5, first)
    ours = FunctionBlock(9, 5, GATE_MS * MS, seq=first)
    now_ms = start_ms
    for tags, step_ms, announces in scans:
        now_ms += step_ms
        ours = ours.scanned(tags, now_ms * MS)
        theirs.scan(tags, now_ms, "part" if announces else None)
        if announces:
            ours = ours.announce("part", now_ms * MS)
        assert theirs.memory.ready == ours.ready
        assert theirs.tags_out.TriggerSeq == ours.seq
        assert theirs.tags_out.BootIdEcho == ours.echo
        assert theirs.tags_out.RecipeReqSeq == ours.recipe_seq
        assert theirs.tags_out.ResultAckSeq == (ours.acked or 0)
        for part in ours.parts:
            assert theirs.passes(part.seq) == ours.at_gate(part.seq, now_ms * MS), part


@pytest.mark.parametrize("source", SOURCES)
def test_a_good_part_passes_the_shipped_block(source: str) -> None:
    block = Shipped(source, 5)
    tags: dict[str, Value] = {
        **dict.fromkeys(IN.values(), 0),
        **{"Status.BootId": 7, "Status.PlcLinkOk": True, "Status.TriggerReady": True, "Result.PartId": ""},
    }
    for beat in range(3):
        block.scan(tags | {"Status.Heartbeat": beat, "Status.RecipeReqAckSeq": 1}, 100 * beat, None)
    assert block.memory.ready
    block.scan(tags | {"Status.Heartbeat": 3, "Status.RecipeReqAckSeq": 1}, 300, "part")
    result: dict[str, Value] = {
        **{"Status.ResultsValid": True, "Result.TriggerSeq": 1, "Result.BootId": 7, "Result.PlcBootId": 9},
        **{"Result.Evaluation": 1, "Result.Mode": 1, "Result.RecipeNo": 5, "Result.PartId": "part"},
    }
    block.scan(tags | result | {"Status.Heartbeat": 4, "Status.RecipeReqAckSeq": 1}, 400, None)
    assert block.passes(1)
    assert not block.passes(2)
    assert block.tags_out.ResultAckSeq == 1
