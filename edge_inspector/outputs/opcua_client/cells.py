"""One tag in one node of the PLC: whether the node's type can hold the tag, and the value on its way there and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import cast

from asyncua import ua

from edge_inspector.errors import OutputError
from edge_inspector.plc.tags import MAX_TEXT, Tag, TagType, Value

_INTEGERS: Mapping[ua.VariantType, tuple[int, int]] = {
    ua.VariantType.SByte: (-(2**7), 2**7 - 1),
    ua.VariantType.Byte: (0, 2**8 - 1),
    ua.VariantType.Int16: (-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: (0, 2**16 - 1),
    ua.VariantType.Int32: (-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: (0, 2**32 - 1),
    ua.VariantType.Int64: (-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: (0, 2**64 - 1),
}
_REALS = (ua.VariantType.Float, ua.VariantType.Double)
_OURS: Mapping[TagType, tuple[int, int]] = {
    "Boolean": (0, 1),
    "UInt16": _INTEGERS[ua.VariantType.UInt16],
    "UInt32": _INTEGERS[ua.VariantType.UInt32],
    "Int32": _INTEGERS[ua.VariantType.Int32],
}
_NARROW = {
    **dict.fromkeys(("Result.Evaluation", "Result.GoldenOutcome"), 3),
    **dict.fromkeys(("Result.Mode", "Status.Mode"), 5),
    **dict.fromkeys(("Result.ViewsExpected", "Result.ViewsJudged", "Result.DefectView"), 16),
    "Status.State": 8,
}
"""The largest value that these tags ever have: they fit into a byte."""
_NO_TIME = datetime(1601, 1, 1, tzinfo=timezone.utc)  # OPC UA's own "no time yet"
ONE_OR_ANY = (1, 0, -2, -3)
"""ValueRanks of a node that takes a one-dimensional array."""
SCALAR_OR_ANY = (-1, -2, -3)


@dataclass(frozen=True)
class Node:
    """A variable of the server as it describes itself; `type` is a built-in one, None = not to be found out.

    `length` is of an array, 0 = the server does not say. `name` is its NodeId text.
    """

    name: str
    node_id: ua.NodeId
    type: ua.VariantType | None
    rank: int = -1
    length: int = 0
    readable: bool = True
    writable: bool = True


@dataclass(frozen=True)
class Cell:
    """A tag and its node. `longest` is what the server is known to take of a text, in characters."""

    tag: Tag
    node: Node
    longest: int = MAX_TEXT

    def shorter(self, than: int) -> Cell:
        """The server has refused a text of so many characters."""
        return replace(self, longest=than // 2)

    def variant(self, value: Value) -> ua.Variant:
        """The value as the node wants to have it. OutputError when the type cannot hold it after all."""
        kind = cast("ua.VariantType", self.node.type)
        if isinstance(value, tuple):
            padded = [*value, *[0] * (self.node.length - len(value))]
            return ua.Variant([self._native(one, kind) for one in padded], kind, is_array=True)
        return ua.Variant(self._native(value, kind), kind)

    def value(self, read: ua.Variant) -> Value:
        """What the PLC wrote, as our tag has it. OutputError when it is not a value of the tag."""
        native = read.Value
        if self.tag.length:
            if not isinstance(native, list) or len(native) < self.tag.length:
                raise OutputError(f"{self._who} reads {_shown(native)}, expected an array of {self.tag.length}")
            return tuple(self._taken(one) for one in native[: self.tag.length])
        if self.tag.type == "String":
            text = native or ""
            if not isinstance(text, str):
                raise OutputError(f"{self._who} reads {_shown(native)}, expected text")
            return text.encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]
        return self._taken(native)

    def problems(self) -> Iterator[str]:
        """Why the node cannot be the tag's, each as the end of a sentence that begins with the node."""
        if self.tag.writer == "plc" and not self.node.readable:
            yield "cannot be read by this user"
        if self.tag.writer == "station" and not self.node.writable:
            yield "cannot be written by this user: set it writable from HMI/OPC UA in the PLC's program"
        if self.node.type is None:
            yield f"has a type that is not known, expected {self._wanted()}"
        elif not self._fits(self.node.type):
            yield f"is {self.node.type.name}, which does not hold {self.tag.type}; expected {self._wanted()}"
        yield from self._shape()

    def _shape(self) -> Iterator[str]:
        if self.tag.length and self.node.rank not in ONE_OR_ANY:
            yield f"is no one-dimensional array (ValueRank {self.node.rank}), expected one of {self.tag.length}"
        elif self.tag.length and self.node.length and self.node.length < self.tag.length:
            yield f"is an array of {self.node.length}, expected at least {self.tag.length}"
        elif not self.tag.length and self.node.rank not in SCALAR_OR_ANY:
            yield "is an array, expected a single value: give the NodeId of one element"

    def _fits(self, kind: ua.VariantType) -> bool:
        ours = self.tag.type
        if ours == "String":
            return kind is ua.VariantType.String
        if ours == "DateTime":
            return kind in (ua.VariantType.DateTime, ua.VariantType.String)
        if ours == "Float":
            return kind in _REALS
        if ours == "Boolean" and kind is ua.VariantType.Boolean:
            return True
        if kind not in _INTEGERS:
            return False
        if self.tag.writer == "plc":
            return True  # what the PLC wrote is looked at when it is read
        low, high = self._range
        return _INTEGERS[kind][0] <= low and high <= _INTEGERS[kind][1]

    def _wanted(self) -> str:
        if self.tag.type in ("String", "DateTime", "Float"):
            return {"String": "String", "DateTime": "DateTime or String", "Float": "Float or Double"}[self.tag.type]
        fitting = [kind.name for kind in (ua.VariantType.Boolean, *_INTEGERS) if self._fits(kind)]
        return " or ".join(fitting)

    @property
    def _range(self) -> tuple[int, int]:
        low, high = _OURS[self.tag.type]
        return low, _NARROW.get(self.tag.name, high)

    @property
    def _who(self) -> str:
        return f"{self.tag.name} (node {self.node.name})"

    def _taken(self, native: object) -> int:
        low, high = self._range
        if not isinstance(native, int) or not low <= native <= high:
            raise OutputError(f"{self._who} reads {_shown(native)}, expected {low} to {high}")
        return int(native)

    def _native(self, value: object, kind: ua.VariantType) -> object:
        if kind is ua.VariantType.String:
            return str(value)[: self.longest]
        if kind is ua.VariantType.DateTime:
            return datetime.fromisoformat(str(value).replace("Z", "+00:00")) if value else _NO_TIME
        if kind is ua.VariantType.Boolean:
            return bool(value)
        number = cast("float", value)
        if kind in _REALS:
            return float(number) if math.isfinite(number) else 0.0
        low, high = _INTEGERS[kind]
        if not low <= number <= high:
            raise OutputError(f"{self._who} is {kind.name}, which does not hold {_shown(value)}")
        return int(number)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
