"""IndexRange of OPC UA (Part 4, 7.27) for what we have: arrays of one dimension and texts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from asyncua import ua

_RANGE = re.compile(r"([0-9]{1,9})(?::([0-9]{1,9}))?")


def bounds(text: str) -> tuple[int, int] | None:
    """First and last index of "2" or "2:5"; None when it is no range of one dimension."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    return None if match[2] is not None and first >= last else (first, last)


def cut(value: ua.DataValue, text: str) -> ua.DataValue:
    """The part of a value that a client asked for; a Bad status and no value when there is none."""
    found = bounds(text)
    if found is None:
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeInvalid))
    whole: Any = value.Value.Value if value.Value is not None else None
    if not isinstance(whole, list | str | bytes) or found[0] >= len(whole):
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeNoData))
    part = whole[found[0] : found[1] + 1]
    return replace(value, Value=ua.Variant(part, value.Value.VariantType))
