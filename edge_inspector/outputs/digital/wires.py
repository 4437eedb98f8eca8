"""The three ways in which levels come to the lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from edge_inspector.interfaces import Clock, OutputOrder
from edge_inspector.outputs.digital.config import CameraLines, Config, GpioLines
from edge_inspector.outputs.digital.gpio import GpioWires
from edge_inspector.outputs.digital.remote_io import RemoteIoWires
from edge_inspector.outputs.digital.signals import Role, risen_last

ORDER_AGAIN_S = 0.25
"""How often a camera's lines are ordered again: the orders are also the sign that the event loop runs."""


class Wires(Protocol):
    """Lines by signal. `put` is called at least every `again_s`, None = only when something has changed."""

    again_s: float | None

    async def open(self) -> None:
        """All lines fall. OutputError."""
        ...

    async def close(self) -> None:
        """All lines fall as far as they can be reached, and are let go."""
        ...

    async def put(self, levels: Mapping[Role, bool], ok_not_after_ns: int | None) -> None:
        """Returns when the lines are so. OutputError: lost. An OK that rises must not do so later than that."""
        ...

    def orders(self, ok_not_after_ns: int | None) -> list[OutputOrder]:
        """What others have to do for that, in this order; each once. OK must not rise after its part's time."""
        ...


class CameraWires:
    """Orders to the station, which carries them out on a thread of its own and lets all lines fall when it stops.

    All lines are ordered again every `again_s`: a camera that was away comes back with its lines down.
    """

    again_s: float | None = ORDER_AGAIN_S

    def __init__(self, config: CameraLines, lines: Mapping[Role, str | int], clock: Clock) -> None:
        self._camera = config.camera
        self._lines = {role: str(line) for role, line in lines.items()}
        self._clock = clock
        self._ordered: dict[Role, bool] = {}
        self._again_ns = 0
        self._orders: list[tuple[Role, bool]] = []

    async def open(self) -> None:
        self._order(self._lines, dict.fromkeys(self._lines, False))

    async def close(self) -> None:
        self._orders.clear()

    async def put(self, levels: Mapping[Role, bool], ok_not_after_ns: int | None) -> None:
        now = self._clock.monotonic_ns()
        if now >= self._again_ns:
            self._again_ns = now + int(ORDER_AGAIN_S * 1e9)
            self._order(self._lines, levels)
        else:
            self._order([role for role in self._lines if levels[role] != self._ordered[role]], levels)

    def orders(self, ok_not_after_ns: int | None) -> list[OutputOrder]:
        given, self._orders = self._orders, []
        return [
            OutputOrder(self._camera, self._lines[role], on, ok_not_after_ns if role == "ok" and on else None)
            for role, on in given
        ]

    def _order(self, roles: Iterable[Role], levels: Mapping[Role, bool]) -> None:
        for role in sorted(roles, key=partial(risen_last, levels)):
            self._ordered[role] = levels[role]
            self._orders.append((role, levels[role]))


def wires_of(name: str, config: Config, clock: Clock) -> Wires:
    """The wires that the file asks for; nothing is opened."""
    wiring = config.wiring
    if isinstance(wiring, CameraLines):
        return CameraWires(wiring, config.lines, clock)
    if isinstance(wiring, GpioLines):
        return GpioWires(name, wiring, config.lines)
    return RemoteIoWires(name, wiring, config.lines, clock)
