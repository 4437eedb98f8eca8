"""The secured OPC UA server as real clients meet it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import security_kit as kit
from asyncua import Client, ua
from asyncua.crypto import security_policies, uacrypto
from cryptography.hazmat.primitives import serialization
from security_kit import AES, BASIC, PASSWORD, Station

from edge_inspector.outputs.opcua_server.limits import MAX_READERS
from edge_inspector.outputs.opcua_server.security import own, pki_of, users
from edge_inspector.outputs.opcua_server.security.certificates import host_names, read_certificates, thumbprint

pytestmark = pytest.mark.anyio
PLC = kit.party("plc")
SCADA = kit.party("scada", uri="")
STRANGER = kit.party("stranger")
PLANT = kit.party("plant", ca=True, uri="")
GIVEN = kit.party("given", issuer=PLANT, uri="urn:plant:cell-3", extended=[kit.SERVER_AUTH])


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Station]:
    """On all addresses: nobody without a certificate and a user."""
    folder = tmp_path_factory.mktemp("network")
    kit.trust(pki_of(folder), PLC)
    kit.add_users(pki_of(folder), SCADA)
    async with kit.served(folder, "0.0.0.0") as station:
        yield station


@pytest.fixture(scope="module")
async def readable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Station]:
    """On all addresses: anybody may read. With a certificate that the plant's CA has issued."""
    folder = tmp_path_factory.mktemp("readable")
    kit.trust(pki_of(folder), PLC)
    certificate, private = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(b"".join(p.certificate.public_bytes(serialization.Encoding.PEM) for p in (GIVEN, PLANT)))
    private.write_bytes(GIVEN.key_pem)
    private.chmod(0o600)
    given = {"certificate": certificate, "private_key": private}
    async with kit.served(folder, "0.0.0.0", allow_unencrypted_reading=True, **given) as station:
        yield station


async def test_a_given_certificate_is_the_servers(readable: Station) -> None:
    assert await offered(readable) == GIVEN.der
    assert readable.server.get_application_uri() == GIVEN.uri
    client = await kit.client_of(readable, PLC, server_certificate=GIVEN.der)
    assert await refused(client) == "BadIdentityTokenRejected"  # so far as to ask for a user
    readable.clock.now = kit.NOW + 3650 * kit.DAY
    await looked_after(readable)
    readable.clock.now = kit.NOW
    assert await offered(readable) == GIVEN.der  # nobody but the plant replaces it
    assert not readable.pki.own_certificate.exists()


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Station]:
    """On the loopback address, without a folder of certificates."""
    async with kit.served(tmp_path_factory.mktemp("here"), "127.0.0.1") as station:
        yield station


async def connects(client: Client, station: Station) -> int:
    """The value that it reads."""
    async with client:
        value: int = await client.get_node(station.variable).read_value()
        return value


async def refused(client: Client) -> str:
    """The name of the status code with which it is refused."""
    with pytest.raises(ua.UaStatusCodeError) as caught:
        async with client:
            pass
    return type(caught.value).__name__


@pytest.mark.parametrize("policy", [AES, BASIC])
async def test_a_trusted_client_with_a_user_reads_and_writes(network: Station, policy: Any) -> None:
    client = await kit.client_of(network, PLC, policy, user="line")
    async with client:
        node = client.get_node(network.variable)
        await node.write_value(2)
        assert await node.read_value() == 2
        assert await client.uaclient.get_endpoints(ua.GetEndpointsParameters())


async def test_the_application_uri_of_the_server_is_that_of_its_certificate(network: Station) -> None:
    client = await kit.client_of(network, PLC, user="line")
    async with client:
        (uri,) = kit_uris(network.pki.own_certificate.read_bytes())
        assert uri.startswith("urn:")
        assert uri.endswith(":edge-inspector:station-7")
        namespaces = await client.get_namespace_array()
        servers = await client.get_node(ua.NodeId(ua.ObjectIds.Server_ServerArray)).read_value()
        endpoints = await client.get_endpoints()
        assert namespaces[1] == servers[0] == uri
        assert {one.Server.ApplicationUri for one in endpoints} == {uri}


