"""How much memory is left, for the machine and for the unit that this process runs in."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
_GIVEN_BACK = ("inactive_file", "active_file", "slab_reclaimable")
"""What files have left in memory goes when it is needed; MemAvailable counts the same for the machine."""


@dataclass(frozen=True)
class Memory:
    """None = not known. `limit_bytes` is what there is altogether, `own_bytes` what this process holds for itself.

    Of the machine and of every unit around the process, the one that has the least left counts.
    """

    free_pct: float | None = None
    limit_bytes: int | None = None
    own_bytes: int | None = None


def read_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> Memory:
    """Files that do not lie on a disk: it takes some 0.1 ms."""
    free, limit = min(_rooms(proc, cgroups), key=lambda room: room[0] / room[1], default=(0, 0))
    own = _fields(proc / "self" / "status").get("RssAnon")
    return Memory(100.0 * max(0, free) / limit if limit else None, limit or None, None if own is None else own * 1024)


def give_back() -> None:
    """Hand what was freed back to the machine at once; where the C library keeps it (not glibc), nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _rooms(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """Free and limit, bytes."""
    machine = _fields(proc / "meminfo")
    if machine.get("MemTotal") and "MemAvailable" in machine:
        yield machine["MemAvailable"] * 1024, machine["MemTotal"] * 1024
    for folder in _units(proc, cgroups):
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit and used is not None:
            held = _fields(folder / "memory.stat")
            yield limit - used + sum(held.get(name, 0) for name in _GIVEN_BACK), limit


def _units(proc: Path, cgroups: Path) -> Iterator[Path]:
    """The process's own unit and all around it, of cgroup v2."""
    for line in _lines(proc / "self" / "cgroup"):
        number, _, path = line.partition("::")
        if number == "0":
            own = cgroups / path.strip().lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(cgroups))


def _fields(path: Path) -> dict[str, int]:
    """Lines such as `MemTotal:  16 kB` or `inactive_file 16`; others are left out."""
    found = {}
    for line in _lines(path):
        name, *words = line.replace(":", " ").split() or [""]
        if words and words[0].isascii() and words[0].isdigit():
            found[name] = int(words[0])
    return found


def _number(path: Path) -> int | None:
    """None where there is none, or no limit ("max")."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
