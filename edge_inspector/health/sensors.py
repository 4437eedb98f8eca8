"""What the machine's own sensors say: temperatures of thermal zones, power of its rails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_inspector.health.finding import number, text

SYS = Path("/sys")


def temperatures_c(root: Path = SYS) -> dict[str, float]:
    """Of each thermal zone by its type. Blocks on the sensors; one that is off, or says what cannot be, is left out."""
    found: dict[str, float] = {}
    for zone in _numbered(root / "class" / "thermal", "thermal_zone*"):
        millicelsius = number(zone, "temp")
        if millicelsius is not None and -40_000 < millicelsius < 150_000:
            found[_free(text(zone, "type") or zone.name, found)] = millicelsius / 1e3
    return found


def power_w(root: Path = SYS) -> dict[str, float]:
    """Of each rail that a sensor measures, by its label: power itself, or voltage times current, as a Jetson's INA3221.

    Units as in the kernel's Documentation/hwmon/sysfs-interface: microwatts, millivolts, milliamperes. Blocks.
    """
    found: dict[str, float] = {}
    for chip in _numbered(root / "class" / "hwmon", "hwmon*"):
        for name, watts in _rails(chip):
            found[_free(name, found)] = watts
    return found


def _rails(chip: Path) -> Iterator[tuple[str, float]]:
    chip_name = text(chip, "name") or chip.name
    for file in _numbered(chip, "power*_input"):
        rail = file.name.removesuffix("_input")
        microwatts = number(chip, file.name)
        if microwatts is not None:
            yield text(chip, f"{rail}_label") or f"{chip_name} {rail}", microwatts / 1e6
    for file in _numbered(chip, "curr*_input"):
        rail = file.name.removeprefix("curr").removesuffix("_input")
        millivolts, milliamperes = number(chip, f"in{rail}_input"), number(chip, file.name)
        if millivolts is not None and milliamperes is not None:
            yield text(chip, f"in{rail}_label") or f"{chip_name} {rail}", millivolts * milliamperes / 1e6


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """In the order of the numbers in their names."""
    return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))


def _free(name: str, taken: dict[str, float]) -> str:
    """The name, with a number when a sensor before has it."""
    names = (name, *(f"{name} {n}" for n in range(2, len(taken) + 2)))
    return next(one for one in names if one not in taken)
