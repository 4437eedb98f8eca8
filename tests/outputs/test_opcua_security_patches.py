"""Ways in that asyncua leaves open: each is tried on a naked server, where it must still work, and on a secured one.

A test that fails on the naked server says that upstream has mended the defect: remove our patch.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import security_kit as kit
from asyncua import Client, Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto import security_policies, uacrypto
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from security_kit import AES, BASIC, PASSWORD, Station

from edge_inspector.outputs.opcua_server.security import patches, pki_of, tokens
from edge_inspector.outputs.opcua_server.security.certificates import Refused

pytestmark = pytest.mark.anyio
PLC, OTHER, SERVER = kit.party("plc"), kit.party("other"), kit.party("server", extended=[kit.SERVER_AUTH])
HOURS_MS = 36_000_000


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Naked:
    """asyncua's server with its own means: one secured endpoint, a user manager, a validator that trusts nobody."""

    server: Server
    port: int
    variable: ua.NodeId

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"


class OnlyLine(UserManager):  # type: ignore[misc]
    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        return User(UserRole.User, "line") if (username, password) == ("line", PASSWORD) else None


@pytest.fixture(scope="module")
async def naked() -> AsyncIterator[Naked]:
    patches.apply()
    port, server = kit.free_port(), Server(user_manager=OnlyLine())
    await server.init()
    server.disable_clock()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    await server.load_certificate(SERVER.der, "der")
    await server.load_private_key(SERVER.key_pem, None, "pem")
    variable = await server.nodes.objects.add_variable(ua.NodeId("value", 2), "value", 1)
    await variable.set_writable()
    async with server:
        yield Naked(server, port, variable.nodeid)


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Station]:
    folder = tmp_path_factory.mktemp("secured")
    kit.trust(pki_of(folder), PLC, OTHER)
    kit.add_users(pki_of(folder), kit.party("scada", uri=""))
    async with kit.served(folder, "0.0.0.0") as station:
        yield station


@asynccontextmanager
async def channel(place: Naked | Station, timeout: float = 30) -> AsyncIterator[Client]:
    """A channel without security and without a session."""
    client = Client(place.url, timeout=timeout)
    await client.connect_sessionless()
    try:
        yield client
    finally:
        await client.disconnect_sessionless()


async def login_of(place: Naked | Station) -> Client:
    """The victim: a PLC that has logged in as it should."""
    if isinstance(place, Station):
        client = await kit.client_of(place, PLC, AES, user="line")
    else:
        client = Client(place.url, timeout=30)
        await client.set_security(BASIC, *_files(PLC), server_certificate=_file(SERVER.der, "der"))
        client.application_uri = PLC.uri
        client.set_user("line")
        client.set_password(PASSWORD)
    await client.connect()
    return client


async def session_on(client: Client) -> None:
    """A session on whatever channel the client has, logged in as line with a password in the clear."""
    params = ua.CreateSessionParameters(
        EndpointUrl=client.server_url.geturl(), ClientNonce=secrets.token_bytes(32), RequestedSessionTimeout=30_000
    )
    await client.uaclient.create_session(params)
    token = ua.UserNameIdentityToken(UserName="line", Password=PASSWORD.encode())
    await client.uaclient.activate_session(ua.ActivateSessionParameters(UserIdentityToken=token))


async def test_a_session_without_security_although_none_is_offered(naked: Naked, secured: Station) -> None:
    async with channel(naked) as client:
        await session_on(client)
        assert await client.get_node(naked.variable).read_value() == 1
    async with channel(secured) as client:
        with pytest.raises(ua.uaerrors.BadSecurityPolicyRejected):
            await session_on(client)


async def steal(place: Naked | Station, victim: Client, thief: Client) -> None:
    """Try to activate the victim's session without knowing a password, then write with it whatever the answer was."""
    thief.uaclient.session.restore_authentication_token(victim.uaclient.session.authentication_token)
    with pytest.raises(ua.UaStatusCodeError):
        await thief.uaclient.activate_session(
            ua.ActivateSessionParameters(UserIdentityToken=ua.UserNameIdentityToken(UserName="x", Password=b"y"))
        )
    await thief.get_node(place.variable).write_value(666)


