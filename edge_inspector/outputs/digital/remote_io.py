"""Output lines of a Modbus TCP remote I/O."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import partial

import anyio

from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Clock, OutputOrder
from edge_inspector.outputs.digital.config import RemoteIo
from edge_inspector.outputs.digital.signals import Role, risen_last
from edge_inspector.outputs.modbus.client import ModbusClient


class RemoteIoWires:
    """One coil a signal, each confirmed by the device before the next; all are written again every `refresh_ms`."""

    def __init__(self, name: str, config: RemoteIo, lines: Mapping[Role, str | int], clock: Clock) -> None:
        self.again_s: float | None = config.refresh_ms / 1e3
        self._what = f"digital link {name!r}"
        self._lines = {role: int(line) for role, line in lines.items()}
        self._clock = clock
        self._client = ModbusClient(config.host, config.port, config.unit, config.timeout_s)
        self._refresh_ns = int(config.refresh_ms * 1e6)
        self._shown: dict[Role, bool | None] = {}
        self._refreshed_ns = 0

    async def open(self) -> None:
        self._shown = dict.fromkeys(self._lines)
        try:
            await self._client.open()
            await self._fall()
        except OutputError as exc:
            self._client.close()
            raise OutputError(f"{self._what}: {exc}") from exc

    async def close(self) -> None:
        """A device that is lost lets its outputs fall by its own watchdog, not by us."""
        with contextlib.suppress(OutputError), anyio.CancelScope(shield=True):  # also while the station is cancelled
            await self._fall()
        self._client.close()

    async def put(self, levels: Mapping[Role, bool], ok_not_after_ns: int | None) -> None:
        """OutputError also when OK is not confirmed in its part's time: it may be the next part's by now."""
        now = self._clock.monotonic_ns()
        every = now - self._refreshed_ns >= self._refresh_ns
        wanted = [role for role in self._lines if every or levels[role] != self._shown[role]]
        try:
            for role in sorted(wanted, key=partial(risen_last, levels)):
                await self._write(role, levels[role], ok_not_after_ns if role == "ok" and levels[role] else None)
        except OutputError as exc:
            raise OutputError(f"{self._what}: {exc}") from exc
        if every:
            self._refreshed_ns = now

    def orders(self, ok_not_after_ns: int | None) -> list[OutputOrder]:
        return []

    async def _fall(self) -> None:
        for role in self._lines:
            await self._write(role, False)

    async def _write(self, role: Role, on: bool, not_after_ns: int | None = None) -> None:
        self._shown[role] = None  # unknown until it is confirmed
        within_s = math.inf if not_after_ns is None else (not_after_ns - self._clock.monotonic_ns()) / 1e9
        await self._client.write_coil(self._lines[role], on, within_s)
        self._shown[role] = on
