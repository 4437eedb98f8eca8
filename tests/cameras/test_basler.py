"""The Basler driver on pylon's own camera emulator."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from basler_rig import PATIENT_S, camera, command, shoot

from edge_inspector.cameras.basler import BaslerCamera, Config, emulated_order, seen
from edge_inspector.cameras.basler.nodes import Nodes
from edge_inspector.cameras.basler.stream import NODES
from edge_inspector.cameras.folder import Config as FolderConfig
from edge_inspector.cameras.folder import FolderCamera
from edge_inspector.datatypes import PixelFormat
from edge_inspector.errors import CameraError, FrameError

pylon = pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")

Picture = npt.NDArray[np.uint8]
Noise = Callable[..., Picture]
WriteFolder = Callable[[dict[str, npt.NDArray[Any]]], Path]

TRIES = 50


def _grab_until_lost(opened: BaslerCamera) -> None:
    """A picture that was there already is a good one."""
    for _ in range(TRIES):
        frame = opened.grab(PATIENT_S)
        assert frame is not None
        frame.release()


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
    with camera(folder, features={"PixelFormat": pixel_format}) as opened, files:
        for i in range(3):
            ours, theirs = shoot(files), shoot(opened)
            assert theirs.pixel_format == ours.pixel_format == pixel_format
            assert theirs.pixels.shape == ours.pixels.shape
            if pixel_format == "Mono8" and i < 2:
                continue  # how bright a colour is, is the emulator's own opinion
            np.testing.assert_array_equal(theirs.pixels, ours.pixels)


RED_AT = {"RG": (0, 0), "GR": (0, 1), "GB": (1, 0), "BG": (1, 1)}
"""Which of the top-left four pixels lies under red, by the first two letters of the filter's first row."""


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("filtered", RED_AT)
def test_red_is_where_each_bayer_format_says(write_folder: WriteFolder, filtered: str, bits: int) -> None:
    folder = write_folder({"a.png": np.full((48, 60, 3), (0, 0, 255), np.uint8)})
    with camera(folder, features={"PixelFormat": f"Bayer{filtered}{bits}"}) as opened:
        frame = shoot(opened)
    expected = np.zeros((48, 60), np.uint8 if bits == 8 else np.uint16)
    row, column = RED_AT[filtered]
    expected[row::2, column::2] = 255 << (bits - 8)
    assert frame.pixel_format == f"Bayer{filtered}{bits}"
    assert frame.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(frame.pixels, expected)


@pytest.mark.parametrize(("pixel_format", "red"), [("BGR8", [0, 0, 255]), ("RGB8", [255, 0, 0])])
@pytest.mark.parametrize("packed", ["", "Packed"])
def test_red_is_where_bgr_and_rgb_say_by_both_of_their_names(
    write_folder: WriteFolder, pixel_format: str, red: list[int], packed: str
) -> None:
    folder = write_folder({"a.png": np.full((48, 60, 3), (0, 0, 255), np.uint8)})
    with camera(folder, features={"PixelFormat": pixel_format + packed}) as opened:
        frame = shoot(opened)
    assert frame.pixel_format == pixel_format
    assert frame.pixels[0, 0].tolist() == red


@pytest.mark.parametrize("pixel_format", ["Mono12", "BayerRG12"])
def test_12_bits_come_in_16(write_folder: WriteFolder, noise: Noise, pixel_format: str) -> None:
    gray = noise(48, 61)
    with camera(write_folder({"a.png": gray}), features={"PixelFormat": pixel_format}) as opened:
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


def test_a_camera_tells_its_serial_size_and_trigger(folder: Path) -> None:
    with camera(folder, serial="0815-0002") as opened:
        assert (opened.serial, opened.image_hw, opened.trigger_mode) == ("0815-0002", (48, 61), "software")


def test_an_instance_is_opened_once(folder: Path) -> None:
    once = camera(folder)
    with once:
        pass
    with pytest.raises(RuntimeError, match="make a new one"), once:
        pass


def test_a_free_running_camera_needs_no_trigger(folder: Path) -> None:
    with camera(folder, trigger="free") as opened:
        assert opened.trigger_mode == "free"
        frame_ids = [frame.frame_id for _ in range(3) if (frame := opened.grab(PATIENT_S))]
        assert len(frame_ids) == 3
        assert frame_ids == sorted(set(frame_ids))
        with pytest.raises(RuntimeError, match="needs trigger = software, not free"):
            opened.trigger()


def test_a_free_running_camera_gives_its_latest_picture_and_counts_those_it_replaced(folder: Path) -> None:
    with camera(folder, trigger="free") as opened:
        delivered = opened._device.GetStreamGrabberNodeMap().GetNode("Statistic_Total_Buffer_Count")
        patience = time.monotonic() + PATIENT_S
        while delivered.GetValue() < 5:
            assert time.monotonic() < patience
            time.sleep(0.01)
        latest = opened.grab(PATIENT_S)
        assert latest is not None
        assert latest.frame_id >= 4
        following = opened.grab(PATIENT_S)
        assert following is not None
        statistics = opened.statistics
        assert statistics.frames == 2
        assert statistics.missed_frames == following.frame_id - 1


