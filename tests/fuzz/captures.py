"""Honest sessions, recorded on their way through a relay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import node_programs
from asyncua import Client, ua
from opcua_fuzzer import Capture
from relay import Relay, opcua_messages

NAMESPACE = "urn:edge-inspector:station"


def asyncua_session(port: int) -> Capture:
    """A PLC's start, a few scans, a subscription and an end, as asyncua says them."""
    with Relay(port) as relay:
        asyncio.run(_plc(f"opc.tcp://127.0.0.1:{relay.port}/edge-inspector"))
        return Capture(tuple(tuple(opcua_messages(bytes(stream))) for stream in relay.streams if stream))


def node_opcua_session(port: int, folder: Path) -> Capture:
    """The same as node-opcua says it, and more services. Skips where it cannot be installed."""
    modules = node_programs.node_modules()
    script = Path(__file__).with_name("say_much.mjs")
    with Relay(port) as relay:
        endpoint = f"opc.tcp://127.0.0.1:{relay.port}/edge-inspector"
        node_programs.start(modules, folder, folder / "say_much", script, endpoint).finish()
        return Capture(tuple(tuple(opcua_messages(bytes(stream))) for stream in relay.streams if stream))


class _Quiet:
    def datachange_notification(self, node: object, value: object, data: object) -> None: ...

    def status_change_notification(self, status: object) -> None: ...


async def _plc(endpoint: str) -> None:
    """Never echoes the station's boot id: nothing that is made of it can trigger a part."""
    async with Client(endpoint, timeout=10) as client:
        index = await client.get_namespace_index(NAMESPACE)
        nodes = {name: client.get_node(ua.NodeId(f"Station.{name}", index)) for name in _TAGS}
        await client.get_endpoints()
        children = await client.get_node(ua.NodeId("Station", index)).get_children()
        await client.nodes.objects.get_child([f"{index}:Station", f"{index}:Status", f"{index}:Word"])
        await client.register_nodes(list(nodes.values()))
        await client.read_values(list(nodes.values()))
        await children[0].read_attributes([ua.AttributeIds.BrowseName, ua.AttributeIds.DisplayName])
        await nodes["Result.Ring"].read_data_type_as_variant_type()
        kinds = {"Control.PartId": ua.VariantType.String, "Control.Command": ua.VariantType.UInt16}
        for name, value in _TAGS.items():
            if name.startswith("Control."):
                variant = ua.Variant(value, kinds.get(name, ua.VariantType.UInt32))
                await nodes[name].write_attribute(ua.AttributeIds.Value, ua.DataValue(variant))
        subscription = await client.create_subscription(50, _Quiet())
        watched = await subscription.subscribe_data_change([nodes["Status.Heartbeat"], nodes["Status.Word"]])
        await asyncio.sleep(0.4)
        await subscription.set_publishing_mode(False)
        await subscription.unsubscribe(watched[0])
        await subscription.delete()


_TAGS: dict[str, object] = {
    **{"Status.Heartbeat": 0, "Status.Word": 0, "Status.Block": 0, "Result.Ring": 0, "Result.PartId": 0},
    **{"Control.Heartbeat": 1, "Control.PlcBootId": 77, "Control.PartId": "part-1", "Control.TriggerSeq": 1},
    **{"Control.RecipeReqSeq": 1, "Control.Command": 1, "Control.CommandSeq": 1, "Control.ResultAckSeq": 1},
    "Control.Block": [2, 77, 0, 2, 7, 2, 2, 0],
}
