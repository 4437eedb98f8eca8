"""What Linux tells of a board's clocks, heat and power. Nothing but the standard library: root runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_inspector.health.finding import number, text

_THERMAL = "sys/class/thermal"
_HWMON = "sys/class/hwmon"
_DEVFREQ = "sys/class/devfreq"
_POLICIES = "sys/devices/system/cpu/cpufreq"
_OLD_GPU = "sys/devices/gpu.0"
_GPU = re.compile(r"gpu|ga10b|gv11b|gp10b|gm20b")
"""NVIDIA's names of its GPUs from Nano to Thor, as in 17000000.gpu and gpu-gpc-0."""
_SLOWS_DOWN = re.compile(r".*-throttle-alert|hot-surface-alert|(thermal-)?(cpufreq|devfreq)-.*|Processor")
"""Cooling devices that take speed. A fan is none."""
_WHOLE_BOARD = ("VIN", "VDD_IN", "POM_5V_IN")
"""Rails through which all the others are fed, Thor's first."""
_MONITOR = "ina3221"
"""The chip by which a Jetson measures its rails."""


def heat_limits(root: Path) -> list[str]:
    """The cooling devices that hold the board down now, such as gpu-throttle-alert."""
    slowed = {
        text(root, f"{device}/type") or ""
        for device in _entries(root, _THERMAL, "cooling_device")
        if (number(root, f"{device}/cur_state") or 0) > 0
    }
    return sorted(name for name in slowed if _SLOWS_DOWN.fullmatch(name))


def over_current_counts(root: Path) -> dict[str, int]:
    """How often since boot the supply's guards slowed the board down, by the guard's name.

    oc1 = under-voltage, oc2 = too much current on average, oc3 = for an instant. Guards that only watch are left out.
    """
    counts = {}
    for folder in _entries(root, _HWMON, "hwmon"):
        if text(root, f"{folder}/name") != "soctherm_oc":
            continue
        for path in sorted((root / folder).glob("oc*_event_cnt")):
            guard = path.name.removesuffix("_event_cnt")
            count = number(root, f"{folder}/{path.name}")
            if count is not None and number(root, f"{folder}/{guard}_throt_en") != 0:
                counts[guard] = count
    return counts


def total_w(root: Path, rails_w: Mapping[str, float]) -> float | None:
    """What the board takes as a whole, of its rails by name; None = that is not measured here."""
    total = next((rails_w[name] for name in _WHOLE_BOARD if name in rails_w), None)
    if total is None and rails_w:
        chips = {text(root, f"{folder}/name") for folder in _entries(root, _HWMON, "hwmon")}
        total = sum(rails_w.values()) if _MONITOR in chips else None
    return total if total is None or total >= 0 else None  # current does not flow backwards


def gpu_load(root: Path) -> float | None:
    """0..1."""
    for folder in (*(f"{gpu}/device" for gpu in _gpus(root)), _OLD_GPU):
        permille = number(root, f"{folder}/load")
        if permille is not None and 0 <= permille <= 1000:
            return permille / 1000
    return None


def clocks_locked(root: Path) -> bool | None:
    """Whether the clocks of GPU and processors cannot fall, as jetson_clocks leaves them; None = none is controlled."""
    spans = [(number(root, f"{gpu}/min_freq"), number(root, f"{gpu}/max_freq")) for gpu in _gpus(root)] + [
        (number(root, f"{policy}/scaling_min_freq"), number(root, f"{policy}/scaling_max_freq"))
        for policy in _entries(root, _POLICIES, "policy")
    ]
    known = [low == high for low, high in spans if low is not None and high is not None]
    return all(known) if known else None


def _gpus(root: Path) -> list[str]:
    return [folder for folder in _entries(root, _DEVFREQ, "") if _GPU.search(folder.rpartition("/")[2])]


def _entries(root: Path, folder: str, prefix: str) -> Iterator[str]:
    """The entries of a folder, relative to root, in the order of their numbers."""
    try:
        names = [path.name for path in (root / folder).iterdir() if path.name.startswith(prefix)]
    except OSError:
        return
    for name in sorted(names, key=lambda name: (len(name), name)):
        yield f"{folder}/{name}"
