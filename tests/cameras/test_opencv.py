"""The OpenCV camera: real video files, a real HTTP stream, and OpenCV's real V4L2 code on a device that we feed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mjpeg_server import HEIGHT, STEP, WIDTH, MjpegServer
from pydantic import TypeAdapter, ValidationError

from edge_inspector.cameras import opencv
from edge_inspector.cameras.opencv import Config, OpenCvCamera, surely_after
from edge_inspector.cameras.opencv_source import Fetched
from edge_inspector.datatypes import Frame
from edge_inspector.errors import CameraError, FeatureError, FrameError

PATIENT_S = 10.0
MS = 1_000_000
AVI_CHUNK_HEADER = 8
HERE = Path(__file__).parent


def camera(source: int | str | Path, **settings: Any) -> OpenCvCamera:
    return OpenCvCamera("top", Config(type="opencv", source=source, **settings))


def shoot(opened: OpenCvCamera) -> Frame:
    opened.trigger()
    frame = opened.grab(PATIENT_S)
    assert frame is not None
    return frame


def read_on(opened: OpenCvCamera, timeout_s: float = PATIENT_S) -> None:
    """Read and release until something is raised, but not for ever."""
    for _ in range(1000):
        if frame := opened.grab(timeout_s):
            frame.release()
    pytest.fail("1000 grabs and nothing was raised")


def gray(frame: Frame) -> int:
    return round(float(frame.pixels.mean()) / STEP)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Three pictures of gray 5, 10 and 20 times STEP, 20 a second."""
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (WIDTH, HEIGHT))
    for value in (5, 10, 20):
        writer.write(np.full((HEIGHT, WIDTH, 3), value * STEP, np.uint8))
    writer.release()
    return path


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as running:
        yield running


def test_each_trigger_brings_the_next_picture_of_a_file_and_after_the_last_the_first(video: Path) -> None:
    with camera(video) as opened:
        assert opened.image_hw == (HEIGHT, WIDTH)
        frames = [shoot(opened) for _ in range(4)]
    assert [(f.frame_id, gray(f)) for f in frames] == [(0, 5), (1, 10), (2, 20), (3, 5)]
    assert frames[0].pixel_format == "BGR8"
    assert opened.statistics.frames == 4


def test_without_a_trigger_no_picture_of_a_file_comes(video: Path) -> None:
    with camera(video) as opened:
        assert opened.grab(0.01) is None
        assert shoot(opened).frame_id == 0
        assert opened.grab(0.0) is None


def test_a_file_that_does_not_loop_gives_nothing_after_its_end(video: Path) -> None:
    with camera(video, loop=False) as opened:
        for _ in range(3):
            shoot(opened)
        for _ in range(2):
            opened.trigger()
            assert opened.grab(0.0) is None


def test_a_free_file_plays_every_picture_and_not_before_it_is_due(video: Path) -> None:
    before_ns = time.monotonic_ns()
    with camera(video, trigger="free") as opened:
        frames = [frame for _ in range(5) if (frame := opened.grab(PATIENT_S))]
    assert [gray(f) for f in frames] == [5, 10, 20, 5, 10]
    assert all(f.arrival_ns - before_ns >= f.frame_id * 50 * MS for f in frames)


def test_a_damaged_picture_of_a_file_spoils_one_grab(video: Path) -> None:
    content = bytearray(video.read_bytes())
    _, second, third = (found.start() for found in re.finditer(b"\xff\xd8\xff", content))
    content[second : third - AVI_CHUNK_HEADER] = bytes(third - AVI_CHUNK_HEADER - second)
    video.write_bytes(content)
    with camera(video) as opened:
        assert gray(shoot(opened)) == 5
        opened.trigger()
        with pytest.raises(FrameError, match="picture 1 is damaged") as caught:
            opened.grab(PATIENT_S)
        assert caught.value.frame_id == 1
        last = shoot(opened)
        assert (last.frame_id, gray(last)) == (2, 20)
        assert opened.statistics.failed_buffers == 1


