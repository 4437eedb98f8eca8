"""Checks of this machine: limits, clock, disks, memory, processor."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from edge_inspector.health.finding import Finding, judged, text

FILES = 4096
"""Each opening of a camera takes files, and pylon keeps some: pypylon #792 met the usual 1024 after 950 openings."""
FREE_FAIL_MB, FREE_WARN_MB = 200, 2000
"""Below the first the ledger may fail today; below the second there is no room for a shift's pictures."""
JUST_STARTED_S = 120
"""Cameras and switches need a minute or two after power comes back."""
IN_MEMORY = ("tmpfs", "ramfs")
_CAP_SYS_NICE = 23  # linux/capability.h
_CPU = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Place:
    """Where a station keeps its things and for whom it runs: absolute folders and a user's name."""

    state_dir: Path
    runtime_dir: Path
    user: str


def camera_limits(root: Path, user: str, rt_needed: bool, by_unit: bool) -> Iterator[Finding]:
    """`rt_needed`: a GigE camera is there, whose receive thread pylon wants to run in real time.

    `by_unit`: a unit runs the station, whose own number of files counts, and not this shell's.
    """
    if not by_unit:
        yield from _open_files(root)
    yield from _real_time(root, user, rt_needed)


def host_findings(root: Path, place: Place, clock_synced: bool, free_bytes: Callable[[Path], int]) -> Iterator[Finding]:
    """What holds whatever cameras there are."""
    yield _clock(clock_synced)
    yield _disk(place.state_dir, free_bytes(place.state_dir))
    yield _tmpfs(root, place.runtime_dir)
    yield from _swap(root)
    yield _governor(root)
    yield from _uptime(root)


