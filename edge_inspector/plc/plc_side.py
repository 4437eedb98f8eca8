"""What the PLC wrote: its tags as the last of its starts left them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from edge_inspector.plc.tags import Value

_FIELDS = {
    "Control.BootIdEcho": "boot_id_echo",
    "Control.PlcBootId": "plc_boot_id",
    "Control.TriggerSeq": "trigger_seq",
    "Control.PartId": "part_id",
    "Control.RecipeReq": "recipe",
    "Control.RecipeReqNo": "recipe_no",
    "Control.RecipeReqSeq": "recipe_seq",
    "Control.ResultAckSeq": "result_ack_seq",
    "Control.PartFeedback": "feedback",
    "Control.FeedbackSeq": "feedback_seq",
    "Control.Command": "command",
    "Control.CommandSeq": "command_seq",
}
_BLOCK = ("Heartbeat", "PlcBootId", "BootIdEcho", "TriggerSeq", "RecipeReqNo", "RecipeReqSeq", "ResultAckSeq")
_LOW_WORD = 0xFFFF


@dataclass(frozen=True)
class PlcSide:
    """The last values. `heartbeat_ns` is when the heartbeat last changed (CLOCK_MONOTONIC), None = never.

    `counted`: this start of the PLC has written its TriggerSeq. `result_ack_seq` is None until it acknowledges.
    """

    heartbeat: int = 0
    heartbeat_ns: int | None = None
    boot_id_echo: int = 0
    plc_boot_id: int = 0
    trigger_seq: int = 0
    counted: bool = False
    part_id: str = ""
    recipe: str = ""
    recipe_no: int = 0
    recipe_seq: int = 0
    result_ack_seq: int | None = None
    feedback: int = 0
    feedback_seq: int = 0
    command: int = 0
    command_seq: int = 0

    def wrote(self, values: Mapping[str, Value], now_ns: int) -> PlcSide:
        """After one write request; the order of the tags in it does not matter.

        A changed PlcBootId is a new start: the counts and the echo of the one before are forgotten.
        """
        me = self
        values = _unblocked(values, self.command_seq)
        if values.get("Control.PlcBootId", self.plc_boot_id) != self.plc_boot_id:
            me = replace(
                me,
                boot_id_echo=0,
                counted=False,
                recipe_seq=0,
                result_ack_seq=None,
                feedback_seq=0,
                command_seq=0,
            )
        changes: dict[str, object] = {_FIELDS[name]: value for name, value in values.items() if name in _FIELDS}
        heartbeat = values.get("Control.Heartbeat")
        if heartbeat is not None and heartbeat != me.heartbeat:
            changes |= {"heartbeat": heartbeat, "heartbeat_ns": now_ns}
        if "Control.TriggerSeq" in values:
            changes["counted"] = True
        return replace(me, **changes)  # type: ignore[arg-type]


def _unblocked(values: Mapping[str, Value], command_seq: int) -> Mapping[str, Value]:
    """Control.Block is the same tags in one array; a tag written beside it counts more.

    It has room for the lower half of CommandSeq only: the same half is the same command.
    """
    block = values.get("Control.Block")
    if block is None:
        return values
    words = cast("tuple[int, ...]", block)
    command, low = words[7] & _LOW_WORD, words[7] >> 16
    spread: dict[str, Value] = {f"Control.{name}": word for name, word in zip(_BLOCK, words[:7], strict=True)}
    spread["Control.Command"] = command
    spread["Control.CommandSeq"] = command_seq if low == command_seq & _LOW_WORD else low
    return {**spread, **values}