def test_a_held_slot_is_never_overwritten(video: Path) -> None:
    with camera(video, slots=1) as opened:
        opened.trigger()
        held = opened.grab(PATIENT_S)
        assert held is not None
        opened.trigger()
        with pytest.raises(FrameError, match="all 1 slots are held"):
            opened.grab(PATIENT_S)
        assert gray(held) == 5
        assert opened.statistics.dropped_no_slot == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("nowhere.avi", None, r"nowhere\.avi does not exist", id="missing"),
        pytest.param("text.avi", b"no video", r"text\.avi cannot be opened; expected a video", id="no video"),
    ],
)
def test_a_file_that_cannot_be_played_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CameraError, match=message), camera(tmp_path / name):
        pass


def test_another_size_than_expected_is_refused(video: Path) -> None:
    with pytest.raises(CameraError, match=f"gives {WIDTH} x {HEIGHT} pixels, expected 640 x {HEIGHT}"):
        camera(video, width=640).__enter__()


def test_a_file_has_no_exposure_to_set(video: Path) -> None:
    with camera(video) as opened:
        opened.apply({})
        with pytest.raises(FeatureError, match="EXPOSURE = 3 was refused"):
            opened.apply({"EXPOSURE": 3})
        assert gray(shoot(opened)) == 5


def test_a_relative_path_is_meant_beside_the_station_file_and_a_url_is_left_alone(tmp_path: Path) -> None:
    adapter = TypeAdapter(Config)

    def read(source: object) -> object:
        return adapter.validate_python({"type": "opencv", "source": source}, context={"base": tmp_path}).source

    assert read("line.avi") == tmp_path / "line.avi"
    assert read("/dev/video0") == Path("/dev/video0")
    assert read("rtsp://10.0.0.5/stream1") == "rtsp://10.0.0.5/stream1"
    assert read(0) == 0
    for bad in (-1, True, 1.5):
        with pytest.raises(ValidationError):
            read(bad)


