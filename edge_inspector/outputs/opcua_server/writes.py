"""Which writes of a client are refused before asyncua sees them, and with which status code."""

from __future__ import annotations

from typing import Any

from asyncua import ua

from edge_inspector.plc.tags import MAX_TEXT

_WRITABLE = 1 << ua.AccessLevel.CurrentWrite


def refusal(aspace: Any, write: Any) -> int | None:
    """The status code with which one WriteValue is refused, None = let asyncua decide.

    asyncua alone ignores IndexRange, takes an array into a scalar, and stores a null for a value with a Bad status.
    """
    if aspace.get(write.NodeId) is None:
        return int(ua.StatusCodes.BadNodeIdUnknown)
    access = _attribute(aspace, write.NodeId, ua.AttributeIds.AccessLevel)
    if write.AttributeId != ua.AttributeIds.Value or access is None or not access & _WRITABLE:
        return int(ua.StatusCodes.BadNotWritable)
    if write.IndexRange:
        return int(ua.StatusCodes.BadWriteNotSupported)
    if write.Value is None or write.Value.Value is None:
        return int(ua.StatusCodes.BadTypeMismatch)
    if write.Value.StatusCode is not None and not write.Value.StatusCode.is_good():
        return int(ua.StatusCodes.BadWriteNotSupported)
    return _shape_refusal(aspace, write.NodeId, write.Value.Value)


def _shape_refusal(aspace: Any, node_id: ua.NodeId, variant: ua.Variant) -> int | None:
    value = variant.Value
    rank = _attribute(aspace, node_id, ua.AttributeIds.ValueRank)
    is_array = isinstance(value, list)
    if is_array != (rank is not None and rank >= 1) or len(variant.Dimensions or ()) > 1:
        return int(ua.StatusCodes.BadTypeMismatch)
    if value is None and variant.VariantType != ua.VariantType.String:
        return int(ua.StatusCodes.BadTypeMismatch)
    if is_array:
        dimensions = _attribute(aspace, node_id, ua.AttributeIds.ArrayDimensions)
        if dimensions and dimensions[0] and len(value) != dimensions[0]:  # a dimension of 0 means any length
            return int(ua.StatusCodes.BadOutOfRange)
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return int(ua.StatusCodes.BadOutOfRange)
    return None


def _attribute(aspace: Any, node_id: ua.NodeId, attribute: ua.AttributeIds) -> Any:
    found = aspace.read_attribute_value(node_id, attribute)
    return found.Value.Value if found.Value is not None else None
