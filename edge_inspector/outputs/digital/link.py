"""READY and OK as output lines: the contract behind them, three kinds of wires in front."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import anyio
import structlog

from edge_inspector.datatypes import Identity, InspectionResult
from edge_inspector.interfaces import Clock, PlcMessage, PlcRequest, ResultWritten
from edge_inspector.outputs.digital.config import Config
from edge_inspector.outputs.digital.signals import Signals
from edge_inspector.outputs.digital.wires import wires_of
from edge_inspector.outputs.live import LiveContract
from edge_inspector.plc.handshake import Contract

__all__ = ["Config", "DigitalLink"]

log = structlog.get_logger()


class DigitalLink:
    """Energised = good, so what is dead, cut or switched off rejects. Asks nothing of the station.

    Pulses end in `receive`, which the station calls all the time. A remote I/O is a link that dials.
    """

    asks = False

    def __init__(self, name: str, config: Config, identity: Identity, clock: Clock, folder: Path) -> None:
        """`folder` is not used: this link keeps nothing."""
        self.name = name
        self.acknowledges = False
        self.dials = config.modbus is not None
        self._clock = clock
        self._wires = wires_of(name, config, clock)
        hold_ns = int(config.result_hold_ms * 1e6)
        contract = Contract(boot_id=identity.boot_id, acknowledge=False, hold_ns=hold_ns, paired=False)
        self._live = LiveContract(contract, clock)
        self._signals = Signals.of(hold_ns)
        self._applied_ns = 0
        self._changed = asyncio.Event()
        self._requests: deque[PlcRequest] = deque()
        self._rejects: list[str] = []
        """Results that no pulse tells, until the lines have been written once more."""
        self._withholding = False

    async def __aenter__(self) -> DigitalLink:
        self._signals = self._signals.silenced()
        self._rejects.clear()
        self._requests.clear()
        await self._wires.open()
        self._requests.extend(self._wires.orders(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._wires.close()

    async def receive(self) -> PlcRequest:
        """Orders to a camera, or what has reached a remote I/O; in between the lines are kept as they should be."""
        while True:
            if self._requests:
                return self._requests.popleft()
            self._changed.clear()
            await self._apply()
            if not self._requests:
                with anyio.move_on_after(self._pause_s()):
                    await self._changed.wait()

    async def tell(self, message: PlcMessage) -> None:
        self._live.told(message)
        now = self._clock.monotonic_ns()
        self._signals = self._signals.told(message, self._live.contract, self._live.image, now)
        if isinstance(message, InspectionResult):
            self._tell_withheld()
            if self.dials and not self._live.contract.overall_ok:
                self._rejects.append(message.result_id)
        if not self.dials:
            await self._apply()
        self._changed.set()

    async def _apply(self) -> None:
        """Bring the lines to what they should be now."""
        now = self._applied_ns = self._clock.monotonic_ns()
        self._signals = self._signals.at(now)
        self._tell_withheld()
        rejects, ok = tuple(self._rejects), self._signals.ok
        rises = ok.giving if ok.until_ns is None else None
        await self._wires.put(self._signals.levels(now), None if rises is None else rises.not_after_ns)
        done = self._clock.monotonic_ns()
        self._signals = self._signals.shown(done)
        giving = self._signals.ok.giving
        self._requests.extend(self._wires.orders(None if giving is None else giving.not_after_ns))
        if self.dials:
            self._rejects = self._rejects[len(rejects) :]
            written = (*rejects, *(() if rises is None else (rises.result_id,)))
            if written:
                self._requests.append(ResultWritten(written, done))

    def _pause_s(self) -> float:
        """Until the levels change by themselves, or have to be put again."""
        due_ns, again_s = self._signals.next_ns(self._applied_ns), self._wires.again_s
        due_s = math.inf if due_ns is None else max(0.0, (due_ns - self._clock.monotonic_ns()) / 1e9)
        return due_s if again_s is None else min(due_s, again_s)

    def _tell_withheld(self) -> None:
        """Once, not with each part."""
        withheld = self._signals.withheld
        self._signals = replace(self._signals, withheld=())
        if withheld and not self._withholding:
            log.warning(
                "ok_withheld", link=self.name, result_id=withheld[0], why="another part is in work, or too late"
            )
        if withheld or self._signals.ok.on:
            self._withholding = bool(withheld)