@pytest.mark.parametrize(
    ("user", "password"),
    [
        pytest.param("line", "wrong horse", id="wrong password"),
        pytest.param("nobody", PASSWORD, id="no such user"),
        pytest.param("scada", PASSWORD, id="a user who has a certificate, no password"),
        pytest.param("Admin", "anything", id="asyncua's administrator"),
    ],
)
async def test_a_wrong_user_or_password_is_refused(network: Station, user: str, password: str) -> None:
    client = await kit.client_of(network, PLC, user=user, password=password)
    assert await refused(client) == "BadUserAccessDenied"


async def test_a_user_called_admin_is_no_administrator(network: Station) -> None:
    client = await kit.client_of(network, PLC, user="admin")
    async with client:
        (session,) = network.server.iserver._external_sessions.values()
        assert session.user.role.name == "User"
        assert not network.access.may_write(session.user)
        assert not network.access.may_call(session.user)


async def test_who_may_write_is_told_by_the_role(network: Station) -> None:
    client = await kit.client_of(network, PLC, user="line")
    async with client:
        (session,) = network.server.iserver._external_sessions.values()
        assert network.access.may_write(session.user)
        assert network.access.may_call(session.user)
    assert not network.access.may_write(None)


async def test_nobody_is_anonymous_on_a_network(network: Station) -> None:
    assert await refused(await kit.client_of(network, PLC)) == "BadIdentityTokenRejected"


@pytest.mark.parametrize("policy", [AES, BASIC])
async def test_a_user_logs_in_with_a_certificate(network: Station, policy: Any) -> None:
    client = await kit.client_of(network, PLC, policy, by=SCADA)
    async with client:
        (session,) = network.server.iserver._external_sessions.values()
        assert (session.user.name, network.access.may_write(session.user)) == ("scada", False)


async def test_a_certificate_of_no_user_is_refused(network: Station) -> None:
    assert await refused(await kit.client_of(network, PLC, by=STRANGER)) == "BadUserAccessDenied"


async def test_the_certificate_of_a_user_without_its_key_is_refused(network: Station) -> None:
    thief = replace(SCADA, key=STRANGER.key)
    assert await refused(await kit.client_of(network, PLC, by=thief)) == "BadUserSignatureInvalid"


async def test_the_channels_certificate_is_no_user(network: Station) -> None:
    """A trusted application whose certificate is also a user's is nobody until that user has logged in."""
    known = dict(users.read_users(network.pki.users))
    known["app"] = users.with_certificate("app", users.Role.PLC, PLC.certificate)
    users.write_users(network.pki.users, known)
    assert await refused(await kit.client_of(network, PLC)) == "BadIdentityTokenRejected"


async def test_an_untrusted_certificate_is_refused_and_kept_to_be_looked_at(network: Station) -> None:
    assert await refused(await kit.client_of(network, STRANGER, user="line")) == "BadSecurityChecksFailed"
    kept = network.pki.rejected / f"{thumbprint(STRANGER.certificate)}.der"
    assert kept.read_bytes() == STRANGER.der


