"""Which way this machine's power can be changed, and opening it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Literal

from edge_inspector.errors import ConfigError
from edge_inspector.health.power.control import (
    HELPER_S,
    SOCKET,
    BoardControl,
    HelperControl,
    ReadOnlyControl,
    RootControl,
)
from edge_inspector.health.power.jtop_control import JtopControl
from edge_inspector.health.power.table import TABLE

__all__ = ["BoardControl", "Through", "Way", "how", "open_power_control"]

JTOP_SOCKET = "run/jtop.sock"
Way = Literal["helper", "jtop", "root", "none"]
Through = Literal["auto", "helper", "jtop", "root", "none"]


def how(root: Path = Path("/")) -> Way:
    """The best way in which this program could change the power mode now; "none" = it can only read."""
    if not (root / TABLE).exists():
        return "none"
    if (root / SOCKET).exists():
        return "helper"
    if (root / JTOP_SOCKET).exists() and _has_jtop():
        return "jtop"
    return "root" if _is_root() and shutil.which("nvpmodel") else "none"


def open_power_control(through: Through = "auto", root: Path = Path("/"), timeout_s: float = 30.0) -> BoardControl:
    """The control of this machine's board; `timeout_s` bounds each change. Nothing is changed by opening it.

    A machine without power modes opens, too: its modes are empty. ConfigError: a way was asked for by name that is not
    there.
    """
    way = how(root) if through == "auto" else through
    if through == "jtop" and not _has_jtop():
        raise ConfigError("power through jtop: jetson-stats is not installed; pip install 'edge-inspector[jetson]'")
    if through == "helper" and not (root / SOCKET).exists():
        raise ConfigError(
            f"power through the helper: no socket {root / SOCKET};"
            " sudo systemctl enable --now edge-inspector-power.socket"
        )
    if through == "root" and not _is_root():
        raise ConfigError("power as root: this program does not run as root; take the helper, or sudo")
    if way == "helper" and timeout_s < HELPER_S:
        raise ConfigError(
            f"power through the helper: a time-out of {timeout_s:g} s, expected at least {HELPER_S:g} s; the helper may"
            " take so long, and must not change the mode when nobody waits for it any more"
        )
    if way == "helper":
        return HelperControl(root, timeout_s)
    if way == "jtop":
        return JtopControl(root, timeout_s)
    if way == "root":
        return RootControl(root, timeout_s)
    return ReadOnlyControl(root, _why_not(root, through))


def _why_not(root: Path, through: Through) -> str:
    if not (root / TABLE).exists():
        return f"{root / TABLE} is not there, so this machine has no power modes"
    if through == "none":
        return "through = 'none' was asked for"
    return "the power helper is not installed (sudo systemctl enable --now edge-inspector-power.socket), nor is jtop"


def _has_jtop() -> bool:
    return importlib.util.find_spec("jtop") is not None


def _is_root() -> bool:
    return os.geteuid() == 0
