"""The results in the book, as they were booked: for the web service and the command line."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from edge_inspector.datatypes import Defect, Evaluation, Mode, Reason, SavedImage
from edge_inspector.errors import StorageError

_TOGETHER = 500  # results whose defects and pictures are fetched by one query
_RESULT = (
    "SELECT seq, result_id, wall_utc, clock_synced, trigger_seq, part_id, attempt, mode, recipe, recipe_no, boot_id, "
    "evaluation, reason, reason_no, reason_text, views, frame_ids, views_judged, thresholds, model_hash, cycle_ms, "
    "stage_ns, replayed, told, acknowledged_utc, margin, rule, peaks, policy FROM results JOIN triggers USING (seq)"
)
_IMAGE = (
    "SELECT id, seq, result_id, camera, kind, why, path, sha256, size_bytes, lossless, pixel_format, height, width, "
    "frame_id, wall_utc, clock_synced, every_nth, removed_utc FROM images"
)


@dataclass(frozen=True, kw_only=True)
class StoredImage(SavedImage):
    """A picture with its number in the book; `removed_utc`: since when its file is gone, None = it is there."""

    id: int
    removed_utc: str | None


@dataclass(frozen=True)
class StoredResult:
    """One result with its trigger, as `InspectionResult` and `Trigger` had them.

    `told`: whether the PLC could read it, None = nobody knows; `acknowledged_utc`: when the PLC had read it;
    `replayed`: it was booked from the flight record after a restart; `stage_ns` are nanoseconds by stage.
    """

    seq: int
    result_id: str
    wall_utc: str
    clock_synced: bool
    trigger_seq: int
    part_id: str
    attempt: int
    mode: Mode
    recipe: str
    recipe_no: int
    boot_id: int
    evaluation: Evaluation
    reason: Reason
    reason_no: int
    reason_text: str
    views: tuple[str, ...]
    frame_ids: tuple[int, ...]
    views_judged: int
    thresholds: tuple[float, ...]
    model_hash: str
    cycle_ms: float
    stage_ns: Mapping[str, int]
    replayed: bool
    told: bool | None
    acknowledged_utc: str | None
    margin: float | None
    rule: str
    peaks: tuple[float, ...]
    policy: str
    defects: tuple[Defect, ...]
    images: tuple[StoredImage, ...]


def read_result(connection: sqlite3.Connection, result_id: str) -> StoredResult | None:
    """The result, or None when the book has none of this id (yet). StorageError: the book cannot be read."""
    found = _read(connection, f"{_RESULT} WHERE result_id = ?", (result_id,))
    return found[0] if found else None


def read_results(
    connection: sqlite3.Connection,
    *,
    before_seq: int | None = None,
    after_seq: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    evaluation: Evaluation | None = None,
    part_id: str | None = None,
    limit: int = 100,
) -> list[StoredResult]:
    """At most `limit` results that fit all that is asked for, newest first; oldest first where `after_seq` is given.

    `since` is included, `until` and the two numbers are not; both times are aware, and compared with the station's own
    clock at the time, which may have been wrong (`clock_synced`). StorageError: the book cannot be read.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}, expected at least 1")
    asked: list[tuple[str, object]] = [
        ("seq < ?", before_seq),
        ("seq > ?", after_seq),
        ("wall_utc >= ?", None if since is None else utc_text(since)),
        ("wall_utc < ?", None if until is None else utc_text(until)),
        ("evaluation = ?", None if evaluation is None else int(evaluation)),
        ("part_id = ?", part_id),
    ]
    given = [(condition, value) for condition, value in asked if value is not None]
    where = f" WHERE {' AND '.join(condition for condition, _ in given)}" if given else ""
    order = "DESC" if after_seq is None else "ASC"
    query = f"{_RESULT}{where} ORDER BY seq {order} LIMIT ?"
    return _read(connection, query, [*(value for _, value in given), limit])


def read_image(connection: sqlite3.Connection, number: int) -> StoredImage | None:
    """The picture of this number (`StoredImage.id`), or None. StorageError: the book cannot be read."""
    with snapshot(connection):
        row = _rows(connection).execute(f"{_IMAGE} WHERE id = ?", (number,)).fetchone()
    return None if row is None else _image(row)


def utc_text(moment: datetime) -> str:
    """An aware time as the book writes it, to the millisecond: texts of this form sort as their times do."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; give it one")
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside is of one moment; inside another snapshot it is that one's.

    StorageError instead of sqlite3.Error.
    """
    mine = not connection.in_transaction
    try:
        if mine:
            connection.execute("BEGIN")
        yield
    except sqlite3.Error as exc:
        raise StorageError(f"ledger {_name(connection)} cannot be read: {exc}") from exc
    finally:
        if mine and connection.in_transaction:
            connection.execute("ROLLBACK")


