"""A verdict's tags: all stored at once, then told to the subscribers bit by bit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from asyncua import Server, ua

from edge_inspector.outputs.opcua_server import samples
from edge_inspector.outputs.opcua_server.address_space import GOOD, data_value, node_id
from edge_inspector.plc.tags import TAGS, Value

SLICE_S = 0.0005
"""How long subscribers are served before everything else on the loop gets its turn."""
MAX_WAITING = 20_000
"""Notifications that wait; beyond, they are told before anything else is stored."""


class Burst:
    """Writes tags so that no reader sees half of a burst. For the event loop alone."""

    def __init__(self, server: Server) -> None:
        self._aspace: Any = server.iserver.aspace
        self._values = {tag.name: self._aspace[node_id(tag.name)].attributes[ua.AttributeIds.Value] for tag in TAGS}
        self._waiting: deque[tuple[Any, ua.DataValue, int]] = deque()
        self._told: asyncio.Handle | None = None

    def store(
        self, values: Iterable[tuple[str, Value]], now: datetime, statuses: Mapping[str, ua.StatusCode] | None = None
    ) -> None:
        """Readable when it returns, in this order; subscribers are told from the next turn of the loop on.

        The order of bursts is kept. A status is Good where `statuses` says nothing else.
        """
        newest = self._aspace._datachange_callback_counter
        for name, value in values:
            attribute = self._values[name]
            attribute.value = data_value(name, value, now, (statuses or {}).get(name, GOOD))
            if attribute.datachange_callbacks:
                self._waiting.append((attribute, attribute.value, newest))
        while len(self._waiting) > MAX_WAITING:
            self._tell_one()
        if self._waiting and self._told is None:
            self._told = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._told = None
        until = time.monotonic() + SLICE_S
        while self._waiting and time.monotonic() < until:
            self._tell_one()
        if self._waiting:
            self._told = asyncio.get_running_loop().call_soon(self._tell)

    def _tell_one(self) -> None:
        """All subscribers of one tag; not those that came after the burst, who have read its value already."""
        attribute, value, newest = self._waiting.popleft()
        for handle, callback in list(attribute.datachange_callbacks.items()):
            if handle <= newest:
                samples.sample(callback.__self__, handle, value)
