"""The Modbus TCP server: who may come in, how many, and for how long."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

import anyio
import structlog

from edge_inspector.errors import OutputError
from edge_inspector.outputs.modbus.connection import Connection

log = structlog.get_logger()

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
PER_ADDRESS = 4
"""Connections of one client; for one more its longest silent one is closed: a PLC that restarted left it open."""
CONNECTIONS = 16
"""Of all clients together."""
_SWEEP_S = 0.5
_STOP_S = 3.0
_BACKLOG = 8
"""Connections taken in one turn of the loop."""
_MOST_NAMED = 64
"""Refused addresses that are logged, once each."""
_CAPABILITY = (
    "ports below 1024 need the right CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE);"
    " give it, or choose port = 1502"
)


class ModbusServer:
    """Listens on one address; a client that is not listed is closed before a byte of it is read."""

    def __init__(self, name: str, unit: int, clients: Sequence[Network], idle_s: float) -> None:
        self.unit = unit
        self.answer: Callable[[bytes], bytes]
        self._name = name
        self._clients = clients
        self._idle_s = idle_s
        self._connections: list[Connection] = []
        self._named: set[str] = set()
        self._closing = False
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def open(self, host: str, port: int, answer: Callable[[bytes], bytes]) -> None:
        """`answer` gives the PDU of an answer for that of a request. OutputError: it cannot listen there."""
        self.answer = answer
        self._closing = False
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=_BACKLOG)
            if not self._server.sockets:  # asyncio may keep it for itself that the system gives none
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        except OSError as exc:
            raise OutputError(f"Modbus server {self._name!r} cannot listen on {host}:{port}: {_why(exc)}") from exc
        self._sweeping = loop.call_later(_SWEEP_S, self._sweep)

    async def close(self) -> None:
        """Nobody is answered any more once this has returned."""
        self._closing = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        with anyio.move_on_after(_STOP_S, shield=True):  # also while the station is cancelled
            while self._connections:
                for connection in list(self._connections):
                    connection.drop()
                await asyncio.sleep(0)  # each hears of its end in the loop's next turn
            await server.wait_closed()

    def arrived(self, connection: Connection) -> bool:
        if self._closing:
            return False
        allowed = any(ip in network for ip in _addresses(connection.address) for network in self._clients)
        if not allowed:
            self._refuse(connection.address, "not listed in clients")
            return False
        same = [c for c in self._connections if c.address == connection.address]
        if len(same) >= PER_ADDRESS:
            silent = min(same, key=lambda c: c.asked_s)
            silent.drop()
            self.left(silent)
        elif len(self._connections) >= CONNECTIONS:
            self._refuse(connection.address, f"{CONNECTIONS} connections are open already")
            return False
        self._connections.append(connection)
        return True

    def left(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def _refuse(self, address: str, why: str) -> None:
        if address not in self._named and len(self._named) < _MOST_NAMED:
            self._named.add(address)
            log.warning("modbus_client_refused", link=self._name, client=address, why=why)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self._connections):
            if connection.overdue(loop.time(), self._idle_s):
                connection.drop()
        self._sweeping = loop.call_later(_SWEEP_S, self._sweep)


def _addresses(peer: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The peer's address, and as IPv4 where it came through an IPv6 socket."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return []
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return [address] if mapped is None else [address, mapped]


def _why(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return _CAPABILITY
    if error.errno == errno.EADDRINUSE:
        return "another program holds the port: stop it or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has the address now: correct host, or start after the network is up"
    return error.strerror or str(error)
