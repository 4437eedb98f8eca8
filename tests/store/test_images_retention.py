"""Which pictures go when there is no room, or when they are old."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from images_rig import BOOK, Clock, settings

from edge_inspector.store.images.policy import RANKS
from edge_inspector.store.images.retention import REFRESH_NS, Retention

KB = 1000
Put = Callable[..., str]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """A stored file of 10 kB; its path."""

    def write(why: str, day: str, seq: int, kind: str = "original", mtime: float | None = None) -> str:
        path = tmp_path / why / day / f"line1.{BOOK}.{seq}.top.{kind}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10 * KB))
        if mtime is not None:
            os.utime(path, (mtime, mtime))
        return str(path.relative_to(tmp_path))

    return write


class Made:
    """A retention that has counted the folder, and what it has removed."""

    def __init__(self, folder: Path, clock: Clock | None = None, **changes: Any) -> None:
        self.gone: list[str] = []
        self.clock = clock or Clock()
        self.it = Retention(settings(**changes), folder, self.clock)
        self.it.tell = self.gone.extend
        self.it.count()


def kb(value: float) -> dict[str, float]:
    return {"max_gb": value * KB / 1e9}


REJECT, SAMPLE = RANKS.index("rejects"), RANKS.index("every_nth")


def test_samples_go_first_then_golden_then_near_then_rejects_and_within_them_the_oldest(
    tmp_path: Path, put: Put
) -> None:
    order = [
        put("every_nth", "2026-01-02", 9),
        put("every_nth", "2026-01-03", 2),
        put("every_nth", "2026-01-03", 10),
        put("golden", "2026-01-01", 1),
        put("near_margin", "2026-01-01", 3),
        put("rejects", "unset-1970-01-01", 4),
        put("rejects", "2025-12-31", 6),
        put("rejects", "2026-01-01", 5),
    ]
    made = Made(tmp_path, **kb(80))
    for _ in order:
        assert made.it.make_room(10 * KB, REJECT)
        made.it.added(10 * KB)
    assert made.gone == order
    assert made.it.removed == 8
    assert made.it.removed_early == 0


def test_only_as_much_goes_as_is_needed(tmp_path: Path, put: Put) -> None:
    for seq in range(1, 6):
        put("rejects", "2026-01-01", seq)
    made = Made(tmp_path, **kb(50))
    assert made.it.bytes == 50 * KB
    assert made.it.make_room(15 * KB, REJECT)
    assert len(made.gone) == 2
    assert made.it.bytes == 30 * KB
    assert not any((tmp_path / path).exists() for path in made.gone)


def test_what_is_old_enough_goes_before_what_is_young_whatever_it_is_worth(tmp_path: Path, put: Put) -> None:
    young = put("every_nth", "2026-11-20", 2)
    old = put("rejects", "2026-11-15", 1)
    made = Made(tmp_path, originals={"min_days": 7}, **kb(20))
    assert made.it.make_room(10 * KB, REJECT)
    assert made.gone == [old]
    made.it.added(10 * KB)
    assert made.it.make_room(10 * KB, REJECT)
    assert made.gone == [old, young]
    assert made.it.removed_early == 1


def test_min_days_is_each_kinds_own(tmp_path: Path, put: Put) -> None:
    put("rejects", "2026-11-20", 1, "original")
    overlay = put("rejects", "2026-11-20", 2, "overlay")
    made = Made(tmp_path, originals={"min_days": 7}, overlays={"min_days": 2}, **kb(20))
    assert made.it.make_room(10 * KB, REJECT)
    assert (made.gone, made.it.removed_early) == ([overlay], 0)


def test_a_sample_never_drives_out_what_is_worth_more(tmp_path: Path, put: Put) -> None:
    put("rejects", "2020-01-01", 1)
    made = Made(tmp_path, **kb(10))
    assert not made.it.make_room(10 * KB, SAMPLE)
    assert made.gone == []
    assert made.it.make_room(10 * KB, REJECT)


def test_a_file_larger_than_the_folder_may_be_is_not_stored(tmp_path: Path, put: Put) -> None:
    put("rejects", "2020-01-01", 1)
    assert not Made(tmp_path, **kb(10)).it.make_room(11 * KB, REJECT)


def test_files_written_since_are_found_when_they_are_the_next_to_go(tmp_path: Path, put: Put) -> None:
    made = Made(tmp_path, **kb(30))
    stored = []
    for seq in range(1, 40):
        assert made.it.make_room(10 * KB, REJECT)
        stored.append(put("rejects", "2026-11-22", seq))
        made.it.added(10 * KB)
    assert made.gone == stored[:-3]
    assert made.it.removed_early == 36


def test_a_file_that_somebody_else_has_deleted_is_no_trouble(tmp_path: Path, put: Put) -> None:
    for seq in (1, 2, 3):
        put("rejects", "2020-01-01", seq)
    made = Made(tmp_path, **kb(30))
    assert made.it.make_room(10 * KB, REJECT)
    (tmp_path / put("rejects", "2020-01-01", 2)).unlink()
    made.it.added(10 * KB)
    assert made.it.make_room(10 * KB, REJECT)
    assert [path.split(".")[2] for path in made.gone] == ["1", "2"]


def test_files_of_others_are_neither_counted_nor_deleted(tmp_path: Path, put: Put) -> None:
    put("rejects", "2020-01-01", 1)
    strangers = [
        tmp_path / "rejects/2020-01-01/notes.txt",
        tmp_path / "rejects/2020-01-01/a.b.c.d.original.png",
        tmp_path / "rejects/2020-01-01/a.b.3.d.thumbnail.png",
        tmp_path / "rejects/holiday/line1.0a1b2c3d.1.top.original.png",
        tmp_path / "readme.txt",
    ]
    for path in strangers:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(bytes(50 * KB))
    link = tmp_path / "rejects/2020-01-01" / f"line1.{BOOK}.7.top.original.png"
    link.symlink_to(strangers[4])
    (tmp_path / "rejects/2019-01-01").symlink_to(tmp_path / "rejects/holiday")
    made = Made(tmp_path, originals={"max_days": 30}, **kb(10))
    assert made.it.bytes == 10 * KB
    made.it.expire()
    assert not made.it.make_room(11 * KB, REJECT)
    assert all(path.exists() for path in [*strangers, link])
    assert len(made.gone) == 1


def test_what_is_older_than_max_days_goes_and_what_is_as_old_stays(tmp_path: Path, put: Put) -> None:
    put("rejects", "2026-10-23", 1)
    old = put("rejects", "2026-10-22", 2)
    put("rejects", "2026-10-22", 3, "overlay")
    sample = put("every_nth", "2025-01-01", 4)
    made = Made(tmp_path, originals={"max_days": 30})
    made.it.expire()
    assert sorted(made.gone) == sorted([old, sample])
    assert made.it.bytes == 20 * KB
    assert not (tmp_path / "every_nth/2025-01-01").exists(), "an empty folder is left behind"


def test_nothing_is_old_while_the_clock_is_not_set(tmp_path: Path, put: Put) -> None:
    put("rejects", "2020-01-01", 1)
    put("rejects", "unset-1970-01-01", 2, mtime=0)
    made = Made(tmp_path, Clock("2099-01-01T00:00:00.000Z", synced=False), originals={"max_days": 1, "min_days": 0})
    made.it.expire()
    assert made.gone == []


def test_while_the_clock_is_not_set_what_has_a_date_is_not_taken_for_old(tmp_path: Path, put: Put) -> None:
    dated = put("every_nth", "2020-01-01", 1)
    unset = put("rejects", "unset-1970-01-01", 2)
    made = Made(tmp_path, Clock(synced=False), **kb(20))
    assert made.it.make_room(10 * KB, REJECT)
    assert (made.gone, made.it.removed_early) == ([unset], 0)
    made.it.added(10 * KB)
    assert made.it.make_room(10 * KB, REJECT)
    assert (made.gone, made.it.removed_early) == ([unset, dated], 1)


def test_a_picture_of_an_unset_clock_ages_from_when_the_clock_was_first_set(tmp_path: Path, put: Put) -> None:
    path = put("rejects", "unset-1970-01-01", 1, mtime=0)
    clock = Clock("2026-11-01T12:00:00.000Z")
    made = Made(tmp_path, clock, originals={"max_days": 30})
    made.it.expire()
    clock.now = "2026-12-01T12:00:00.000Z"
    made.it.expire()
    assert made.gone == []
    clock.now = "2026-12-02T12:00:00.000Z"
    made.it.expire()
    assert made.gone == [path]


def test_a_clock_that_is_behind_removes_nothing(tmp_path: Path, put: Put) -> None:
    put("rejects", "2026-11-22", 1)
    made = Made(tmp_path, Clock("2001-01-01T00:00:00.000Z"), originals={"max_days": 1, "min_days": 0})
    made.it.expire()
    assert made.gone == []


def test_a_disk_that_others_fill_takes_what_is_old_and_then_says_what_is_missing(tmp_path: Path, put: Put) -> None:
    young = put("every_nth", "2026-11-22", 1)
    old = put("rejects", "2026-11-01", 2)
    made = Made(tmp_path, min_free_pct=99.999999)
    with pytest.raises(OSError, match=r"No space left .* MB are free, images.min_free_pct = 100 % must stay") as raised:
        made.it.make_room(10 * KB, SAMPLE)
    assert raised.value.errno == errno.ENOSPC
    assert made.gone == [old]
    assert (tmp_path / young).exists()


def test_a_disk_with_room_costs_nothing(tmp_path: Path, put: Put) -> None:
    put("every_nth", "2020-01-01", 1)
    made = Made(tmp_path)
    assert made.it.make_room(10 * KB, SAMPLE)
    assert made.gone == []


def test_what_becomes_old_enough_is_found_within_a_minute(tmp_path: Path, put: Put) -> None:
    clock = Clock("2026-11-22T23:59:59.000Z")
    sample = put("every_nth", "2026-11-20", 1)
    reject = put("rejects", "2026-11-15", 2)
    made = Made(tmp_path, clock, originals={"min_days": 3}, **kb(20))
    assert made.it.make_room(10 * KB, REJECT)
    assert made.gone == [reject]
    made.it.added(10 * KB)
    clock.now, clock.ns = "2026-11-23T00:01:00.000Z", clock.ns + REFRESH_NS + 1
    assert made.it.make_room(10 * KB, REJECT)
    assert (made.gone, made.it.removed_early) == ([reject, sample], 0)


def test_what_somebody_else_has_removed_is_counted_once(tmp_path: Path, put: Put) -> None:
    """A list of what goes next may be a minute old: what went meanwhile gives no room a second time."""
    for seq in range(1, 9):
        put("rejects", "2026-01-02", seq)
    made = Made(tmp_path, **kb(80))
    assert made.it.make_room(5 * KB, REJECT)
    for seq in (2, 3, 4):
        (tmp_path / "rejects" / "2026-01-02" / f"line1.{BOOK}.{seq}.top.original.png").unlink()
    assert made.it.make_room(25 * KB, REJECT)
    left = sum(file.stat().st_size for file in tmp_path.rglob("*.png"))
    assert made.it.bytes == left == 40 * KB
    assert made.it.removed == 1


def test_what_is_gone_is_told_also_when_the_next_file_cannot_be_removed(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [put("rejects", "2026-01-02", seq) for seq in (1, 2, 3)]
    made = Made(tmp_path, originals={"max_days": 30})
    unlink = Path.unlink

    def refuses(self: Path, missing_ok: bool = False) -> None:
        if ".2.top" in self.name:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    with pytest.raises(PermissionError):
        made.it.expire()
    assert made.gone == paths[:1]
    assert made.it.bytes == 20 * KB
