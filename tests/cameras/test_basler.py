"""The Basler driver on pylon's own camera emulator."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from edge_inspector.cameras.basler import (
    BaslerCamera,
    Config,
    continued,
    emulated_order,
    seen,
    unpadded,
)
from edge_inspector.cameras.folder import Config as FolderConfig
from edge_inspector.cameras.folder import FolderCamera
from edge_inspector.datatypes import Frame, PixelFormat
from edge_inspector.errors import CameraError, FrameError

pylon = pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")

Picture = npt.NDArray[np.uint8]
Noise = Callable[..., Picture]
WriteFolder = Callable[[dict[str, npt.NDArray[Any]]], Path]

TRIES = 50
PATIENT_S = 10.0


def camera(folder: Path, **settings: Any) -> BaslerCamera:
    return BaslerCamera("top", Config(type="basler", emulate_folder=folder, **settings))


def shoot(opened: BaslerCamera | FolderCamera) -> Frame:
    opened.trigger()
    frame = opened.grab(PATIENT_S)
    assert frame is not None
    return frame


def frame_id_or_failed(opened: BaslerCamera) -> int | str:
    try:
        return shoot(opened).frame_id
    except FrameError:
        return "failed"


@pytest.fixture
def folder(write_folder: WriteFolder, noise: Noise) -> Path:
    return write_folder({f"{i}.png": noise(48, 61) for i in range(3)})


@pytest.fixture
def opened(folder: Path) -> Iterator[BaslerCamera]:
    with camera(folder) as opened:
        yield opened


def command(opened: BaslerCamera, node: str) -> None:
    """The emulator's own switches for faults; a station has no use for them, so the driver has no door to them."""
    opened._device.GetNodeMap().GetNode(node).Execute()


def test_a_folder_is_played_in_byte_order_pixel_for_pixel_and_again(write_folder: WriteFolder, noise: Noise) -> None:
    pictures = {name: noise(48, 61) for name in ("b.png", "img10.png", "img2.png", "C.png", "a.png")}
    folder = write_folder(pictures)
    order = emulated_order(folder)
    assert [path.name for path in order] == ["C.png", "a.png", "b.png", "img10.png", "img2.png"]
    with camera(folder) as opened:
        for i in range(7):
            frame = shoot(opened)
            assert frame.frame_id == i
            np.testing.assert_array_equal(frame.pixels, pictures[order[i % 5].name])
            frame.release()


