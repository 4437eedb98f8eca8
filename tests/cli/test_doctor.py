"""`edge-inspector doctor`: exit codes, JSON, who holds a camera, and the cameras of a station file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_inspector.calibration.file import calibration_text
from edge_inspector.cameras import basler, folder, opencv
from edge_inspector.cameras.basler import CameraInfo
from edge_inspector.cli import doctor as doctor_command
from edge_inspector.cli.doctor_cameras import Seen, access, camera_findings, connects
from edge_inspector.cli.main import app
from edge_inspector.datatypes import Calibration
from edge_inspector.health import unit
from edge_inspector.health.finding import Finding
from edge_inspector.health.usb import UsbCamera
from edge_inspector.health.video import VideoDevice
from edge_inspector.settings import CameraConfig

GIGE = CameraInfo("a2A1920-51gmBAS", "40012345", "top", "192.168.5.20", "BaslerGigE", accessible=False)
USB = CameraInfo("acA1920-155um", "24001122", "", "", "BaslerUsb", accessible=False)
ON_USB = [UsbCamera("24001122", "acA1920-155um", 5000, "/dev/bus/usb/002/003")]
VIDEO = VideoDevice("/dev/video0", "UVC Camera: Top", 0, accessible=True)
POWER_CYCLE = (
    "close pylon Viewer and other vision programs, on other machines too (all of this one: sudo edge-inspector doctor);"
    " then cut the camera's power for a moment"
)


def never(host: str, port: int) -> str:
    raise AssertionError(f"{host}:{port} was connected")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a pylon Viewer and a station running, both with no camera open."""
    root = tmp_path / "root"
    for pid, command in ((812, "pylonviewer"), (90, "python3 -m edge_inspector run station.toml")):
        (root / f"proc/{pid}/fd").mkdir(parents=True)
        (root / f"proc/{pid}/cmdline").write_text(command.replace(" ", "\0") + "\0")
        (root / f"proc/{pid}/maps").write_text("")
    (root / "dev/v4l/by-id").mkdir(parents=True)
    (root / "dev/video0").touch()
    (root / "dev/v4l/by-id/usb-top-index0").symlink_to("../../video0")
    return root


def holds(root: Path, pid: int, node: str) -> None:
    os.symlink(node, root / f"proc/{pid}/fd/7")


def uses_gige(root: Path, pid: int) -> None:
    (root / f"proc/{pid}/maps").write_text("7f0-7f1 r-xp 0 0:0 0 /opt/pylon/lib/libpylon_TL_gige.so\n")


@pytest.mark.parametrize(("needed", "level"), [(True, "fail"), (False, "warn")])
def test_a_usb_camera_held_by_another_program_names_it_and_how_to_end_it(root: Path, needed: bool, level: str) -> None:
    holds(root, 812, "/dev/bus/usb/002/003")
    told = access(root, USB, ON_USB, needed)
    assert (told.level, told.check, told.subject) == (level, "camera.access", "acA1920-155um 24001122")
    assert (told.found, told.remedy) == ("held by process 812 (pylonviewer)", "kill 812")


def test_a_gige_camera_is_held_by_whoever_uses_pylons_gige_here(root: Path) -> None:
    uses_gige(root, 812)
    told = access(root, GIGE, ON_USB, needed=True)
    assert told.found == "held, or out of reach; process 812 (pylonviewer) uses pylon's GigE cameras"
    assert told.remedy == "kill 812"


def test_a_usb_camera_held_by_the_station_itself_is_in_order(root: Path) -> None:
    holds(root, 90, "/dev/bus/usb/002/003")
    told = access(root, USB, ON_USB, needed=True)
    assert told.level == "ok"
    assert told.found == "held by a running station: process 90 (python3 -m edge_inspector run station.toml)"


def test_a_gige_camera_that_is_not_free_while_the_station_runs_is_not_judged(root: Path) -> None:
    """The station may hold another one, and this one may be out of reach."""
    uses_gige(root, 90)
    uses_gige(root, 812)
    told = access(root, GIGE, [], needed=True)
    assert told.level == "note"
    assert told.found.startswith("held, or out of reach; a running station uses pylon's GigE cameras: process 90 (")


def test_a_holder_that_cannot_be_seen_is_not_guessed(root: Path) -> None:
    told = access(root, GIGE, [], needed=True)
    assert told.found == "held by a program that this user cannot see, by another machine, or out of reach"
    assert told.remedy == POWER_CYCLE


@pytest.mark.parametrize(
    ("accessible", "level", "found"), [(True, "ok", "free to open"), (None, "note", "pylon does not say")]
)
def test_a_camera_that_is_not_held_has_no_remedy(root: Path, accessible: bool | None, level: str, found: str) -> None:
    camera = CameraInfo("m", "1", "", "10.0.0.2", "BaslerGigE", accessible=accessible)
    told = access(root, camera, [], needed=True)
    assert (told.level, told.found, told.remedy) == (level, found, "")


