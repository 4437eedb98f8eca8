"""The image folder and the ledger agree again at the start."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import cv2
import pytest
from images_rig import book_image, frame, make_book, settings, verdict

from edge_inspector.datatypes import SavedImage
from edge_inspector.store.images.darkroom import Darkroom
from edge_inspector.store.images.encode import labelled
from edge_inspector.store.images.files import write
from edge_inspector.store.images.policy import Wanted
from edge_inspector.store.images.recovery import reconcile
from edge_inspector.store.images.waiting import Task

BOTH = (Wanted("original", ("rejects", "near_margin"), 1), Wanted("overlay", ("every_nth",), 20))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return make_book(tmp_path / "ledger.sqlite")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def stored(folder: Path, seq: int) -> list[SavedImage]:
    """An original and an overlay, as a station that was killed right afterwards leaves them."""
    images = []
    for image, content in Darkroom(settings(), {"top": None}).prints(Task(verdict(seq), BOTH, frame(), 1)):
        write(folder, image.path, content)
        images.append(image)
    return images


def reconciled(folder: Path, book: Path) -> tuple[list[SavedImage], list[str]]:
    saved: list[SavedImage] = []
    removed: list[str] = []
    reconcile(folder, book, saved.append, removed.extend)
    return saved, removed


def test_a_file_that_was_never_booked_is_booked_as_it_would_have_been(folder: Path, book: Path) -> None:
    images = stored(folder, 1)
    saved, removed = reconciled(folder, book)
    assert sorted(saved, key=lambda one: one.path) == sorted(images, key=lambda one: one.path)
    assert removed == []


def test_what_is_booked_is_left_alone(folder: Path, book: Path) -> None:
    for image in stored(folder, 1):
        book_image(book, image)
    assert reconciled(folder, book) == ([], [])


def test_booked_pictures_that_are_gone_are_told(folder: Path, book: Path) -> None:
    (original, overlay), (other, _) = stored(folder, 1), stored(folder, 2)
    for image in (original, overlay, other):
        book_image(book, image)
    far = replace(original, path="golden/2020-01-01/line1.0a1b2c3d.9.top.original.png")
    book_image(book, far)
    book_image(book, replace(original, path="golden/2020-01-01/x"), removed_utc="2026-01-01T00:00:00.000Z")
    (folder / original.path).unlink()
    (folder / stored(folder, 2)[1].path).unlink()
    saved, removed = reconciled(folder, book)
    assert saved == []
    assert sorted(removed) == sorted([original.path, far.path])


def test_a_damaged_file_that_was_never_booked_is_deleted(folder: Path, book: Path) -> None:
    original, overlay = stored(folder, 1)
    content = (folder / original.path).read_bytes()
    (folder / original.path).write_bytes(content[:-20])
    saved, _ = reconciled(folder, book)
    assert saved == [overlay]
    assert not (folder / original.path).exists()


def test_a_damaged_file_that_is_booked_stays_evidence(folder: Path, book: Path) -> None:
    original, overlay = stored(folder, 1)
    book_image(book, original)
    book_image(book, overlay)
    (folder / original.path).write_bytes(b"")
    assert reconciled(folder, book) == ([], [])
    assert (folder / original.path).exists()


def test_a_file_with_another_parts_name_is_not_booked_as_that_part(folder: Path, book: Path) -> None:
    original, overlay = stored(folder, 1)
    wrong = folder / original.path.replace(".1.top", ".2.top")
    (folder / original.path).rename(wrong)
    saved, _ = reconciled(folder, book)
    assert saved == [overlay]
    assert not wrong.exists()


@pytest.mark.parametrize(
    "change",
    [{"camera": ["top"]}, {"seq": "many"}, {"kind": "thumbnail"}, {"pixel_format": None}, {"image_hw": 7}, {"why": 3}],
    ids=lambda change: next(iter(change)),
)
def test_a_file_that_says_nonsense_of_itself_is_not_booked(folder: Path, book: Path, change: dict[str, Any]) -> None:
    ((image, _), *_) = Darkroom(settings(), {"top": None}).prints(Task(verdict(1), BOTH, frame(), 1))
    done, plain = cv2.imencode(".png", frame().pixels)
    assert done
    write(folder, image.path, labelled(plain.data, replace(image, **change)))
    assert reconciled(folder, book) == ([], [])
    assert not (folder / image.path).exists()


def test_pictures_of_another_book_stay(folder: Path, tmp_path: Path) -> None:
    images = stored(folder, 1)
    other = make_book(tmp_path / "new.sqlite", "ffffffff")
    assert reconciled(folder, other) == ([], [])
    assert all((folder / image.path).exists() for image in images)


@pytest.mark.parametrize("damage", ["missing", "empty", "no database", "no tables"])
def test_a_ledger_that_cannot_be_read_changes_nothing(folder: Path, tmp_path: Path, damage: str) -> None:
    images, book = stored(folder, 1), tmp_path / "broken.sqlite"
    if damage == "empty":
        book.touch()
    elif damage == "no database":
        book.write_bytes(b"not a database at all " * 300)
    elif damage == "no tables":
        sqlite3.connect(book).close()
    assert reconciled(folder, book) == ([], [])
    assert all((folder / image.path).exists() for image in images)


def test_each_day_is_compared_with_its_own_rows(folder: Path, book: Path) -> None:
    (image, _) = stored(folder, 1)
    for day in ("2026-11-21", "2026-11-23", "unset-2026-11-22"):
        path = image.path.replace("2026-11-22", day)
        write(folder, path, (memoryview((folder / image.path).read_bytes()),))
        book_image(book, replace(image, path=path))
    saved, removed = reconciled(folder, book)
    assert [one.path for one in saved if one.kind == "original"] == [image.path]
    assert removed == []


def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_its_name_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut leaves an empty file with the name of a whole one."""
    done: list[str] = []
    rename, fsync = Path.replace, os.fsync
    monkeypatch.setattr(Path, "replace", lambda self, target: (done.append("named"), rename(self, target))[1])
    monkeypatch.setattr(
        os,
        "fsync",
        lambda handle: (done.append("folder" if S_ISDIR(os.fstat(handle).st_mode) else "file"), fsync(handle)),
    )
    write(folder, "rejects/2026-11-22/a.png", (memoryview(b"picture"),))
    assert done == ["file", "named", "folder"]
