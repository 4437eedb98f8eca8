"""Security of the whole link: tags, rights and roles as a PLC on the network has them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import security_kit as kit
from asyncua import Client, ua
from security_kit import AES, BASIC, Party

from edge_inspector.datatypes import Identity
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Alive
from edge_inspector.outputs.opcua_server.link import NAMESPACE, Config, OpcUaServerLink
from edge_inspector.outputs.opcua_server.security import pki_of
from edge_inspector.outputs.opcua_server.security.files import Pki

pytestmark = pytest.mark.anyio
PLC, SCADA = kit.party("plc"), kit.party("scada", uri="")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class RealTime(kit.Clock):
    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


@dataclass
class Served:
    link: OpcUaServerLink
    pki: Pki
    port: int

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/edge-inspector"


def a_link(folder: Path, port: int, **security: Any) -> OpcUaServerLink:
    config = Config(type="opcua_server", host="0.0.0.0", port=port, security=security)
    return OpcUaServerLink("line", config, Identity("station-7", 4711, "1.2.3"), RealTime(), folder)


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder, port = tmp_path_factory.mktemp("link"), kit.free_port()
    kit.trust(pki_of(folder), PLC)
    kit.add_users(pki_of(folder), SCADA)
    async with a_link(folder, port, allow_unencrypted_reading=True) as link:
        yield Served(link, pki_of(folder), port)


async def tag(client: Client, name: str) -> Any:
    return client.get_node(ua.NodeId(f"Station.{name}", await client.get_namespace_index(NAMESPACE)))


def trigger(seq: int) -> ua.DataValue:
    return ua.DataValue(ua.Variant(seq, ua.VariantType.UInt32))


@pytest.mark.parametrize("policy", [AES, BASIC])
async def test_a_plc_writes_its_tags_and_nothing_else(served: Served, policy: Any) -> None:
    client = await kit.client_of(served, PLC, policy, user="line")
    async with client:
        assert await client.get_namespace_index(NAMESPACE) == 2
        await (await tag(client, "Control.Heartbeat")).write_value(trigger(5))
        assert await (await tag(client, "Control.Heartbeat")).read_value() == 5
        with pytest.raises(ua.uaerrors.BadNotWritable):
            await (await tag(client, "Status.BootId")).write_value(trigger(5))


@pytest.mark.parametrize(
    ("who", "user", "by"),
    [
        pytest.param(PLC, "admin", None, id="a reader by password"),
        pytest.param(PLC, None, SCADA, id="a reader by certificate"),
        pytest.param(None, None, None, id="anybody without security"),
    ],
)
async def test_a_reader_reads_and_sees_that_it_may_not_write(
    served: Served, who: Party | None, user: str | None, by: Party | None
) -> None:
    client = await kit.client_of(served, who, user=user, by=by)
    async with client:
        node = await tag(client, "Control.TriggerSeq")
        before = (await node.read_data_value(raise_on_bad_status=False)).Value
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await node.write_value(trigger(99))
        assert (await node.read_data_value(raise_on_bad_status=False)).Value == before
        level = await node.read_attribute(ua.AttributeIds.UserAccessLevel)
        assert not level.Value.Value & (1 << ua.AccessLevel.CurrentWrite)
        assert await (await tag(client, "Status.BootId")).read_value() == 4711


async def test_a_big_write_of_a_reader_is_refused_item_by_item(served: Served) -> None:
    client = await kit.client_of(served, PLC, user="admin")
    async with client:
        nodes = [await tag(client, "Control.TriggerSeq")] * 120
        values = [ua.WriteValue(n.nodeid, ua.AttributeIds.Value, None, trigger(7)) for n in nodes]
        answers = await client.uaclient.write(ua.WriteParameters(values))
        assert {answer.name for answer in answers} == {"BadUserAccessDenied"}
        assert len(answers) == 120


async def test_a_subscription_whose_client_is_gone_goes_to_its_user_and_to_no_other(served: Served) -> None:
    lost = await kit.client_of(served, PLC, user="line")
    await lost.connect()
    wanted = ua.TransferSubscriptionsParameters([(await lost.create_subscription(1000, None)).subscription_id], False)
    lost.uaclient.protocol.transport.abort()
    assert served.link._server is not None
    sessions = served.link._server.iserver._external_sessions
    async with await kit.client_of(served, PLC, user="admin") as other:
        with anyio.fail_after(30):
            while all(one.connected for one in sessions.values()):
                await other.nodes.server_state.read_value()
        (answer,) = await other.uaclient.transfer_subscriptions(wanted)
        assert answer.StatusCode.name == "BadSubscriptionIdInvalid"
    async with await kit.client_of(served, PLC, user="line") as same:
        (answer,) = await same.uaclient.transfer_subscriptions(wanted)
        assert answer.StatusCode.is_good()
    await lost.disconnect_sessionless()


async def test_a_stranger_gets_its_status_code_through_all_layers(served: Served) -> None:
    client = await kit.client_of(served, kit.party("stranger"), user="line")
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await client.connect()
    assert len(list(served.pki.rejected.iterdir())) == 1


async def test_nodes_cannot_be_added_and_servers_not_registered(served: Served) -> None:
    client = await kit.client_of(served, PLC, user="line")
    async with client:
        with pytest.raises(ua.UaStatusCodeError):
            await client.nodes.objects.add_object(2, "mine")
        with pytest.raises(ua.uaerrors.BadServiceUnsupported):
            await client.uaclient.register_server(ua.RegisteredServer(ServerUri="urn:phish", ServerNames=[]))


async def test_a_beat_of_the_station_looks_after_the_certificates(served: Served) -> None:
    """What `tell` calls once a minute is the real thing; more of it is in test_opcua_security.py."""
    await served.link.tell(Alive())
    client = await kit.client_of(served, PLC, user="line")
    async with client:
        assert await (await tag(client, "Ident.StationId")).read_value() == "station-7"


async def test_a_damaged_certificate_stops_the_start_with_a_remedy(tmp_path: Path) -> None:
    pki_of(tmp_path).make()
    pki_of(tmp_path).own_certificate.write_bytes(b"0\x82")
    pki_of(tmp_path).own_key.write_bytes(PLC.key_pem)
    with pytest.raises(ConfigError, match=r"cert\.der: not a certificate"):
        await a_link(tmp_path, kit.free_port()).__aenter__()
