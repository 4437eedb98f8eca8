"""Checks of the clock that goes on without power."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from edge_inspector.health.finding import Finding, judged, number

FAR_S = 3600
"""A quartz clock is off by seconds a day, and one in local time by hours: more than one hour is no drift of a year."""
_WHY = "After a power cut the station begins at a wrong time until a time server answers: results and events carry it."


def rtc_finding(root: Path, now_s: float, synced: bool) -> Finding:
    """The clock from which the kernel takes the time at a start; `synced`: `now_s` (Unix time) is right."""
    folder = root / "sys/class/rtc"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    name = next((one for one in names if number(folder, f"{one}/hctosys") == 1), names[0] if names else "")
    if not name:
        return judged("clock.battery", "", "note", "no clock that goes on without power, as in a virtual machine")
    kept_s = number(folder, f"{name}/since_epoch")
    if kept_s is None:
        return judged("clock.battery", name, "note", "the hardware clock does not tell its time")
    try:
        shown = f"{datetime.fromtimestamp(kept_s, timezone.utc):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError):  # of a year beyond 9999
        shown = f"{kept_s} s since 1970"
    if not synced:
        return judged("clock.battery", name, "note", f"says {shown}; nothing to compare it with", "the right time")
    off_s = abs(kept_s - now_s)
    return judged(
        "clock.battery",
        name,
        "ok" if off_s <= FAR_S else "warn",
        f"says {shown}" + ("" if off_s <= FAR_S else f", {off_s / 3600:.0f} h off"),
        "the right time, give or take an hour",
        _WHY,
        "sudo hwclock --systohc --utc # and if it is wrong again after a power cut: put in or replace its battery",
    )
