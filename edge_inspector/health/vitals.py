"""How the machine is: disk and temperature, as far as Linux tells."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge_inspector.interfaces import Vitals

THERMAL = Path("/sys/class/thermal")


def read_vitals(state_dir: Path, thermal: Path = THERMAL) -> Vitals:
    """Blocks on the disk. What cannot be read is None; load and power mode of a Jetson are not read yet."""
    return Vitals(temp_c=_hottest(thermal), disk_free_pct=_disk_free(state_dir))


def _disk_free(folder: Path) -> float | None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return 100.0 * usage.free / usage.total if usage.total else None


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