def test_a_triggered_picture_was_taken_after_its_trigger_whatever_was_buffered(server: MjpegServer) -> None:
    with camera(server.url(), latency_s=0.0) as opened:
        for pause_s in (0.0, 0.3, 0.5):  # nobody reads meanwhile, so the pictures gather
            time.sleep(pause_s)
            triggered_ns = time.monotonic_ns()
            frame = shoot(opened)
            assert server.sent_ns[frame.frame_id] - server.period_s * 1e9 >= triggered_ns
            assert gray(frame) == frame.frame_id % (256 // STEP)


def test_pictures_that_a_stalled_network_delivers_late_are_never_the_parts(server: MjpegServer) -> None:
    with camera(server.url(), latency_s=0.3) as opened:
        shoot(opened)
        server.hold.set()
        time.sleep(0.2)
        triggered_ns = time.monotonic_ns()
        release = threading.Timer(0.5, server.hold.clear)
        release.start()
        frame = shoot(opened)
        release.join()
    assert server.sent_ns[frame.frame_id] - server.period_s * 1e9 >= triggered_ns


def test_a_stream_of_which_no_picture_is_surely_new_says_what_to_set(server: MjpegServer) -> None:
    with camera(server.url(), fps=1) as opened:  # so that 40 ms of waiting prove nothing
        opened.trigger()
        with pytest.raises(FrameError, match=r"none surely exposed after the trigger; raise .* tell its fps"):
            opened.grab(0.2)


def test_a_free_stream_gives_the_newest_picture_and_counts_those_it_skips(server: MjpegServer) -> None:
    with camera(server.url(), trigger="free") as opened:
        new = 0
        for _ in range(5):
            time.sleep(0.2)
            asked_ns = time.monotonic_ns()
            frame = opened.grab(PATIENT_S)
            assert frame is not None
            frame.release()
            new += server.sent_ns[frame.frame_id] >= asked_ns - server.period_s * 1e9
            newest = frame.frame_id
        assert new >= 3  # a read that the machine interrupts looks like one that waited
        assert opened.statistics.discarded_late == newest + 1 - opened.statistics.frames > 0


def test_a_damaged_picture_of_a_free_stream_is_told_with_its_number(server: MjpegServer) -> None:
    with camera(server.url(), trigger="free") as opened:
        server.damage = set(range(len(server.sent_ns) + 3, 10**6, 4))
        with pytest.raises(FrameError, match="is damaged") as caught:
            read_on(opened)
        assert caught.value.frame_id in server.damage
        after = opened.grab(PATIENT_S)
        assert after is not None
        assert after.frame_id == caught.value.frame_id + 1
        assert gray(after) == after.frame_id % (256 // STEP)


def test_a_damaged_picture_from_before_the_trigger_costs_no_part(server: MjpegServer) -> None:
    with camera(server.url(), latency_s=0.2) as opened:
        server.damage = set(range(len(server.sent_ns) + 3, 10**6, 4))
        assert shoot(opened).frame_id not in server.damage
        assert opened.statistics.failed_buffers >= 1


@pytest.mark.parametrize("trigger", ["software", "free"])
def test_a_cut_stream_is_lost_and_tells_no_secret(
    server: MjpegServer, trigger: str, capfd: pytest.CaptureFixture[str]
) -> None:
    server_config = Config.model_validate(
        {"type": "opencv", "source": server.url("operator:hunter2@"), "trigger": trigger}
    )
    with OpenCvCamera("top", server_config) as opened:
        assert opened.image_hw == (HEIGHT, WIDTH)
        server.cut()
        if trigger == "software":
            opened.trigger()
        with pytest.raises(CameraError, match=f"top: http://127.0.0.1:{server.port} has ended") as caught:
            read_on(opened, 0.05)
    told = str(caught.value) + repr(server_config) + "".join(capfd.readouterr())
    assert "hunter2" not in told
    assert "operator" not in told


def test_a_silent_stream_is_lost_after_stall_s(server: MjpegServer) -> None:
    with camera(server.url(), stall_s=0.3, trigger="free") as opened:
        server.mute.set()
        with pytest.raises(CameraError, match=r"has given no picture for 0\.3 s \(stall_s\)"):
            read_on(opened, 0.05)
        assert time.monotonic_ns() - server.sent_ns[-1] >= 0.3e9


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:pw@127.0.0.1:1/live?password=pw", "rtsp://127.0.0.1:1"),
        ("http://127.0.0.1:1/user=admin_password=pw_channel=1", "http://127.0.0.1:1"),
        ("http://admin:pw@nowhere.invalid/", "http://nowhere.invalid"),
        ("rtsp://admin:p/w@127.0.0.1/", "rtsp://..."),
        ("rtsp://admin:1/pw@127.0.0.1/", "rtsp://..."),
        ("rtsp:/admin:pw@127.0.0.1/", "...@127.0.0.1"),
    ],
)
def test_a_source_that_cannot_be_opened_is_named_without_its_password(
    url: str, shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CameraError) as caught, camera(url, open_s=1):
        pass
    assert f"camera top: {shown} " in str(caught.value)
    told = str(caught.value) + "".join(capfd.readouterr())
    assert "pw" not in told
    assert "admin" not in told


def test_a_server_that_never_answers_is_given_up(server: MjpegServer) -> None:
    server.mute.set()
    with pytest.raises(CameraError, match=r"no stream within 0\.3 s"), camera(server.url(), open_s=0.3):
        pass


def picture(arrival_ms: float, waited_ms: float, stamp_ms: float | None = None) -> Fetched:
    return Fetched(0, round(arrival_ms * MS), round(waited_ms * MS), None if stamp_ms is None else round(stamp_ms * MS))


