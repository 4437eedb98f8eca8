"""How a session begins: certificates, trust, channel, login."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import to_thread
from asyncua import Client, ua
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from cryptography.hazmat.primitives import serialization

from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client import quiet
from edge_inspector.outputs.opcua_client.config import ServerConfig
from edge_inspector.outputs.opcua_client.session import CHANNEL_MS, SESSION_MS, Session, hang_up, spoken
from edge_inspector.outputs.opcua_client.trust import Keeper, password_of
from edge_inspector.outputs.opcua_server import patches


async def open_session(config: ServerConfig, keeper: Keeper, name: str) -> Session:
    """A new session; `name` is how the server lists it. OutputError; nothing is left behind then."""
    patches.apply()  # a hostile server can send what a hostile client can, and the decoder is the same
    quiet.apply()
    with spoken(config, "connect"):
        client = await _secured(config, keeper)
        client.name = client.description = f"edge-inspector {keeper.station} {name}"
        client.session_timeout = SESSION_MS
        client.secure_channel_timeout = CHANNEL_MS
        client.set_user(config.user or "")
        client.set_password(password_of(config))
        try:
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            await client.create_session()
            _password_is_hidden(client, config, keeper)
            await client.activate_session(username=client._username, password=client._password)
            session = Session(client, config, keeper.clock.monotonic_ns)
            await session.greet()
        except BaseException:
            await hang_up(client)
            raise
    return session


async def endpoints(config: ServerConfig) -> list[ua.EndpointDescription]:
    """What the server offers. OutputError."""
    quiet.apply()
    with spoken(config, "ask for endpoints"):
        found: list[ua.EndpointDescription] = await Client(
            config.url, timeout=config.timeout_s
        ).connect_and_get_server_endpoints()
        return found


def offered(found: Sequence[ua.EndpointDescription]) -> str:
    """Security policies and modes of endpoints, for people."""
    pairs = {f"{(one.SecurityPolicyUri or '').rpartition('#')[2]} {one.SecurityMode.name.rstrip('_')}" for one in found}
    return ", ".join(sorted(pairs)) or "nothing"


async def _secured(config: ServerConfig, keeper: Keeper) -> Client:
    client = Client(config.url, timeout=config.timeout_s)
    if config.security == "None":
        return client
    own = await to_thread.run_sync(keeper.own)
    found = await endpoints(config)
    policy = getattr(security_policies, f"SecurityPolicy{config.security}")
    mode = ua.MessageSecurityMode[config.mode]
    try:
        endpoint = Client.find_endpoint(found, mode, policy.URI)
    except ua.UaError as exc:
        raise OutputError(
            f"{config.url} has no endpoint with {config.security} {config.mode}; it offers {offered(found)}"
        ) from exc
    server = keeper.check(endpoint.ServerCertificate or b"")
    client.application_uri = own.uri
    key = own.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    await client.set_security(
        policy,
        CertProperties(own.der, "der"),
        CertProperties(key, "der"),
        server_certificate=CertProperties(server.public_bytes(serialization.Encoding.DER), "der"),
        mode=mode,
    )
    return client


def _password_is_hidden(client: Client, config: ServerConfig, keeper: Keeper) -> None:
    """OutputError when somebody between us and the server could read the password."""
    channel = client.security_policy
    if config.user is None or config.on_this_machine or channel.Mode is ua.MessageSecurityMode.SignAndEncrypt:
        return
    uri = client.server_policy(ua.UserTokenType.UserName).SecurityPolicyUri
    if not uri or uri == security_policies.SecurityPolicyNone.URI:
        raise OutputError(
            f"{config.url} would have the password of {config.user!r} sent for everybody to read: set security to"
            " a policy that the server offers, or remove user"
        )
    if config.security == "None":  # then nobody has looked yet at the certificate by which it is encrypted
        keeper.check(channel.peer_certificate or b"")