async def test_what_is_put_into_the_folder_is_trusted_at_once_and_taken_back_at_once(network: Station) -> None:
    late = kit.party("late")
    client = await kit.client_of(network, late, user="line")
    assert await refused(client) == "BadSecurityChecksFailed"
    kit.trust(network.pki, late)
    assert await connects(await kit.client_of(network, late, user="line"), network) >= 1
    kit.distrust(network.pki, late)
    assert await refused(await kit.client_of(network, late, user="line")) == "BadSecurityChecksFailed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"end": kit.NOW - kit.DAY / 2}, "BadCertificateTimeInvalid", id="expired"),
        pytest.param({"begin": kit.NOW + kit.DAY / 2}, "BadCertificateTimeInvalid", id="not valid yet"),
        pytest.param({"extended": [kit.SERVER_AUTH]}, "BadCertificateUseNotAllowed", id="a server's"),
        pytest.param({"usage": "signs"}, "BadCertificateUseNotAllowed", id="for signatures only"),
    ],
)
async def test_a_trusted_certificate_that_does_not_hold_is_refused(
    network: Station, change: dict[str, Any], code: str
) -> None:
    one = kit.party("plc", **change)
    kit.trust(network.pki, one)
    assert await refused(await kit.client_of(network, one, user="line")) == code


async def test_a_client_that_calls_itself_otherwise_than_its_certificate_is_refused(network: Station) -> None:
    client = await kit.client_of(network, PLC, user="line", uri="urn:somebody:else")
    assert await refused(client) == "BadCertificateUriInvalid"


async def test_a_client_of_a_trusted_ca_comes_in_until_the_ca_takes_its_certificate_back(network: Station) -> None:
    root = kit.party("root", ca=True, uri="")
    middle = kit.party("middle", ca=True, uri="", issuer=root)
    issued = kit.party("issued", issuer=middle)
    kit.trust(network.pki, root)
    of_root, of_middle = network.pki.revocations[0] / "root.crl", network.pki.revocations[1] / "middle.crl"
    of_root.write_bytes(kit.revocations(root))
    alone = await kit.client_of(network, issued, user="line")
    assert await refused(alone) == "BadSecurityChecksFailed"

    async def with_chain() -> Client:
        return await kit.client_of(network, issued, user="line", chain=[middle])

    assert await refused(await with_chain()) == "BadCertificateRevocationUnknown"
    of_middle.write_bytes(kit.revocations(middle))
    assert await connects(await with_chain(), network) >= 1
    of_middle.write_bytes(kit.revocations(middle, issued))
    assert await refused(await with_chain()) == "BadSecurityChecksFailed"


@pytest.mark.parametrize(
    ("policy", "mode", "code"),
    [
        (security_policies.SecurityPolicyBasic128Rsa15, "SignAndEncrypt", "BadSecurityPolicyRejected"),
        (security_policies.SecurityPolicyBasic256, "SignAndEncrypt", "BadSecurityPolicyRejected"),
        (security_policies.SecurityPolicyAes128Sha256RsaOaep, "SignAndEncrypt", "BadSecurityPolicyRejected"),
        (AES, "Sign", "BadSecurityModeRejected"),
        (BASIC, "Sign", "BadSecurityModeRejected"),
    ],
)
async def test_weaker_security_is_refused(network: Station, policy: Any, mode: str, code: str) -> None:
    client = await kit.client_of(network, PLC, policy, mode=ua.MessageSecurityMode[mode], user="line")
    assert await refused(client) == code


async def test_without_security_one_gets_the_endpoints_and_no_session(network: Station) -> None:
    client = await kit.client_of(network, None)
    endpoints = await client.connect_and_get_server_endpoints()
    offered = {(one.SecurityPolicyUri, one.SecurityMode.name) for one in endpoints}
    assert offered == {(AES.URI, "SignAndEncrypt"), (BASIC.URI, "SignAndEncrypt")}
    assert {one.ServerCertificate for one in endpoints} == {network.pki.own_certificate.read_bytes()}
    kinds = [{token.TokenType.name for token in one.UserIdentityTokens} for one in endpoints]
    assert kinds == [{"UserName", "Certificate"}] * 2
    assert {t.SecurityPolicyUri == e.SecurityPolicyUri for e in endpoints for t in e.UserIdentityTokens} == {True}
    assert await refused(await kit.client_of(network, None)) == "BadSecurityPolicyRejected"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "station.example"])
