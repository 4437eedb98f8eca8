"""From a frame to its files: nothing lost, nothing seen that is to be hidden, and the file says what it is."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from images_rig import frame, mask, pixels_of, settings, verdict

from edge_inspector.cameras.folder import Config, FolderCamera
from edge_inspector.datatypes import Calibration, Evaluation, Frame, PixelFormat, SavedImage
from edge_inspector.errors import ConfigError
from edge_inspector.stages.prepare import LAYOUTS
from edge_inspector.store.images.darkroom import Darkroom
from edge_inspector.store.images.encode import Content, NotAPicture, label_of
from edge_inspector.store.images.files import write
from edge_inspector.store.images.policy import Wanted
from edge_inspector.store.images.waiting import Task

FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)
ORIGINAL, OVERLAY = Wanted("original", ("rejects",), 1), Wanted("overlay", ("rejects",), 1)
HW = (48, 64)
BARREL = Calibration(HW, (50.0, 50.0, 32.0, 24.0), (-0.2, 0.03, 0.0, 0.0))


def prints(
    taken: Frame, *wanted: Wanted, calibration: Calibration | None = None, number: int = 1, **changes: Any
) -> list[tuple[SavedImage, bytes]]:
    room = Darkroom(settings(**changes), {"top": calibration, "side": None})
    task = Task(verdict(3), wanted or (ORIGINAL,), taken, number)
    return [(image, whole(content)) for image, content in room.prints(task)]


def whole(content: Content) -> bytes:
    return b"".join(content)


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_an_original_gives_the_camera_pixels_back_bit_by_bit_through_the_folder_camera(
    tmp_path: Path, pixel_format: PixelFormat
) -> None:
    taken = frame(pixels_of(pixel_format), pixel_format)
    ((image, content),) = prints(taken)
    (tmp_path / "one.png").write_bytes(content)
    with FolderCamera("top", Config(type="folder", path=tmp_path, pixel_format=pixel_format)) as camera:
        camera.trigger()
        again = camera.grab(1.0)
    assert again is not None
    np.testing.assert_array_equal(again.pixels, taken.pixels)
    assert again.pixels.dtype == taken.pixels.dtype
    assert (image.lossless, image.pixel_format, image.image_hw) == (True, pixel_format, HW)


def test_the_ledger_knows_the_bytes_of_the_file() -> None:
    for image, content in prints(frame(), ORIGINAL, OVERLAY):
        assert image.size_bytes == len(content)
        assert image.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_a_file_says_what_it_is(form: str) -> None:
    for image, content in prints(frame(), ORIGINAL, OVERLAY, originals={"format": form}, overlays={"format": form}):
        label = label_of(content)
        assert label is not None
        known = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(image).items()}
        assert label == {key: known[key] for key in known if key not in ("path", "sha256", "size_bytes")}
        assert decoded(content).shape[:2] == image.image_hw


def test_a_damaged_file_says_nothing() -> None:
    for form in ("png", "jpeg"):
        ((_, content),) = prints(frame(), originals={"format": form})
        assert label_of(content) is not None
        for length in range(0, len(content) - 1, 7):
            assert label_of(content[:length]) is None, f"{form} cut to {length} bytes"
        assert label_of(b"GIF89a" + content) is None
    ((_, content),) = prints(frame())
    for at in range(0, len(content), 11):
        flipped = bytearray(content)
        flipped[at] ^= 0x40
        assert label_of(bytes(flipped)) is None, f"PNG with byte {at} changed"


def test_other_programs_comments_are_not_taken_for_ours() -> None:
    done, content = cv2.imencode(".png", pixels_of())
    assert done
    assert label_of(content.tobytes()) is None
    done, content = cv2.imencode(".jpg", pixels_of())
    assert done
    assert label_of(content.tobytes()) is None


@pytest.mark.parametrize(
    ("kind", "taken", "name"),
    [
        (ORIGINAL, 1, "rejects/2026-11-22/line1.0a1b2c3d.3.top.original.png"),
        (ORIGINAL, 2, "rejects/2026-11-22/line1.0a1b2c3d.3.top.original.2.png"),
        (OVERLAY, 1, "rejects/2026-11-22/line1.0a1b2c3d.3.top.overlay.jpg"),
    ],
)
def test_a_file_is_named_by_its_result(kind: Wanted, taken: int, name: str) -> None:
    ((image, _),) = prints(frame(), kind, number=taken)
    assert image.path == name


def test_a_day_of_an_unset_clock_is_named_so() -> None:
    room = Darkroom(settings(), {"top": None})
    result = verdict(3, trigger={"wall_utc": "1970-01-01T00:00:07.000Z", "clock_synced": False})
    ((image, _),) = room.prints(Task(result, (ORIGINAL,), frame(), 1))
    assert image.path == "rejects/unset-1970-01-01/line1.0a1b2c3d.3.top.original.png"


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_jpeg_original_and_an_overlay_look_like_the_picture(pixel_format: PixelFormat) -> None:
    mid = np.full((*HW, 3) if LAYOUTS[pixel_format].dimensions == 3 else HW, 128, LAYOUTS[pixel_format].dtype)
    taken = frame(mid << 4 if pixel_format.endswith("12") else mid, pixel_format)
    for image, content in prints(taken, ORIGINAL, OVERLAY, originals={"format": "jpeg"}):
        assert not image.lossless
        assert abs(float(decoded(content)[5, 5].mean()) - 128) < 6


def test_red_is_red_in_what_people_see() -> None:
    red = np.zeros((*HW, 3), np.uint8)
    red[..., 0] = 255
    for _, content in prints(frame(red, "RGB8"), ORIGINAL, OVERLAY, originals={"format": "jpeg"}):
        blue, green, seen = decoded(content)[5, 60]
        assert seen > 200
        assert max(blue, green) < 60


@pytest.mark.parametrize(
    ("pixels", "pixel_format"),
    [
        (np.zeros((0, 64), np.uint8), "Mono8"),
        (np.zeros((48, 64, 3), np.uint8), "Mono8"),
        (np.zeros((48, 64), np.uint16), "Mono8"),
        (np.zeros((48, 64), np.uint8), "BGR8"),
        (np.zeros((48, 64, 4), np.uint8), "BGR8"),
        (np.zeros((48, 64), np.float32), "Mono12"),
        (np.zeros((48, 64), np.uint8), "Mono7"),
    ],
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray, pixel_format: Any) -> None:
    with pytest.raises(NotAPicture):
        prints(Frame("top", 5, 0, 0, pixels, pixel_format))


def test_pixels_beyond_12_bits_are_kept_as_they_are() -> None:
    taken = frame(np.full(HW, 65535, np.uint16), "Mono12")
    (_, original), (_, overlay) = prints(taken, ORIGINAL, OVERLAY)
    assert decoded(original).min() == 65535
    assert decoded(overlay)[5, 60].min() > 240


# --- masks ---


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_mask_hides_in_originals_and_overlays_and_nothing_else(pixel_format: PixelFormat) -> None:
    taken = frame(np.maximum(pixels_of(pixel_format), 1), pixel_format)
    before = taken.pixels.copy()
    both = prints(taken, ORIGINAL, OVERLAY, masks=[mask(20, 8, 16, 12)], overlays={"format": "png"})
    (original, content), (_, drawn) = both
    stored = decoded(content)
    if pixel_format == "RGB8":
        stored = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    inside, around = np.s_[8:20, 20:36], np.s_[6:22, 18:38]
    assert not stored[inside].any()
    outside = np.ones(HW, bool)
    outside[around] = False
    np.testing.assert_array_equal(stored[outside], taken.pixels[outside])
    assert not original.lossless
    np.testing.assert_array_equal(taken.pixels, before)
    times = decoded(drawn).shape[1] // 64
    assert not decoded(drawn)[9 * times : 19 * times, 31 * times : 35 * times].any()  # beside the drawn defect


def test_a_camera_without_a_mask_is_not_touched() -> None:
    masks = [mask(0, 0, 64, 48, "side")]
    ((image, content),) = prints(frame(), masks=masks)
    assert image.lossless
    np.testing.assert_array_equal(decoded(content), pixels_of())


def test_a_mask_for_a_camera_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'topp' is no camera of a recipe; expected one of side, top"):
        prints(frame(), masks=[mask(0, 0, 9, 9, "topp")])


def test_the_masked_corner_of_a_bent_picture_stays_hidden_when_the_original_is_straightened() -> None:
    white = np.full(HW, 255, np.uint8)
    masks = [mask(0, 0, 20, 15)]
    (_, original), (_, drawn) = prints(
        frame(white), ORIGINAL, OVERLAY, calibration=BARREL, masks=masks, overlays={"format": "png"}
    )
    matrix = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    straight = cv2.undistort(decoded(original), matrix, np.array(BARREL.distortion))
    assert not straight[:15, :20].any()
    assert straight[20:28, 28:36].min() == 255
    assert not decoded(original)[0, 0].any(), "what lies beyond the straightened picture's edge is hidden, too"
    assert not decoded(drawn)[:100, :100].any()


# --- overlays ---


def overlay_of(result: Any, taken: Frame, **changes: Any) -> np.ndarray:
    calibration = changes.pop("calibration", None)
    room = Darkroom(settings(overlays={"format": "png", **changes}), {"top": calibration})
    ((_, content),) = room.prints(Task(result, (OVERLAY,), taken, 1))
    return decoded(whole(content))


def reddish(picture: np.ndarray) -> np.ndarray:
    blue, green, red = (picture[..., i].astype(int) for i in range(3))
    return (red - np.maximum(blue, green)) > 120


def test_a_defect_is_framed_where_it_is_and_stays_visible() -> None:
    black = frame(np.zeros((480, 640), np.uint8))
    box = (200.0, 150.0, 100.0, 80.0)
    result = verdict(3)
    result = replace(result, defects=(replace(result.defects[0], box=box),))
    drawn = overlay_of(result, black)[:480]
    assert not drawn[150:230, 200:300].any(), "the defect itself is covered"
    rows, columns = np.nonzero(reddish(drawn))
    assert rows.max() <= 236
    assert columns.min() >= 194
    assert reddish(drawn)[190, 194:200].any()
    assert reddish(drawn)[190, 300:306].any()


def test_defects_are_drawn_into_the_picture_in_which_they_were_found_only() -> None:
    dark = np.zeros((480, 640), np.uint8)
    nothing = overlay_of(verdict(3, frame_ids=(6,)), frame(dark))[:480]
    other = replace(verdict(3).defects[0], camera="side")
    assert not nothing.any()
    assert not overlay_of(verdict(3, defects=(other,)), frame(dark))[:480].any()
    assert overlay_of(verdict(3), frame(dark))[:480].any()


def test_defects_at_the_edges_and_outside_break_nothing() -> None:
    base = verdict(3).defects[0]
    boxes = [(0, 0, 640, 480), (-50, -50, 10, 10), (639, 479, 1, 1), (630, 0, 10, 480), (1e5, 1e5, 5, 5)]
    drawn = overlay_of(
        verdict(3, defects=tuple(replace(base, box=tuple(map(float, box))) for box in boxes)),
        frame(np.zeros((480, 640), np.uint8)),
    )
    assert drawn.shape[1] == 640


def test_a_large_picture_is_shrunk_and_its_boxes_with_it() -> None:
    result = verdict(3)
    result = replace(result, defects=(replace(result.defects[0], box=(400.0, 300.0, 200.0, 160.0)),))
    drawn = overlay_of(result, frame(np.zeros((960, 1280), np.uint8)), max_side_px=640)
    assert drawn.shape[1] == 640
    assert not drawn[150:230, 200:300].any()
    assert reddish(drawn)[190, 194:200].any()


def test_a_small_picture_is_enlarged_so_that_words_have_room() -> None:
    drawn = overlay_of(verdict(3), frame(np.zeros(HW, np.uint8)))
    assert drawn.shape[1] == 640


def test_the_overlay_of_a_calibrated_camera_is_straight() -> None:
    hw = (480, 640)
    lens = Calibration(hw, (500.0, 500.0, 320.0, 240.0), (-0.3, 0.08, 0.0, 0.0))
    scene = np.zeros(hw, np.uint8)
    scene[::40] = 255
    scene = cv2.GaussianBlur(scene, (0, 0), 2) * 4
    drawn = overlay_of(verdict(3, good=True), frame(scene), calibration=lens)[:480, :, 0]
    matrix = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    expected = cv2.undistort(scene, matrix, np.array(lens.distortion))
    assert np.abs(drawn.astype(int) - expected).mean() < 1.0
    assert np.abs(scene.astype(int) - expected).mean() > 10.0


@pytest.mark.parametrize("evaluation", list(Evaluation))
def test_the_band_below_has_the_colour_of_the_verdict(evaluation: Evaluation) -> None:
    drawn = overlay_of(verdict(3, evaluation=evaluation, defects=()), frame(np.zeros((480, 640), np.uint8)))
    assert drawn.shape[0] > 480
    colours = {Evaluation.OK: (80, 160, 0), Evaluation.NOT_OK: (40, 40, 220)}
    colours |= {Evaluation.UNDEFINED: (0, 140, 230), Evaluation.NOT_DECIDABLE: (170, 60, 150)}
    assert tuple(drawn[481, 638]) == colours[evaluation]


def test_text_that_the_letters_do_not_have_is_no_trouble() -> None:
    drawn = overlay_of(verdict(3, reason_text="划痕 \x00 ü\n" * 50), frame(np.zeros((480, 640), np.uint8)))
    assert drawn.shape[1] == 640


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "rejects").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="rejects"):
        write(tmp_path, "rejects/2026-11-22/a.png", (memoryview(b"x"),))
    write(tmp_path, "golden/2026-11-22/a.png", (memoryview(b"one "), memoryview(b"two")))
    assert [path.name for path in (tmp_path / "golden/2026-11-22").iterdir()] == ["a.png"]
    assert (tmp_path / "golden/2026-11-22/a.png").read_bytes() == b"one two"
    assert (tmp_path / "golden/2026-11-22/a.png").stat().st_mode & 0o007 == 0
