"""The Modbus register map: where each tag stands, for ever, and how its value is written there."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from edge_inspector.plc.tags import BY_NAME, RING_WORDS, Tag, TagType, Value

WordOrder = Literal["big", "little"]
"""Which half of a 32-bit value has the lower address: the high one (big) or the low one (little)."""
MAP_VERSION = 1
"""In register 0. A register may be added in a free place; one that moves or changes its meaning is a new version."""
IMAGE_END = 912
"""The station's registers are 0..911. What no tag stands in reads 0."""
CONTROL_START = 2000
CONTROL_END = 2106
"""The PLC's registers are 2000..2105."""
BITS = ("Status.Word", "Status.Word2")
"""Coils and discrete inputs 0..15 and 16..31 are the bits of these two."""

_WORDS: Mapping[TagType, int] = {"UInt16": 1, "UInt32": 2, "Int32": 2, "Float": 2, "DateTime": 3}
_PACKED: Mapping[TagType, str] = {"UInt16": ">H", "UInt32": ">I", "Int32": ">i", "Float": ">f"}


@dataclass(frozen=True)
class Place:
    """Where a tag stands: `address` as it is in a request (counted from 0), `registers` how many it takes."""

    tag: Tag
    address: int
    registers: int
    command: bool = False
    """Taken only when the file says `commands = true`."""

    @property
    def end(self) -> int:
        return self.address + self.registers


def _at(address: int, name: str, text: int = 0, command: bool = False) -> Place:
    """`text` is the number of registers of a text, two bytes each."""
    tag = BY_NAME[name]
    return Place(tag, address, text or _WORDS[tag.type] * max(1, tag.length), command)


IMAGE: tuple[Place, ...] = (
    _at(1, "Ident.InterfaceVersion"),
    _at(2, "Status.Heartbeat"),
    _at(4, "Status.BootId"),
    _at(6, "Status.Word"),
    _at(7, "Status.Word2"),
    _at(8, "Status.State"),
    _at(9, "Status.Mode"),
    _at(10, "Status.TriggerAckSeq"),
    _at(12, "Status.RefusedSeq"),
    _at(14, "Status.RefusedReason"),
    _at(16, "Status.ErrorCode"),
    _at(18, "Status.ActiveRecipeNo"),
    _at(20, "Status.RecipeReqAckSeq"),
    _at(22, "Status.RecipeReqResult"),
    _at(24, "Status.CommandAckSeq"),
    _at(26, "Status.CommandResult"),
    _at(28, "Status.LineStopReason"),
    _at(32, "Result.TriggerSeq"),
    _at(34, "Result.BootId"),
    _at(36, "Result.PlcBootId"),
    _at(38, "Result.Evaluation"),
    _at(39, "Result.Mode"),
    _at(40, "Result.GoldenOutcome"),
    _at(41, "Result.RecipeNo"),
    _at(42, "Result.Reason"),
    _at(44, "Result.ViewsExpected"),
    _at(45, "Result.ViewsJudged"),
    _at(46, "Result.DefectCount"),
    _at(48, "Result.Score"),
    _at(50, "Result.Threshold"),
    _at(52, "Result.CycleMs"),
    _at(54, "Result.AcquisitionMs"),
    _at(56, "Result.InferenceMs"),
    _at(58, "Result.TimeUtc"),
    _at(64, "Result.PartId", text=40),
    _at(104, "Status.Block"),
    _at(120, "Counter.Total"),
    _at(122, "Counter.Ok"),
    _at(124, "Counter.NotOk"),
    _at(126, "Counter.NotDecidable"),
    _at(128, "Counter.Undefined"),
    _at(130, "Counter.Refused"),
    _at(132, "Counter.Missed"),
    _at(134, "Counter.Unannounced"),
    _at(136, "Health.TempC"),
    _at(138, "Health.GpuLoad"),
    _at(140, "Health.DiskFreePct"),
    _at(142, "Health.QueueDepth"),
    _at(144, "Health.PowerMode", text=16),
    _at(160, "Ident.SoftwareVersion", text=16),
    _at(176, "Ident.StationId", text=32),
    _at(208, "Status.ActiveRecipe", text=32),
    _at(240, "Status.ErrorText", text=64),
    _at(304, "Result.ResultId", text=48),
    _at(352, "Result.RecipeId", text=32),
    _at(384, "Result.ReasonText", text=64),
    _at(448, "Result.ModelHash", text=8),
    _at(456, "Result.Unit", text=4),
    _at(464, "Result.DefectClass"),
    _at(480, "Result.DefectView"),
    _at(496, "Result.DefectScore"),
    _at(528, "Result.DefectBox"),
    _at(656, "Result.Ring"),
)
"""What the station writes. Registers 0..103 are all that the PLC's rule needs, in one request."""

CONTROL: tuple[Place, ...] = (
    _at(2000, "Control.Heartbeat"),
    _at(2002, "Control.PlcBootId"),
    _at(2004, "Control.BootIdEcho"),
    _at(2006, "Control.ResultAckSeq"),
    _at(2008, "Control.PartId", text=40),
    _at(2048, "Control.TriggerSeq"),
    _at(2050, "Control.RecipeReqNo"),
    _at(2051, "Control.RecipeReq", text=33),
    _at(2084, "Control.RecipeReqSeq"),
    _at(2100, "Control.PartFeedback", command=True),
    _at(2101, "Control.Command", command=True),
    _at(2102, "Control.FeedbackSeq", command=True),
    _at(2104, "Control.CommandSeq", command=True),
)
"""What the PLC writes: what is latched stands before the number that latches it."""

RING_ROW = 2 * RING_WORDS
"""Registers of one result in the ring."""


def encoded(place: Place, value: Value, order: WordOrder) -> bytes:
    """The value as its registers, the high byte of each first; a text that is too long ends at a whole character."""
    tag = place.tag
    if tag.type == "String":
        return _text(cast(str, value), 2 * place.registers)
    if tag.type == "DateTime":
        seconds, milliseconds = _since_1970(cast(str, value))
        return _ordered(struct.pack(">I", seconds), order) + struct.pack(">H", milliseconds)
    numbers = value if isinstance(value, tuple) else (value,)
    return b"".join(_ordered(_number(tag.type, cast(float, number)), order) for number in numbers)


def decoded(place: Place, registers: bytes, order: WordOrder) -> int | str:
    """What the PLC has written into one of its own places. A text ends at the first 0; what is no UTF-8 becomes "?"."""
    tag = place.tag
    if tag.type == "String":
        return registers.split(b"\0", 1)[0].decode("utf-8", "replace").replace("�", "?")
    number: int = struct.unpack(_PACKED[tag.type], _ordered(registers, order))[0]
    return number


def _number(kind: TagType, number: float) -> bytes:
    try:
        return struct.pack(_PACKED[kind], number)
    except OverflowError:  # finite, and beyond what a 32-bit float holds
        return struct.pack(">f", math.copysign(math.inf, number))


def _ordered(registers: bytes, order: WordOrder) -> bytes:
    """The way there is the way back."""
    return registers[2:] + registers[:2] if order == "little" and len(registers) == 4 else registers


def _text(text: str, size: int) -> bytes:
    whole = text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
    return whole.encode().ljust(size, b"\0")


def _since_1970(utc: str) -> tuple[int, int]:
    """Seconds and milliseconds; both 0 for no time."""
    if not utc:
        return 0, 0
    moment = datetime.fromisoformat(utc.replace("Z", "+00:00"))
    return int(moment.timestamp()) % 2**32, moment.microsecond // 1000
