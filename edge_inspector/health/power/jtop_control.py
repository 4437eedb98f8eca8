"""A board through jtop's service: its readings, and changes by its rights. /sys fills in what it leaves out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power.control import must_be_in
from edge_inspector.health.power.jtop_process import JtopProcess, child_command
from edge_inspector.health.power.sensors import BoardSensors
from edge_inspector.health.power.table import disagreements
from edge_inspector.interfaces import PowerMode, PowerState

READ_S = 1.0
STALE_S = 5.0
"""jtop reads each second; its client goes on with the old values when the service stops sending."""
_MAX_W = 1000.0


class JtopControl:
    """Reads and changes a board through jtop's service, which must run and let this user in (group jtop)."""

    through = "jtop"

    def __init__(self, root: Path, timeout_s: float, command: Sequence[str] = ()) -> None:
        """`command`: what is run in place of our own program for jtop."""
        self._root = root
        self._sensors = BoardSensors(root)
        self._jtop = JtopProcess(command or child_command())
        self._timeout_s = timeout_s
        self.modes: Sequence[PowerMode] = self._sensors.modes()

    def state(self) -> PowerState:
        own = self._sensors.read()
        said = self._jtop.reading(READ_S)
        return own if said is None or not abs(_age_s(said)) <= STALE_S else self._merged(own, said)

    def set_mode(self, mode: PowerMode) -> None:
        if self._sensors.needs_reboot(mode):  # jtop drops it in silence
            raise RebootNeededError(
                f"power mode {mode.number} {mode.name} needs a reboot, as it has other parts of the GPU switched off;"
                f" nothing was changed; at a good moment: sudo nvpmodel -m {mode.number}"
            )
        self._jtop.order({"mode": mode.number, "name": mode.name}, self._timeout_s)
        must_be_in(mode, self._sensors.mode())
        table = self._sensors.table()
        row = None if table is None else table.mode(mode.number)
        wrong = [] if table is None or row is None else disagreements(table, row, self._root)
        if wrong:
            raise PowerError(f"power mode {mode.number} {mode.name} is what jtop says, but {'; '.join(wrong)}")

    def set_clocks(self, locked: bool) -> None:
        self._jtop.order({"clocks": locked}, self._timeout_s)

    def close(self) -> None:
        self._jtop.close()

    def _merged(self, own: PowerState, said: Mapping[str, Any]) -> PowerState:
        """nvpmodel's own file is newer than jtop's mode; of the clocks jtop sees more, such as the memory's."""
        rails = _numbers(said.get("rails_mw"), 0.0, _MAX_W * 1000, 1000.0)
        zones = _numbers(said.get("celsius"), -40.0, 150.0, 1.0)
        loads = _numbers(dict(enumerate(said.get("loads") or ())), 0.0, 100.0, 100.0)
        totals = _numbers({"": said.get("total_mw") or None}, 0.0, _MAX_W * 1000, 1000.0)  # 0 = it has no rails
        number, locked = said.get("mode"), said.get("locked")
        known = () if isinstance(number, bool) else self.modes
        return replace(
            own,
            mode=own.mode or next((mode for mode in known if mode.number == number), None),
            clocks_locked=locked if isinstance(locked, bool) else own.clocks_locked,
            gpu_load=max(loads.values(), default=own.gpu_load),
            total_w=totals.get("", own.total_w),
            rails_w=own.rails_w or rails,
            temperatures_c=own.temperatures_c or zones,
        )


def _age_s(said: Mapping[str, Any]) -> float:
    uptime = said.get("uptime_s")
    if not isinstance(uptime, (int, float)):
        return float("inf")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - uptime


def _numbers(said: object, low: float, high: float, divisor: float) -> dict[str, float]:
    """The finite numbers within the bounds, divided; jtop says None and -256 for what it cannot read."""
    if not isinstance(said, Mapping):
        return {}
    return {
        str(name): value / divisor
        for name, value in said.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    }
