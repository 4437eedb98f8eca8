"""Who the server is and how much it takes, where OPC UA clients look for it."""

from __future__ import annotations

from typing import Any

from asyncua import Server, ua

from edge_inspector.datatypes import Identity
from edge_inspector.outputs.opcua_server import limits
from edge_inspector.outputs.opcua_server.address_space import NO_TIME
from edge_inspector.outputs.opcua_server.patches import MIN_PUBLISHING_MS
from edge_inspector.outputs.opcua_server.samples import MAX_QUEUE
from edge_inspector.plc.tags import MAX_TEXT

PRODUCT = "edge-inspector"
PRODUCT_URI = "urn:edge-inspector"
_CAPABILITIES: dict[str, Any] = {
    "MaxSessions": ua.Variant(limits.MAX_SESSIONS, ua.VariantType.UInt32),
    "MaxSubscriptions": ua.Variant(limits.MAX_SESSIONS * limits.MAX_SUBSCRIPTIONS, ua.VariantType.UInt32),
    "MaxSubscriptionsPerSession": ua.Variant(limits.MAX_SUBSCRIPTIONS, ua.VariantType.UInt32),
    "MaxMonitoredItems": ua.Variant(limits.MAX_SESSIONS * limits.MAX_ITEMS, ua.VariantType.UInt32),
    "MaxMonitoredItemsPerSubscription": ua.Variant(limits.MAX_ITEMS, ua.VariantType.UInt32),
    "MaxMonitoredItemsQueueSize": ua.Variant(MAX_QUEUE, ua.VariantType.UInt32),
    "MaxBrowseContinuationPoints": ua.Variant(0, ua.VariantType.UInt16),
    "MaxQueryContinuationPoints": ua.Variant(0, ua.VariantType.UInt16),
    "MaxHistoryContinuationPoints": ua.Variant(0, ua.VariantType.UInt16),
    "MaxStringLength": ua.Variant(MAX_TEXT, ua.VariantType.UInt32),
    "MinSupportedSampleRate": ua.Variant(MIN_PUBLISHING_MS, ua.VariantType.Double),
    "LocaleIdArray": ua.Variant(["en"], ua.VariantType.String),
}
_OPERATIONS = {
    "MaxNodesPerRead": limits.MAX_NODES,
    "MaxNodesPerWrite": limits.MAX_NODES,
    "MaxNodesPerBrowse": limits.MAX_NODES,
    "MaxNodesPerTranslateBrowsePathsToNodeIds": limits.MAX_NODES,
    "MaxNodesPerRegisterNodes": limits.MAX_NODES,
    "MaxNodesPerMethodCall": limits.MAX_CALLS,
    "MaxMonitoredItemsPerCall": limits.MAX_ITEMS,
    "MaxNodesPerHistoryReadData": 0,
    "MaxNodesPerHistoryReadEvents": 0,
    "MaxNodesPerHistoryUpdateData": 0,
    "MaxNodesPerHistoryUpdateEvents": 0,
    "MaxNodesPerNodeManagement": 0,
}


async def describe(server: Server, identity: Identity) -> None:
    """Names, build and limits of the server; to be called after `init`."""
    server.product_uri = PRODUCT_URI
    server.manufacturer_name = PRODUCT
    server.set_server_name(f"{PRODUCT} {identity.station}")
    version = identity.software_version
    await server.set_build_info(PRODUCT_URI, PRODUCT, PRODUCT, version, version, NO_TIME)  # no date of a build is known
    values = {f"Server_ServerCapabilities_{name}": value for name, value in _CAPABILITIES.items()}
    for name, most in _OPERATIONS.items():
        number = ua.Variant(most, ua.VariantType.UInt32)
        values[f"Server_ServerCapabilities_OperationLimits_{name}"] = number
    for name, value in values.items():
        await server.get_node(ua.NodeId(getattr(ua.ObjectIds, name))).write_value(value)