def test_every_entry_of_the_folder_takes_its_turn_and_no_picture_is_a_failed_one(folder: Path) -> None:
    (folder / "1a.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "1b").mkdir()
    assert [path.name for path in emulated_order(folder)] == [".hidden.png", "0.png", "1.png", "1a.txt", "1b", "2.png"]
    with camera(folder) as opened:
        assert [frame_id_or_failed(opened) for _ in range(7)] == ["failed", 1, 2, "failed", "failed", 5, "failed"]
        assert opened.statistics.frames == 3
        assert opened.statistics.failed_buffers == 4


@pytest.mark.parametrize("pixel_format", ["Mono8", "BGR8", "RGB8", "BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8"])
def test_colours_are_the_same_through_pylon_and_through_the_folder_camera(
    write_folder: WriteFolder, noise: Noise, pixel_format: PixelFormat
) -> None:
    flat_red = np.full((48, 61, 3), (0, 0, 255), np.uint8)
    folder = write_folder({"a.png": flat_red, "b.png": noise(48, 61, 3), "c.png": noise(48, 61)})
    files = FolderCamera("side", FolderConfig(type="folder", path=folder, pixel_format=pixel_format))
    with camera(folder, pixel_format=pixel_format) as opened, files:
        for i in range(3):
            ours, theirs = shoot(files), shoot(opened)
            assert theirs.pixel_format == ours.pixel_format == pixel_format
            assert theirs.pixels.shape == ours.pixels.shape
            if pixel_format == "Mono8" and i < 2:
                continue  # how bright a colour is, is the emulator's own opinion
            np.testing.assert_array_equal(theirs.pixels, ours.pixels)


def test_red_is_where_each_format_says(write_folder: WriteFolder) -> None:
    folder = write_folder({"a.png": np.full((48, 60, 3), (0, 0, 255), np.uint8)})
    top_left = {}
    for pixel_format in ("BGR8", "RGB8", "BayerRG8"):
        with camera(folder, pixel_format=pixel_format) as opened:
            top_left[pixel_format] = shoot(opened).pixels[:2, :2].tolist()
    assert top_left["BGR8"][0][0] == [0, 0, 255]
    assert top_left["RGB8"][0][0] == [255, 0, 0]
    assert top_left["BayerRG8"] == [[255, 0], [0, 0]]


def test_12_bits_come_in_16(write_folder: WriteFolder, noise: Noise) -> None:
    gray = noise(48, 61)
    with camera(write_folder({"a.png": gray}), pixel_format="Mono12") as opened:
        frame = shoot(opened)
    assert frame.pixels.dtype == np.uint16
    np.testing.assert_array_equal(frame.pixels, gray.astype(np.uint16) << 4)


@pytest.mark.parametrize("shape", [(24, 61), (48, 30), (96, 128), (48, 62), (49, 61)])
def test_a_picture_of_another_size_is_refused_neither_cropped_nor_scaled(
    write_folder: WriteFolder, noise: Noise, shape: tuple[int, int]
) -> None:
    with camera(write_folder({"a.png": noise(48, 61), "b.png": noise(*shape)})) as opened:
        shoot(opened)
        with pytest.raises(FrameError, match="expected 61 x 48"):
            shoot(opened)
        assert shoot(opened).frame_id == 2


def test_a_picture_larger_than_the_emulated_sensor_comes_whole(write_folder: WriteFolder, noise: Noise) -> None:
    wide = noise(8, 4200)
    with camera(write_folder({"a.png": wide})) as opened:
        np.testing.assert_array_equal(shoot(opened).pixels, wide)


def test_without_a_trigger_no_frame_comes(opened: BaslerCamera) -> None:
    assert opened.grab(0.15) is None
    assert opened.grab(0.0) is None
    assert shoot(opened).frame_id == 0


def test_a_free_running_camera_needs_no_trigger(folder: Path) -> None:
    with camera(folder, trigger="free") as opened:
        assert not opened.software_triggered
        assert [frame.frame_id for _ in range(3) if (frame := opened.grab(PATIENT_S))] == [0, 1, 2]
        with pytest.raises(RuntimeError, match="needs trigger = software, not free"):
            opened.trigger()


def test_a_failed_buffer_spoils_one_part_and_shows_as_a_gap(opened: BaslerCamera) -> None:
    assert shoot(opened).frame_id == 0
    opened._device.ForceFailedBufferCount.Value = 2
    command(opened, "ForceFailedBuffer")
    for _ in range(2):
        with pytest.raises(FrameError, match="incompletely grabbed"):
            shoot(opened)
    assert shoot(opened).frame_id == 3
    assert opened.statistics.failed_buffers == 2


def test_an_unplugged_camera_is_lost_and_a_new_instance_works(folder: Path) -> None:
    with camera(folder) as opened:
        shoot(opened)
        command(opened, "FirePnPCallback")
        with pytest.raises(CameraError, match="unplugged"):
            opened.grab(PATIENT_S)
        with pytest.raises(CameraError, match="unplugged"):
            opened.trigger()
    with camera(folder) as again:
        assert shoot(again).frame_id == 0


def test_a_late_frame_comes_with_its_own_number(opened: BaslerCamera) -> None:
    """The emulator needs some 10 ms for a picture; where this thread was held up for longer, the next one is tried."""
    for number in range(TRIES):
        opened.trigger()
        if opened.grab(0.0) is None:
            late = opened.grab(PATIENT_S)
            assert late is not None
            assert late.frame_id == number
            return
    pytest.fail(f"{TRIES} pictures all came before they could be waited for")


def test_a_frame_that_never_came_asks_for_reopening(opened: BaslerCamera) -> None:
    for _ in range(TRIES):
        opened.trigger()
        try:
            opened.trigger()
        except CameraError as exc:
            assert "never came" in str(exc)  # noqa: PT017 - a picture that was quicker than this thread raises nothing
            return
    pytest.fail(f"{TRIES} pictures all came before the next trigger")


def test_a_frame_that_was_given_up_is_never_taken_for_the_next_part(opened: BaslerCamera) -> None:
    opened.trigger()
    assert opened._device.GetGrabResultWaitObject().Wait(10_000)
    following = shoot(opened)
    assert following.frame_id == 1
    assert opened.statistics.discarded_late == 1


def test_a_camera_without_free_buffers_is_not_ready_for_a_trigger(folder: Path) -> None:
    with camera(folder, buffers=2, exposure_us=100) as opened:
        kept = []
        for _ in range(2):
            opened._device.WaitForFrameTriggerReady(10_000)
            opened._device.ExecuteSoftwareTrigger()
            kept.append(opened._device.RetrieveResult(10_000))
        with pytest.raises(CameraError, match="not ready for a trigger within 1001 ms"):
            opened.trigger()


def test_a_camera_unplugged_while_waiting_is_lost_before_the_time_out(opened: BaslerCamera) -> None:
    unplug = threading.Timer(0.05, command, (opened, "FirePnPCallback"))
    unplug.start()
    before_s = time.monotonic()
    with pytest.raises(CameraError, match="unplugged"):
        opened.grab(PATIENT_S)
    assert time.monotonic() - before_s < PATIENT_S
    unplug.join()


def test_a_triggered_frame_without_a_free_slot_is_refused_and_counted(folder: Path) -> None:
    with camera(folder, slots=2) as opened:
        held = [shoot(opened), shoot(opened)]
        with pytest.raises(FrameError, match="all 2 slots are held"):
            shoot(opened)
        held[0].release()
        assert shoot(opened).frame_id == 3
        assert opened.statistics.dropped_no_slot == 1


def test_a_free_running_camera_skips_frames_while_no_slot_is_free(folder: Path) -> None:
    with camera(folder, trigger="free", slots=1) as opened:
        held = opened.grab(PATIENT_S)
        assert held is not None
        while not opened.statistics.dropped_no_slot:
            assert opened.grab(0.05) is None
        dropped = opened.statistics.dropped_no_slot
        held.release()
        after = opened.grab(PATIENT_S)
        assert after is not None
        assert after.frame_id == dropped + 1


def test_a_held_frame_is_whole_after_the_camera_is_closed(write_folder: WriteFolder, noise: Noise) -> None:
    pictures = {"a.png": noise(48, 61), "b.png": noise(48, 61)}
    with camera(write_folder(pictures)) as opened:
        first, second = shoot(opened), shoot(opened)
    np.testing.assert_array_equal(first.pixels, pictures["a.png"])
    np.testing.assert_array_equal(second.pixels, pictures["b.png"])
    first.release()


def test_two_cameras_play_their_own_folders(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (folder / "2.png").rename(tmp_path / "other" / "2.png")
    with camera(folder, serial="0815-0000") as one, camera(tmp_path / "other", serial="0815-0001") as other:
        assert [shoot(one).frame_id, shoot(other).frame_id, shoot(one).frame_id] == [0, 0, 1]


def test_exposure_and_gain_are_set(folder: Path) -> None:
    with camera(folder, exposure_us=1234.0, gain_db=6.0) as opened:
        assert opened._device.ExposureTime.Value == pytest.approx(1234.0, abs=1)
        assert opened._device.Gain.Value == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exposure_us": 1e9}, "camera top: does not take its settings: Value 1000000000"),
        ({"serial": "4711"}, r"serial = 4711, emulated fits 0 cameras, expected one; seen: Emulation serial 0815-0000"),
    ],
)
def test_what_the_camera_cannot_do_is_said_at_opening(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CameraError, match=message), camera(folder, **settings):
        pass