async def test_a_refused_activation_leaves_the_session_of_another_client_in_the_hands_of_the_stranger(
    naked: Naked, secured: Station
) -> None:
    victim = await login_of(naked)
    async with channel(naked) as thief:
        await steal(naked, victim, thief)
        assert await victim.get_node(naked.variable).read_value() == 666
    await victim.disconnect()
    victim = await login_of(secured)
    async with channel(secured) as thief:
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await steal(secured, victim, thief)
        assert await victim.get_node(secured.variable).read_value() == 1
    await victim.disconnect()


async def test_another_trusted_client_does_not_get_a_session_by_its_token(secured: Station) -> None:
    victim = await login_of(secured)
    thief = await kit.client_of(secured, OTHER, AES, user="line")
    await thief.connect_sessionless()
    thief.uaclient.session.restore_authentication_token(victim.uaclient.session.authentication_token)
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await thief.activate_session("line", PASSWORD)
    await thief.disconnect_sessionless()
    await victim.disconnect()


async def test_a_client_comes_back_to_its_session_on_a_new_channel(secured: Station) -> None:
    """The other side of the test above: the same application may."""
    first = await login_of(secured)
    second = await kit.client_of(secured, PLC, AES, user="line")
    await second.connect_sessionless()
    second.uaclient.session.restore_authentication_token(first.uaclient.session.authentication_token)
    second._server_nonce, second._policy_ids = first._server_nonce, first._policy_ids
    await second.activate_session("line", PASSWORD)
    assert await second.get_node(secured.variable).read_value() == 1
    await second.disconnect_sessionless()
    await first.disconnect()


async def test_of_two_activations_of_a_session_at_once_one_is_refused(secured: Station) -> None:
    """The user is looked up while the loop goes on: what was verified before must still hold afterwards."""
    first = await login_of(secured)
    others = [await kit.client_of(secured, PLC, AES, user="admin") for _ in range(2)]
    for client in others:
        await client.connect_sessionless()
        client.uaclient.session.restore_authentication_token(first.uaclient.session.authentication_token)
        client._server_nonce, client._policy_ids = first._server_nonce, first._policy_ids
    answers = await asyncio.gather(*(c.activate_session("admin", PASSWORD) for c in others), return_exceptions=True)
    refused = [type(one).__name__ for one in answers if isinstance(one, ua.UaStatusCodeError)]
    assert len(refused) == 1
    assert refused[0] in ("BadSessionIdInvalid", "BadApplicationSignatureInvalid")
    for client in others:
        await client.disconnect_sessionless()
    await first.disconnect()


async def test_a_channel_is_renewed_while_its_client_is_trusted(secured: Station) -> None:
    leaving = kit.party("leaving")
    kit.trust(secured.pki, leaving)
    client = await kit.client_of(secured, leaving, AES, user="line")
    await client.connect()
    await client.open_secure_channel(renew=True)
    assert await client.get_node(secured.variable).read_value() == 1
    kit.distrust(secured.pki, leaving)
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await client.open_secure_channel(renew=True)
    await client.disconnect()


