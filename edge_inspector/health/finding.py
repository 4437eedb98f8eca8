"""What a check of this machine found, and how the checks read its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "note", "warn", "fail"]
"""note: nothing to judge. warn: parts may be lost under load. fail: the camera or the station does not work so."""


@dataclass(frozen=True)
class Finding:
    """One check of one thing; `check` and `subject` are stable names, `subject` empty = the machine itself.

    `why` says what goes wrong otherwise and who says so; `remedy` is the command that mends it, or what to do by hand.
    Both are empty when nothing is to be done.
    """

    check: str
    subject: str
    level: Level
    found: str
    expected: str = ""
    why: str = ""
    remedy: str = ""


def judged(
    check: str, subject: str, level: Level, found: str, expected: str = "", why: str = "", remedy: str = ""
) -> Finding:
    """A finding; one that is in order needs neither a reason nor a remedy."""
    if level == "ok":
        return Finding(check, subject, level, found, expected)
    return Finding(check, subject, level, found, expected, why, remedy)


def text(root: Path, path: str) -> str | None:
    """What a file of /proc or /sys says, without the line end; None when this machine or user has none."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def number(root: Path, path: str) -> int | None:
    """As `text`, for a file of one whole number; None for anything else, such as the speed of a link that is down."""
    said = text(root, path)
    return int(said) if said is not None and re.fullmatch(r"-?[0-9]{1,20}", said) else None


def keep_sysctl(key: str, value: int) -> str:
    """The command that sets a kernel parameter now and at each start; with slashes, for a name with dots."""
    file = f"/etc/sysctl.d/60-{key.replace('/', '.')}.conf"
    return f"echo '{key} = {value}' | sudo tee {file} && sudo sysctl -p {file}"
