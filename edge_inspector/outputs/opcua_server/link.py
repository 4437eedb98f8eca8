"""The OPC UA server as a PlcLink: the tag table as nodes, the contract behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import anyio
from asyncua import ua
from asyncua.common.callback import CallbackType
from pydantic import Field

from edge_inspector.datatypes import Identity
from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Alive, Clock, PlcMessage, PlcRequest, Vitals
from edge_inspector.outputs.live import LiveContract, contract_of
from edge_inspector.outputs.opcua_server import about, address_space, patches, quiet
from edge_inspector.outputs.opcua_server.address_space import NAMESPACE
from edge_inspector.outputs.opcua_server.burst import Burst
from edge_inspector.outputs.opcua_server.connection import LimitedUaServer
from edge_inspector.outputs.opcua_server.security import Access, SecurityConfig, secure
from edge_inspector.outputs.opcua_server.security.config import HostName
from edge_inspector.outputs.opcua_server.sessions import LimitedServer
from edge_inspector.plc.image import identity_image, uncertain
from edge_inspector.plc.tags import Tag, Value
from edge_inspector.settings import HandshakeConfig

if TYPE_CHECKING:
    from edge_inspector.outputs.opcua_server.machine_vision import VisionSystem

__all__ = ["NAMESPACE", "Config", "OpcUaServerLink"]
_STOP_S = 3.0
_LOOK_NS = 60_000_000_000


class Config(HandshakeConfig):
    """A server on this machine; the PLC is its client."""

    type: Literal["opcua_server"]
    host: HostName = Field(
        "127.0.0.1",
        description="Address or name to listen on. Loopback needs no security; on any other one clients need a trusted"
        " certificate and a user.",
    )
    port: int = Field(4840, ge=1, le=65535, description="4840 is OPC UA's own; no two stations can share one.")
    security: SecurityConfig = Field(
        default_factory=lambda: SecurityConfig.model_validate({}),
        description="Certificates, and whether anybody may read without.",
    )
    machine_vision: Literal["off", "observe", "control"] = Field(
        "off",
        description="OPC 40100-1's VisionSystem object. observe: it shows states, results and events; control: it is"
        " the master in place of the Control tags.",
    )


class OpcUaServerLink:
    """One OPC UA server with the tag table under Objects/Station; every write of a client goes through the contract."""

    dials = False
    asks = True

    def __init__(self, name: str, config: Config, identity: Identity, clock: Clock, folder: Path) -> None:
        """`folder` is this link's own, for its certificates and users."""
        controlled = config.machine_vision == "control"
        contract = contract_of(config, identity)
        if controlled:  # by method calls: nobody echoes a boot id, shows a heartbeat or acknowledges
            contract = replace(contract, paired=False, acknowledge=False)
        self.name = name
        self.acknowledges = contract.acknowledge
        self._config = config
        self._identity = identity
        self._clock = clock
        self._folder = folder
        self._live = LiveContract(contract, clock)
        self._statuses = dict.fromkeys(uncertain(contract), address_space.INITIAL)
        self._writable: Mapping[ua.NodeId, Tag] = {}
        self._looked_ns = clock.monotonic_ns()
        self._server: LimitedUaServer | None = None
        self._access: Access | None = None
        self._burst: Burst | None = None
        self._vision: VisionSystem | None = None

    async def __aenter__(self) -> OpcUaServerLink:
        """ConfigError: a certificate, a key or the file of users is damaged. OutputError: the port is taken."""
        patches.apply()
        quiet.apply()
        config = self._config
        server = LimitedUaServer(LimitedServer(None, self._may_write))
        await server.init()
        await about.describe(server, self._identity)
        self._access = await secure(
            server,
            config.security,
            host=config.host,
            port=config.port,
            identity=self._identity,
            clock=self._clock,
            folder=self._folder,
        )
        self._writable = await address_space.add_tags(server, _now(), writable=config.machine_vision != "control")
        self._burst = Burst(server)
        self._burst.store({**identity_image(self._identity), **self._live.image}.items(), _now(), self._statuses)
        if config.machine_vision != "off":
            await self._add_vision(server, config.machine_vision)
        server.subscribe_server_callback(CallbackType.PostWrite, self._on_written)
        try:
            await server.start()
        except OSError as exc:
            await server.stop()
            raise OutputError(
                f"OPC UA server {self.name!r} cannot listen on {config.host}:{config.port}: {exc.strerror};"
                " if another program holds the port, stop it or choose another one"
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
        return await self._live.request()

    async def tell(self, message: PlcMessage) -> None:
        changed = self._live.told(message)
        if isinstance(message, Vitals):
            changed += self._learned()
        self._show(changed)
        if isinstance(message, Alive):
            await self._look_after()
        if self._vision is not None:
            await self._vision.told(message)

    async def _look_after(self) -> None:
        """Certificates and users, once a minute."""
        now = self._clock.monotonic_ns()
        if self._server is not None and self._access is not None and now - self._looked_ns > _LOOK_NS:
            self._looked_ns = now
            await self._access.renew_if_due(self._server)

    async def _add_vision(self, server: LimitedUaServer, mode: Literal["observe", "control"]) -> None:
        from edge_inspector.outputs.opcua_server.machine_vision import VisionSystem  # parses a large nodeset

        assert self._access is not None
        self._vision = VisionSystem(self._live, self._identity, mode, self._clock, self._write_as_plc)
        await self._vision.add_to(server, address_space.NAMESPACE_INDEX, self._access.may_call)

    async def _write_as_plc(self, values: Mapping[str, Value]) -> None:
        """The vision system's methods come to the contract as a PLC's writes, and are shown as those."""
        self._show([*values.items(), *self._live.written(values)])

    def _learned(self) -> list[tuple[str, Value]]:
        """Tags whose value is known from now on, or is not any more: their status changes, maybe not their value."""
        before = self._statuses
        self._statuses = dict.fromkeys(uncertain(self._live.contract), address_space.INITIAL)
        return [(tag, self._live.image[tag]) for tag in before.keys() ^ self._statuses.keys()]

    def _may_write(self, user: Any) -> bool:
        return self._access is not None and self._access.may_write(user)

    def _on_written(self, event: Any, _service: Any) -> None:
        """asyncua calls this after each write request of a client, before it answers."""
        values: dict[str, Value] = {}
        for write, answer in zip(event.request_params.NodesToWrite, event.response_params, strict=True):
            tag = self._writable.get(write.NodeId)
            if tag is not None and answer.is_good():
                values[tag.name] = address_space.value_of(write.Value.Value.Value)
        if values:
            self._show(self._live.written(values))

    def _show(self, changed: list[tuple[str, Value]]) -> None:
        if changed and self._burst is not None:
            self._burst.store(changed, _now(), self._statuses)


def _now() -> datetime:
    return datetime.now(timezone.utc)
