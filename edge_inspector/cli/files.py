"""Files that commands write: asked about before the work, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_inspector.errors import ConfigError


def check_free(paths: Sequence[Path], force: bool) -> None:
    """ConfigError when one of them exists already, cannot lie where it is meant to, or is named twice."""
    for i, path in enumerate(paths):
        if _is(path) and not force:
            raise ConfigError(f"{path} exists already; give another name, or --force to overwrite it")
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; expected the name of a file")
        if any(path.resolve() == other.resolve() for other in paths[:i]):
            raise ConfigError(f"{path} is named twice; each output needs a file of its own")
        folder = next((one for one in path.parents if one.exists()), path.parent)
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ConfigError(f"{path} cannot be written: {folder} is not a folder, or this user may not write there")


def write_whole(path: Path, content: bytes) -> None:
    """All of it or nothing: what was there stays until the new file is whole. Its folder is made."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}; free space, or give another name") from exc


def _is(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:  # a name that is too long, a folder that may not be looked into
        raise ConfigError(f"{path}: cannot be a file: {exc.strerror}; give another name") from exc
