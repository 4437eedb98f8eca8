"""The secrets of a station: those in its file, and in the files that it names."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_inspector.cli.doctor_scrub import SECRET_FILES, is_secret, logins, names_a_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 1_000_000
"""Of a station file or a file of secrets."""
PIECE = 8
"""Characters: services log a part of their URL, such as /services/T1JJ3T3L2/..., and shorter ones are words."""
_KEY_VALUE = re.compile(r"\s*[\"']?(?:[\w-]+[\"']?\s*\.\s*[\"']?)*([\w-]+)[\"']?\s*=\s*(.+)")
_PIECES = re.compile(r"[/?&=#:@,\s]+")


def end_of(file: Path, most: int, follow: bool = True) -> bytes:
    """The last bytes of a plain file. OSError: it is none (a pipe would wait for ever), or cannot be read.

    `follow` False: nor is a link one: whoever may write into a folder may let it point at a file that only root reads.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    with open(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{file}: not a plain file")
        opened.seek(max(0, found.st_size - most))
        return opened.read(most)


def read_toml(file: Path) -> dict[str, Any]:
    """The file as it is written. OSError, ValueError (no TOML)."""
    try:
        return tomllib.loads(_text(file))
    except RecursionError as exc:
        raise ValueError(f"{file}: brackets in brackets without end") from exc


def secrets_in(file: Path, beside: Path | None = None) -> frozenset[str]:
    """Every secret of a station file, also of one that is no TOML; none when it cannot be read.

    `beside`: the file that a copy was made of.
    """
    folder = Path(os.path.realpath(beside or file)).parent
    try:
        return secrets_of(read_toml(file), folder)
    except OSError:
        return frozenset()
    except ValueError:
        return _of_lines(_text(file), folder)


def secrets_of(document: Mapping[str, Any], beside: Path) -> frozenset[str]:
    """Every secret that the file holds, or that stands in a file that it names; what cannot be read holds none."""
    return frozenset(one for one in _secrets(document, "", beside, inside=False) if one)


def _secrets(value: object, key: str, beside: Path, inside: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        within = inside or (is_secret(key) and not names_a_file(key, "/"))
        for name, one in value.items():
            yield from _secrets(one, str(name), beside, within)
    elif isinstance(value, list):
        for one in value:
            yield from _secrets(one, key, beside, inside)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield from logins(str(value))
        file = beside / os.path.expanduser(str(value))
        if key in SECRET_FILES and os.path.exists(file):
            yield from _lines(file)
        elif (inside or is_secret(key)) and not names_a_file(key, value):
            yield str(value)


def _of_lines(text: str, beside: Path) -> frozenset[str]:
    """Of a file with a mistake in it, line by line."""
    found: set[str] = set()
    for line in text.splitlines():
        found.update(logins(line))
        if match := _KEY_VALUE.match(line):
            try:
                value = tomllib.loads(f"x = {match[2]}")["x"]
            except (ValueError, RecursionError):
                value = match[2].strip().strip("\"'")
            found.update(_secrets(value, match[1], beside, inside=False))
    return frozenset(found - {""})


def _lines(file: Path) -> Iterator[str]:
    try:
        lines = _text(file).splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        yield line.strip()
        yield from logins(line.strip())
        if "://" in line:
            yield from (one for one in _PIECES.split(line) if _is_token(one))


def _is_token(piece: str) -> bool:
    """Neither a word nor the name of a host."""
    return len(piece) >= PIECE and "." not in piece and (any(map(str.isdigit, piece)) or piece != piece.lower())


def _text(file: Path) -> str:
    return end_of(file, MOST_BYTES).decode("utf-8-sig", "replace")