def test_a_real_station_never_takes_an_emulated_camera() -> None:
    unreal = BaslerCamera("top", Config(type="basler", serial="0815-0000"))
    with pytest.raises(CameraError, match="fits 0 cameras"), unreal:
        pass


def test_a_missing_or_empty_emulator_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="nowhere cannot be read"), camera(tmp_path / "nowhere"):
        pass
    with pytest.raises(CameraError, match=f"{tmp_path} has no picture"), camera(tmp_path):
        pass


def test_the_emulator_with_a_line_trigger_is_refused_by_the_config(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no line input"):
        Config(type="basler", emulate_folder=tmp_path, trigger="line")


def test_emulated_cameras_are_seen() -> None:
    emulated = [info for info in seen() if info.vendor_class == "BaslerCamEmu"]
    assert [info.serial for info in emulated][:2] == ["0815-0000", "0815-0001"]
    assert {info.model for info in emulated} == {"Emulation"}


def test_a_machine_without_pypylon_says_what_to_install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "pypylon", None)
    with pytest.raises(CameraError, match=r"pip install edge-inspector\[basler\]"):
        seen()
    with pytest.raises(CameraError, match=r"pip install edge-inspector\[basler\]"), camera(folder):
        pass


def test_pylon_is_not_imported_before_a_camera_is_opened() -> None:
    code = (
        "import sys; from edge_inspector.cameras.basler import BaslerCamera, Config; "
        "BaslerCamera('top', Config(type='basler')); sys.exit('pypylon' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("previous", "block_id", "expected"),
    [
        pytest.param(0, 0, 0, id="the emulator and USB3 begin at 0"),
        pytest.param(0, 1, 1, id="GigE begins at 1"),
        pytest.param(0, 40_000, 40_000, id="opened while running"),
        pytest.param(7, 9, 9, id="a gap stays a gap"),
        pytest.param(65_535, 1, 65_536, id="16 bits wrap to 1"),
        pytest.param(65_534, 2, 65_537, id="a gap over the wrap"),
        pytest.param(131_070, 1, 131_071, id="the second wrap"),
        pytest.param(65_536, 65_535, 65_535, id="a late one over the wrap"),
        pytest.param(5_000_000_000, 5_000_000_001, 5_000_000_001, id="64 bits as they are"),
    ],
)
def test_block_ids_are_carried_on(previous: int, block_id: int, expected: int) -> None:
    assert continued(previous, block_id) == expected


@pytest.mark.parametrize(
    ("sample", "samples", "padding"), [(np.uint8, 1, 0), (np.uint8, 1, 3), (np.uint8, 3, 2), (np.uint16, 1, 5)]
)
def test_the_padding_behind_each_row_is_left_out(sample: type[Any], samples: int, padding: int) -> None:
    row_bytes = 5 * samples * np.dtype(sample).itemsize
    rows = np.random.default_rng(1).integers(0, 256, (4, row_bytes), np.uint8)
    padded = memoryview(np.pad(rows, ((0, 0), (0, padding)), constant_values=255).tobytes())
    pixels = unpadded(padded, (4, 5), np.dtype(sample), samples, padding)
    assert pixels.shape == ((4, 5) if samples == 1 else (4, 5, 3))
    assert pixels.tobytes() == rows.tobytes()


def test_a_buffer_that_is_too_short_is_refused() -> None:
    with pytest.raises(FrameError, match="19 bytes of pixels, expected 20"):
        unpadded(memoryview(bytes(19)), (4, 5), np.dtype(np.uint8), 1, 0)
