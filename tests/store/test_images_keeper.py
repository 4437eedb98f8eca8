"""The store of pictures as the station has it: on its own thread, over a disk that fails."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
from images_rig import Clock, Told, book_image, eventually, frame, make_book, pixels_of, running, store, verdict

from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import Frame, InspectionResult, Picture
from edge_inspector.store.images.keeper import RETRY_NS, WARN_NS, ImageStore

PNG_ONLY = {"overlays": {"rejects": False, "golden": False}}


def give(kept: ImageStore, seq: int, taken: Frame | None = None, result: InspectionResult | None = None) -> None:
    """A part with one picture, as the line gives it; a reject unless `result` says otherwise."""
    kept.belongs(Picture("top", seq), seq)
    kept.offer(Picture("top", seq), taken or frame())
    kept.settled(result or verdict(seq))


def the_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_reject_is_stored_as_it_is_told(tmp_path: Path) -> None:
    kept = store(tmp_path / "images")
    with running(kept) as told:
        give(kept, 1)
        told.until(lambda: len(told.saved) == 2, "two files")
    assert [image.kind for image in told.saved] == ["original", "overlay"]
    assert the_files(tmp_path / "images") == sorted(image.path for image in told.saved)
    for image in told.saved:
        content = (tmp_path / "images" / image.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == image.sha256
        assert len(content) == image.size_bytes
    original = cv2.imread(str(tmp_path / "images" / told.saved[0].path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(original, pixels_of())
    counted = kept.counters()
    assert (counted["images_stored"], counted["images_queue"], counted["images_stopped"]) == (2, 0, 0)
    assert counted["images_bytes"] == counted["images_stored_bytes"] == sum(image.size_bytes for image in told.saved)
    assert told.trouble == told.warnings == told.removed == []


def test_a_good_part_leaves_nothing(tmp_path: Path) -> None:
    kept, ring = store(tmp_path / "images"), FrameRing(4)
    with running(kept):
        own = frame(ring=ring)
        give(kept, 1, own, verdict(1, good=True))
        own.release()
        assert ring.free_slots == 4
    assert the_files(tmp_path / "images") == []


def test_buffers_come_back_while_files_are_written(tmp_path: Path) -> None:
    kept, ring = store(tmp_path / "images", **PNG_ONLY), FrameRing(5)
    with running(kept) as told:
        for seq in range(1, 31):
            own = frame(pixels_of(seed=seq), ring=ring)
            give(kept, seq, own)
            own.release()
            told.until(lambda seq=seq: len(told.saved) == seq, "each picture")  # type: ignore[misc]
    assert ring.free_slots == 5
    assert kept.counters()["images_skipped"] == 0


def test_a_start_finishes_what_a_killed_process_left(tmp_path: Path) -> None:
    first = store(tmp_path / "images", **PNG_ONLY)
    with running(first) as told:
        give(first, 1)
        give(first, 2)
        told.until(lambda: len(told.saved) == 2, "two files")
    booked, unbooked = told.saved
    book_image(tmp_path / "ledger.sqlite", booked)
    part = (tmp_path / "images" / booked.path).parent / ".line1.0a1b2c3d.3.top.original.png.part"
    part.write_bytes(b"half")
    (tmp_path / "images" / ".probe.part").write_bytes(b"half")
    second = store(tmp_path / "images", **PNG_ONLY)
    with running(second) as told:
        told.until(lambda: bool(told.saved), "the picture that was not booked")
        give(second, 3)
        told.until(lambda: len(told.saved) == 2, "a new picture")
    assert told.saved[0] == unbooked
    assert the_files(tmp_path / "images") == sorted([booked.path, unbooked.path, told.saved[1].path])
    assert second.counters()["images_bytes"] == sum(one.size_bytes for one in (booked, *told.saved))


def broken_disk(folder: Path) -> None:
    """Nothing can be written below: as a disk that is full, read-only or gone, without the rights for one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rejects").write_text("in the way")