def test_a_free_running_camera_that_falls_silent_is_lost(folder: Path) -> None:
    with camera(folder, trigger="free", stall_s=0.2) as opened:
        assert opened.grab(PATIENT_S) is not None
        opened._device.TriggerSelector.Value = "FrameStart"
        opened._device.TriggerMode.Value = "On"  # not a slow frame rate: the emulator's StopGrabbing waits that out
        with pytest.raises(CameraError, match=r"gave no picture for [0-9.]+ s \(stall_s = 0\.2\)"):
            _grab_until_lost(opened)


def test_a_triggered_camera_may_be_silent(folder: Path) -> None:
    with camera(folder, stall_s=0.01) as opened:
        assert opened.grab(0.15) is None
        assert shoot(opened).frame_id == 0


def test_a_failed_buffer_spoils_one_part_and_keeps_its_number(opened: BaslerCamera) -> None:
    assert shoot(opened).frame_id == 0
    opened._device.ForceFailedBufferCount.Value = 2
    command(opened, "ForceFailedBuffer")
    for number in (1, 2):
        with pytest.raises(FrameError, match=f"block {number}: .*incompletely grabbed") as failed:
            shoot(opened)
        assert (failed.value.frame_id, failed.value.line_edges) == (number, None)
    assert shoot(opened).frame_id == 3
    assert (opened.statistics.frames, opened.statistics.failed_buffers) == (2, 2)


def test_the_books_of_a_free_running_camera_balance_over_failed_buffers_and_full_slots(folder: Path) -> None:
    with camera(folder, trigger="free", slots=1) as opened:
        opened._device.ForceFailedBufferCount.Value = 3
        last, held = -1, None
        while opened.statistics.frames < 3 or opened.statistics.failed_buffers == 0:
            if opened.statistics.failed_buffers == 0:  # pylon may have replaced the failed ones by later pictures
                command(opened, "ForceFailedBuffer")
            try:
                frame = opened.grab(0.05)
            except FrameError as failed:
                last = -1 if failed.frame_id is None else failed.frame_id
                continue
            if held is not None:
                held.release()
            held, last = frame, last if frame is None else frame.frame_id
        counted = opened.statistics
        if held is None:  # a picture without a slot has no number to be seen: end with one that has
            final = opened.grab(PATIENT_S)
            assert final is not None
            last, counted = final.frame_id, opened.statistics
    assert last + 1 == counted.frames + counted.failed_buffers + counted.missed_frames + counted.dropped_no_slot


def test_the_stream_grabber_has_each_count_under_the_name_that_is_asked_for(opened: BaslerCamera) -> None:
    grabber = Nodes(opened._device.GetStreamGrabberNodeMap(), opened._genicam)
    assert {field: grabber.value(name) for field, name in NODES.items()} == dict.fromkeys(NODES, 0)


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


def test_a_camera_unplugged_at_idle_is_lost_at_the_next_trigger(opened: BaslerCamera) -> None:
    shoot(opened)
    command(opened, "FirePnPCallback")
    with pytest.raises(CameraError, match="unplugged"):
        opened.trigger()


def test_a_camera_unplugged_between_trigger_and_grab_is_lost(opened: BaslerCamera) -> None:
    opened.trigger()
    command(opened, "FirePnPCallback")
    with pytest.raises(CameraError, match="unplugged"):
        _grab_until_lost(opened)


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
    with camera(folder, buffers=2, features={"ExposureTime": 100}) as opened:
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
        with pytest.raises(FrameError, match="all 2 slots are held") as refused:
            shoot(opened)
        assert refused.value.frame_id == 2
        held[0].release()
        assert shoot(opened).frame_id == 3
        assert opened.statistics.dropped_no_slot == 1


def test_a_free_running_camera_skips_frames_while_no_slot_is_free(folder: Path) -> None:
    with camera(folder, trigger="free", slots=1) as opened:
        held = opened.grab(PATIENT_S)
        assert held is not None
        while not opened.statistics.dropped_no_slot:
            assert opened.grab(0.05) is None
        held.release()
        after = opened.grab(PATIENT_S)
        assert after is not None
        assert after.frame_id > held.frame_id + opened.statistics.dropped_no_slot


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


def test_a_real_station_never_takes_an_emulated_camera() -> None:
    unreal = BaslerCamera("top", Config(type="basler", serial="0815-0000"))
    with pytest.raises(CameraError, match="fits 0 cameras"), unreal:
        pass


def test_a_missing_or_empty_emulator_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="nowhere cannot be read"), camera(tmp_path / "nowhere"):
        pass
    with pytest.raises(CameraError, match=f"{tmp_path} has no picture"), camera(tmp_path):
        pass


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


def test_buffer_after_buffer_that_fails_is_a_lost_camera(folder: Path) -> None:
    for i in range(6):
        (folder / f"x{i}.png").write_text("no picture")
    for picture in ("0.png", "1.png", "2.png"):
        (folder / picture).unlink()
    (folder / "0.png").write_bytes(cv2.imencode(".png", np.zeros((48, 61), np.uint8))[1].tobytes())
    with camera(folder) as opened:
        assert [frame_id_or_failed(opened) for _ in range(5)] == [0, *["failed"] * 4]
        with pytest.raises(CameraError, match="5 pictures in a row have failed, the last: "):
            shoot(opened)