@pytest.mark.parametrize(
    ("before", "this", "expected"),
    [
        pytest.param(None, picture(140, 40), False, id="the first ever: nothing is known of it"),
        pytest.param(picture(101, 40), picture(141, 40), True, id="both waited for, the first after the moment"),
        pytest.param(picture(99, 40), picture(139, 40), False, id="it was being exposed at the moment"),
        pytest.param(picture(101, 0), picture(141, 40), False, id="the one before lay in a buffer"),
        pytest.param(picture(101, 40), picture(102, 1), False, id="it lay in a buffer itself"),
        pytest.param(picture(130, 0, 101), picture(131, 0, 141), True, id="stamped after, though read from a buffer"),
        pytest.param(picture(101, 40, 99), picture(141, 40, 139), False, id="stamped before, though waited for"),
    ],
)
def test_a_picture_is_new_only_when_the_one_before_it_was_finished_after_the_moment(
    before: Fetched | None, this: Fetched, expected: bool
) -> None:
    assert surely_after(100 * MS, before, this, 40 * MS) is expected


@pytest.fixture(scope="module")
def v4l2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that plays /dev/video70 to the process that preloads it."""
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("needs a C compiler and linux/videodev2.h (apt install gcc linux-libc-dev)")
    library = tmp_path_factory.mktemp("v4l2") / "v4l2.so"
    source = HERE / "v4l2_device.c"
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


def on_device(v4l2: Path, body: str, **environment: str) -> str:
    """What a script says in a process that has the device."""
    script = f"""
import os, pathlib, time
from edge_inspector.cameras.opencv import Config, OpenCvCamera
from edge_inspector.errors import CameraError, FeatureError
def camera(**settings): return OpenCvCamera("top", Config(type="opencv", **settings))
def shoot(c):
    c.trigger(); frame = c.grab(5); frame.release(); return frame
{body}"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"LD_PRELOAD": str(v4l2), "PYTHONPATH": str(Path(opencv.__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_triggered_device_gives_no_picture_exposed_before_the_trigger(v4l2: Path) -> None:
    body = """
with camera(source=70, latency_s=0) as c:
    assert c.image_hw == (48, 64)
    for pause_s in (0, 0.3, 0.5):  # its buffers fill up and then hold the oldest pictures
        time.sleep(pause_s)
        triggered_ns = time.monotonic_ns()
        frame = shoot(c)
        assert frame.camera_ticks - 40_000_000 >= triggered_ns, (pause_s, frame)
        print(frame.frame_id, int(frame.pixels[0, 0, 0]))
"""
    numbers = [tuple(map(int, line.split())) for line in on_device(v4l2, body).splitlines()]
    assert len(numbers) == 3
    assert numbers[2][1] - numbers[0][1] > numbers[2][0] - numbers[0][0]  # what the driver lost nobody could count


def test_a_recipes_features_are_taken_checked_and_given_back(v4l2: Path) -> None:
    body = """
said = lambda: print(c._source.value("AUTO_EXPOSURE"), c._source.value("EXPOSURE"))
with camera(source="/dev/video70") as c:  # by itself it exposes automatically, and then takes no exposure
    said()
    c.apply({"AUTO_EXPOSURE": 1, "EXPOSURE": 300})
    said()
    c.apply({})
    said()
with camera(source="/dev/video70", features={"AUTO_EXPOSURE": 1, "EXPOSURE": 200}) as c:
    said()
    c.apply({"EXPOSURE": 300})
    said()
    for bad in ({"EXPOSURE": 9000}, {"GAIN": 3}, {"NOPE": 1}, {"EXPOSURE": "long"}, {"FPS": 10}):
        try:
            c.apply(bad)
            print("taken", bad)
        except FeatureError as exc:
            print(exc)
    c.apply({"AUTO_EXPOSURE": 3})
    said()
    c.apply({})
    said()
    shoot(c)
"""
    said = on_device(v4l2, body).splitlines()
    assert said[:3] == ["3.0 100.0", "1.0 300.0", "3.0 100.0"]
    assert said[3:5] == ["1.0 200.0", "1.0 300.0"]
    assert "EXPOSURE = 9000, but it says 5000" in said[5]
    assert "GAIN = 3 was refused" in said[6]
    assert "'NOPE' is not one" in said[7]
    assert "EXPOSURE = 'long', expected a number" in said[8]
    assert "'FPS' is not one" in said[9]
    assert said[10:] == ["3.0 200.0", "1.0 200.0"]


