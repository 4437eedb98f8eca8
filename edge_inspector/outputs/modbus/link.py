"""The Modbus TCP server as a PlcLink: registers in front, the contract behind them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import Field, field_validator, model_validator

from edge_inspector.datatypes import Identity
from edge_inspector.interfaces import Clock, PlcMessage, PlcRequest
from edge_inspector.outputs.live import LiveContract, contract_of
from edge_inspector.outputs.modbus.image import Registers
from edge_inspector.outputs.modbus.registers import WordOrder
from edge_inspector.outputs.modbus.server import ModbusServer, Network
from edge_inspector.plc.image import identity_image
from edge_inspector.plc.tags import Value
from edge_inspector.settings import HandshakeConfig

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))


class Config(HandshakeConfig):
    """A Modbus TCP server on this machine; the PLC is its client."""

    type: Literal["modbus_server"]
    host: str = Field(
        "127.0.0.1",
        description="Address of the one interface to listen on. Modbus has no passwords: a machine net only.",
    )
    port: int = Field(
        502, ge=1, le=65535, description="502 is Modbus's own and needs CAP_NET_BIND_SERVICE; 1502 needs no right."
    )
    clients: tuple[str, ...] = Field(
        (),
        description='Who may connect: addresses or networks such as "192.168.10.20" or "192.168.10.16/30". Must be '
        "given unless host is a loopback address, where this machine itself may.",
    )
    unit: int = Field(1, ge=1, le=247, description="Unit address that is answered; 0 and 255 always are.")
    word_order: WordOrder = Field(
        "big", description="big: the high half of a 32-bit value has the lower register; little: the low half."
    )
    commands: bool = Field(
        False, description="Whether the PLC may also give commands and part feedback (registers from 2100)."
    )
    idle_timeout_s: float = Field(
        30.0, ge=1, le=3600, description="A client that asks nothing for so long is disconnected."
    )

    @field_validator("host")
    @classmethod
    def _one_interface(cls, value: str) -> str:
        try:
            address = ipaddress.ip_address("127.0.0.1" if value == "localhost" else value)
        except ValueError:
            raise ValueError("expected the IP address of an interface, such as 192.168.10.5") from None
        if address.is_unspecified or address.is_multicast:
            raise ValueError("expected the address of one interface, the one on the machine net, not of all")
        return value

    @field_validator("clients")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for client in value:
            try:
                ipaddress.ip_network(client)
            except ValueError as exc:
                raise ValueError(f"{exc}; expected an address or a network such as 192.168.10.16/30") from None
        return value

    @model_validator(mode="after")
    def _closed_unless_listed(self) -> Config:
        if not self.clients and not self.loopback:
            raise ValueError(f"clients is empty, so nobody could connect to {self.host}: list the PLC's address there")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    @property
    def networks(self) -> tuple[Network, ...]:
        """Who may connect."""
        return tuple(ipaddress.ip_network(client) for client in self.clients) or _LOOPBACK


class ModbusServerLink:
    """One Modbus TCP server; every write that is taken goes through the contract, whole requests at a time."""

    dials = False
    asks = True

    def __init__(self, name: str, config: Config, identity: Identity, clock: Clock, folder: Path) -> None:
        """`folder` is not used: this link keeps nothing."""
        self.name = name
        self.acknowledges = config.acknowledge
        self._config = config
        self._live = LiveContract(contract_of(config, identity), clock)
        self._registers = Registers(config.word_order, config.commands, self._taken)
        self._registers.show(identity_image(identity).items())
        self._registers.show(self._live.image.items())
        self._server = ModbusServer(name, config.unit, config.networks, config.idle_timeout_s)

    async def __aenter__(self) -> ModbusServerLink:
        await self._server.open(self._config.host, self._config.port, self._registers.answer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    async def receive(self) -> PlcRequest:
        return await self._live.request()

    async def tell(self, message: PlcMessage) -> None:
        self._registers.show(self._live.told(message))

    def _taken(self, values: Mapping[str, Value]) -> None:
        self._registers.show(self._live.written(values))
