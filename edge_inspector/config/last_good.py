"""The station file with which the station was READY last: kept in the state folder for people, never run by itself."""

from __future__ import annotations

import os
import re
from pathlib import Path

NAME = "station.last-good.toml"
_STATE_DIR = re.compile(r"""^\s*state_dir\s*=\s*["']([^"'\n]+)["']""", re.MULTILINE)
_MOST_BYTES = 10_000_000
"""Of a broken file that is searched for its state folder."""


def keep(state_dir: Path, content: bytes) -> None:
    """Put it there, whole or not at all, also when the power fails. OSError when it cannot be written."""
    path, new = state_dir / NAME, state_dir / f".{NAME}.new"
    if path.is_file() and path.read_bytes() == content:
        return
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def find(station_file: Path) -> Path | None:
    """Where another content than that of this file is kept, which may be broken; None = nowhere that it could be."""
    beside = Path(os.path.realpath(station_file)).parent  # which takes a link to itself as it is
    content = _content(station_file)
    folders = [os.environ.get("STATE_DIRECTORY", ""), *_written(content), "state"]
    for folder in folders:
        path = beside / folder / NAME
        if folder and _is_file(path):
            return path if _content(path) != content else None
    return None


def _is_file(path: Path) -> bool:
    """False also where this user may not look, and for what no path can be: a broken file says anything."""
    try:
        return path.is_file()
    except OSError:
        return False


def _content(station_file: Path) -> bytes:
    """Empty when it cannot be read."""
    try:
        with station_file.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""


def _written(content: bytes) -> list[str]:
    """What looks like the key `station.state_dir`, in a file that is perhaps no TOML at all."""
    return _STATE_DIR.findall(content.decode("utf-8", "replace"))