async def test_endpoints_have_the_host_name_by_which_the_client_asks(network: Station, name: str) -> None:
    client = await kit.client_of(network, None)
    await client.connect_sessionless()
    asked = f"opc.tcp://{name}:{network.port}"
    found = await client.uaclient.get_endpoints(ua.GetEndpointsParameters(EndpointUrl=asked))
    await client.disconnect_sessionless()
    assert {one.EndpointUrl for one in found} == {f"{asked}/edge-inspector"}


async def test_where_the_file_allows_it_anybody_reads_and_nobody_writes_without_security(readable: Station) -> None:
    client = await kit.client_of(readable, None)
    async with client:
        assert await client.get_node(readable.variable).read_value() == 1
        (session,) = readable.server.iserver._external_sessions.values()
        assert not readable.access.may_write(session.user)
    named = await kit.client_of(readable, None, user="line")
    assert await refused(named) == "BadIdentityTokenRejected"  # a password never crosses a network in the clear


async def test_readers_leave_sessions_for_those_who_may_write(readable: Station) -> None:
    """Anybody may read here, and there are ten sessions only."""
    async with AsyncExitStack() as stack:
        for _ in range(MAX_READERS):
            reader = await stack.enter_async_context(await kit.client_of(readable, None))
        assert await refused(await kit.client_of(readable, None)) == "BadTooManySessions"
        await reader.activate_session()  # its own place counts for nobody else


async def test_on_this_machine_anybody_may_write_without_a_certificate(here: Station) -> None:
    client = await kit.client_of(here, None)
    async with client:
        await client.get_node(here.variable).write_value(5)
        (session,) = here.server.iserver._external_sessions.values()
        assert here.access.may_write(session.user)
    assert not here.pki.root.exists()


async def test_no_token_is_an_anonymous_one(here: Station) -> None:
    client = await kit.client_of(here, None)
    await client.connect_sessionless()
    await client.uaclient.create_session(ua.CreateSessionParameters(RequestedSessionTimeout=30_000))
    await client.uaclient.activate_session(ua.ActivateSessionParameters())
    assert await client.get_node(here.variable).read_value() >= 1
    await client.disconnect_sessionless()


async def test_on_this_machine_a_folder_of_certificates_brings_secured_endpoints_as_well(tmp_path: Path) -> None:
    pki = pki_of(tmp_path)
    kit.trust(pki, PLC)
    before = own.make(pki, "urn:before:edge-inspector:station-7", (), kit.NOW)
    pki.own_key.chmod(0o644)
    async with kit.served(tmp_path, "127.0.0.1", host_names=("vision.example",)) as station:
        (now,) = read_certificates(pki.own_certificate)
        assert {"127.0.0.1", "vision.example"} <= set(host_names(now))
        assert (now.public_key(), kit_uris(pki.own_certificate.read_bytes())) == (
            before.certificate.public_key(),
            [before.uri],
        )
        assert pki.own_key.stat().st_mode & 0o777 == 0o600
        assert await connects(await kit.client_of(station, None), station) == 1
        assert await connects(await kit.client_of(station, PLC), station) == 1
        assert await refused(await kit.client_of(station, STRANGER)) == "BadSecurityChecksFailed"


async def test_a_flood_of_wrong_passwords_is_slowed_down_and_a_login_later_works(network: Station) -> None:
    async def wrong() -> str:
        return await refused(await kit.client_of(network, PLC, user="line", password="wrong horse"))

    for _ in range(6):
        assert await wrong() == "BadUserAccessDenied"
    right = await kit.client_of(network, PLC, user="line")
    assert await refused(right) == "BadUserAccessDenied"  # the address has to wait, whatever it knows
    network.clock.calls += 60
    assert await connects(await kit.client_of(network, PLC, user="line"), network) >= 1


