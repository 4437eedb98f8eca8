"""Output lines of this machine through libgpiod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from edge_inspector.errors import OutputError
from edge_inspector.interfaces import OutputOrder
from edge_inspector.outputs.digital.config import GpioLines
from edge_inspector.outputs.digital.signals import Role

log = structlog.get_logger()


class GpioWires:
    """One request to the kernel for all lines. It holds them: no other program can move them meanwhile."""

    again_s: float | None = None

    def __init__(self, name: str, config: GpioLines, lines: Mapping[Role, str | int]) -> None:
        self._what = f"digital link {name!r}, {config.chip}"
        self._chip = config.chip
        self._lines = lines
        self._request: Any = None
        self._values: tuple[Any, Any] = (None, None)
        self._shown: dict[Role, bool] = {}

    async def open(self) -> None:
        """Active high and down. OutputError: no such chip or line, no right to it, or another program has it."""
        try:
            import gpiod
        except ImportError as exc:
            raise OutputError(
                f"{self._what}: gpiod cannot be imported ({exc}); run: pip install edge-inspector[gpio]"
            ) from exc
        line = gpiod.line
        down = gpiod.LineSettings(direction=line.Direction.OUTPUT, output_value=line.Value.INACTIVE)
        try:
            self._request = gpiod.request_lines(
                self._chip, consumer="edge-inspector", config=dict.fromkeys(self._lines.values(), down)
            )
        except (OSError, ValueError) as exc:
            wanted = ", ".join(f"{role} = {at!r}" for role, at in self._lines.items())
            raise OutputError(
                f"{self._what}: cannot have the lines {wanted}: {exc}; gpioinfo lists them and who has them, and the "
                "user of the service must be in the group of the device (mostly gpio)"
            ) from exc
        self._values = (line.Value.INACTIVE, line.Value.ACTIVE)
        self._shown = dict.fromkeys(self._lines, False)

    async def close(self) -> None:
        """What the line does once it is let go is the kernel driver's choice: so it falls before."""
        request, self._request = self._request, None
        if request is None:
            return
        try:
            request.set_values(dict.fromkeys(self._lines.values(), self._values[False]))
        except OSError as exc:
            log.warning("gpio_lines_not_let_fall", chip=self._chip, error=str(exc))
        finally:
            request.release()

    async def put(self, levels: Mapping[Role, bool], ok_not_after_ns: int | None) -> None:
        """One call to the kernel, for which the event loop waits: some microseconds, more behind an I2C expander."""
        changed = [role for role in self._lines if levels[role] != self._shown[role]]
        if not changed or self._request is None:
            return
        try:
            self._request.set_values({self._lines[role]: self._values[levels[role]] for role in changed})
        except OSError as exc:
            raise OutputError(f"{self._what}: lines cannot be set: {exc}; is the chip still there?") from exc
        self._shown |= {role: levels[role] for role in changed}

    def orders(self, ok_not_after_ns: int | None) -> list[OutputOrder]:
        return []
