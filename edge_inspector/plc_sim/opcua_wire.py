"""The station's tags over OPC UA, as a PLC's client block reads and writes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

from asyncua import Client, ua
from asyncua.crypto import security_policies
from cryptography import x509

from edge_inspector.errors import ConfigError, OutputError
from edge_inspector.plc.tags import BY_NAME, Value

NAMESPACE = "urn:edge-inspector:station"
REQUEST_S = 2.0
SESSION_MS = 30_000
"""A station keeps a session that has been let fall no longer."""
Policy = Literal["None", "Basic256Sha256", "Aes256Sha256RsaPss"]
_POLICIES: Mapping[str, type[security_policies.SecurityPolicy]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_NO_RIGHT = frozenset((ua.StatusCodes.BadUserAccessDenied, ua.StatusCodes.BadNotWritable))
"""Of a write: another attempt will not help."""


@dataclass(frozen=True)
class Access:
    """How the client shows who it is. A policy other than None needs `certificate` and `private_key` (PEM or DER)."""

    policy: Policy = "None"
    certificate: Path | None = None
    private_key: Path | None = None
    user: str = ""
    password: str = ""


class OpcUaWire:
    """An OPC UA client; each opening makes a new session and resolves the namespace by its URI.

    Opening raises ConfigError when it is no station that answers there, writing when the station takes nothing from us.
    """

    def __init__(self, endpoint: str, access: Access) -> None:
        if not endpoint.startswith("opc.tcp://"):
            raise ConfigError(f"endpoint {endpoint!r}: expected opc.tcp://HOST:PORT and maybe a path")
        if access.policy != "None" and (access.certificate is None or access.private_key is None):
            raise ConfigError(f"policy {access.policy}: expected this client's certificate and private key with it")
        self.address = endpoint
        self._access = access
        self._client: Client | None = None
        self._index = 0
        self._nodes: dict[str, ua.NodeId] = {}

    async def __aenter__(self) -> OpcUaWire:
        client = Client(self.address, timeout=REQUEST_S)
        client.session_timeout = SESSION_MS
        async with self._told():
            await self._secure(client)
            await client.connect()
        self._client = client
        async with self._told():
            spaces = await client.get_namespace_array()
        if NAMESPACE not in spaces:
            await self._close()
            raise ConfigError(f"the OPC UA server at {self.address} is no station: it has no namespace {NAMESPACE}")
        self._index = spaces.index(NAMESPACE)
        self._nodes = {}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def read(self, names: Sequence[str]) -> dict[str, Value]:
        wanted = ua.ReadParameters()
        wanted.NodesToRead = [ua.ReadValueId(self._node(name), ua.AttributeIds.Value) for name in names]
        async with self._told():
            answers = await self._open().uaclient.read(wanted)
            return {name: _value(answer) for name, answer in zip(names, answers, strict=True)}

    async def write(self, values: Mapping[str, Value]) -> None:
        nodes = [self._node(name) for name in values]
        data = [ua.DataValue(ua.Variant(value, _type(name))) for name, value in values.items()]
        async with self._told():
            answers = await self._open().uaclient.write_attributes(nodes, data, ua.AttributeIds.Value)
            for name, answer in zip(values, answers, strict=True):
                if answer.value in _NO_RIGHT:
                    raise ConfigError(
                        f"the station at {self.address} refuses {name} ({answer.name}): log in as a user of --role plc,"
                        ' and leave machine_vision = "control" to its own clients'
                    )
                answer.check()

    def _open(self) -> Client:
        if self._client is None:
            raise OutputError(f"the connection to {self.address} is closed")
        return self._client

    def _node(self, name: str) -> ua.NodeId:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = ua.NodeId(f"Station.{name}", self._index)
        return node

    async def _secure(self, client: Client) -> None:
        access = self._access
        if access.user:
            client.set_user(access.user)
            client.set_password(access.password)
        if access.certificate is not None and access.private_key is not None and access.policy != "None":
            client.application_uri = _application_uri(access.certificate)
            await client.set_security(_POLICIES[access.policy], access.certificate, access.private_key)

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, asyncio.TimeoutError, ua.UaError):  # it is closed, or the station is gone
                await client.disconnect()

    @contextlib.asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        try:
            yield
        except (OSError, asyncio.TimeoutError, ua.UaError) as exc:
            await self._close()
            raise OutputError(str(exc) or type(exc).__name__) from exc


def _value(answer: ua.DataValue) -> Value:
    """A tag that is not Good or Uncertain has no value."""
    if answer.StatusCode.is_bad():
        answer.StatusCode.check()
    value: Any = cast(ua.Variant, answer.Value).Value
    return tuple(value) if isinstance(value, list) else cast(Value, value)


def _type(name: str) -> ua.VariantType:
    return cast(ua.VariantType, ua.VariantType[BY_NAME[name].type])


def _application_uri(certificate: Path) -> str:
    """The URI in the certificate: the server compares it with what the client calls itself."""
    content = certificate.read_bytes()
    try:
        load = x509.load_pem_x509_certificate if content.startswith(b"-----") else x509.load_der_x509_certificate
        names = load(content).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return str(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
    except (ValueError, x509.ExtensionNotFound, IndexError) as exc:
        raise ConfigError(
            f"certificate {certificate}: expected an X.509 certificate, PEM or DER, with the client's URI as"
            f" subjectAltName ({exc})"
        ) from exc
