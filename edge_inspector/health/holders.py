"""Who has a camera open, as far as /proc lets this user see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.health.finding import text

GIGE_LIBRARY = "libpylon_TL_gige"
"""Mapped by every program that uses pylon's GigE cameras: a GigE camera has no file that tells who holds it."""


@dataclass(frozen=True)
class Process:
    """A running program: its number and its command line, shortened."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"

    @property
    def is_station(self) -> bool:
        words = self.command.replace("edge_inspector", "edge-inspector").split()
        return "run" in words and any(word.rpartition("/")[2] == "edge-inspector" for word in words)


def holders_of(root: Path, node: str) -> list[Process]:
    """The processes that have a device file open; those of other users only for root."""
    return [process for process in _others(root) if node in _open_files(root, process.pid)]


def users_of(root: Path, library: str) -> list[Process]:
    """The processes that have loaded a library whose file name begins so; those of other users only for root."""
    return [process for process in _others(root) if f"/{library}" in (text(root, f"proc/{process.pid}/maps") or "")]


def _others(root: Path) -> Iterator[Process]:
    for name in sorted((name for name in os.listdir(root / "proc") if name.isdigit()), key=int):
        command = (text(root, f"proc/{name}/cmdline") or "").replace("\0", " ").strip()
        command = re.sub(r"(?<=://)[^\s/]*@", "***@", command)  # before it is cut: half a login is not known as one
        if command and int(name) != os.getpid():
            yield Process(int(name), command if len(command) <= 100 else command[:97] + "...")


def _open_files(root: Path, pid: int) -> set[str]:
    folder = root / "proc" / str(pid) / "fd"
    try:
        return {os.readlink(folder / name) for name in os.listdir(folder)}
    except OSError:  # another user's process, or one that has just ended
        return set()
