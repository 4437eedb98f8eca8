"""Requests that no honest client sends: well-formed trespasses, and bodies that ask a decoder for more than it has."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary

from edge_inspector.plc.tags import TAGS, Tag

NAMESPACE_INDEX = 2
DEEP = (5, 60, 99, 101, 900, 5000, 50_000)
COUNTS = (1, 200, 20_000, 1_000_000, 2**31 - 1, -1, -2, -4, -(2**31))
_OBJECTS = tuple(value for name, value in vars(ua.ObjectIds).items() if name.endswith("Request_Encoding_DefaultBinary"))


def tag_id(name: str) -> ua.NodeId:
    return ua.NodeId(f"Station.{name}", NAMESPACE_INDEX)


def native(tag: Tag, rng: random.Random) -> Any:
    """A value of the tag's own type and length, which it has hardly had by chance."""
    if tag.type == "DateTime":
        scalar: Any = datetime(2001, 1, 1, tzinfo=timezone.utc)
    elif tag.type == "String":
        scalar = "forged"
    elif tag.type == "Boolean":
        scalar = True
    else:
        scalar = rng.randint(1, 60_000)
    return [scalar] * tag.length if tag.length else scalar


def trespass(rng: random.Random) -> Any:
    """A request that is right in every byte and asks for what nobody may do."""
    return rng.choice(_TRESPASSES)(rng)


def _write(rng: random.Random) -> Any:
    request = ua.WriteRequest()
    for tag in rng.sample([t for t in TAGS if t.writer == "station"], 5):
        value = ua.DataValue(ua.Variant(native(tag, rng), ua.VariantType[tag.type]))
        request.Parameters.NodesToWrite.append(ua.WriteValue(tag_id(tag.name), ua.AttributeIds.Value, None, value))
    return request


def _write_attribute(rng: random.Random) -> Any:
    """Would make a tag writable, another type, another name, or unreadable."""
    request = ua.WriteRequest()
    byte, number = ua.VariantType.Byte, ua.VariantType.UInt32
    for attribute, value in (
        (ua.AttributeIds.UserAccessLevel, ua.Variant(rng.choice((0, 3)), byte)),
        (ua.AttributeIds.AccessLevel, ua.Variant(rng.choice((0, 3)), byte)),
        (ua.AttributeIds.WriteMask, ua.Variant(0xFFFFFFFF, number)),
        (ua.AttributeIds.DataType, ua.Variant(ua.NodeId(12), ua.VariantType.NodeId)),
        (ua.AttributeIds.ValueRank, ua.Variant(1, ua.VariantType.Int32)),
        (ua.AttributeIds.DisplayName, ua.Variant(ua.LocalizedText("forged"), ua.VariantType.LocalizedText)),
    ):
        node = tag_id(rng.choice(TAGS).name)
        request.Parameters.NodesToWrite.append(ua.WriteValue(node, attribute, None, ua.DataValue(value)))
    return request


def _add_nodes(_: random.Random) -> Any:
    request = ua.AddNodesRequest()
    item = ua.AddNodesItem()
    item.ParentNodeId = ua.NodeId("Station", NAMESPACE_INDEX)
    item.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasComponent)
    item.RequestedNewNodeId = ua.NodeId("Station.Forged", NAMESPACE_INDEX)
    item.BrowseName = ua.QualifiedName("Forged", NAMESPACE_INDEX)
    item.NodeClass = ua.NodeClass.Object
    item.NodeAttributes = ua.ObjectAttributes()
    item.TypeDefinition = ua.NodeId(ua.ObjectIds.BaseObjectType)
    request.Parameters.NodesToAdd = [item]
    return request


def _delete_nodes(rng: random.Random) -> Any:
    request = ua.DeleteNodesRequest()
    name = tag_id(rng.choice(TAGS).name)
    request.Parameters.NodesToDelete = [ua.DeleteNodesItem(name, True), ua.DeleteNodesItem(ua.NodeId(2253), True)]
    return request


def _references(rng: random.Random) -> Any:
    request = ua.DeleteReferencesRequest()
    item = ua.DeleteReferencesItem()
    item.SourceNodeId = ua.NodeId("Station.Status", NAMESPACE_INDEX)
    item.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasComponent)
    item.IsForward = True
    item.TargetNodeId = tag_id(rng.choice(("Status.Heartbeat", "Status.Word")))
    item.DeleteBidirectional = True
    request.Parameters.ReferencesToDelete = [item]
    return request


