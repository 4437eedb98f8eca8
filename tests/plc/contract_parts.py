"""What the tests of the contract are made of: a linked contract, a status, a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason, Trigger
from edge_inspector.interfaces import LinkState, StationStatus
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.states import STARTING
from edge_inspector.plc.tags import Value

BOOT, PLC_BOOT = 77, 5
SECOND = 1_000_000_000
TOP = 2**32 - 1
READY: StationStatus = replace(STARTING, ready=True, recipe="r", recipe_no=1, recipe_ready=True, error_text="")


def linked(last_seq: int = 0, acknowledge: bool = True) -> Contract:
    """A contract whose PLC has greeted, with `last_seq` as the baseline."""
    contract = Contract(BOOT, acknowledge=acknowledge).told(READY, 0)
    contract, _ = contract.written({"Control.PlcBootId": PLC_BOOT, "Control.TriggerSeq": last_seq}, 0)
    contract, requests = contract.written({"Control.BootIdEcho": BOOT, "Control.Heartbeat": 1}, 0)
    assert requests == (LinkState(True, PLC_BOOT),)
    return contract


def a_result(
    seq: int, evaluation: Evaluation = Evaluation.OK, mode: Mode = Mode.PRODUCTION, plc_boot: int = PLC_BOOT
) -> InspectionResult:
    trigger = Trigger(
        seq, f"s.b.{seq}", seq, f"part-{seq}", 1, mode, "r", 1, BOOT, plc_boot, 0, SECOND, "2026-11-22T00:00:00.000Z",
        True,
    )  # fmt: skip
    return InspectionResult(trigger, evaluation, Reason.NONE, "", (), ("a",), 1, (0.5,), "ab" * 32, 2_000_000, {})


def bit(tags: Mapping[str, Value], number: int, word: str = "Status.Word") -> bool:
    """One bit of a word of bits."""
    value = tags[word]
    assert isinstance(value, int)
    return bool(value >> number & 1)