def of_type(model: type[CameraConfig], **keys: object) -> CameraConfig:
    """A camera's table as in a station file."""
    (named,) = get_args(model.model_fields["type"].annotation)
    return model.model_validate({"type": named, **keys})


def looked_for(root: Path, settings: CameraConfig, answer: str | None = None) -> Finding:
    seen = Seen([GIGE, USB], ON_USB, [VIDEO])
    connect = never if answer is None else lambda host, port: answer
    (told,) = camera_findings(root, "top", settings, seen, connect)
    assert (told.check, told.subject) == ("camera.seen", "top")
    assert bool(told.why and told.remedy) is (told.level == "fail")
    return told


@pytest.mark.parametrize(
    ("keys", "level", "found", "remedy"),
    [
        pytest.param(
            {"serial": "40012345"}, "ok", "a2A1920-51gmBAS 'top' serial 40012345 (192.168.5.20)", "", id="there"
        ),
        pytest.param(
            {"ip": "192.168.5.21", "user_name": "top"},
            *("fail", "no camera with user_name = top, ip = 192.168.5.21", "edge-inspector devices"),
            id="another address than in the file",
        ),
        pytest.param(
            {},
            "fail",
            "a2A1920-51gmBAS 'top' serial 40012345 (192.168.5.20), acA1920-155um serial 24001122 (BaslerUsb)",
            'serial = "40012345" in [cameras.top]',
            id="two that the file may mean",
        ),
    ],
)
def test_a_basler_camera_of_the_file_is_one_that_pylon_sees(
    root: Path, keys: dict[str, str], level: str, found: str, remedy: str
) -> None:
    told = looked_for(root, of_type(basler.Config, **keys))
    assert (told.level, told.found, told.remedy) == (level, found, remedy)


def test_a_file_without_a_serial_means_the_only_real_camera(root: Path) -> None:
    emulated = CameraInfo("Emulation", "0815-0000", "", "", "BaslerCamEmu", accessible=True)
    seen = Seen([emulated, GIGE], [], [])
    (told,) = camera_findings(root, "top", of_type(basler.Config), seen, never)
    assert (told.level, told.found) == ("ok", "a2A1920-51gmBAS 'top' serial 40012345 (192.168.5.20)")


def test_an_emulated_camera_never_counts_as_a_real_one(root: Path, tmp_path: Path) -> None:
    told = looked_for(root, of_type(basler.Config, serial="40012345", emulate_folder=tmp_path))
    assert (told.level, told.found) == ("note", f"emulated; it plays {tmp_path}")
    told = looked_for(root, of_type(basler.Config, emulate_folder=tmp_path / "gone"))
    assert (told.level, told.found) == ("fail", f"{tmp_path / 'gone'} does not exist")


@pytest.mark.parametrize(
    ("source", "level", "found"),
    [
        (0, "ok", "/dev/video0: UVC Camera: Top"),
        (Path("/dev/v4l/by-id/usb-top-index0"), "ok", "/dev/video0: UVC Camera: Top"),
        (1, "fail", "no /dev/video1"),
        (Path("/dev/v4l/by-id/usb-side-index0"), "fail", "no /dev/v4l/by-id/usb-side-index0"),
    ],
)
def test_a_video_camera_of_the_file_is_one_that_the_kernel_lists(
    root: Path, source: int | Path, level: str, found: str
) -> None:
    told = looked_for(root, of_type(opencv.Config, source=source))
    assert (told.level, told.found) == (level, found)


def test_a_video_camera_that_another_program_holds_names_it_but_the_station_may(root: Path) -> None:
    holds(root, 90, "/dev/video0")
    assert looked_for(root, of_type(opencv.Config, source=0)).level == "ok"
    holds(root, 812, "/dev/video0")
    told = looked_for(root, of_type(opencv.Config, source=0))
    assert (told.level, told.found, told.remedy) == (
        *("fail", "/dev/video0 is held by process 812 (pylonviewer)"),
        "kill 812",
    )


def test_a_stream_is_asked_whether_it_answers_and_its_password_is_not_shown(root: Path) -> None:
    settings = of_type(opencv.Config, source="rtsp://user:secret@cam.example/stream")
    assert looked_for(root, settings, "").found == "cam.example:554 answers"
    told = looked_for(root, settings, "Connection refused")
    assert (told.level, told.found) == ("fail", "cam.example:554 does not answer: Connection refused")
    assert "secret" not in str(told)


@pytest.mark.parametrize("port", ["notaport", "99999"])
def test_a_stream_without_a_port_fails_and_its_password_is_not_shown(root: Path, port: str) -> None:
    settings = of_type(opencv.Config, source=f"rtsp://user:secret@cam.example:{port}/stream")
    found = looked_for(root, settings, "")
    assert (found.level, found.found) == ("fail", "source is no URL with a port of digits")
    assert "secret" not in str(found)


def test_a_name_that_no_host_can_have_is_told() -> None:
    assert connects("a..b", 1) == "no name of a host"


