"""What a power cut leaves of the ledger's files: the last writes are missing, torn, or came in another order."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_inspector.datatypes import InspectionResult, OutboxMessage, Trigger
from edge_inspector.store.books import read_books, verdicts
from edge_inspector.store.ledger import BookResult, BookTrigger, Ledger

PARTS = 40
WAIT_S = 10.0


@pytest.fixture
def synced(
    tmp_path: Path,
    trigger: Callable[..., Trigger],
    result: Callable[..., InspectionResult],
    message: Callable[..., OutboxMessage],
) -> tuple[Path, list[tuple[int, int]]]:
    """The files as they stood before the power went, and how much of the log was on the disk when each part was booked.

    One part at a time, so that each has a transaction of its own; nothing was copied from the log into the file.
    """
    path, log = tmp_path / "ledger", tmp_path / "ledger-wal"
    on_disk: list[tuple[int, int]] = []
    booked = threading.Semaphore(0)

    def note(seq: int) -> None:
        on_disk.append((seq, log.stat().st_size))
        booked.release()

    with Ledger(path, ["mqtt"], on_booked=note) as ledger:
        writer = threading.Thread(target=ledger.run, name="ledger")
        writer.start()
        for seq in range(1, PARTS + 1):
            ledger.submit(BookTrigger(seq, trigger(seq)))
            ledger.submit(BookResult(seq, result(trigger(seq), defects=2), True, (message(seq),)))
            assert booked.acquire(timeout=WAIT_S)
        cut = tmp_path / "cut"
        cut.mkdir()
        for file in (path, log):
            shutil.copy(file, cut)
        ledger.close()
        writer.join(WAIT_S)
    return cut, on_disk


def cut_log(data: bytes, at: int, kind: str, chance: random.Random) -> bytes:
    """What the disk has of the log when all before `at` was synced."""
    if kind == "missing":
        return data[:at]
    if kind == "torn":
        return data[: at + chance.randrange(len(data) - at + 1)]
    if kind == "zeros":  # the size came, the content did not
        return data[:at] + bytes(len(data) - at)
    blocks = [data[i : i + 4096] for i in range(at, len(data), 4096)]  # some came, some did not
    return data[:at] + b"".join(block if chance.random() < 0.5 else bytes(len(block)) for block in blocks)


@pytest.mark.parametrize("kind", ["missing", "torn", "zeros", "any order"])
def test_what_was_synced_is_there_whole_and_of_the_rest_each_part_is_there_whole_or_not_at_all(
    tmp_path: Path, synced: tuple[Path, list[tuple[int, int]]], kind: str
) -> None:
    cut, on_disk = synced
    chance = random.Random(kind)
    data = (cut / "ledger-wal").read_bytes()
    for seq, at in chance.sample(on_disk[:-1], 12):
        folder = tmp_path / f"{seq}"
        folder.mkdir()
        path = folder / "ledger"
        shutil.copy(cut / "ledger", path)
        (folder / "ledger-wal").write_bytes(cut_log(data, at, kind, chance))
        with Ledger(path, ["mqtt"]) as ledger:
            assert ledger.set_aside is None
            assert ledger.next_seq >= seq + 1
            waiting = [m.seq for m in ledger.pending("mqtt", 1000)]
        booked = [row.seq for row in verdicts(path).values()]
        assert booked == list(range(1, len(booked) + 1))
        assert len(booked) >= seq
        assert waiting == booked
        assert all(len(row.defects) == 2 for row in verdicts(path).values())
        books = read_books(path)
        assert books.unknown in ((), (len(booked) + 1,))  # its trigger came, its verdict did not
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
