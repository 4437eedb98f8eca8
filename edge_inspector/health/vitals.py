"""How the machine is: disk, memory and temperature, as far as Linux tells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.health.memory import Memory
from edge_inspector.interfaces import Vitals

THERMAL = Path("/sys/class/thermal")


@dataclass(frozen=True)
class Disk:
    """Free shares in percent, None = not known; a file system that makes inodes as it needs them has none to tell."""

    free_pct: float | None = None
    inodes_free_pct: float | None = None


def read_vitals(disk: Disk, memory: Memory, thermal: Path = THERMAL) -> Vitals:
    """What PLC and metrics are told. What cannot be read is None; the board's own power control adds load and mode."""
    return Vitals(temp_c=_hottest(thermal), disk_free_pct=disk.free_pct, memory_free_pct=memory.free_pct)


def read_disk(folder: Path) -> Disk:
    """Of the disk that holds the folder; blocks on it."""
    try:
        told = os.statvfs(folder)
    except OSError:
        return Disk()
    return Disk(_share(told.f_bavail, told.f_blocks), _share(told.f_favail, told.f_files))


def _share(free: int, total: int) -> float | None:
    return 100.0 * free / total if total else None


def _hottest(thermal: Path) -> float | None:
    """The highest of all zones; a sensor that is off answers with an error or an impossible value."""
    found = []
    for zone in thermal.glob("thermal_zone*/temp"):
        try:
            celsius = int(zone.read_text()) / 1000.0
        except (OSError, ValueError):
            continue
        if -40.0 < celsius < 150.0:
            found.append(celsius)
    return max(found, default=None)
