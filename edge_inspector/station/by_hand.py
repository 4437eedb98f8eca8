"""What a command writes into the book of a station that does not run."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from edge_inspector.errors import StorageError
from edge_inspector.station.parts import Parts
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.records import LedgerRecord


def book_by_hand(parts: Parts, records: Callable[[Ledger], Sequence[LedgerRecord]]) -> None:
    """Book what `records` makes of the opened book. StorageError: a station runs on it, or it cannot be written."""
    parts.state_dir.mkdir(parents=True, exist_ok=True)  # a station that has never run has none
    with _nobody_else(parts), parts.ledger as book:
        for record in records(book):
            book.submit(record)
        book.close()
        book.run()
        if book.waiting:
            raise StorageError(f"{book.error}; nothing was written down")


@contextmanager
def _nobody_else(parts: Parts) -> Iterator[None]:
    """Holds the flight record as a running station does; where there is none, none has run since the start."""
    try:
        file = parts.flight.path.open("rb+")
    except FileNotFoundError:
        yield
        return
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                f"a station runs on {parts.flight.path} and does not answer; stop it, or wait until it does"
            ) from None
        yield
