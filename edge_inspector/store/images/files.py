"""The files of the image folder: their names, and how they come to be whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from edge_inspector.datatypes import ImageKind
from edge_inspector.store.images.encode import Content
from edge_inspector.store.images.policy import RANKS, Why

UNSET = "unset-"
"""Before the day of a folder: the clock was not set, so the day may be wrong."""
_PART = ".part"
FOLDER_MODE = 0o750
_MODE = 0o640


@dataclass(frozen=True)
class Stored:
    """A picture in the folder, and what its path says: `<why>/<day>/<result_id>.<camera>.<kind>[.<number>].<suffix>`.

    `day` is that of the trigger, UTC; None = the clock was not set.
    """

    path: str
    why: Why
    day: date | None
    book: str
    seq: int
    kind: ImageKind
    size: int

    @property
    def rank(self) -> int:
        return RANKS.index(self.why)


def path_of(why: Why, wall_utc: str, clock_synced: bool, name: str) -> str:
    """Relative to the image folder."""
    return f"{why}/{'' if clock_synced else UNSET}{wall_utc[:10]}/{name}"


def name_of(result_id: str, camera: str, kind: ImageKind, number: int, suffix: str) -> str:
    """`number` counts the pictures that one camera took of the part."""
    return f"{result_id}.{camera}.{kind}.{suffix}" if number == 1 else f"{result_id}.{camera}.{kind}.{number}.{suffix}"


def write(folder: Path, path: str, content: Content) -> None:
    """All of it is on the disk and has its name, or nothing is there. OSError."""
    final = folder / path
    final.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    part = final.with_name(f".{final.name}{_PART}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        if final.parent.name.startswith(UNSET):
            os.utime(part, (0, 0))  # what the clock says now is worth nothing: see retention.py
        part.replace(final)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(final.parent)


def try_out(folder: Path, size: int) -> None:
    """Whether a file of that size can be written now. OSError."""
    probe = folder / f".probe{_PART}"
    try:
        with open(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """What a killed process left half written. OSError."""
    for pattern in (f".*{_PART}", *(f"{why}/*/.*{_PART}" for why in RANKS)):
        for part in folder.glob(pattern):
            part.unlink()


def days(folder: Path, why: Why) -> list[str]:
    """The day folders of a reason, oldest first; those of an unset clock are taken for the oldest. OSError."""
    try:
        with os.scandir(folder / why) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    ours = [name for name in names if day_of(name.removeprefix(UNSET)) is not None]
    return sorted(ours, key=lambda name: (not name.startswith(UNSET), name))


def day_of(name: str) -> date | None:
    """Of a day folder; None = it is none, or the clock was not set."""
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None


def listed(folder: Path, why: Why, day: str) -> list[Stored]:
    """The pictures of one day folder, in the order of their parts; a file that is not ours is not named. OSError."""
    found = []
    try:
        with os.scandir(folder / why / day) as entries:
            for entry in entries:
                stored = _entry(why, day, entry)
                if stored is not None:
                    found.append(stored)
    except FileNotFoundError:
        return []
    found.sort(key=lambda one: (one.book, one.seq, one.path))
    return found


def all_stored(folder: Path) -> Iterator[list[Stored]]:
    """Day by day. OSError."""
    for why in RANKS:
        for day in days(folder, why):
            yield listed(folder, why, day)


def _parsed(why: Why, day: str, name: str, size: int) -> Stored | None:
    """None = not one of our names."""
    fields = name.split(".")
    if len(fields) not in (6, 7) or not fields[2].isdecimal():
        return None
    if fields[4] == "original":
        kind: ImageKind = "original"
    elif fields[4] == "overlay":
        kind = "overlay"
    else:
        return None
    return Stored(f"{why}/{day}/{name}", why, day_of(day), fields[1], int(fields[2]), kind, size)


def _entry(why: Why, day: str, entry: os.DirEntry[str]) -> Stored | None:
    if not entry.is_file(follow_symlinks=False):
        return None
    try:
        size = entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None
    return _parsed(why, day, entry.name, size)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
