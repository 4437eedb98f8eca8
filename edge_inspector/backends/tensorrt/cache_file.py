"""A cache beside the engines that may be missing, old or damaged, and is written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger()


def beside(engine_dir: Path, kind: str, facts: Mapping[str, str]) -> Path:
    """Where the cache of this device and these versions lies, whatever the options: one for all engines of a store.

    An engine is built in a hidden folder within the store, which goes away with all that lies in it.
    """
    store = engine_dir.parent.parent if engine_dir.parent.name.startswith(".") else engine_dir.parent
    lasting = sorted((name, value) for name, value in facts.items() if not name.startswith("option."))
    return store / f"{kind}-{hashlib.sha256(repr(lasting).encode()).hexdigest()[:16]}.cache"


def read(path: Path) -> bytes:
    """What is there; empty when nothing is."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as exc:
        log.warning("engine_cache_unreadable", path=str(path), error=str(exc))
        return b""


def write(path: Path, content: bytes) -> None:
    """Replace it at once, unless it is the same. A full disk costs the next build time alone: it is logged."""
    if read(path) == content:
        return  # each start has it to write, and a station starts often
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as exc:
        log.warning("engine_cache_not_written", path=str(path), error=str(exc))
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
