"""The tag table as nodes: fixed string NodeIds, exact types, ranks, dimensions, access and first values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from asyncua import Server, ua

from edge_inspector.plc.tags import BY_NAME, TAGS, Tag, Value

NAMESPACE = "urn:edge-inspector:station"
NAMESPACE_INDEX = 2
"""0 is OPC UA's, 1 the server's own: PLC programs that know no URI rely on it."""
ROOT = "Station"
NO_TIME = datetime(1601, 1, 1, tzinfo=timezone.utc)
"""OPC UA's own "no time yet"."""
GOOD = ua.StatusCode(ua.StatusCodes.Good)
INITIAL = ua.StatusCode(ua.StatusCodes.UncertainInitialValue)
"""Nobody has written or measured it yet."""


def node_id(name: str = "") -> ua.NodeId:
    """Of a tag or group; without a name of the object that holds them all."""
    return ua.NodeId(f"{ROOT}.{name}" if name else ROOT, NAMESPACE_INDEX)


def initial(tag: Tag) -> ua.StatusCode:
    """The status of a tag's first value: what the PLC or the machine tells is not known yet."""
    told_by_others = tag.writer == "plc" or (tag.name.startswith("Health.") and tag.name != "Health.QueueDepth")
    return INITIAL if told_by_others else GOOD


def data_value(name: str, value: Value, now: datetime, status: ua.StatusCode = GOOD) -> ua.DataValue:
    """A tag's value as asyncua wants it; both timestamps are `now`."""
    tag = BY_NAME[name]
    native: Any = list(value) if isinstance(value, tuple) else value
    if tag.type == "DateTime":
        native = datetime.fromisoformat(str(native).replace("Z", "+00:00")) if native else NO_TIME
    variant = ua.Variant(native, ua.VariantType[tag.type], is_array=bool(tag.length))
    return ua.DataValue(variant, status, SourceTimestamp=now, ServerTimestamp=now)


def value_of(native: Any) -> Value:
    """What a client wrote; bytes that are no UTF-8, which asyncua passes on as lone surrogates, become "?"."""
    if native is None:  # a null text is allowed, and is an empty one
        return ""
    if isinstance(native, str):
        return native.encode("utf-8", "replace").decode("utf-8")
    value: Value = tuple(native) if isinstance(native, list) else native
    return value


async def add_tags(server: Server, now: datetime, *, writable: bool) -> Mapping[ua.NodeId, Tag]:
    """Register our namespace and add every tag; the tags that a client may write, by NodeId.

    `writable` False: none, because another interface of the server is the master.
    """
    index = await server.register_namespace(NAMESPACE)
    if index != NAMESPACE_INDEX:
        raise ValueError(f"namespace {NAMESPACE} got index {index}: register it before every other one")
    station = await server.nodes.objects.add_object(node_id(), ua.QualifiedName(ROOT, index))
    groups: dict[str, Any] = {}
    for tag in TAGS:
        group, _, leaf = tag.name.partition(".")
        if group not in groups:
            groups[group] = await station.add_object(node_id(group), ua.QualifiedName(group, index))
        node = await _add_tag(server, groups[group], ua.QualifiedName(leaf, index), tag, now)
        if writable and tag.writer == "plc":
            await node.set_writable()
    return {node_id(tag.name): tag for tag in TAGS if writable and tag.writer == "plc"}


async def _add_tag(server: Server, parent: Any, browse_name: ua.QualifiedName, tag: Tag, now: datetime) -> Any:
    value = data_value(tag.name, tag.zero, now, initial(tag))
    kind = ua.VariantType[tag.type]
    node = await parent.add_variable(node_id(tag.name), browse_name, value.Value, varianttype=kind)
    await server.write_attribute_value(node.nodeid, value)
    rank = ua.Variant(1 if tag.length else -1, ua.VariantType.Int32)
    await node.write_attribute(ua.AttributeIds.ValueRank, ua.DataValue(rank))
    if tag.length:
        dimensions = ua.Variant([tag.length], ua.VariantType.UInt32)
        await node.write_attribute(ua.AttributeIds.ArrayDimensions, ua.DataValue(dimensions))
    meaning = ua.Variant(ua.LocalizedText(tag.meaning, "en"), ua.VariantType.LocalizedText)
    await node.write_attribute(ua.AttributeIds.Description, ua.DataValue(meaning))
    return node