@pytest.mark.parametrize("name", ["none.toml", "loop"])
def test_a_station_file_that_is_not_there_names_what_helps(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    draft, (found,) = doctor_command._read(tmp_path / name)
    assert (draft, found.level, unit.unit_of(tmp_path / name)) == (None, "fail", "")
    assert found.remedy.startswith("ls -d /etc/edge-inspector")
    assert "sudo" not in found.remedy


def test_nobody_listening_is_told_in_the_systems_words() -> None:
    assert connects("127.0.0.1", 1) == "Connection refused"


def test_a_folder_of_the_file_exists(root: Path, tmp_path: Path) -> None:
    assert looked_for(root, of_type(folder.Config, path=tmp_path)).level == "ok"
    assert looked_for(root, of_type(folder.Config, path=tmp_path / "no")).level == "fail"


@pytest.mark.parametrize(
    ("made_with", "mounted", "level", "found"),
    [
        ("40012345", "40012345", "ok", "top.yaml, 1920x1200, made with camera 40012345"),
        ("24001122", "40012345", "fail", "top.yaml, 1920x1200, made with camera 24001122"),
        ("", "40012345", "note", "top.yaml, 1920x1200, does not say with which camera it was made"),
        ("24001122", "1", "note", "top.yaml, 1920x1200, made with camera 24001122; the camera is not there to compare"),
    ],
)
def test_a_calibration_belongs_to_the_camera_that_is_mounted(
    root: Path, tmp_path: Path, made_with: str, mounted: str, level: str, found: str
) -> None:
    file = tmp_path / "top.yaml"
    calibration = Calibration((1200, 1920), (1500.0, 1500.0, 960.0, 600.0), (0.0,) * 5, serial=made_with)
    file.write_text(calibration_text(calibration), encoding="utf-8")
    settings = of_type(basler.Config, serial=mounted, calibration=file)
    _, told = camera_findings(root, "top", settings, Seen([GIGE], [], []), never)
    assert (told.check, told.subject, told.level, told.found) == ("camera.calibration", "top", level, found)


def test_a_calibration_that_cannot_be_read_fails(root: Path, tmp_path: Path) -> None:
    settings = of_type(basler.Config, serial="40012345", calibration=tmp_path / "gone.yaml")
    _, told = camera_findings(root, "top", settings, Seen([GIGE], [], []), never)
    assert told.level == "fail"
    assert told.found.startswith(f"{tmp_path / 'gone.yaml'}: ")


@pytest.fixture
def emulated(tmp_path: Path) -> Path:
    """A station file with an emulated camera, and no recipe."""
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    (tmp_path / "pictures").mkdir()
    assert cv2.imwrite(str(tmp_path / "pictures" / "0.png"), np.zeros((8, 8), np.uint8))
    path = tmp_path / "station.toml"
    path.write_text('schema = 1\n[cameras.top]\ntype = "basler"\nemulate_folder = "pictures"\n', encoding="utf-8")
    return path


def doctor(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", *words])
    return done.exit_code, done.stdout


def test_the_json_is_a_list_of_findings_with_the_promised_keys(emulated: Path) -> None:
    """Of whatever machine the tests run on: only what the station file says is known."""
    code, out = doctor("--config", str(emulated), "--json")
    findings = json.loads(out)
    keys = {"check", "subject", "level", "found", "expected", "why", "remedy"}
    assert all(set(one) == keys and one["level"] in ("ok", "note", "warn", "fail") for one in findings)
    seen = {(one["check"], one["subject"]): one["level"] for one in findings}
    assert seen["pylon", ""] == "ok"
    assert seen["camera.seen", "top"] == "note"
    assert seen["station.file", str(emulated)] == "fail"
    assert code == 1


def test_without_a_station_file_the_exit_code_follows_what_fails() -> None:
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    code, out = doctor("--json")
    levels = {one["level"] for one in json.loads(out)}
    assert code == (1 if "fail" in levels else 6 if "warn" in levels else 0)


def test_what_fails_is_printed_with_expectation_reason_and_what_mends_it(emulated: Path) -> None:
    code, out = doctor("--config", str(emulated))
    lines = out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"fail  station.file {emulated}: "))
    assert lines[at + 1 : at + 4] == [
        "      expected: none",
        "      why:      The station does not start with them.",
        f"      mend:     edge-inspector check {emulated}",
    ]
    assert code == 1
    counted = {
        level: sum(line.startswith(f"{level:4}  ") for line in lines) for level in ("fail", "warn", "note", "ok")
    }
    assert lines[-1] == ", ".join(f"{count} {level}" for level, count in counted.items())


@pytest.mark.parametrize("content", [None, "[", "\x00"])
def test_a_file_that_is_no_station_file_fails_and_the_machine_is_looked_at_all_the_same(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "station.toml"
    if content is not None:
        path.write_text(content)
    done = CliRunner().invoke(app, ["doctor", "--json", "--config", str(path)])
    assert done.exit_code == 1
    first, *others = json.loads(done.stdout)
    assert (first["check"], first["subject"], first["level"]) == ("station.file", str(path), "fail")
    assert str(path) in first["found"]
    assert "disk.free" in {one["check"] for one in others}
