"""What can be done with a board: only read it, or change it as root or through the root helper."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power.sensors import BoardSensors
from edge_inspector.health.power.tools import BoardTools
from edge_inspector.interfaces import PowerControl, PowerMode, PowerState

SOCKET = "run/edge-inspector-power/power.sock"
HELPER_S = 30.0
"""The root helper has done a change by then, or has given it up."""
_MAX_ANSWER = 4096


class BoardControl(PowerControl, Protocol):
    """An open power control; `through` says by which way it changes things."""

    through: str

    def close(self) -> None:
        """End what was started for it; it may be called twice."""
        ...


class ReadOnlyControl:
    """Reads a board and changes nothing."""

    through = "none"

    def __init__(self, root: Path, why: str) -> None:
        """`why` nothing can be changed, and what to do."""
        self._sensors = BoardSensors(root)
        self._why = why
        self.modes: Sequence[PowerMode] = self._sensors.modes()

    def state(self) -> PowerState:
        return self._sensors.read()

    def set_mode(self, mode: PowerMode) -> None:
        raise PowerError(f"power mode {mode.number} {mode.name} cannot be set from here: {self._why}")

    def set_clocks(self, locked: bool) -> None:
        raise PowerError(f"the clocks cannot be {'locked' if locked else 'unlocked'} from here: {self._why}")

    def close(self) -> None:
        """Nothing was started."""


class RootControl:
    """Changes a board by NVIDIA's tools, for a program that root runs."""

    through = "root"

    def __init__(self, root: Path, timeout_s: float) -> None:
        self._sensors = BoardSensors(root)
        self._tools = BoardTools(root)
        self._timeout_s = timeout_s
        self.modes: Sequence[PowerMode] = self._sensors.modes()

    def state(self) -> PowerState:
        return self._sensors.read()

    def set_mode(self, mode: PowerMode) -> None:
        try:
            self._tools.set_mode(mode.number, self._timeout_s)
        except OSError as exc:
            raise PowerError(f"power mode {mode.number} {mode.name} was not set: {exc}") from exc

    def set_clocks(self, locked: bool) -> None:
        try:
            self._tools.set_clocks(locked, self._timeout_s)
        except OSError as exc:
            raise PowerError(f"the clocks were not {'locked' if locked else 'unlocked'}: {exc}") from exc

    def close(self) -> None:
        """Nothing was started."""


class HelperControl:
    """Asks the root helper, and looks for itself whether it is so."""

    through = "helper"

    def __init__(self, root: Path, timeout_s: float) -> None:
        self._sensors = BoardSensors(root)
        self._socket = root / SOCKET
        self._timeout_s = timeout_s
        self.modes: Sequence[PowerMode] = self._sensors.modes()

    def state(self) -> PowerState:
        return self._sensors.read()

    def set_mode(self, mode: PowerMode) -> None:
        self._ask(f"mode {mode.number}")
        must_be_in(mode, self._sensors.mode())

    def set_clocks(self, locked: bool) -> None:
        self._ask(f"clocks {'on' if locked else 'off'}")

    def close(self) -> None:
        """Each call has its own connection."""

    def _ask(self, request: str) -> None:
        try:
            with socket.socket(socket.AF_UNIX) as helper:
                helper.settimeout(self._timeout_s)
                helper.connect(str(self._socket))
                helper.sendall(request.encode() + b"\n")
                answer = _answer(helper)
        except TimeoutError as exc:
            raise PowerError(
                f"the power helper has not answered {request!r} within {self._timeout_s:g} s; the board may be in"
                " another mode by now: journalctl -u edge-inspector-power"
            ) from exc
        except OSError as exc:
            raise PowerError(
                f"the power helper cannot be asked for {request!r} at {self._socket}: {exc};"
                " systemctl status edge-inspector-power.socket"
            ) from exc
        kind, _, why = answer.partition(" ")
        if kind == "reboot":
            raise RebootNeededError(why)
        if kind != "ok":
            raise PowerError(why if kind == "failed" else f"the power helper answered {answer!r:.100}, expected 'ok'")


def must_be_in(mode: PowerMode, found: PowerMode | None) -> None:
    """PowerError when the board says that it is in another mode; one that says nothing is believed."""
    if found is not None and found.number != mode.number:
        raise PowerError(
            f"power mode {mode.number} {mode.name} was reported as set, but the board is in {found.number} {found.name}"
        )


def _answer(helper: socket.socket) -> str:
    said = b""
    while not said.endswith(b"\n") and len(said) < _MAX_ANSWER:
        more = helper.recv(_MAX_ANSWER)
        if not more:
            break
        said += more
    line, end, _ = said.decode(errors="replace").partition("\n")
    return line if end else f"{line}..."  # it was cut off
