"""Results as the web service and the command line read them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edge_inspector.datatypes import Defect, Evaluation, InspectionResult, Mode, Reason, SavedImage, Trigger
from edge_inspector.errors import StorageError
from edge_inspector.store.book_file import connect_read_only
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.reading import StoredImage, read_image, read_result, read_results, snapshot, utc_text
from edge_inspector.store.records import (
    BookAcknowledged,
    BookImage,
    BookImageRemoved,
    BookResult,
    BookTold,
    BookTrigger,
)

COUNT = 1203  # more than the defects of one query are fetched for
BEGIN = datetime(2026, 11, 22, 6, tzinfo=timezone.utc)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", ["mqtt"]) as opened:
        yield opened


def book(ledger: Ledger, *records: Any) -> sqlite3.Connection:
    for record in records:
        ledger.submit(record)
    ledger.close()
    ledger.run()
    return connect_read_only(ledger.path)


@pytest.fixture
def full(
    ledger: Ledger, trigger: Callable[..., Trigger], result: Callable[..., InspectionResult]
) -> Iterator[sqlite3.Connection]:
    """Part n comes n seconds after `BEGIN`; every third has two defects; part ids are A, B, C, D in turn."""
    records: list[Any] = []
    for n in range(1, COUNT + 1):
        wall = utc_text(BEGIN + timedelta(seconds=n))
        one = trigger(n, part_id="ABCD"[n % 4], wall_utc=wall)
        records += [BookTrigger(None, one), BookResult(None, result(one, 2 if n % 3 == 0 else 0), told=True)]
    with closing(book(ledger, *records)) as connection:
        yield connection


def test_a_result_comes_back_as_it_was_booked(
    ledger: Ledger,
    trigger: Callable[..., Trigger],
    result: Callable[..., InspectionResult],
    saved: Callable[..., SavedImage],
) -> None:
    one = trigger(7, part_id="größe;\n7", attempt=3, mode=Mode.GOLDEN, clock_synced=False)
    defects = (
        Defect("spur", 3, 0.75, (1.5, 2.0, 3.25, 4.0), "top", (0.5, 0.25)),
        Defect("short", 1, 0.5, (5.0, 6.0, 7.0, 8.0), "side"),
    )
    made = replace(
        result(one),
        evaluation=Evaluation.NOT_OK,
        reason=Reason.DEFECT,
        reason_text="spur",
        defects=defects,
        views=("top", "side"),
        views_judged=2,
        frame_ids=(41, -1),
        thresholds=(0.25, 0.5),
        margin=0.125,
    )
    image = saved(seq=7, result_id=one.result_id, path="a/7.png", why=("reject", "near_margin"))
    gone = saved(seq=7, result_id=one.result_id, path="a/7.jpg", kind="overlay")
    with closing(
        book(
            ledger,
            BookTrigger(None, one),
            BookResult(None, made, told=None, replay=True),
            BookTold(one.result_id),
            BookAcknowledged((one.result_id,), "2026-11-22T00:00:01.000Z"),
            BookImage(image),
            BookImage(gone),
            BookImageRemoved(("a/7.jpg",), "2026-11-23T00:00:00.000Z"),
        )
    ) as connection:
        read = read_result(connection, one.result_id)
        assert read is not None
        for field in (
            "seq",
            "wall_utc",
            "clock_synced",
            "trigger_seq",
            "part_id",
            "attempt",
            "mode",
            "recipe",
            "recipe_no",
        ):
            assert getattr(read, field) == getattr(one, field), field
        for field in (
            "evaluation",
            "reason",
            "reason_no",
            "reason_text",
            "defects",
            "views",
            "views_judged",
            "frame_ids",
        ):
            assert getattr(read, field) == getattr(made, field), field
        for field in ("result_id", "thresholds", "model_hash", "cycle_ms", "stage_ns", "margin"):
            assert getattr(read, field) == getattr(made, field), field
        assert (read.boot_id, read.replayed, read.told) == (one.boot_id, True, True)
        assert read.acknowledged_utc == "2026-11-22T00:00:01.000Z"
        assert read.images == (
            StoredImage(**vars(image), id=1, removed_utc=None),
            StoredImage(**vars(gone), id=2, removed_utc="2026-11-23T00:00:00.000Z"),
        )
        assert read_image(connection, 2) == read.images[1]


def test_what_is_not_known_is_none(
    ledger: Ledger, trigger: Callable[..., Trigger], result: Callable[..., InspectionResult]
) -> None:
    one = trigger(1)
    with closing(book(ledger, BookTrigger(None, one), BookResult(None, result(one), told=None))) as connection:
        read = read_result(connection, one.result_id)
        assert read is not None
        assert (read.told, read.acknowledged_utc, read.margin, read.images, read.frame_ids) == (
            None,
            None,
            None,
            (),
            (),
        )


def test_a_part_without_a_result_and_an_unknown_number_are_none(
    ledger: Ledger, trigger: Callable[..., Trigger]
) -> None:
    with closing(book(ledger, BookTrigger(None, trigger(1)))) as connection:
        assert read_result(connection, trigger(1).result_id) is None
        assert read_results(connection) == []
        assert read_image(connection, 1) is None


@pytest.mark.parametrize(
    ("asked", "seqs"),
    [
        pytest.param({"limit": 3}, [1203, 1202, 1201], id="the newest first"),
        pytest.param({"limit": 3, "before_seq": 5}, [4, 3, 2], id="the page after 5"),
        pytest.param({"limit": 3, "after_seq": 5}, [6, 7, 8], id="what has come since 5, the oldest first"),
        pytest.param({"after_seq": 5, "before_seq": 8}, [6, 7], id="between two"),
        pytest.param({"since": BEGIN + timedelta(seconds=1202)}, [1203, 1202], id="since is included"),
        pytest.param({"until": BEGIN + timedelta(seconds=3)}, [2, 1], id="until is not"),
        pytest.param(
            {"since": (BEGIN + timedelta(seconds=1202)).astimezone(timezone(timedelta(hours=9)))},
            [1203, 1202],
            id="a time of another zone",
        ),
        pytest.param({"limit": 2, "evaluation": Evaluation.NOT_OK}, [1203, 1200], id="rejects"),
        pytest.param({"evaluation": Evaluation.UNDEFINED}, [], id="none of this kind"),
        pytest.param({"part_id": "B", "before_seq": 10}, [9, 5, 1], id="one part"),
        pytest.param({"part_id": "A", "evaluation": Evaluation.NOT_OK, "before_seq": 30}, [24, 12], id="both"),
    ],
)
def test_results_are_those_that_were_asked_for(
    full: sqlite3.Connection, asked: dict[str, Any], seqs: list[int]
) -> None:
    assert [one.seq for one in read_results(full, **asked)] == seqs


def test_every_result_has_its_own_defects_however_many_are_read(full: sqlite3.Connection) -> None:
    read = read_results(full, limit=2000)
    assert [one.seq for one in read] == list(range(COUNT, 0, -1))
    assert [len(one.defects) for one in read] == [2 if one.seq % 3 == 0 else 0 for one in read]


def test_a_limit_below_one_and_a_time_without_a_zone_are_refused(full: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        read_results(full, limit=0)
    with pytest.raises(ValueError, match="no time zone"):
        read_results(full, since=datetime(2026, 11, 22))


def test_a_snapshot_does_not_see_what_is_booked_meanwhile(
    tmp_path: Path, trigger: Callable[..., Trigger], result: Callable[..., InspectionResult]
) -> None:
    with Ledger(tmp_path / "ledger.sqlite", []) as ledger, closing(connect_read_only(ledger.path)) as connection:
        with snapshot(connection):
            assert read_results(connection) == []
            book(ledger, BookResult(None, result(trigger(1)), told=True, replay=True)).close()
            assert read_results(connection) == []
        assert len(read_results(connection)) == 1


def test_a_reason_of_newer_software_is_told_and_not_guessed(full: sqlite3.Connection, tmp_path: Path) -> None:
    full.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as writer, writer:
        writer.execute("UPDATE results SET reason = 999 WHERE seq = 5")
    with closing(connect_read_only(tmp_path / "ledger.sqlite")) as connection:
        assert len(read_results(connection, after_seq=5, limit=2)) == 2
        with pytest.raises(StorageError, match=r"ledger\.sqlite holds what this version does not know: 999"):
            read_results(connection, after_seq=4)


def test_a_book_that_cannot_be_read_is_told_by_its_name(full: sqlite3.Connection, tmp_path: Path) -> None:
    full.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as writer:
        writer.execute("DROP TABLE defects")
    with (
        closing(connect_read_only(tmp_path / "ledger.sqlite")) as connection,
        pytest.raises(StorageError, match=r"ledger\.sqlite cannot be read: no such table: defects"),
    ):
        read_results(connection)
