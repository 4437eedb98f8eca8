"""The folder camera, against files as people really leave them in folders."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_inspector.cameras.folder import Config, FolderCamera
from edge_inspector.datatypes import Frame, PixelFormat
from edge_inspector.errors import CameraError, FeatureError, FrameError

Picture = npt.NDArray[np.uint8]
Noise = Callable[..., Picture]
WriteFolder = Callable[[dict[str, npt.NDArray[Any]]], Path]

PATIENT_S = 10.0


def camera(path: Path, **settings: Any) -> FolderCamera:
    return FolderCamera("top", Config(type="folder", path=path, **settings))


def shoot(opened: FolderCamera) -> Frame:
    opened.trigger()
    frame = opened.grab(PATIENT_S)
    assert frame is not None
    return frame


def gray(value: int) -> Picture:
    return np.full((4, 6), value, np.uint8)


def test_pictures_come_in_natural_order_and_begin_again(write_folder: WriteFolder) -> None:
    folder = write_folder({"img10.png": gray(10), "img2.png": gray(2), "IMG1.bmp": gray(1)})
    (folder / "notes.txt").write_text("no picture")
    (folder / ".img0.png").write_bytes(b"no picture either")
    with camera(folder) as opened:
        frames = [shoot(opened) for _ in range(4)]
    assert [(f.frame_id, int(f.pixels[0, 0])) for f in frames] == [(0, 1), (1, 2), (2, 10), (3, 1)]


def test_without_a_trigger_no_picture_comes(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1)})) as opened:
        assert opened.grab(0.01) is None
        assert opened.grab(0.0) is None
        assert shoot(opened).frame_id == 0


def test_every_trigger_brings_one_picture(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1), "b.png": gray(2)})) as opened:
        opened.trigger()
        opened.trigger()
        assert [frame.frame_id for _ in range(2) if (frame := opened.grab(PATIENT_S))] == [0, 1]
        assert opened.grab(0.0) is None


def test_after_the_last_picture_nothing_comes_when_not_looping(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1)}), loop=False) as opened:
        shoot(opened)
        for _ in range(3):
            opened.trigger()
            assert opened.grab(0.0) is None
        assert opened.exhausted


@pytest.mark.parametrize(
    ("file", "pixel_format", "expected_format", "first_pixel"),
    [
        pytest.param(gray(7), None, "Mono8", 7, id="gray stays gray"),
        pytest.param(gray(7), "BGR8", "BGR8", [7, 7, 7], id="gray for a colour camera"),
        pytest.param(np.full((4, 6, 3), (1, 2, 3), np.uint8), None, "BGR8", [1, 2, 3], id="colour stays BGR"),
        pytest.param(np.full((4, 6, 3), (1, 2, 3), np.uint8), "RGB8", "RGB8", [3, 2, 1], id="colour as RGB"),
        pytest.param(np.full((4, 6, 3), (0, 0, 255), np.uint8), "Mono8", "Mono8", 76, id="0.299 of pure red"),
        pytest.param(np.full((4, 6, 4), (1, 2, 3, 99), np.uint8), None, "BGR8", [1, 2, 3], id="alpha is dropped"),
        pytest.param(np.full((4, 6), 4095, np.uint16), None, "Mono12", 4095, id="12 bits in 16"),
        pytest.param(np.full((4, 6), 4095, np.uint16), "BayerGB12", "BayerGB12", 4095, id="a raw 12-bit mosaic"),
        pytest.param(np.full((1, 1), 5, np.uint8), None, "Mono8", 5, id="one pixel is a picture"),
    ],
)
def test_a_file_becomes_a_frame(
    write_folder: WriteFolder,
    file: npt.NDArray[Any],
    pixel_format: PixelFormat | None,
    expected_format: PixelFormat,
    first_pixel: int | list[int],
) -> None:
    with camera(write_folder({"a.png": file}), pixel_format=pixel_format) as opened:
        frame = shoot(opened)
    assert frame.pixel_format == expected_format
    assert frame.hw == file.shape[:2]
    assert frame.pixels[0, 0].tolist() == first_pixel


@pytest.mark.parametrize(
    ("filter_", "top_left"),
    [
        ("BayerRG", [[3, 2], [2, 1]]),
        ("BayerGB", [[2, 1], [3, 2]]),
        ("BayerGR", [[2, 3], [1, 2]]),
        ("BayerBG", [[1, 2], [2, 3]]),
    ],
)
@pytest.mark.parametrize(("bits", "sample", "scale"), [(8, np.uint8, 1), (12, np.uint16, 1000)])
def test_colour_is_seen_through_the_bayer_filter(
    write_folder: WriteFolder, filter_: str, top_left: list[list[int]], bits: int, sample: type[Any], scale: int
) -> None:
    blue1_green2_red3 = np.full((5, 7, 3), (1 * scale, 2 * scale, 3 * scale), sample)
    with camera(write_folder({"a.png": blue1_green2_red3}), pixel_format=f"{filter_}{bits}") as opened:
        frame = shoot(opened)
    assert frame.pixel_format == f"{filter_}{bits}"
    assert frame.pixels.dtype == sample
    assert frame.pixels.tolist() == (np.tile(top_left, (3, 4))[:5, :7] * scale).tolist()


def test_a_12_bit_mosaic_is_the_one_that_prepare_understands(write_folder: WriteFolder) -> None:
    red = np.full((8, 8, 3), (0, 0, 4000), np.uint16)
    with camera(write_folder({"a.png": red}), pixel_format="BayerRG12") as opened:
        mosaic = shoot(opened).pixels
    assert cv2.cvtColor(np.asarray(mosaic), cv2.COLOR_BayerRGGB2BGR)[4, 4].tolist() == [0, 0, 4000]


def png_bytes(picture: npt.NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".png", picture)[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "not a picture", id="empty"),
        pytest.param(b"hello", "not a picture", id="text"),
        pytest.param(png_bytes(np.eye(99, dtype=np.uint8))[:-30], "only a part of one", id="truncated png"),
        pytest.param(png_bytes(np.full((4, 6), 4096, np.uint16)), "up to 4096, expected at most 4095", id="13 bits"),
        pytest.param(png_bytes(np.zeros((4, 6, 3), np.uint16)), "uint16, expected 8-bit colour", id="16-bit colour"),
    ],
)
def test_a_bad_file_spoils_one_grab_and_the_next_picture_comes(
    write_folder: WriteFolder, content: bytes, message: str
) -> None:
    folder = write_folder({"a.png": gray(1), "c.png": gray(3)})
    (folder / "b.png").write_bytes(content)
    with camera(folder) as opened:
        shoot(opened)
        with pytest.raises(FrameError, match=f"camera top, picture 1, b.png: .*{message}") as caught:
            shoot(opened)
        assert caught.value.frame_id == 1
        assert (last := shoot(opened)).pixels[0, 0] == 3
        assert last.frame_id == 2
        assert opened.statistics.frames == 2
        assert opened.statistics.failed_buffers == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_half_written_file_never_becomes_a_picture(tmp_path: Path, noise: Noise, suffix: str) -> None:
    whole = bytes(cv2.imencode(suffix, noise(60, 80, 3))[1])
    for share in (0.999, 0.9, 0.5):
        (tmp_path / f"a{suffix}").write_bytes(whole[: int(len(whole) * share)])
        with camera(tmp_path) as opened, pytest.raises(FrameError):
            shoot(opened)


def test_a_file_deleted_while_playing_spoils_one_grab(write_folder: WriteFolder) -> None:
    folder = write_folder({"a.png": gray(1), "b.png": gray(2)})
    with camera(folder) as opened:
        (folder / "a.png").unlink()
        with pytest.raises(FrameError, match="cannot be read"):
            shoot(opened)
        assert shoot(opened).pixels[0, 0] == 2


@pytest.mark.parametrize(
    ("bits", "wanted"),
    [(np.uint16, "Mono8"), (np.uint8, "Mono12"), (np.uint16, "BayerRG8"), (np.uint8, "BayerRG12"), (np.uint16, "BGR8")],
)
def test_depth_is_neither_lost_nor_invented(write_folder: WriteFolder, bits: type[Any], wanted: PixelFormat) -> None:
    folder = write_folder({"a.png": np.full((4, 6), 9, bits)})
    with camera(folder, pixel_format=wanted) as opened, pytest.raises(FrameError, match="expected"):
        shoot(opened)


def test_a_48_megapixel_picture_comes_whole(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(8000, dtype=np.uint32).astype(np.uint8), (6000, 8000))
    assert cv2.imwrite(str(tmp_path / "a.bmp"), ramp)
    with camera(tmp_path) as opened:
        frame = shoot(opened)
    assert frame.hw == (6000, 8000)
    assert np.array_equal(frame.pixels, ramp)


def test_a_folder_has_no_features_and_says_which_were_asked_for(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1)})) as opened:
        opened.apply({})
        with pytest.raises(FeatureError, match="no features; take ExposureTime, Gain out of the recipe"):
            opened.apply({"ExposureTime": 500.0, "Gain": 1})
        assert shoot(opened).frame_id == 0


def test_a_folder_may_repeat_a_picture_unless_its_gate_says_otherwise() -> None:
    assert not Config.model_validate({"type": "folder", "path": "x"}).gate.identical
    assert Config.model_validate({"type": "folder", "path": "x", "gate": {"identical": True}}).gate.identical
    assert Config.model_validate({"type": "folder", "path": "x"}).gate.min_brightness > 0


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="nowhere does not exist"), camera(tmp_path / "nowhere"):
        pass


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(CameraError, match=f"{tmp_path} has no picture"), camera(tmp_path):
        pass


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "line.mp4").write_text("no video")
    with pytest.raises(CameraError, match=r"line\.mp4 cannot be opened"), camera(tmp_path / "line.mp4"):
        pass


def test_a_single_picture_is_played(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1), "b.png": gray(2)}) / "b.png") as opened:
        assert [int(shoot(opened).pixels[0, 0]) for _ in range(2)] == [2, 2]


def test_a_video_is_played_to_its_end_and_again(tmp_path: Path) -> None:
    path = tmp_path / "line.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for value in (40, 120, 200):
        video.write(np.full((48, 64, 3), value, np.uint8))
    video.release()
    with camera(path) as opened:
        frames = [shoot(opened) for _ in range(4)]
    assert [f.frame_id for f in frames] == [0, 1, 2, 3]
    assert frames[0].pixel_format == "BGR8"
    np.testing.assert_allclose([f.pixels.mean() for f in frames], [40, 120, 200, 40], atol=4)


def test_at_a_rate_pictures_come_when_they_are_due_and_not_before(write_folder: WriteFolder) -> None:
    before_ns = time.monotonic_ns()
    with camera(write_folder({"a.png": gray(1)}), trigger="rate", rate_hz=100) as opened:
        assert opened.trigger_mode == "free"
        frames = [frame for _ in range(4) if (frame := opened.grab(PATIENT_S))]
    assert [f.camera_ticks for f in frames] == [0, 10_000_000, 20_000_000, 30_000_000]
    assert all(f.arrival_ns - before_ns >= f.camera_ticks for f in frames)


def test_at_a_rate_a_late_caller_gets_what_it_missed_at_once(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1)}), trigger="rate", rate_hz=1000, slots=20) as opened:
        time.sleep(0.02)
        frames = [opened.grab(0.0) for _ in range(20)]
    assert [f.frame_id for f in frames if f is not None] == list(range(20))


def test_at_a_rate_the_time_out_is_kept(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1)}), trigger="rate", rate_hz=0.001) as opened:
        assert opened.grab(PATIENT_S) is not None
        before = time.monotonic()
        assert opened.grab(0.02) is None
        assert time.monotonic() - before >= 0.02


def test_a_triggered_picture_without_a_free_slot_is_refused_and_counted(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1)}), slots=1) as opened:
        held = shoot(opened)
        with pytest.raises(FrameError, match="all 1 slots are held") as caught:
            shoot(opened)
        assert caught.value.frame_id == 1
        held.release()
        assert shoot(opened).frame_id == 2
        assert opened.statistics.dropped_no_slot == 1


def test_at_a_rate_a_picture_without_a_free_slot_is_skipped_and_counted(write_folder: WriteFolder) -> None:
    with camera(write_folder({"a.png": gray(1)}), slots=1, trigger="rate", rate_hz=1000) as opened:
        held = opened.grab(PATIENT_S)
        assert opened.grab(PATIENT_S) is None
        assert held is not None
        held.release()
        again = opened.grab(PATIENT_S)
        assert again is not None
        assert again.frame_id == 2
        assert opened.statistics.dropped_no_slot == 1
