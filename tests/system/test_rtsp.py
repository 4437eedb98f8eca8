"""The OpenCV camera against a real RTSP server: GStreamer's, serving H.264 of which each picture shows its number."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_inspector.cameras.opencv import Config, OpenCvCamera
from edge_inspector.datatypes import Frame
from edge_inspector.errors import CameraError

pytestmark = [pytest.mark.system, pytest.mark.heavy]
PYTHON = "/usr/bin/python3"
"""Debian's own: GStreamer's bindings are a package of the system."""
PATIENT_S = 20.0
STEP = 8
LEVELS = 24
SERVER = f"""
import sys, time, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
if not all(Gst.ElementFactory.find(name) for name in ("videotestsrc", "x264enc", "rtph264pay")):
    sys.exit("no x264enc")
if sys.argv[1:] == ["check"]:
    sys.exit(0)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1"); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc name=source is-live=true pattern=solid-color ! video/x-raw,width=320,height=240,framerate=20/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=20 ! rtph264pay name=pay0 )"
)
factory.set_shared(True)
def configure(factory, media):
    source, number = media.get_element().get_by_name("source"), [0]
    def turn():
        number[0] += 1
        level = 32 + number[0] % {LEVELS} * {STEP}
        source.set_property("foreground-color", 0xFF000000 + level * 0x010101)
        print(number[0] % {LEVELS}, time.monotonic_ns(), flush=True)
        return True
    GLib.timeout_add(50, turn)
factory.connect("media-configure", configure)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


@dataclass
class RtspServer:
    """Its address, its process, and the file in which it notes which number is shown from when."""

    url: str
    process: subprocess.Popen[bytes]
    notes: Path

    def shown_until_ns(self, number: int, arrival_ns: int) -> int:
        """When the number that was last shown before the arrival was followed by the next."""
        lines = [tuple(map(int, line.split())) for line in self.notes.read_text().splitlines()[1:]]
        newest = max(i for i, (shown, since_ns) in enumerate(lines) if shown == number and since_ns <= arrival_ns)
        return lines[newest + 1][1] if newest + 1 < len(lines) else arrival_ns


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    check = [PYTHON, "-c", SERVER, "check"]
    if not Path(PYTHON).exists() or subprocess.run(check, capture_output=True, check=False).returncode:
        pytest.skip(
            "no RTSP server: apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base "
            "gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
        )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    notes = tmp_path / "notes"
    with notes.open("wb") as out, subprocess.Popen([PYTHON, "-c", SERVER, str(port)], stdout=out) as process:
        try:
            deadline_s = time.monotonic() + PATIENT_S
            while not notes.read_text() and time.monotonic() < deadline_s:
                time.sleep(0.05)
            yield RtspServer(f"rtsp://127.0.0.1:{port}/live", process, notes)
        finally:
            process.kill()


def camera(server: RtspServer, **settings: Any) -> OpenCvCamera:
    return OpenCvCamera("top", Config(type="opencv", source=server.url, **settings))


def number_in(frame: Frame) -> int:
    return round((float(frame.pixels.mean()) - 32) / STEP) % LEVELS


def test_a_triggered_rtsp_picture_is_never_one_from_before_the_trigger(server: RtspServer) -> None:
    cv2.setNumThreads(1)
    with camera(server, latency_s=0.2) as opened:
        assert opened.image_hw == (240, 320)
        shots = []
        for pause_s in (0.0, 0.8, 1.1):  # the server keeps sending, 20 pictures a second
            time.sleep(pause_s)
            triggered_ns = time.monotonic_ns()
            opened.trigger()
            frame = opened.grab(PATIENT_S)
            assert frame is not None
            assert np.ptp(frame.pixels) <= STEP
            shots.append((triggered_ns, number_in(frame), frame.arrival_ns))
            frame.release()
    for triggered_ns, number, arrival_ns in shots:
        assert server.shown_until_ns(number, arrival_ns) >= triggered_ns


def test_an_rtsp_server_that_dies_loses_the_camera(server: RtspServer) -> None:
    with camera(server, trigger="free", stall_s=1) as opened:
        while (frame := opened.grab(1.0)) is None:
            pass
        frame.release()
        server.process.kill()
        with pytest.raises(CameraError, match=r"has ended or was cut off|has given no picture"):
            read_on(opened)


def test_an_rtsp_server_that_hangs_loses_the_camera_after_stall_s(server: RtspServer) -> None:
    with camera(server, trigger="free", stall_s=1) as opened:
        while (frame := opened.grab(1.0)) is None:
            pass
        frame.release()
        subprocess.run(["kill", "-STOP", str(server.process.pid)], check=True)
        with pytest.raises(CameraError, match=r"has given no picture for 1 s"):
            read_on(opened)


def read_on(opened: OpenCvCamera) -> None:
    for _ in range(10_000):
        if frame := opened.grab(0.1):
            frame.release()
    pytest.fail("the camera was never lost")
