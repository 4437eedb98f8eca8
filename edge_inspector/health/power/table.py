"""The board's own table of power modes, /etc/nvpmodel.conf. Nothing but the standard library: root runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_inspector.health.finding import number, text

TABLE = "etc/nvpmodel.conf"
STATUS = "var/lib/nvpmodel/status"
"""Where nvpmodel keeps the mode: `pmode:0002 fmode:quiet`. Anybody may read it."""
ABOVE_CAP = 1.05
"""nvpmodel takes the nearest step of a clock's table; a clock so much above its mode's cap is not capped at all."""
_SECTION = re.compile(r"<\s*(PARAM|POWER_MODEL|PM_CONFIG)\s+([^<>]*)>")
_KEY = re.compile(r"(\w+)=([\w.+-]{1,64})")
_WATTS = re.compile(r"(\d+)W")
_GATING = "TPC_PG_MASK"


@dataclass(frozen=True)
class TableMode:
    """One mode; `settings` are its lines, such as ("GPU", "MAX_FREQ") -> "612000000"."""

    number: int
    name: str
    settings: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)

    @property
    def gating(self) -> str | None:
        """Which parts of the GPU are switched off for good: it changes with a reboot only. None = the mode has none."""
        return next((value for (_, name), value in self.settings.items() if name == _GATING), None)


@dataclass(frozen=True)
class Table:
    """The modes from the least to the most power; `files` say where a setting stands in /sys."""

    modes: tuple[TableMode, ...]
    default: int | None
    files: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)

    def mode(self, wanted: int) -> TableMode | None:
        return next((mode for mode in self.modes if mode.number == wanted), None)


def read_table(root: Path) -> Table | None:
    """None = this machine has no such table: it is no Jetson, or nvpmodel is not installed."""
    said = text(root, TABLE)
    return None if said is None else parse_table(said)


def parse_table(said: str) -> Table:
    """What cannot be understood is left out, and of two modes with one number the second."""
    modes: dict[int, TableMode] = {}
    files: dict[tuple[str, str], str] = {}
    default: int | None = None
    group = ""
    into: dict[tuple[str, str], str] | None = None
    for raw in said.splitlines():
        line = raw.split("#", 1)[0].strip()
        found = _SECTION.fullmatch(line)
        words = line.split()
        if found:
            keys = dict(_KEY.findall(found[2]))
            group, into = "", None
            if found[1] == "PARAM":
                group = keys.get("NAME", "")
            elif found[1] == "PM_CONFIG":
                default = _whole(keys.get("DEFAULT"))
            else:
                mode_number, name = _whole(keys.get("ID")), keys.get("NAME")
                if mode_number is not None and name and mode_number not in modes:
                    into = {}
                    modes[mode_number] = TableMode(mode_number, name, into)
        elif group and len(words) == 2:
            files[group, words[0]] = words[1]
        elif into is not None and len(words) == 3:
            into[words[0], words[1]] = words[2]
    return Table(_in_order(list(modes.values())), default, files)


def kept_mode(root: Path) -> int | None:
    """The number of the mode in which nvpmodel says the board is; None = it does not say."""
    found = re.search(r"\bpmode:(\d{1,4})\b", text(root, STATUS) or "")
    return int(found[1]) if found else None


def disagreements(table: Table, mode: TableMode, root: Path) -> list[str]:
    """Where the board is not as the mode has it: processors switched on or off, clocks that are not capped.

    nvpmodel is known to report a mode which it has not set. What cannot be read is no disagreement.
    """
    wrong = []
    for (group, name), wanted in mode.settings.items():
        path = table.files.get((group, name))
        found = None if path is None else number(root, path.lstrip("/"))
        if found is None or not re.fullmatch(r"\d+", wanted):
            continue
        if group == "CPU_ONLINE":
            if found != int(wanted):
                wrong.append(f"{path} is {found}, the mode has {wanted}")
        elif group.startswith(("CPU", "GPU")) and name == "MAX_FREQ" and found > int(wanted) * ABOVE_CAP:
            wrong.append(f"{path} is {found}, the mode allows {wanted}")
    return wrong


def _whole(said: str | None) -> int | None:
    return int(said) if said is not None and re.fullmatch(r"\d{1,4}", said) else None


def _in_order(modes: list[TableMode]) -> tuple[TableMode, ...]:
    """By the watts in the names, MAXN last; of equal watts the one with fewer processors. Otherwise as numbered."""
    modes.sort(key=lambda mode: mode.number)
    watts = {mode.number: _watts(mode.name) for mode in modes}
    if all(value is not None for value in watts.values()):
        modes.sort(key=lambda mode: (watts[mode.number] or 0.0, _processors(mode)))
    return tuple(modes)


def _watts(name: str) -> float | None:
    found = _WATTS.search(name)
    if found:
        return float(found[1])
    return float("inf") if name.startswith("MAXN") else None


def _processors(mode: TableMode) -> int:
    return sum(value == "1" for (group, _), value in mode.settings.items() if group == "CPU_ONLINE")
