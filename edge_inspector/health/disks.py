"""Checks of the disks that a station writes to: inodes, read-only mounts, wear."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from edge_inspector.health.finding import Finding, judged, text

INODES_FAIL, INODES_WARN = 1_000, 50_000
"""A picture, its overlay and the ledger's own files take one each: 50 000 are some days of rejects."""
WORN_WARN_PCT, WORN_FAIL_PCT = 80, 100
"""Of the writes that the maker promises; beyond them a disk may turn read-only at any time."""
_RESERVE = {"0x02": ("warn", "80% of the reserve blocks are used up"), "0x03": ("fail", "the reserve is nearly gone")}
_WHY_WORN = "A worn-out flash disk turns read-only or loses blocks, and the ledger with it."


@dataclass(frozen=True)
class Room:
    """What a file system says of itself; `inodes` None = it makes them as they are needed (btrfs, FAT)."""

    inodes: int | None
    inodes_free: int
    read_only: bool


@dataclass(frozen=True)
class Smart:
    """Of an NVMe disk: percent of its life that is used (may be more than 100), and its critical warnings in words."""

    used_pct: int
    warnings: tuple[str, ...]


AsksSmart = Callable[[str], "Smart | str"]
"""Disk such as nvme0n1 -> what it says, or why it does not."""


def room(folder: Path) -> Room:
    """Of a folder, or of the first one above it that exists for this user."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    told = os.statvfs(there)
    return Room(told.f_files or None, told.f_favail, bool(told.f_flag & os.ST_RDONLY))


def disk_findings(
    root: Path, folders: Sequence[Path], rooms: Callable[[Path], Room], smart: AsksSmart
) -> Iterator[Finding]:
    """`folders`: absolute, the state folder first; those of one disk are judged once."""
    for folder in folders:
        yield _writable(folder, rooms(folder))
        yield _inodes(folder, rooms(folder))
    disks = list(dict.fromkeys(disk_of(root, folder) for folder in folders))
    for disk in disks:
        yield _wear(root, disk, smart)


def disk_of(root: Path, folder: Path) -> str:
    """The kernel's name of the disk below a folder, such as nvme0n1; empty = none of this machine's, as of a tmpfs."""
    best, device = -1, ""
    for line in (text(root, "proc/self/mountinfo") or "").splitlines():
        fields = line.split()
        point = Path(fields[4].replace("\\040", " "))
        if (folder == point or point in folder.parents) and len(point.parts) >= best:
            best, device = len(point.parts), fields[2]
    real = (root / "sys/dev/block" / (device or "none")).resolve()
    while (real / "slaves").is_dir() and (below := sorted((real / "slaves").iterdir())):  # LVM, LUKS
        real = below[0].resolve()
    if (real / "partition").exists():
        real = real.parent
    return real.name if (root / "sys/block" / real.name).exists() else ""


def _writable(folder: Path, found: Room) -> Finding:
    return judged(
        "disk.writable",
        str(folder),
        "fail" if found.read_only else "ok",
        "mounted read-only" if found.read_only else "mounted for reading and writing",
        "for reading and writing",
        "The kernel mounts a disk with errors read-only; nothing can be booked on it.",
        "sudo dmesg --level=err,warn | tail -n 30 # and if the disk is whole: sudo mount -o remount,rw its mount point",
    )


def _inodes(folder: Path, found: Room) -> Finding:
    if found.inodes is None:
        return judged("disk.inodes", str(folder), "ok", "no limit on the number of files")
    free = found.inodes_free
    return judged(
        "disk.inodes",
        str(folder),
        "ok" if free >= INODES_WARN else "warn" if free >= INODES_FAIL else "fail",
        f"{free} of {found.inodes} free",
        f"at least {INODES_WARN}",
        "Each file takes an inode: without one the disk is full, however many bytes are free.",
        f"sudo du --inodes -xS {quote(str(folder))} | sort -n | tail # and remove what is not needed",
    )


def _wear(root: Path, disk: str, smart: AsksSmart) -> Finding:
    if disk.startswith("nvme"):
        return _nvme(disk, smart(disk))
    if disk.startswith("mmcblk"):
        return _card(root, disk)
    what = f"not told here; ask: sudo smartctl -a /dev/{disk}" if disk else "on no disk of this machine"
    return judged("disk.wear", disk, "note", what)


def _nvme(disk: str, said: Smart | str) -> Finding:
    if isinstance(said, str):
        return judged("disk.wear", disk, "note", said, f"less than {WORN_WARN_PCT}% of its life used")
    critical = "".join(f"; {word}" for word in said.warnings)
    failing = bool(said.warnings) or said.used_pct >= WORN_FAIL_PCT
    return judged(
        "disk.wear",
        disk,
        "fail" if failing else "warn" if said.used_pct >= WORN_WARN_PCT else "ok",
        f"{said.used_pct}% of its life used{critical}",
        f"less than {WORN_WARN_PCT}%, no warning",
        _WHY_WORN,
        f"back up the state folder and replace the disk; more: sudo smartctl -a /dev/{disk}",
    )


def _card(root: Path, disk: str) -> Finding:
    """eMMC 5.0 (JEDEC): two kinds of memory, each in steps of 10%; 0x0B = more than its life. An SD card is silent."""
    device = f"sys/block/{disk}/device"
    if text(root, f"{device}/type") == "SD":
        found = "an SD card: it does not tell its wear, and is made for cameras, not for years of writing"
        mend = "move the station's state_dir to an NVMe disk or eMMC"
        return judged("disk.wear", disk, "warn", found, "NVMe or eMMC", _WHY_WORN, mend)
    steps = [int(one, 16) for one in (text(root, f"{device}/life_time") or "").split() if _is_hex(one)]
    most = max(steps, default=0)
    if not most:
        return judged("disk.wear", disk, "note", "this eMMC does not tell its wear", f"less than {WORN_WARN_PCT}%")
    used = min(most * 10, WORN_FAIL_PCT + 10)
    level, reserve = _RESERVE.get((text(root, f"{device}/pre_eol_info") or "").lower(), ("ok", ""))
    failing = used > WORN_FAIL_PCT or level == "fail"
    return judged(
        "disk.wear",
        disk,
        "fail" if failing else "warn" if used > WORN_WARN_PCT or level == "warn" else "ok",
        ("all of its life used" if used > WORN_FAIL_PCT else f"{used - 10} to {used}% of its life used")
        + (f"; {reserve}" if reserve else ""),
        f"at most {WORN_WARN_PCT}%",
        _WHY_WORN,
        "back up the state folder and replace the module or the disk",
    )


def _is_hex(word: str) -> bool:
    return word.startswith("0x") and word[2:].isalnum() and all(c in "0123456789abcdefABCDEF" for c in word[2:])