def defects_of(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, tuple[Defect, ...]]:
    """By seq, in the order of the result; those without a defect are missing."""
    found: dict[int, list[Defect]] = defaultdict(list)
    query = "SELECT seq, class_name, class_id, score, x, y, width, height, camera, width_mm, height_mm FROM defects"
    for row in _of_each(connection, query, seqs, "number"):
        size_mm = None if row["width_mm"] is None else (row["width_mm"], row["height_mm"])
        box = (row["x"], row["y"], row["width"], row["height"])
        found[row["seq"]].append(Defect(row["class_name"], row["class_id"], row["score"], box, row["camera"], size_mm))
    return {seq: tuple(defects) for seq, defects in found.items()}


def _read(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> list[StoredResult]:
    with snapshot(connection):
        rows = _rows(connection).execute(query, values).fetchall()
        seqs = [row["seq"] for row in rows]
        defects, images = defects_of(connection, seqs), _images_of(connection, seqs)
    try:
        return [_result(row, defects.get(row["seq"], ()), images.get(row["seq"], ())) for row in rows]
    except ValueError as exc:
        remedy = "was it written by a newer edge-inspector? Read it with that one"
        raise StorageError(
            f"ledger {_name(connection)} holds what this version does not know: {exc}; {remedy}"
        ) from exc


def _result(row: sqlite3.Row, defects: tuple[Defect, ...], images: tuple[StoredImage, ...]) -> StoredResult:
    return StoredResult(
        seq=row["seq"],
        result_id=row["result_id"],
        wall_utc=row["wall_utc"],
        clock_synced=bool(row["clock_synced"]),
        trigger_seq=row["trigger_seq"],
        part_id=row["part_id"],
        attempt=row["attempt"],
        mode=Mode(row["mode"]),
        recipe=row["recipe"],
        recipe_no=row["recipe_no"],
        boot_id=row["boot_id"],
        evaluation=Evaluation(row["evaluation"]),
        reason=Reason(row["reason"]),
        reason_no=row["reason_no"],
        reason_text=row["reason_text"],
        views=tuple(json.loads(row["views"])),
        frame_ids=tuple(json.loads(row["frame_ids"])),
        views_judged=row["views_judged"],
        thresholds=tuple(json.loads(row["thresholds"])),
        model_hash=row["model_hash"],
        cycle_ms=row["cycle_ms"],
        stage_ns=json.loads(row["stage_ns"]),
        replayed=bool(row["replayed"]),
        told=None if row["told"] is None else bool(row["told"]),
        acknowledged_utc=row["acknowledged_utc"],
        margin=row["margin"],
        rule=row["rule"],
        peaks=tuple(json.loads(row["peaks"])),
        policy=row["policy"],
        defects=defects,
        images=images,
    )


def _images_of(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, tuple[StoredImage, ...]]:
    """By seq, in the order in which they were booked; those without a picture are missing."""
    found: dict[int, list[StoredImage]] = defaultdict(list)
    for row in _of_each(connection, _IMAGE, seqs, "id"):
        found[row["seq"]].append(_image(row))
    return {seq: tuple(images) for seq, images in found.items()}


def _image(row: sqlite3.Row) -> StoredImage:
    return StoredImage(
        id=row["id"],
        seq=row["seq"],
        result_id=row["result_id"],
        camera=row["camera"],
        kind=row["kind"],
        why=tuple(json.loads(row["why"])),
        path=row["path"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        lossless=bool(row["lossless"]),
        pixel_format=row["pixel_format"],
        image_hw=(row["height"], row["width"]),
        frame_id=row["frame_id"],
        wall_utc=row["wall_utc"],
        clock_synced=bool(row["clock_synced"]),
        every_nth=row["every_nth"],
        removed_utc=row["removed_utc"],
    )


def _of_each(connection: sqlite3.Connection, query: str, seqs: Sequence[int], order: str) -> Iterator[sqlite3.Row]:
    """The rows of a table that belong to any of `seqs`."""
    for first in range(0, len(seqs), _TOGETHER):
        some = seqs[first : first + _TOGETHER]
        places = ",".join("?" * len(some))
        yield from _rows(connection).execute(f"{query} WHERE seq IN ({places}) ORDER BY seq, {order}", some)


def _rows(connection: sqlite3.Connection) -> sqlite3.Cursor:
    """A cursor whose rows have names, whatever the connection's own have."""
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor


def _name(connection: sqlite3.Connection) -> str:
    """The file of a connection, for a message."""
    return str(connection.execute("PRAGMA database_list").fetchone()[2])