def test_after_a_change_of_features_the_pictures_still_exposed_the_old_way_are_skipped(v4l2: Path) -> None:
    body = """
with camera(source=70, latency_s=0, features={"AUTO_EXPOSURE": 1}) as c:
    shoot(c)
    c.apply({"EXPOSURE": 300})
    changed_ns = time.monotonic_ns()
    print((shoot(c).camera_ticks - changed_ns) // 40_000_000)
"""
    assert int(on_device(v4l2, body)) >= 3


def test_a_free_device_gives_the_newest_picture(v4l2: Path) -> None:
    body = """
with camera(source=70, trigger="free") as c:
    new = 0
    for _ in range(5):
        time.sleep(0.25)
        asked_ns = time.monotonic_ns()
        frame = c.grab(5)
        frame.release()
        new += frame.camera_ticks >= asked_ns - 40_000_000
    print(new, c.statistics.frames, c.statistics.discarded_late)
"""
    new, frames, skipped = map(int, on_device(v4l2, body).split())
    assert new >= 3  # a read that the machine interrupts looks like one that waited
    assert frames == 5
    assert skipped >= 3


def test_a_silent_device_keeps_the_time_out_and_is_lost_after_stall_s(v4l2: Path) -> None:
    body = """
with camera(source=70, trigger="free", stall_s=0.5) as c:
    try:
        while True:
            frame = c.grab(0.2)
            print("none" if frame is None else "frame")
    except CameraError as exc:
        print(exc)
"""
    said = on_device(v4l2, body, V4L2_LAST="5").splitlines()
    assert said[-3:] == ["none", "none", "camera top: /dev/video70 has given no picture for 0.5 s (stall_s)"]
    assert set(said[:-3]) == {"frame"}


def test_an_unplugged_device_is_lost(v4l2: Path, tmp_path: Path) -> None:
    body = """
with camera(source=70, trigger="free") as c:
    c.grab(5).release()
    pathlib.Path(os.environ["V4L2_GONE"]).touch()
    try:
        while True:
            c.grab(0.2).release()
    except CameraError as exc:
        print(exc)
try:
    camera(source=70).__enter__()
except CameraError as exc:
    print(exc)
"""
    lost, gone = on_device(v4l2, body, V4L2_GONE=str(tmp_path / "gone")).splitlines()
    assert "camera top: /dev/video70 is lost" in lost
    assert "camera top: /dev/video70 cannot be opened; expected a camera" in gone


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param("width=640", "gives 64 x 48 pixels, expected 640 x 48", id="size"),
        pytest.param("fps=10", "fps = 10, but it says 25; set one that it has", id="rate"),
        pytest.param("fourcc='MJPG'", "does not take fourcc = MJPG", id="format"),
        pytest.param("features={'GAIN': 1}", "feature GAIN = 1 was refused", id="feature"),
    ],
)
def test_a_device_that_does_not_take_its_settings_is_not_opened(v4l2: Path, setting: str, message: str) -> None:
    body = f"""
try:
    camera(source=70, {setting}).__enter__()
except CameraError as exc:
    print(exc)
with camera(source=70, width=64, height=48, fps=25, fourcc="GREY") as c:
    print(shoot(c).pixels.shape)
"""
    refused, shape = on_device(v4l2, body).splitlines()
    assert message in refused
    assert shape == "(48, 64, 3)"