def test_a_disk_that_fails_stops_pictures_says_so_once_and_goes_on_by_itself(tmp_path: Path) -> None:
    clock, folder = Clock(), tmp_path / "images"
    kept = store(folder, clock, **PNG_ONLY)
    with running(kept) as told:
        give(kept, 1)
        told.until(lambda: bool(told.saved), "a first picture")
        shutil.rmtree(folder / "rejects")
        broken_disk(folder)
        give(kept, 2)
        told.until(lambda: bool(told.trouble), "trouble")
        assert kept.counters()["images_stopped"] == 1
        give(kept, 3)
        clock.ns += RETRY_NS + 1
        eventually(lambda: kept.counters()["images_failed"] > 1, "a second try")
        (folder / "rejects").unlink()
        clock.ns += RETRY_NS + 1
        told.until(lambda: len(told.saved) == 3, "the rejects that had to wait")
    assert [image.seq for image in told.saved] == [1, 2, 3]
    assert len(told.trouble) == 2
    assert str(folder) in told.trouble[0]
    assert told.trouble[1] == ""
    assert kept.counters()["images_stopped"] == 0


def test_it_goes_on_by_itself_also_when_nothing_waits(tmp_path: Path) -> None:
    clock, folder = Clock(), tmp_path / "images"
    (tmp_path / "images").write_text("in the way")
    kept = store(folder, clock)
    with running(kept) as told:
        told.until(lambda: bool(told.trouble), "trouble at the start")
        folder.unlink()
        clock.ns += RETRY_NS + 1
        told.until(lambda: told.trouble[-1] == "", "the end of the trouble")
    assert the_files(folder) == []


def test_while_the_disk_fails_the_cameras_keep_their_buffers_and_memory_stays_bounded(tmp_path: Path) -> None:
    clock, folder, ring = Clock(), tmp_path / "images", FrameRing(4)
    kept = store(folder, clock, queue_mb=1, **PNG_ONLY)
    broken_disk(folder)
    big = pixels_of(hw=(500, 500))
    with running(kept) as told:
        for seq in range(1, 21):
            own = frame(big, frame_id=seq, ring=ring)
            give(kept, seq, own)
            own.release()
            eventually(lambda: ring.free_slots == 4, "the buffer")
        assert kept.counters()["images_queue"] <= 4
        clock.ns += WARN_NS
        told.until(lambda: bool(told.warnings), "a warning")
    assert ring.free_slots == 4
    assert kept.counters()["images_skipped"] == 20
    assert [(code, text.split()[0]) for code, text in told.warnings] == [("images_skipped", "16")]


def test_what_is_no_picture_is_counted_and_the_next_one_is_stored(tmp_path: Path) -> None:
    kept = store(tmp_path / "images", **PNG_ONLY)
    with running(kept) as told:
        give(kept, 1, Frame("top", 5, 0, 0, np.zeros((0, 640), np.uint8), "Mono8"))
        give(kept, 2)
        told.until(lambda: bool(told.saved), "the second picture")
    assert [image.seq for image in told.saved] == [2]
    assert kept.counters()["images_failed"] == 1
    assert told.trouble == []


def test_early_removal_is_told_with_its_number_once_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    kept = store(tmp_path / "images", clock, max_gb=8_000 / 1e9, **PNG_ONLY)
    with running(kept) as told:
        for seq in range(1, 6):
            give(kept, seq)
            told.until(lambda seq=seq: len(told.saved) == seq, "each picture")  # type: ignore[misc]
        clock.ns += 2 * 10**9
        told.until(lambda: bool(told.warnings), "a warning")
        for seq in range(6, 9):
            give(kept, seq)
            told.until(lambda seq=seq: len(told.saved) == seq, "each picture")  # type: ignore[misc]
        assert len(told.warnings) == 1
        clock.ns += WARN_NS
        told.until(lambda: len(told.warnings) == 2, "a second warning")
    assert {code for code, _ in told.warnings} == {"images_removed_early"}
    assert "max_gb" in told.warnings[0][1]
    told_of = sum(int(text.split()[0]) for _, text in told.warnings)
    assert told_of == kept.counters()["images_removed_early"] == len(told.removed)
    assert kept.counters()["images_bytes"] <= 8_000