async def test_who_activates_signs_with_the_key_of_the_channel(
    secured: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await kit.client_of(secured, PLC, AES, user="line")
    activate = client.uaclient.activate_session

    async def forged(params: ua.ActivateSessionParameters) -> ua.ActivateSessionResult:
        params.ClientSignature.Signature = secrets.token_bytes(256)
        return await activate(params)

    monkeypatch.setattr(client.uaclient, "activate_session", forged)
    with pytest.raises(ua.uaerrors.BadApplicationSignatureInvalid):
        await client.connect()


async def test_a_token_of_an_unknown_kind_is_refused(secured: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await kit.client_of(secured, PLC, AES)

    def issued(params: Any) -> None:
        params.UserIdentityToken = ua.IssuedIdentityToken(PolicyId="anonymous", TokenData=b"x")

    monkeypatch.setattr(client, "_add_anonymous_auth", issued)
    with pytest.raises(ua.uaerrors.BadIdentityTokenInvalid):
        await client.connect()


async def test_the_certificate_of_a_channel_is_not_asked_for(
    naked: Naked, secured: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncua's validator sees the certificate that a session names, if it names one."""
    stranger = kit.party("stranger")

    async def nobody(_certificate: Any, _application: Any) -> None:
        raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    monkeypatch.setattr(naked.server.iserver, "certificate_validator", nobody)
    client = Client(naked.url, timeout=30)
    await client.set_security(BASIC, *_files(stranger), server_certificate=_file(SERVER.der, "der"))
    await client.connect_sessionless()
    await client.uaclient.create_session(ua.CreateSessionParameters(RequestedSessionTimeout=30_000))
    await client.disconnect_sessionless()
    client = await kit.client_of(secured, stranger, AES)
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await client.connect_sessionless()
    client.disconnect_socket()


@pytest.mark.parametrize("named", [pytest.param(None, id="none"), pytest.param(OTHER.der, id="another's")])
async def test_a_session_names_the_certificate_of_its_channel(secured: Station, named: bytes | None) -> None:
    client = await kit.client_of(secured, PLC, AES)
    await client.connect_sessionless()
    params = ua.CreateSessionParameters(
        ClientCertificate=named,
        ClientNonce=secrets.token_bytes(32),
        ClientDescription=ua.ApplicationDescription(ApplicationUri=PLC.uri),
    )
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await client.uaclient.create_session(params)
    await client.disconnect_sessionless()


async def test_a_session_needs_a_nonce(secured: Station) -> None:
    client = await kit.client_of(secured, PLC, AES)
    await client.connect_sessionless()
    params = ua.CreateSessionParameters(
        ClientCertificate=PLC.der,
        ClientNonce=secrets.token_bytes(31),
        ClientDescription=ua.ApplicationDescription(ApplicationUri=PLC.uri),
    )
    with pytest.raises(ua.uaerrors.BadNonceInvalid):
        await client.uaclient.create_session(params)
    await client.disconnect_sessionless()


@pytest.mark.parametrize("shown", [OTHER.der, b""], ids=["another trusted one", "none"])
async def test_a_channel_is_not_renewed_with_another_certificate(secured: Station, shown: bytes) -> None:
    """asyncua verifies a renewal with the first certificate: a client that nobody trusts any more could show any."""
    leaving = kit.party("leaving")
    kit.trust(secured.pki, leaving)
    client = await kit.client_of(secured, leaving, AES, user="line")
    await client.connect()
    kit.distrust(secured.pki, leaving)
    client.uaclient.security_policy.host_certificate = shown
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await client.open_secure_channel(renew=True)
    await client.disconnect()


async def test_a_channel_is_not_renewed_by_another_policy(secured: Station) -> None:
    client = await login_of(secured)
    client.uaclient.security_policy.URI = security_policies.SecurityPolicyNone.URI
    with pytest.raises(ua.uaerrors.BadSecurityPolicyRejected):
        await client.open_secure_channel(renew=True)
    await client.disconnect()


async def test_who_has_no_key_of_a_trusted_certificate_is_told_and_left(secured: Station) -> None:
    thief = await kit.client_of(secured, kit.Party(PLC.certificate, OTHER.key), AES, user="line")
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await thief.connect()


async def test_a_security_that_is_not_offered_is_refused_without_an_answer(naked: Naked, secured: Station) -> None:
    policy = security_policies.SecurityPolicyBasic256
    client = Client(naked.url, timeout=0.3)
    await client.set_security(policy, *_files(PLC), server_certificate=_file(SERVER.der, "der"))
    with pytest.raises(asyncio.TimeoutError):
        await client.connect_sessionless()
    client.disconnect_socket()
    client = await kit.client_of(secured, PLC, policy)
    with pytest.raises(ua.uaerrors.BadSecurityPolicyRejected):
        await client.connect_sessionless()


@pytest.mark.parametrize("garbage", [b"\x00" * 40, b"\xff" * 40, b"0\x82\x03\xff" + b"x" * 2000])
async def test_a_damaged_handshake_ends_the_connection_with_an_error(secured: Station, garbage: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secured.port)
    uri = AES.URI.encode()
    body = b"".join(len(part).to_bytes(4, "little") + part for part in (uri, garbage, bytes(20)))
    head = b"OPNF" + (12 + len(body) + 64).to_bytes(4, "little") + bytes(4)
    writer.write(head + body + secrets.token_bytes(64))
    answer = await asyncio.wait_for(reader.read(), 30)
    assert answer[:4] == b"ERRF"
    assert int.from_bytes(answer[8:12], "little") == ua.StatusCodes.BadSecurityChecksFailed
    writer.close()


async def test_a_channel_lives_as_long_as_the_client_likes(naked: Naked, secured: Station) -> None:
    async def granted(place: Naked | Station) -> int:
        client = Client(place.url, timeout=30)
        client.secure_channel_timeout = HOURS_MS
        await client.connect_sessionless()
        await client.disconnect_sessionless()
        return int(client.secure_channel_timeout)

    assert await granted(naked) == HOURS_MS
    assert await granted(secured) == 3_600_000


def a_token(nonce: bytes, policy: Any = BASIC, password: bytes = PASSWORD.encode()) -> ua.UserNameIdentityToken:
    """As a client makes it for the server with the certificate SERVER."""
    plain = (len(password) + len(nonce)).to_bytes(4, "little") + password + nonce
    secret, algorithm = security_policies.encrypt_asymmetric(SERVER.key.public_key(), plain, policy.URI)
    return ua.UserNameIdentityToken(UserName="line", Password=secret, EncryptionAlgorithm=algorithm)


@pytest.mark.parametrize("policy", [AES, BASIC])
def test_a_password_is_read(policy: Any) -> None:
    nonce, password = secrets.token_bytes(32), "größer als ✓"
    token = a_token(nonce, policy, password.encode())
    assert tokens.password_of(token, policy, SERVER.key, nonce) == password


def test_a_password_of_another_session_is_taken(naked: Naked) -> None:
    theirs, ours = secrets.token_bytes(32), secrets.token_bytes(32)

    class Session:
        nonce = ours

    taken = naked.server.iserver.decrypt_user_token(Session, a_token(theirs))
    assert taken == ("line", PASSWORD)
    with pytest.raises(Refused) as caught:
        tokens.password_of(a_token(theirs), BASIC, SERVER.key, ours)
    assert "another session" in caught.value.reason


def test_a_password_may_be_encrypted_by_an_algorithm_that_leaks_the_key(naked: Naked) -> None:
    nonce = secrets.token_bytes(32)
    plain = (len(PASSWORD) + 32).to_bytes(4, "little") + PASSWORD.encode() + nonce

    class Session:
        pass

    Session.nonce = nonce  # type: ignore[attr-defined]
    secret = uacrypto.encrypt_rsa15(SERVER.key.public_key(), plain)
    algorithm = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"
    token = ua.UserNameIdentityToken(UserName="line", Password=secret, EncryptionAlgorithm=algorithm)
    assert naked.server.iserver.decrypt_user_token(Session, token) == ("line", PASSWORD)
    with pytest.raises(Refused):
        tokens.password_of(token, BASIC, SERVER.key, nonce)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"EncryptionAlgorithm": None}, id="in the clear"),
        pytest.param({"EncryptionAlgorithm": AES.AsymmetricEncryptionURI}, id="by the other policy"),
        pytest.param({"Password": b""}, id="nothing"),
        pytest.param({"Password": b"x" * 255}, id="no whole block"),
        pytest.param({"Password": b"x" * 256}, id="not decryptable"),
        pytest.param({"Password": b"x" * 256 * 5}, id="endless"),
    ],
)
def test_a_damaged_password_is_refused(change: dict[str, Any]) -> None:
    nonce = secrets.token_bytes(32)
    token = a_token(nonce)
    for name, value in change.items():
        setattr(token, name, value)
    with pytest.raises(Refused) as caught:
        tokens.password_of(token, BASIC, SERVER.key, nonce)
    assert caught.value.code == ua.StatusCodes.BadIdentityTokenInvalid


@pytest.mark.parametrize("length", [0, 31, 33 + len(PASSWORD), 2**32 - 1])
def test_a_password_whose_length_lies_is_refused(length: int) -> None:
    nonce = secrets.token_bytes(32)
    plain = length.to_bytes(4, "little") + PASSWORD.encode() + nonce
    secret, algorithm = security_policies.encrypt_asymmetric(SERVER.key.public_key(), plain, BASIC.URI)
    token = ua.UserNameIdentityToken(UserName="line", Password=secret, EncryptionAlgorithm=algorithm)
    with pytest.raises(Refused):
        tokens.password_of(token, BASIC, SERVER.key, nonce)


def _file(content: bytes, kind: str) -> uacrypto.CertProperties:
    return uacrypto.CertProperties(content, kind)


def _files(party: kit.Party) -> tuple[uacrypto.CertProperties, uacrypto.CertProperties]:
    return _file(party.der, "der"), _file(party.key_pem, "pem")
