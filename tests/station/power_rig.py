"""A board at the protocol: it changes its mode as it is told, or fails as real ones do."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from station_rig import Rig

from edge_inspector.errors import ConfigError, PowerError, RebootNeededError
from edge_inspector.interfaces import PowerMode, PowerState
from edge_inspector.settings.power import PowerSettings
from edge_inspector.station.parts import LoadedRecipe, Parts, PowerPlan
from edge_inspector.station.power_speeds import Measured, Speeds, fingerprint

W15, W30, MAXN = PowerMode(2, "15W"), PowerMode(1, "30W"), PowerMode(0, "MAXN")
MODES = (W15, W30, MAXN)
BACKEND = '{"type": "fake"}'


class FakeBoard:
    """`refuses`, `reboots` are modes that it does not take; `hangs` stops it in a change; `lies` confirms and stays.

    `mute`: it does not say its mode; `absent`: it cannot be opened, and why.
    """

    def __init__(self, mode: PowerMode = MAXN, modes: Sequence[PowerMode] = MODES) -> None:
        self.modes = modes
        self.mode = mode
        self.orders: list[PowerMode] = []
        self.clocks: list[bool] = []
        self.refuses: set[PowerMode] = set()
        self.reboots: set[PowerMode] = set()
        self.refuses_clocks = self.lies = self.mute = False
        self.absent = ""
        self.throttled = ""
        self.gpu_load: float | None = 0.25
        self.closed = 0
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._reads = threading.Event()
        self._reads.set()

    def hang(self) -> None:
        """The next change does not come back before `go_on`."""
        self._goes_on.clear()

    def stop_reading(self) -> None:
        """Its sensors do not answer before `go_on`."""
        self._reads.clear()

    def go_on(self) -> None:
        self._goes_on.set()
        self._reads.set()

    def open(self) -> FakeBoard:
        if self.absent:
            raise ConfigError(self.absent)
        return self

    def state(self) -> PowerState:
        self._reads.wait()
        mode = None if self.mute else replace(self.mode, name=f"{self.mode.name} (sysfs)")  # as another tool names it
        return PowerState(mode=mode, throttled=self.throttled, gpu_load=self.gpu_load)

    def set_mode(self, mode: PowerMode) -> None:
        self.orders.append(mode)
        self._goes_on.wait()
        if mode in self.reboots:
            raise RebootNeededError(f"power mode {mode.name} needs a reboot")
        if mode in self.refuses:
            raise PowerError(f"nvpmodel: exit code 1 for {mode.name}")
        if not self.lies:
            self.mode = mode

    def set_clocks(self, locked: bool) -> None:
        self.clocks.append(locked)
        if self.refuses_clocks:
            raise PowerError("jetson_clocks: exit code 1")

    def close(self) -> None:
        self.closed += 1


class PoweredRig(Rig):
    """A station on such a board; `policy` as in the station file, `measured` p99 in ms by recipe and mode."""

    def __init__(self, folder: Path, board: FakeBoard) -> None:
        super().__init__(folder)
        self.board = board
        self.policy: dict[str, Any] | None = None
        self.measured: dict[str, Mapping[str, float]] = {}
        self.lock_clocks = False
        self.timeout_s = 30.0
        self.damaged_table = ""

    def recipe(self, name: str, *args: Any, **settings: Any) -> LoadedRecipe:
        """Each with a model of its own."""
        self.recipes[name] = made = replace(super().recipe(name, *args, **settings), model_hash=f"hash-{name}")
        return made

    def parts(self) -> Parts:
        settings = PowerSettings.model_validate(
            {"policy": self.policy, "lock_clocks": self.lock_clocks, "timeout_s": self.timeout_s}
        )
        return replace(super().parts(), power=PowerPlan(settings, self.board.open, self.speeds))

    def speeds(self) -> Speeds:
        if self.damaged_table:
            raise ConfigError(self.damaged_table)
        rows = [
            Measured(
                recipe=recipe, runs=fingerprint(self.recipes[recipe], BACKEND), mode=mode, parts=100, p50_ms=p99_ms,
                p99_ms=p99_ms, parts_per_s=1000 / p99_ms, power_w=None, measured_utc="2026-11-22T00:00:00.000Z",
            )
            for recipe, by_mode in self.measured.items()
            for mode, p99_ms in by_mode.items()
        ]  # fmt: skip
        return Speeds(rows, BACKEND)
