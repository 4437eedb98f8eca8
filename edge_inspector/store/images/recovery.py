"""At the start: the image folder and the ledger agree again after a kill, a power cut or somebody's hand."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from edge_inspector.datatypes import SavedImage
from edge_inspector.store.images import encode, files
from edge_inspector.store.images.files import Stored
from edge_inspector.store.ledger import connect_read_only

log = structlog.get_logger()
_SAVED = TypeAdapter(SavedImage)


def reconcile(
    folder: Path,
    ledger: Path,
    saved: Callable[[SavedImage], None],
    removed: Callable[[tuple[str, ...]], None],
) -> None:
    """Book the files of this book that it does not know; damaged ones are deleted. OSError.

    Of pictures that the book has and the folder has not any more, `removed` tells. What belongs to another book stays:
    that was set aside, and may be repaired. Without a ledger that can be read, nothing is done.
    """
    try:
        with closing(connect_read_only(ledger)) as connection:
            _compare(folder, connection, saved, removed)
    except sqlite3.Error as exc:
        log.warning("images_not_compared", ledger=str(ledger), error=str(exc))


def _compare(
    folder: Path,
    connection: sqlite3.Connection,
    saved: Callable[[SavedImage], None],
    removed: Callable[[tuple[str, ...]], None],
) -> None:
    book = connection.execute("SELECT value FROM meta WHERE name = 'book'").fetchone()[0]
    there: set[str] = set()
    for day in files.all_stored(folder):
        if not day:
            continue
        prefix = day[0].path.rpartition("/")[0]
        there.add(prefix)
        rows = connection.execute(
            "SELECT path, removed_utc IS NULL FROM images WHERE path > ? AND path < ?",
            (f"{prefix}/", f"{prefix}0"),  # "0" follows "/"
        )
        known = dict(rows.fetchall())
        _book([one for one in day if one.book == book and one.path not in known], folder, saved)
        _tell_gone({path for path, stays in known.items() if stays}.difference(one.path for one in day), removed)
    stays = connection.execute("SELECT path FROM images WHERE removed_utc IS NULL")
    _tell_gone({path for (path,) in stays if path.rpartition("/")[0] not in there}, removed)


def _book(unknown: Sequence[Stored], folder: Path, saved: Callable[[SavedImage], None]) -> None:
    """A file carries all that the ledger wants to know of it."""
    for one in unknown:
        image = _image_of(one, (folder / one.path).read_bytes())
        if image is None:
            log.warning("damaged_image_deleted", path=one.path)
            (folder / one.path).unlink()
        else:
            saved(image)
    if unknown:
        log.info("images_booked_again", count=len(unknown))


def _image_of(stored: Stored, content: bytes) -> SavedImage | None:
    """None = the file is not whole, or not the one that its name says."""
    label = encode.label_of(content)
    if label is None:
        return None
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        image = _SAVED.validate_python({**label, "path": stored.path, "sha256": sha256, "size_bytes": len(content)})
    except ValueError:
        return None
    name = stored.path.rpartition("/")[2]
    return image if name.startswith(f"{image.result_id}.{image.camera}.{image.kind}.") else None


def _tell_gone(paths: set[str], removed: Callable[[tuple[str, ...]], None]) -> None:
    if paths:
        log.info("images_gone", count=len(paths))
        removed(tuple(sorted(paths)))