def _foreign_subscription(rng: random.Random) -> Any:
    ids = list(range(1, 300))
    kind = rng.randrange(4)
    if kind == 0:
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters.SubscriptionIds = ids
    elif kind == 1:
        request = ua.SetPublishingModeRequest()
        request.Parameters.PublishingEnabled = False
        request.Parameters.SubscriptionIds = ids
    elif kind == 2:
        request = ua.TransferSubscriptionsRequest()
        request.Parameters.SubscriptionIds = ids
    else:
        request = ua.DeleteMonitoredItemsRequest()
        request.Parameters.SubscriptionId = rng.choice(ids)
        request.Parameters.MonitoredItemIds = list(range(1, 300))
    return request


def _foreign_session(rng: random.Random) -> Any:
    request = ua.ActivateSessionRequest()
    request.RequestHeader.AuthenticationToken = ua.NodeId(rng.randint(1000, 3000))
    wrong = ua.UserNameIdentityToken(PolicyId="username", UserName="plc", Password=b"guess")
    request.Parameters.UserIdentityToken = rng.choice((wrong, ua.AnonymousIdentityToken(PolicyId="anonymous")))
    return request


def _register_server(_: random.Random) -> Any:
    request = ua.RegisterServerRequest()
    request.Server = ua.RegisteredServer()
    request.Server.ServerUri = "urn:forged"
    request.Server.DiscoveryUrls = ["opc.tcp://192.0.2.1:4840"]
    return request


def _call(rng: random.Random) -> Any:
    request = ua.CallRequest()
    method = ua.CallMethodRequest()
    method.ObjectId = ua.NodeId(ua.ObjectIds.Server)
    method.MethodId = ua.NodeId(rng.choice((11492, 12873, 12886, 12749)))  # GetMonitoredItems, ResendData, ...
    method.InputArguments = [ua.Variant(rng.randint(0, 99), ua.VariantType.UInt32)] * rng.randint(0, 5)
    request.Parameters.MethodsToCall = [method]
    return request


_TRESPASSES: tuple[Callable[[random.Random], Any], ...] = (
    *(_write, _write, _write_attribute, _add_nodes, _delete_nodes, _references),
    *(_foreign_subscription, _foreign_session, _register_server, _call),
)


def bomb(rng: random.Random, authentication: ua.NodeId) -> bytes:
    """A Write whose one value is small on the wire and large, deep or endless to decode."""
    header = ua.RequestHeader()
    header.AuthenticationToken = authentication
    type_id = nodeid_to_binary(ua.FourByteNodeId(ua.ObjectIds.WriteRequest_Encoding_DefaultBinary))
    where = nodeid_to_binary(tag_id("Control.PartId")) + struct.pack("<Ii", ua.AttributeIds.Value, -1) + b"\x01"
    times = rng.choice((1, 1, 3, 200))
    one = (where + variant_bomb(rng))[:50_000]
    values = one * min(times, 50_000 // len(one))
    return type_id + struct_to_binary(header) + struct.pack("<i", min(times, 50_000 // len(one))) + values


def variant_bomb(rng: random.Random) -> bytes:
    kind, deep, count = rng.randrange(8), rng.choice(DEEP), rng.choice(COUNTS)
    if kind == 0:  # variants in variants
        return b"\x18" * deep + b"\x01\x01"
    if kind == 1:  # arrays of one variant, in each other
        return (b"\x98" + struct.pack("<i", 1)) * min(deep, 9000) + b"\x01\x01"
    if kind == 2:  # DiagnosticInfo in DiagnosticInfo
        return b"\x19" + b"\x40" * deep + b"\x00"
    if kind == 3:  # many elements that need no bytes
        return b"\x80" + struct.pack("<i", count)
    if kind == 4:  # dimensions without elements
        sizes = [rng.choice(COUNTS) for _ in range(rng.choice((1, 2, 3, 2000)))]
        return b"\xc6" + struct.pack("<i", 0) + struct.pack(f"<i{len(sizes)}i", len(sizes), *sizes)
    if kind == 5:  # strings of negative length, read again and again
        return b"\x8c" + struct.pack("<i", count) + struct.pack("<i", -4) * rng.choice((1, 50))
    if kind == 6:  # an array of any type, of any length
        return bytes([0x80 | rng.randrange(64)]) + struct.pack("<i", count) + rng.randbytes(40)
    inner = b"\x0a\x01" + struct.pack("<H", rng.choice(_OBJECTS)) + b"\x01"  # an ExtensionObject that is a request
    return b"\x16" + inner[1:] + struct.pack("<i", count) + rng.randbytes(60)
