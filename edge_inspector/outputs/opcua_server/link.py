"""The OPC UA server as a PlcLink: the tag table as nodes, the contract behind them."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, Literal

import anyio
from asyncua import Server, ua
from asyncua.common.callback import CallbackType
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from pydantic import Field, field_validator

from edge_inspector.datatypes import Identity
from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Clock, PlcMessage, PlcRequest
from edge_inspector.outputs.opcua_server import patches
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import changes, identity_image, image
from edge_inspector.plc.tags import BY_NAME, TAGS, Tag, Value
from edge_inspector.settings import PlcConfig

NAMESPACE = "urn:edge-inspector:station"
_SESSION_TIMEOUT_MS = 30_000
_STOP_S = 3.0
_NO_TIME = datetime(1601, 1, 1, tzinfo=timezone.utc)  # OPC UA's own "no time yet"


class Config(PlcConfig):
    """A server on this machine; the PLC is its client."""

    type: Literal["opcua_server"]
    host: str = Field("127.0.0.1", description="Loopback address to listen on; other addresses need secured endpoints.")
    port: int = Field(4840, ge=1, le=65535, description="4840 is OPC UA's own; no two stations can share one.")
    heartbeat_timeout_s: float = Field(
        2.0, ge=0.2, le=60, description="Control.Heartbeat must change within this; at least 3 read cycles of the PLC."
    )
    result_hold_ms: float = Field(500.0, gt=0, description="How long ResultsValid holds when acknowledge is off.")

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, value: str) -> str:
        try:
            loopback = value == "localhost" or ipaddress.ip_address(value).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError("expected a loopback address: this version has no secured endpoints for a network yet")
        return value


class OpcUaServerLink:
    """One OPC UA server with the tag table under Objects/Station; every write of a client goes through the contract."""

    def __init__(self, name: str, config: Config, identity: Identity, clock: Clock) -> None:
        self.name = name
        self.acknowledges = config.acknowledge
        self._config = config
        self._identity = identity
        self._clock = clock
        self._contract = Contract(
            boot_id=identity.boot_id,
            acknowledge=config.acknowledge,
            stale_ns=int(config.heartbeat_timeout_s * 1e9),
            hold_ns=int(config.result_hold_ms * 1e6),
        )
        self._requests: asyncio.Queue[PlcRequest] = asyncio.Queue()
        self._burst = asyncio.Lock()
        self._image: dict[str, Value] = {}
        self._nodes: dict[str, ua.NodeId] = {}
        self._tags: dict[ua.NodeId, Tag] = {}
        self._server: Server | None = None

    async def __aenter__(self) -> OpcUaServerLink:
        patches.apply()
        server = Server(user_manager=_Anonymous())
        await server.init()
        server.set_endpoint(f"opc.tcp://{self._config.host}:{self._config.port}/edge-inspector")
        server.set_server_name(f"edge-inspector {self._identity.station}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        server.allow_remote_admin(False)
        server.iserver.max_session_timeout_ms = _SESSION_TIMEOUT_MS
        await self._add_nodes(server)
        await self._write(identity_image(self._identity), server)
        self._image = image(self._contract)
        await self._write(self._image, server)
        server.subscribe_server_callback(CallbackType.PostWrite, self._on_written)
        try:
            await server.start()
        except OSError as exc:
            await server.stop()
            raise OutputError(
                f"OPC UA server {self.name!r} cannot listen on {self._config.host}:{self._config.port}: {exc.strerror};"
                " another program holds the port: stop it or choose another port"
            ) from exc
        self._server = server
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            # a client that comes back while the server closes keeps asyncua waiting for ever
            with anyio.move_on_after(_STOP_S, shield=True):
                await server.stop()

    async def receive(self) -> PlcRequest:
        return await self._requests.get()

    async def tell(self, message: PlcMessage) -> None:
        now = self._clock.monotonic_ns()
        ticked, requests = self._contract.ticked(now)
        await self._become(ticked.told(message, now), requests)

    async def _on_written(self, event: Any, _service: Any) -> None:
        """asyncua calls this after each write request of a client, before it answers."""
        values: dict[str, Value] = {}
        for write, answer in zip(event.request_params.NodesToWrite, event.response_params, strict=True):
            tag = self._tags.get(write.NodeId)
            if tag is not None and answer.is_good() and write.AttributeId == ua.AttributeIds.Value:
                values[tag.name] = _value(write.Value.Value.Value)
        if values:
            await self._become(*self._contract.written(values, self._clock.monotonic_ns()))

    async def _become(self, contract: Contract, requests: tuple[PlcRequest, ...]) -> None:
        self._contract = contract
        for request in requests:
            self._requests.put_nowait(request)
        new = image(contract)
        todo = changes(self._image, new)
        self._image = new
        if todo and self._server is not None:
            async with self._burst:  # free unless another burst waits for a slow subscriber
                await self._write(dict(todo), self._server)

    async def _write(self, values: Mapping[str, Value], server: Server) -> None:
        """One burst: nothing else is awaited, so that no reader sees half of it."""
        now = datetime.now(timezone.utc)
        for name, value in values.items():
            await server.write_attribute_value(self._nodes[name], _data_value(BY_NAME[name], value, now))

    async def _add_nodes(self, server: Server) -> None:
        index = await server.register_namespace(NAMESPACE)
        station = await server.nodes.objects.add_object(ua.NodeId("Station", index), ua.QualifiedName("Station", index))
        groups: dict[str, Any] = {}
        for tag in TAGS:
            group, _, leaf = tag.name.partition(".")
            if group not in groups:
                node_id = ua.NodeId(f"Station.{group}", index)
                groups[group] = await station.add_object(node_id, ua.QualifiedName(group, index))
            node_id = ua.NodeId(f"Station.{tag.name}", index)
            kind = ua.VariantType[tag.type]
            zero = _data_value(tag, tag.zero, _NO_TIME).Value
            node = await groups[group].add_variable(node_id, ua.QualifiedName(leaf, index), zero, varianttype=kind)
            rank = ua.Variant(1 if tag.length else -1, ua.VariantType.Int32)
            await node.write_attribute(ua.AttributeIds.ValueRank, ua.DataValue(rank))
            if tag.length:
                dimensions = ua.Variant([tag.length], ua.VariantType.UInt32)
                await node.write_attribute(ua.AttributeIds.ArrayDimensions, ua.DataValue(dimensions))
            meaning = ua.Variant(ua.LocalizedText(tag.meaning), ua.VariantType.LocalizedText)
            await node.write_attribute(ua.AttributeIds.Description, ua.DataValue(meaning))
            self._nodes[tag.name] = node_id
            if tag.writer == "plc":
                await node.set_writable()
                self._tags[node_id] = tag


class _Anonymous(UserManager):  # type: ignore[misc]
    """Everybody on this machine may read all tags and write the PLC's; nobody is an administrator."""

    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        return User(role=UserRole.User, name="anonymous") if username is None else None


def _value(native: Any) -> Value:
    """What a client wrote; bytes that are no UTF-8, which asyncua passes on as lone surrogates, become "?"."""
    if isinstance(native, str):
        return native.encode("utf-8", "replace").decode("utf-8")
    value: Value = tuple(native) if isinstance(native, list) else native
    return value


def _data_value(tag: Tag, value: Value, now: datetime) -> ua.DataValue:
    native: Any = list(value) if isinstance(value, tuple) else value
    if tag.type == "DateTime":
        native = datetime.fromisoformat(native.replace("Z", "+00:00")) if native else _NO_TIME
    return ua.DataValue(ua.Variant(native, ua.VariantType[tag.type]), SourceTimestamp=now, ServerTimestamp=now)
