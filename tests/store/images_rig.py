"""What the tests of stored pictures have in common: settings, frames, a clock that a test owns, a running store."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import (
    Calibration,
    Defect,
    Evaluation,
    Frame,
    InspectionResult,
    Mode,
    PixelFormat,
    Reason,
    SavedImage,
    Trigger,
)
from edge_inspector.store import schema
from edge_inspector.store.images.keeper import ImageStore
from edge_inspector.store.images.settings import ImageSettings

BOOK = "0a1b2c3d"
WAIT_S = 20.0


class Clock:
    """Stands until a test moves it."""

    def __init__(self, utc: str = "2026-11-22T12:00:00.000Z", synced: bool = True) -> None:
        self.ns = 1_000_000_000
        self.now, self.set = utc, synced

    def monotonic_ns(self) -> int:
        return self.ns

    def utc(self) -> str:
        return self.now

    def synced(self) -> bool:
        return self.set


def verdict(
    seq: int = 1, *, good: bool = False, trigger: dict[str, Any] | None = None, **changes: Any
) -> InspectionResult:
    """On part `seq`, of a view of camera top with a defect unless it is `good`."""
    of: dict[str, Any] = {
        **{"seq": seq, "result_id": f"line1.{BOOK}.{seq}", "trigger_seq": seq, "part_id": "P1", "attempt": 1},
        **{"mode": Mode.PRODUCTION, "recipe": "pcb", "recipe_no": 7, "boot_id": 4711, "plc_boot_id": 815},
        **{"accepted_ns": 0, "deadline_ns": 10**9, "wall_utc": "2026-11-22T11:00:00.123Z", "clock_synced": True},
        **(trigger or {}),
    }
    fields: dict[str, Any] = {
        "trigger": Trigger(**of),
        "evaluation": Evaluation.OK if good else Evaluation.NOT_OK,
        "reason": Reason.NONE if good else Reason.DEFECT,
        "reason_text": "" if good else "spur 0.88 in top",
        "defects": () if good else (Defect("spur", 3, 0.875, (10.0, 12.0, 20.0, 16.0), "top"),),
        "views": ("top",),
        "views_judged": 1,
        "thresholds": (0.25,),
        "model_hash": "ab" * 32,
        "settled_ns": 42_500_000,
        "stage_ns": {},
        "frame_ids": (5,),
    }
    return InspectionResult(**{**fields, **changes})


def settings(**changes: Any) -> ImageSettings:
    """As a station file gives them; the disk of the machine that runs the tests may be as full as it likes."""
    return ImageSettings.model_validate({"min_free_pct": 0, **changes})


def box(x: float, y: float, width: float, height: float) -> tuple[tuple[float, float], ...]:
    """A polygon."""
    return ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def mask(x: float, y: float, width: float, height: float, camera: str = "top") -> dict[str, Any]:
    """A rectangle, as the station file has it."""
    return {"camera": camera, "polygon": box(x, y, width, height)}


def pixels_of(pixel_format: PixelFormat = "Mono8", hw: tuple[int, int] = (48, 64), seed: int = 0) -> np.ndarray:
    """Noise over the whole range of the format."""
    deep = pixel_format.endswith("12")
    shape = (*hw, 3) if pixel_format in ("BGR8", "RGB8") else hw
    values = np.random.default_rng(seed).integers(0, 4096 if deep else 256, shape)
    return values.astype(np.uint16 if deep else np.uint8)


def frame(
    pixels: np.ndarray | None = None,
    pixel_format: PixelFormat = "Mono8",
    camera: str = "top",
    frame_id: int = 5,
    ring: FrameRing | None = None,
) -> Frame:
    """With a lease when it lies in a ring."""
    pixels = pixels_of(pixel_format) if pixels is None else pixels
    lease = None
    if ring is not None:
        held = ring.copy_in(pixels, pixels.shape, pixels.dtype)
        assert held is not None, "the test's ring is full"
        pixels, lease = held
    return Frame(camera, frame_id, 0, 0, pixels, pixel_format, lease)


def make_book(path: Path, book: str = BOOK) -> Path:
    """An empty ledger of that name."""
    connection = sqlite3.connect(path, isolation_level=None)
    schema.prepare(connection, path)
    connection.execute("UPDATE meta SET value = ? WHERE name = 'book'", (book,))
    connection.close()
    return path


def book_image(path: Path, image: SavedImage, removed_utc: str | None = None) -> None:
    """A row as the ledger writes it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "INSERT INTO images (seq, result_id, camera, kind, why, path, sha256, size_bytes, lossless, pixel_format, "
        "height, width, frame_id, wall_utc, clock_synced, every_nth, removed_utc) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(image.seq, image.result_id, image.camera, image.kind, "[]", image.path, image.sha256, image.size_bytes),
            *(int(image.lossless), image.pixel_format, *image.image_hw, image.frame_id, image.wall_utc),
            *(int(image.clock_synced), image.every_nth, removed_utc),
        ),
    )
    connection.close()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """For what no callback tells."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"not within {WAIT_S} s: {what}"
        time.sleep(0.002)


class Told:
    """What a store has said; `until` waits for it."""

    def __init__(self) -> None:
        self.saved: list[SavedImage] = []
        self.removed: list[str] = []
        self.trouble: list[str] = []
        self.warnings: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def _told(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), f"not within {WAIT_S} s: {what}"

    def run(self, store: ImageStore) -> None:
        store.run(
            lambda image: self._told(lambda: self.saved.append(image)),
            lambda paths: self._told(lambda: self.removed.extend(paths)),
            lambda text: self._told(lambda: self.trouble.append(text)),
            lambda code, text: self._told(lambda: self.warnings.append((code, text))),
        )


@contextmanager
def running(store: ImageStore) -> Iterator[Told]:
    """On a thread of its own, as in the station, until the end of the block."""
    told, failed = Told(), []

    def work() -> None:
        try:
            told.run(store)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the test raises it again
            failed.append(exc)

    thread = threading.Thread(target=work, name="images")
    thread.start()
    try:
        yield told
    finally:
        store.stop()
        thread.join(WAIT_S)
    assert not thread.is_alive(), "the store does not end"
    if failed:
        raise failed[0]


def store(folder: Path, clock: Clock | None = None, **changes: Any) -> ImageStore:
    """With cameras top and side, uncalibrated, and an empty book beside the folder."""
    book = folder.parent / "ledger.sqlite"
    if not book.exists():
        make_book(book)
    calibrations: dict[str, Calibration | None] = {"top": None, "side": None}
    return ImageStore(settings(**changes), folder, calibrations, clock or Clock(), book)