def free_bytes(folder: Path) -> int:
    """On the disk of a folder, or of the first folder above it that exists for this user."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return shutil.disk_usage(there).free


def _limit(root: Path, name: str) -> tuple[str, str] | None:
    """Soft and hard limit of this process."""
    found = re.search(rf"^{name}\s+(\S+)\s+(\S+)", text(root, "proc/self/limits") or "", re.MULTILINE)
    return (found[1], found[2]) if found else None


def _open_files(root: Path) -> Iterator[Finding]:
    limit = _limit(root, "Max open files")
    if limit is None:
        return
    enough = limit[0] == "unlimited" or int(limit[0]) >= FILES
    yield judged(
        "limits.open_files",
        "",
        "ok" if enough else "warn",
        f"{limit[0]}, at most {limit[1]}, in this shell",
        f"at least {FILES}",
        "Each opening of a camera takes files, and pylon keeps some: a station that reopens a bad camera for weeks runs"
        " out of 1024 (pypylon #792).",
        f"ulimit -n {FILES} # in a service: LimitNOFILE={FILES}",
    )


def _real_time(root: Path, user: str, needed: bool) -> Iterator[Finding]:
    limit = _limit(root, "Max realtime priority")
    if limit is None:
        return
    capabilities = re.search(r"^CapEff:\s+([0-9a-f]+)", text(root, "proc/self/status") or "", re.MULTILINE)
    allowed = limit[0] != "0" or bool(capabilities and int(capabilities[1], 16) >> _CAP_SYS_NICE & 1)
    yield judged(
        "limits.real_time",
        "",
        "ok" if allowed else "warn" if needed else "note",
        "allowed" if allowed else "not allowed for this user" + ("" if needed else "; no GigE camera seen"),
        "allowed",
        "pylon receives GigE packets in a thread of real-time priority where it may (Basler's README of pylon for"
        " Linux); otherwise a busy machine loses packets.",
        f"echo '{user} - rtprio 99' | sudo tee /etc/security/limits.d/60-edge-inspector.conf"
        " # then log in again; in a service: LimitRTPRIO=99",
    )


def _clock(synced: bool) -> Finding:
    return judged(
        "clock.synchronised",
        "",
        "ok" if synced else "warn",
        "synchronised" if synced else "not synchronised, or a container that may not ask",
        "synchronised",
        "Results carry a wall clock time, and a Jetson without a clock battery starts in 1970; old pictures are not"
        " removed by age meanwhile.",
        "sudo timedatectl set-ntp true",
    )


def _disk(folder: Path, free: int) -> Finding:
    free_mb = free // 2**20
    return judged(
        "disk.free",
        str(folder),
        "ok" if free_mb >= FREE_WARN_MB else "warn" if free_mb >= FREE_FAIL_MB else "fail",
        f"{free_mb} MB free",
        f"at least {FREE_WARN_MB} MB",
        "Without room the ledger cannot book results: the station holds 10 000 of them, then it is not READY.",
        f"sudo du -xh --max-depth=2 {quote(str(folder))} | sort -h | tail # and remove what is not needed",
    )


def _tmpfs(root: Path, folder: Path) -> Finding:
    kind = _filesystem(root, folder)
    memory = next((path for path in ("/run", "/dev/shm") if _filesystem(root, Path(path)) in IN_MEMORY), None)
    return judged(
        "disk.runtime",
        str(folder),
        "ok" if kind in IN_MEMORY else "warn",
        kind,
        "tmpfs",
        "Each trigger and each verdict is written here before the PLC is told: on a disk that is wear, and a pause now"
        " and then.",
        f'runtime_dir = "{memory}/edge-inspector" in [station]; in a service: RuntimeDirectory=edge-inspector'
        if memory
        else f"sudo mount -t tmpfs -o size=64M tmpfs {quote(str(folder))}",
    )


def _filesystem(root: Path, folder: Path) -> str:
    """The type of the file system that holds a folder; of several mounted over each other the last counts."""
    best, kind = -1, "unknown"
    for line in (text(root, "proc/self/mounts") or "").splitlines():
        _, point, this_kind = line.split()[:3]
        mounted = Path(point.replace("\\040", " "))
        if (folder == mounted or mounted in folder.parents) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), this_kind
    return kind


def _swap(root: Path) -> Iterator[Finding]:
    said = text(root, "proc/swaps")
    if said is None:
        return
    areas = [line.split() for line in said.splitlines()[1:]]
    used_kb = {area[0]: int(area[3]) for area in areas if "zram" not in area[0]}
    on_disk = sum(used_kb.values())
    yield judged(
        "memory.swap",
        "",
        "warn" if on_disk else "ok",
        f"{on_disk // 1024} MB swapped out to {', '.join(used_kb)}" if on_disk else "nothing swapped out to a disk",
        "nothing",
        "A verdict whose memory must come back from a disk is late.",
        "free memory, then: sudo swapoff -a && sudo swapon -a",
    )


def _governor(root: Path) -> Finding:
    cores = [f"{_CPU}/{path.name}/cpufreq" for path in sorted((root / _CPU).glob("cpu[0-9]*"))]
    found = {core: said for core in cores if (said := text(root, f"{core}/scaling_governor"))}
    if not found:
        return judged("cpu.governor", "", "note", "no frequency control here, as in a virtual machine", "performance")
    slow = {said for core, said in found.items() if said != "performance" and not _locked(root, core)}
    return judged(
        "cpu.governor",
        "",
        "warn" if slow else "ok",
        ", ".join(sorted(set(found.values()))) + ("" if slow or set(found.values()) == {"performance"} else ", locked"),
        "performance, or locked clocks",
        "Other governors slow the processor down between parts; the next part pays for it.",
        f"echo performance | sudo tee /{_CPU}/cpu*/cpufreq/scaling_governor",
    )


def _locked(root: Path, core: str) -> bool:
    """As by jetson_clocks: the governor has one frequency to choose from."""
    lowest = text(root, f"{core}/scaling_min_freq")
    return lowest is not None and lowest == text(root, f"{core}/scaling_max_freq")


def _uptime(root: Path) -> Iterator[Finding]:
    said = text(root, "proc/uptime")
    if said is not None:
        up_s = int(float(said.split()[0]))
        shown = f"{up_s // 86400} days {up_s // 3600 % 24} h {up_s // 60 % 60} min"
        young = "; cameras and switches may still be starting" if up_s < JUST_STARTED_S else ""
        yield judged("machine.up", "", "note" if young else "ok", shown + young)