def test_samples_find_no_room_among_rejects_and_are_counted(tmp_path: Path) -> None:
    samples = {"originals": {"every_nth": 1}, **PNG_ONLY}
    kept = store(tmp_path / "images", max_gb=8_000 / 1e9, **samples)
    with running(kept) as told:
        give(kept, 1)
        give(kept, 2)
        told.until(lambda: len(told.saved) == 2, "two rejects")
        give(kept, 3, result=verdict(3, good=True))
        give(kept, 4)
        told.until(lambda: len(told.saved) == 3, "a third reject")
    assert [image.seq for image in told.saved] == [1, 2, 4]
    assert kept.counters()["images_skipped"] == 1


def test_stopping_writes_what_waits_and_gives_every_buffer_back(tmp_path: Path) -> None:
    kept, ring = store(tmp_path / "images", **PNG_ONLY), FrameRing(12)
    for seq in range(1, 9):
        own = frame(frame_id=seq, ring=ring)
        give(kept, seq, own)
        own.release()
    own = frame(ring=ring)
    kept.offer(Picture("top", 99), own)  # its part never has a verdict
    own.release()
    kept.stop()
    told = Told()
    told.run(kept)
    assert [image.seq for image in told.saved] == list(range(1, 9))
    assert ring.free_slots == 12


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """A pipe in the place of the file: opening it for writing blocks, as a dead network disk does."""
    folder = tmp_path / "images"
    kept, ring = store(folder, **PNG_ONLY), FrameRing(6)
    day = folder / "rejects/2026-11-22"
    day.mkdir(parents=True)
    os.mkfifo(day / ".line1.0a1b2c3d.1.top.original.png.part")
    kept._is_open = True  # or the start would clean it away
    with running(kept) as told:
        give(kept, 1)
        eventually(lambda: kept.counters()["images_queue"] == 0, "the writer hangs")
        done = threading.Event()

        def line() -> None:
            for seq in range(2, 200):
                own = frame(frame_id=seq, ring=ring)
                give(kept, seq, own)
                own.release()
            done.set()

        thread = threading.Thread(target=line)
        thread.start()
        assert done.wait(10), "the line waits for the disk"
        thread.join()
        with (day / ".line1.0a1b2c3d.1.top.original.png.part").open("rb"):
            told.until(lambda: bool(told.saved) or bool(told.trouble), "the disk answers again")


def test_pictures_of_an_older_book_count_and_are_not_booked(tmp_path: Path) -> None:
    first = store(tmp_path / "images", **PNG_ONLY)
    with running(first) as told:
        give(first, 1)
        told.until(lambda: bool(told.saved), "a file")
    old = told.saved[0]
    (tmp_path / "ledger.sqlite").unlink()
    make_book(tmp_path / "ledger.sqlite", "ffffffff")
    second = store(tmp_path / "images", **PNG_ONLY)
    with running(second) as told:
        give(second, 2)
        told.until(lambda: bool(told.saved), "a new file")
    assert [image.seq for image in told.saved] == [2]
    assert second.counters()["images_bytes"] == old.size_bytes + told.saved[0].size_bytes


def test_a_failure_between_two_files_stores_the_first_once(tmp_path: Path) -> None:
    clock, folder = Clock(), tmp_path / "images"
    kept = store(folder, clock)
    in_the_way = folder / "rejects/2026-11-22/.line1.0a1b2c3d.1.top.overlay.jpg.part"
    with running(kept) as told:
        give(kept, 7)
        told.until(lambda: len(told.saved) == 2, "the store is open")
        in_the_way.mkdir()
        give(kept, 1)
        told.until(lambda: bool(told.trouble), "trouble with the overlay")
        in_the_way.rmdir()
        clock.ns += RETRY_NS + 1
        told.until(lambda: len(told.saved) == 4, "both files")
    assert [(image.seq, image.kind) for image in told.saved[2:]] == [(1, "original"), (1, "overlay")]
    assert kept.counters()["images_bytes"] == sum(image.size_bytes for image in told.saved)
