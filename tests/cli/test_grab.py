"""`edge-inspector grab`: the camera's picture lands in a file, whole, and nothing else is touched."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner, Result

import edge_inspector
from edge_inspector.cli.main import app

cv2.setNumThreads(1)

Pixels = npt.NDArray[Any]
Grab = Callable[..., Result]

ROOT = Path(edge_inspector.__file__).parents[1]
NOISE = np.random.default_rng(20261122).integers(0, 256, (3, 48, 64), np.uint8)

LINE_CAMERA = '''
"""A camera with a line input: after `edge_after` empty waits it gives one picture. It must never be triggered."""
import time
from typing import Literal
import numpy as np
from edge_inspector.datatypes import CameraStatistics, Frame
from edge_inspector.settings import CameraConfig

class Config(CameraConfig):
    type: Literal["fake_line"]
    edge: bool

class LineCamera:
    def __init__(self, name, config):
        self.name, self.config = name, config
        self.trigger_mode, self.serial, self.image_hw = "line", "", (2, 3)
        self.statistics = CameraStatistics()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        print("closed")

    def trigger(self):
        raise RuntimeError("a line camera was triggered by software")

    def grab(self, timeout_s):
        if not self.config.edge:
            return None
        return Frame(self.name, 7, 0, time.monotonic_ns(), np.full((2, 3), 51, np.uint8), "Mono8")
'''


@pytest.fixture
def station(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a station file whose camera `top` has these keys; the rest of a station is not there."""

    def write(keys: str) -> Path:
        path = tmp_path / "station.toml"
        path.write_text(f"schema = 1\n[cameras.top]\n{keys}\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def grab(station: Callable[[str], Path]) -> Grab:
    def run(keys: str, *words: str) -> Result:
        return CliRunner().invoke(app, ["grab", "top", "--config", str(station(keys)), *words])

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Writes pictures 0.png, 1.png, ... into a folder."""

    def write(*pixels: Pixels) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for i, picture in enumerate(pixels):
            assert cv2.imwrite(str(folder / f"{i}.png"), picture)
        return folder

    return write


def read(path: Path) -> Pixels:
    picture: Pixels | None = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def played(folder: Path, more: str = "") -> str:
    return f'type = "folder"\npath = "{folder}"\n{more}'


def test_a_software_triggered_basler_camera_is_triggered_for_each_picture(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    folder, out = pictures(*NOISE), tmp_path / "look.png"
    done = grab(f'type = "basler"\nemulate_folder = "{folder}"', "--out", str(out), "-n", "3")
    assert (done.exit_code, done.stderr) == (0, "")
    for i in range(3):
        np.testing.assert_array_equal(read(tmp_path / f"look-{i + 1:04}.png"), NOISE[i])
    assert not out.exists()


def test_a_camera_that_nobody_triggers_gives_its_next_picture(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    keys = played(pictures(NOISE[0]), 'trigger = "rate"\nrate_hz = 100')
    assert grab(keys, "--out", str(tmp_path / "one.png")).exit_code == 0
    np.testing.assert_array_equal(read(tmp_path / "one.png"), NOISE[0])


def test_the_line_about_a_picture_tells_size_format_brightness_and_number(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """A quarter at 255, the rest at 51: 0.25 + 0.75 * 0.2 of full scale."""
    picture = np.full((40, 60), 51, np.uint8)
    picture[:10] = 255
    out = tmp_path / "a.png"
    done = grab(played(pictures(picture)), "--out", str(out))
    said = re.fullmatch(r"(.+), ([0-9]+\.[0-9]) ms\n", done.stdout)
    assert said is not None
    assert said[1] == f"{out}: 60x40 Mono8, brightness 0.400, saturated 25.00%, frame 0"


@pytest.mark.parametrize("pixel_format", ["BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8"])
def test_a_bayer_mosaic_becomes_the_colour_that_was_filmed(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path, pixel_format: str
) -> None:
    blue_green_red = (10, 90, 200)
    folder = pictures(np.full((16, 16, 3), blue_green_red, np.uint8))
    out = tmp_path / "colour.png"
    assert grab(played(folder, f'pixel_format = "{pixel_format}"'), "--out", str(out)).exit_code == 0
    assert read(out)[8, 8].tolist() == list(blue_green_red)


def test_a_raw_mosaic_is_written_as_the_sensor_saw_it(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = pictures(np.full((4, 4, 3), (10, 90, 200), np.uint8)), tmp_path / "raw.png"
    assert grab(played(folder, 'pixel_format = "BayerRG8"'), "--out", str(out), "--raw").exit_code == 0
    assert read(out)[:2, :2].tolist() == [[200, 90], [90, 10]]


def test_red_and_blue_of_an_rgb_camera_are_not_swapped(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = pictures(np.full((4, 4, 3), (10, 90, 200), np.uint8)), tmp_path / "rgb.png"
    assert grab(played(folder, 'pixel_format = "RGB8"'), "--out", str(out)).exit_code == 0
    assert read(out)[0, 0].tolist() == [10, 90, 200]


def test_twelve_bits_stay_as_they_are_in_a_16_bit_file(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    deep = np.arange(0, 4096, 16).reshape(16, 16).astype(np.uint16)
    deep[-1, -1] = 4095
    out = tmp_path / "deep.png"
    done = grab(played(pictures(deep)), "--out", str(out))
    np.testing.assert_array_equal(read(out), deep)
    assert "16x16 Mono12, brightness 0.498, saturated 0.39%" in done.stdout


def test_twelve_bits_do_not_become_a_jpeg(grab: Grab, pictures: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "deep.jpg"
    done = grab(played(pictures(np.full((4, 4), 4000, np.uint16))), "--out", str(out))
    assert done.exit_code == 2
    assert done.stderr == f"--out {out}: the picture has 12 bits; expected .png or .tif or .tiff\n"
    assert not out.exists()


def test_a_file_that_exists_is_kept_unless_it_is_forced(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    keys, out = played(pictures(NOISE[0])), tmp_path / "mine.png"
    out.write_bytes(b"mine")
    done = grab(keys, "--out", str(out))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"{out} exists already; give another name, or --force to overwrite it\n"
    assert out.read_bytes() == b"mine"
    assert grab(keys, "--out", str(out), "--force").exit_code == 0
    np.testing.assert_array_equal(read(out), NOISE[0])


def test_one_of_several_files_that_exists_stops_all_of_them(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    for i in (2, 3):
        (tmp_path / f"a-{i:04}.png").touch()
    done = grab(played(pictures(*NOISE)), "--out", str(tmp_path / "a.png"), "-n", "3")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{tmp_path / 'a-0002.png'} exists already")
    assert not (tmp_path / "a-0001.png").exists()


def test_each_buffer_is_given_back(grab: Grab, pictures: Callable[..., Path], tmp_path: Path) -> None:
    keys = played(pictures(*NOISE), "slots = 1")
    assert grab(keys, "--out", str(tmp_path / "a.png"), "-n", "5").exit_code == 0
    assert len(list(tmp_path.glob("a-*.png"))) == 5


def test_a_damaged_picture_is_told_and_the_others_are_written(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder = pictures(*NOISE)
    (folder / "1.png").write_bytes(b"no picture")
    done = grab(played(folder), "--out", str(tmp_path / "a.png"), "-n", "3")
    assert done.exit_code == 2
    assert "camera top, picture 1, 1.png: not a picture" in done.stderr
    assert done.stderr.endswith("1 of 3 pictures were damaged\n")
    assert sorted(path.name for path in tmp_path.glob("a-*.png")) == ["a-0001.png", "a-0003.png"]


@contextmanager
def room(file_bytes: int) -> Iterator[None]:
    """No file can grow beyond: what a full disk does to a write, without a disk of its own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_picture_and_no_half_one(
    grab: Grab, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    keys, out = played(pictures(NOISE[0])), tmp_path / "out" / "a.png"
    out.parent.mkdir()
    out.write_bytes(b"old")
    with room(file_bytes=1000):
        done = grab(keys, "--out", str(out), "--force")
    assert done.exit_code == 2
    assert done.stderr == f"{out}: cannot be written: File too large; free space, or give another name\n"
    assert [(path.name, path.read_bytes()) for path in out.parent.iterdir()] == [("a.png", b"old")]


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    return folder


def test_a_folder_that_may_not_be_written_is_named(
    station: Callable[[str], Path], pictures: Callable[..., Path], read_only: Path, request: pytest.FixtureRequest
) -> None:
    file = station(played(pictures(NOISE[0])))
    request.getfixturevalue("ordinary_user")
    done = CliRunner().invoke(app, ["grab", "top", "--config", str(file), "--out", str(read_only / "a.png")])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{read_only / 'a.png'}: cannot be written: Permission denied")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["grab"], "give one of: NAME", id="no camera"),
        pytest.param(["grab", "top", "--serial", "1"], "give one of: NAME", id="two ways to name a camera"),
        pytest.param(["grab", "tpo"], "there is no camera 'tpo'; its cameras are: top", id="an unknown camera"),
        pytest.param(
            ["grab", "top", "--out", "a.webm"], "expected a file that ends in one of .png", id="no picture file"
        ),
        pytest.param(["grab", "top", "--out", "no/a.png"], "there is no folder no", id="a folder that is not there"),
        pytest.param(["grab", "top", "--config", "no.toml"], "no.toml: file: no such file", id="no station file"),
        pytest.param(["grab", "top", "-n", "0"], "Invalid value for", id="no pictures"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_and_a_sentence(
    words: list[str],
    said: str,
    station: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without --config the file is station.toml, here."""
    station('type = "folder"\npath = "pictures"')
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_what_is_wrong_in_the_cameras_own_table_is_told(grab: Grab) -> None:
    done = grab('type = "folder"\npth = "pictures"')
    assert done.exit_code == 2
    assert "cameras.top.path: is missing" in done.stderr
    assert "recipes" not in done.stderr


def test_a_camera_that_is_not_there_is_told_with_what_is_seen() -> None:
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    done = CliRunner().invoke(app, ["grab", "--serial", "no-such-serial"])
    assert done.exit_code == 2
    assert "serial = no-such-serial fits 0 cameras, expected one; seen: " in done.stderr


def own_process(tmp_path: Path, *words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edge_inspector", "grab", "top", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


@pytest.fixture
def line_camera(tmp_path: Path) -> None:
    """A camera type of an installed package: the emulator has no line input."""
    (tmp_path / "fake_line.py").write_text(LINE_CAMERA, encoding="utf-8")
    package = tmp_path / "fake_line-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-line\nVersion: 1\n", encoding="utf-8")
    (package / "entry_points.txt").write_text("[edge_inspector.camera]\nfake_line = fake_line:LineCamera\n", "utf-8")


@pytest.mark.usefixtures("line_camera")
@pytest.mark.parametrize("edge", [True, False])
def test_a_line_triggered_camera_is_waited_for_and_never_triggered(
    station: Callable[[str], Path], tmp_path: Path, edge: bool
) -> None:
    station(f'type = "fake_line"\nedge = {str(edge).lower()}')
    out, errors = own_process(tmp_path, "--timeout", "0.5").communicate(timeout=60)
    waits = "waiting up to 0.5 s for an edge at the camera's trigger input\n"
    assert out.endswith("closed\n")
    assert (tmp_path / "grab.png").exists() is edge
    if edge:
        assert errors == waits
        assert out.startswith("grab.png: 3x2 Mono8, brightness 0.200, saturated 0.00%, frame 7, ")
    else:
        assert errors.startswith(f"{waits}camera top: no edge at the camera's trigger input within 0.5 s; ")


def test_ctrl_c_ends_it_at_once_and_leaves_whole_files(
    station: Callable[[str], Path], pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """The second picture is due in a thousand seconds."""
    station(played(pictures(NOISE[0]), 'trigger = "rate"\nrate_hz = 0.001'))
    running = own_process(tmp_path, "-n", "2", "--timeout", "600")
    assert running.stdout is not None
    assert running.stdout.readline().startswith("grab-0001.png: ")
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode not in (0, None)
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.glob("*grab*")] == ["grab-0001.png"]
    np.testing.assert_array_equal(read(tmp_path / "grab-0001.png"), NOISE[0])