async def test_a_new_certificate_after_the_clock_is_set_is_offered_and_open_connections_stay(tmp_path: Path) -> None:
    clock = kit.Clock(now=dt.datetime(2080, 1, 1, tzinfo=dt.timezone.utc), is_synced=False)
    pki = pki_of(tmp_path)
    lasting = kit.party("plc", end=kit.NOW + 36_500 * kit.DAY)
    kit.trust(pki, lasting)
    kit.add_users(pki, SCADA)
    async with kit.served(tmp_path, "0.0.0.0", clock) as station:
        first = pki.own_certificate.read_bytes()
        client = await kit.client_of(station, lasting, user="line")
        async with client:
            await looked_after(station)
            assert pki.own_certificate.read_bytes() == first
            clock.now, clock.is_synced = kit.NOW, True
            await looked_after(station)
            second = pki.own_certificate.read_bytes()
            assert second != first
            assert await client.get_node(station.variable).read_value() == 1
        begin, end = kit_valid(second)
        assert begin < kit.NOW < end
        assert kit_uris(second) == kit_uris(first)
        stale = await kit.client_of(station, lasting, user="line", server_certificate=first)
        assert await refused(stale) == "BadCertificateInvalid"
        assert await connects(await kit.client_of(station, lasting, user="line"), station) == 1
        clock.now = end - 91 * kit.DAY
        await looked_after(station)
        assert not pki.next_certificate.exists()
        clock.now = end - 89 * kit.DAY
        await looked_after(station)
        third = pki.next_certificate.read_bytes()
        assert await offered(station) == second
        clock.now = end - 13 * kit.DAY
        await looked_after(station)
        assert await offered(station) == third == pki.own_certificate.read_bytes()
        assert kit_uris(third) == kit_uris(first)


async def test_who_is_not_trusted_or_no_user_any_more_is_shown_out(network: Station) -> None:
    other, good = kit.party("other"), network.pki.users.read_bytes()
    kit.trust(network.pki, other)
    plc = await kit.client_of(network, PLC, user="line")
    reader = await kit.client_of(network, PLC, user="admin")
    gone = await kit.client_of(network, other, user="line")
    for client in (plc, reader, gone):
        await client.connect()
    known = dict(users.read_users(network.pki.users))
    del known["admin"]
    users.write_users(network.pki.users, known)
    kit.distrust(network.pki, other)
    await looked_after(network)
    await closed(reader)
    await closed(gone)
    assert await plc.get_node(network.variable).read_value() >= 1
    for client in (plc, reader, gone):
        await client.disconnect()
    network.pki.users.write_bytes(good)


async def test_a_damaged_users_file_changes_nothing_while_the_server_runs(network: Station) -> None:
    good = network.pki.users.read_bytes()
    network.pki.users.write_bytes(b"line:plc:scrypt$broken\n")
    try:
        assert await connects(await kit.client_of(network, PLC, user="line"), network) >= 1
    finally:
        network.pki.users.write_bytes(good)


async def offered(station: Station) -> bytes:
    """The certificate in the server's endpoints."""
    client = await kit.client_of(station, None)
    (certificate,) = {one.ServerCertificate for one in await client.connect_and_get_server_endpoints()}
    return bytes(certificate)


async def looked_after(station: Station) -> None:
    """One look at the folders, to its end."""
    await station.access.renew_if_due(station.server)
    with anyio.fail_after(30):
        await station.access._idle.wait()


async def closed(client: Client) -> None:
    async def read_on() -> None:
        with anyio.fail_after(30):
            while True:
                await client.nodes.server_state.read_value()

    with pytest.raises((ConnectionError, ua.UaError)):
        await read_on()


def kit_uris(der: bytes) -> list[str]:
    names = uacrypto.x509_from_der(der).extensions.get_extension_for_class(uacrypto.x509.SubjectAlternativeName)
    found: list[str] = names.value.get_values_for_type(uacrypto.x509.UniformResourceIdentifier)
    return found


def kit_valid(der: bytes) -> tuple[dt.datetime, dt.datetime]:
    certificate = uacrypto.x509_from_der(der)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc
