"""The ledger as the web service reads it: read-only, never for long."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_inspector.errors import StorageError
from edge_inspector.store.ledger import connect_read_only

LONGEST_S = 5.0
"""A question that takes longer is given up: an old snapshot keeps the station from tidying up its book."""
_LOOK_EVERY = 10_000  # steps of SQLite's machine, about a millisecond


class Book:
    """Opened for each question: the station may have set a damaged file aside and begun another. Any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def open(self, longest_s: float = LONGEST_S) -> Iterator[sqlite3.Connection]:
        """StorageError: it is not there, damaged, or the question takes too long."""
        end = time.monotonic() + longest_s
        try:
            connection = connect_read_only(self.path)
        except sqlite3.Error as exc:
            raise StorageError(f"ledger {self.path} cannot be opened: {exc}; has the station run yet?") from exc
        try:
            connection.set_progress_handler(lambda: time.monotonic() > end, _LOOK_EVERY)
            yield connection
        except sqlite3.Error as exc:
            raise StorageError(f"ledger {self.path} cannot be read: {exc}") from exc
        finally:
            connection.close()
