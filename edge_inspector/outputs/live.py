"""The contract in force on one link: takes what both sides say, and gives what has to be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from edge_inspector.datatypes import Identity
from edge_inspector.interfaces import Clock, PlcMessage, PlcRequest
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import changes, image
from edge_inspector.plc.tags import Value
from edge_inspector.settings import HandshakeConfig

Follower = Callable[[Contract, Contract], None]
"""Called with the contract before and after each step; must not block, and must not change the contract itself."""


def contract_of(config: HandshakeConfig, identity: Identity) -> Contract:
    """The contract with which a link of this station begins."""
    return Contract(
        boot_id=identity.boot_id,
        acknowledge=config.acknowledge,
        stale_ns=int(config.heartbeat_timeout_s * 1e9),
        hold_ns=int(config.result_hold_ms * 1e6),
    )


class LiveContract:
    """Holds the latest `Contract`, its image and the requests that wait for the station. For the event loop alone.

    Every step returns the changed tags in the order in which they have to be written.
    """

    def __init__(self, contract: Contract, clock: Clock) -> None:
        self.contract = contract
        self.image: Mapping[str, Value] = image(contract)
        self._clock = clock
        self._requests: asyncio.Queue[PlcRequest] = asyncio.Queue()
        self._followers: list[Follower] = []

    def follow(self, follower: Follower) -> None:
        self._followers.append(follower)

    async def request(self) -> PlcRequest:
        """The next request to the station, in the order in which the PLC made them."""
        return await self._requests.get()

    def written(self, values: Mapping[str, Value]) -> list[tuple[str, Value]]:
        """The PLC wrote these tags, in one write."""
        return self._become(*self.contract.written(values, self._clock.monotonic_ns()))

    def told(self, message: PlcMessage) -> list[tuple[str, Value]]:
        """The station said this."""
        now = self._clock.monotonic_ns()
        ticked, requests = self.contract.ticked(now)
        return self._become(ticked.told(message, now), requests)

    def ticked(self) -> list[tuple[str, Value]]:
        """Time has passed."""
        return self._become(*self.contract.ticked(self._clock.monotonic_ns()))

    def put(self, request: PlcRequest) -> None:
        """A request of the link itself, behind those that wait already."""
        self._requests.put_nowait(request)

    def _become(self, contract: Contract, requests: tuple[PlcRequest, ...]) -> list[tuple[str, Value]]:
        before, self.contract = self.contract, contract
        for request in requests:
            self._requests.put_nowait(request)
        for follower in self._followers:
            follower(before, contract)
        old, self.image = self.image, image(contract)
        return changes(old, self.image)
