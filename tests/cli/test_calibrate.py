"""`edge-inspector calibrate`: from files and from a camera, and boards to print."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import edge_inspector
from edge_inspector.calibration.boards import parse_board
from edge_inspector.calibration.file import load_calibration
from edge_inspector.cli.main import app
from edge_inspector.datatypes import Calibration

BOARD = "chessboard:9x6:25mm"
LENS = Calibration((480, 640), (560.0, 561.0, 322.3, 237.8), (-0.2, 0.06, 0.0008, -0.0005, 0.01))
VIEWS = 12
SERIAL = "40123456"


def _renderer() -> Any:
    """The test tool of tests/calibration, which is no package."""
    path = Path(__file__).parents[1] / "calibration" / "board_renderer.py"
    spec = importlib.util.spec_from_file_location("renderer_for_cli", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of views of the board."""
    renderer, board = _renderer(), parse_board(BOARD)
    folder = tmp_path_factory.mktemp("rendered")
    for number, pose in enumerate(renderer.poses(board, LENS, VIEWS)):
        cv2.imwrite(str(folder / f"{number:02}.png"), renderer.render(board, LENS, pose, noise=1.0, seed=number))
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, words)], env={"COLUMNS": "200"})


def from_files(rendered: Path, *words: object) -> Result:
    return invoke("--images", rendered / "*.png", "--board", BOARD, *words)


def like_the_lens(path: Path) -> bool:
    found = load_calibration(path)
    return found.image_hw == LENS.image_hw and found.matrix == pytest.approx(LENS.matrix, abs=1.5)


def test_pictures_become_a_calibration_a_report_and_a_table(rendered: Path, here: Path) -> None:
    done = from_files(rendered, "--out", "out/cam.yaml", "--report", "report.html", "--serial", SERIAL)
    assert done.exit_code == 0, done.output
    assert like_the_lens(here / "out/cam.yaml")
    assert load_calibration(here / "out/cam.yaml").serial == SERIAL
    assert SERIAL in (here / "report.html").read_text(encoding="utf-8")
    assert re.search(r"RMS +0\.0\d+ px", done.stdout)
    assert re.search(r"held out +0\.\d+ px", done.stdout)
    for name, value in zip(("fx", "fy", "cx", "cy"), load_calibration(here / "out/cam.yaml").matrix, strict=True):
        assert re.search(rf"{name} +{value:.2f} ± 0\.\d\d px", done.stdout)
    assert "wrote out/cam.yaml and report.html" in done.stdout


def test_without_out_the_file_is_named_for_the_serial_number(rendered: Path, here: Path) -> None:
    assert from_files(rendered, "--serial", SERIAL).exit_code == 0
    assert like_the_lens(here / "calibration" / f"{SERIAL}.yaml")


def test_without_out_and_serial_it_asks_where_to_write(rendered: Path) -> None:
    done = from_files(rendered)
    assert done.exit_code == 2
    assert "give --out FILE, or --serial" in done.stderr


def test_every_picture_that_was_not_used_is_named_with_the_reason(rendered: Path, here: Path) -> None:
    for path in rendered.iterdir():
        gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(here / f"c{path.name}"), cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))
    cv2.imwrite(str(here / "empty.png"), np.full(LENS.image_hw, 90, np.uint8))
    (here / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    done = invoke("--images", here, "--board", BOARD, "--out", "cam.yaml", "--report", "report.html")
    assert done.exit_code == 0, done.output
    assert f"{VIEWS} used, 2 dropped" in done.stdout
    assert f"dropped empty.png: no {BOARD} found in it" in done.stdout
    assert "dropped broken.jpg" in done.stdout
    page = (here / "report.html").read_text(encoding="utf-8")
    assert "empty.png" in page
    assert "broken.jpg" in page
    assert like_the_lens(here / "cam.yaml")


@pytest.mark.parametrize("there", ["cam.yaml", "report.html"])
def test_a_file_that_exists_is_kept_unless_forced(rendered: Path, here: Path, there: str) -> None:
    (here / there).write_text("mine")
    words = ("--out", "cam.yaml", "--report", "report.html")
    done = from_files(rendered, *words)
    assert done.exit_code == 2
    assert f"{there} exists already; give another name, or --force" in done.stderr
    assert [path.name for path in here.iterdir()] == [there]
    assert (here / there).read_text() == "mine"
    assert from_files(rendered, *words, "--force").exit_code == 0
    assert (here / there).read_text(encoding="utf-8") != "mine"


def test_the_same_picture_twice_is_one_view(rendered: Path, here: Path) -> None:
    for path in rendered.glob("*.png"):
        shutil.copy(path, here)
    shutil.copy(here / "00.png", here / "99.png")
    done = invoke("--images", here, "--board", BOARD, "--out", "cam.yaml")
    assert done.exit_code == 0, done.output
    assert f"{VIEWS} used, 1 dropped" in done.stdout
    assert "dropped 99.png: is the same picture as 00.png" in done.stdout


def test_file_names_of_any_bytes_are_shown_in_the_report(rendered: Path, here: Path) -> None:
    for number, path in enumerate(sorted(rendered.glob("*.png"))):
        name = {0: b"$\\frac$.png", 1: b"b\xff.png"}.get(number, path.name.encode())
        shutil.copy(path, os.path.join(os.fsencode(here), name))
    shutil.copy(sorted(rendered.glob("*.png"))[1], os.path.join(os.fsencode(here), b"c\xff.png"))
    done = invoke("--images", here, "--board", BOARD, "--out", "cam.yaml", "--report", "report.html")
    assert done.exit_code == 0, done.output
    page = (here / "report.html").read_text(encoding="utf-8")
    assert "c\\xff.png" in page, "it was dropped: it is the same picture as b"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "a", "--report", "a"), "a is named twice"),
        (("--out", "a", "--report", "/dev/null/x.html"), "/dev/null/x.html cannot be written"),
        (("--out", "a", "--plane", "nowhere.png"), "nowhere.png: cannot be read"),
        (("--out", "x" * 300), "cannot be a file: File name too long"),
    ],
)
def test_what_cannot_be_written_or_read_is_told_before_the_work(here: Path, words: tuple[str, ...], said: str) -> None:
    """No picture is looked for: the pattern fits none."""
    done = invoke("--images", "none-*.png", "--board", BOARD, *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert list(here.iterdir()) == []


def test_too_few_views_are_refused_and_nothing_is_written(rendered: Path, here: Path) -> None:
    done = invoke("--images", rendered / "0[0-2].png", "--board", BOARD, "--out", "cam.yaml", "--report", "r.html")
    assert done.exit_code == 2
    assert "3 usable views" in done.stderr
    assert list(here.iterdir()) == []


def test_the_wrong_board_is_refused(rendered: Path) -> None:
    done = invoke("--images", rendered, "--board", "charuco:5x7:30mm:22mm:DICT_6X6_250", "--out", "cam.yaml")
    assert done.exit_code == 2
    assert "found in none of the pictures" in done.stderr


def test_a_plane_gives_millimetres(rendered: Path, here: Path) -> None:
    done = from_files(rendered, "--out", "cam.yaml", "--plane", rendered / "03.png", "--report", "report.html")
    assert done.exit_code == 0, done.output
    assert re.search(r"plane +0\.\d{4} mm per px, RMS 0\.\d+ mm", done.stdout)
    assert load_calibration(here / "cam.yaml").plane is not None
    assert "mm per px" in (here / "report.html").read_text(encoding="utf-8")


def test_a_plane_without_a_board_is_refused_and_nothing_is_written(rendered: Path, here: Path) -> None:
    cv2.imwrite(str(here / "floor.png"), np.full(LENS.image_hw, 90, np.uint8))
    done = from_files(rendered, "--out", "cam.yaml", "--plane", "floor.png")
    assert done.exit_code == 2
    assert f"--plane floor.png: no {BOARD} found in it" in done.stderr
    assert not (here / "cam.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--board", BOARD), "either --images or --camera", id="no source"),
        pytest.param(("--board", BOARD, "--images", "a.png", "--camera", "top"), "either --images", id="two sources"),
        pytest.param(("--images", "a.png"), "give the board", id="no board"),
        pytest.param(("--images", "a.png", "--board", "chessboard:9x6"), "chessboard:9x6:25mm", id="half a board"),
        pytest.param(
            ("--images", "nothing/*.png", "--board", BOARD, "--out", "a.yaml"), "no picture is there", id="no picture"
        ),
        pytest.param(("--board", BOARD, "--images", "a.png", "b.png"), "put a pattern in quotes", id="no quotes"),
        pytest.param(("--camera", "top", "--board", BOARD), "no such file", id="no station file"),
    ],
)
def test_a_wrong_word_ends_with_2_and_a_sentence(words: tuple[str, ...], said: str) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())
    assert done.stdout == ""


def test_only_the_report_needs_the_extra(rendered: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, package, None)
    done = from_files(rendered, "--out", "cam.yaml", "--report", "report.html")
    assert done.exit_code == 2
    assert "pip install 'edge-inspector[calibrate]'" in done.stderr
    assert from_files(rendered, "--out", "cam.yaml").exit_code == 0
    assert like_the_lens(here / "cam.yaml")


SCRIPTED_CAMERA = """
from pathlib import Path
from typing import Literal
import cv2
from edge_inspector.datatypes import CameraStatistics, Frame
from edge_inspector.errors import CameraError
from edge_inspector.settings import CameraConfig, LocalPath

class Config(CameraConfig):
    type: Literal["scripted"]
    path: LocalPath
    end: Literal["ctrl-c", "lost"]

class ScriptedCamera:
    trigger_mode, serial, image_hw, statistics = "free", "40123456", None, CameraStatistics()
    def __init__(self, name, config):
        self._files, self._end = sorted(config.path.iterdir()), config.end
    def __enter__(self):
        return self
    def __exit__(self, kind, error, trace): ...
    def grab(self, timeout_s):
        if not self._files:
            raise KeyboardInterrupt if self._end == "ctrl-c" else CameraError("camera top: unplugged")
        return Frame("top", 0, 0, 0, cv2.imread(str(self._files.pop(0)), cv2.IMREAD_GRAYSCALE), "Mono8")
"""
"""Plays a folder once, then is lost, or the person presses Ctrl-C."""


@pytest.fixture
def scripted(here: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the program where a package brings the camera type `scripted`; the station file's types are read once."""
    site = here / "site"
    info = site / "scripted_camera-1.dist-info"
    info.mkdir(parents=True)
    (site / "scripted_camera.py").write_text(SCRIPTED_CAMERA)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted-camera\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[edge_inspector.camera]\nscripted = scripted_camera:ScriptedCamera\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_inspector", "calibrate", "--camera", "top", "--board", BOARD, *words]
        env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{Path(edge_inspector.__file__).parents[1]}"}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    return run


def station(rendered: Path, camera: str) -> Path:
    """A station file of which only the camera is right: the rest is not asked for."""
    path = Path("station.toml")
    path.write_text(f'schema = 1\n[cameras.top]\npath = "{rendered}"\n{camera}\n')
    return path


def test_in_front_of_a_camera_views_are_taken_kept_and_solved(rendered: Path, here: Path) -> None:
    file = station(rendered, 'type = "folder"')
    words = ("--config", file, "--board", BOARD, "--views", 10, "--keep", "kept", "--report", "r.html")
    done = invoke("--camera", "top", "--out", "cam.yaml", *words)
    assert done.exit_code == 0, done.output
    assert "kept 1 of 10; no view reaches the" in done.stdout
    assert "kept 10 of 10; all of the picture and all tilts are covered" in done.stdout
    assert [path.name for path in sorted((here / "kept").iterdir())] == [f"view-{n:03}.png" for n in range(1, 11)]
    assert (here / "r.html").exists()
    assert like_the_lens(here / "cam.yaml")
    again = invoke("--images", "kept", "--board", BOARD, "--out", "again.yaml")
    assert again.exit_code == 0, again.output
    matrices = [load_calibration(here / name).matrix for name in ("again.yaml", "cam.yaml")]
    assert matrices[0] == pytest.approx(matrices[1], rel=1e-9)


def test_views_that_were_kept_before_are_not_overwritten(rendered: Path, here: Path) -> None:
    (here / "kept").mkdir()
    (here / "kept" / "view-007.png").write_text("mine")
    file = station(rendered, 'type = "folder"')
    done = invoke("--camera", "top", "--config", file, "--board", BOARD, "--keep", "kept", "--out", "cam.yaml")
    assert done.exit_code == 2
    assert "view-007.png exists already" in done.stderr


@pytest.mark.parametrize("end", ["ctrl-c", "lost"])
def test_what_was_seen_is_solved_when_it_ends_early(rendered: Path, here: Path, scripted: Any, end: str) -> None:
    station(rendered, f'type = "scripted"\nend = "{end}"')
    done = scripted("--views", "50")
    assert done.returncode == 0, done.stderr
    assert f"solving with {VIEWS} views" in done.stdout
    assert ("unplugged" in done.stderr) is (end == "lost")
    found = here / "calibration" / f"{SERIAL}.yaml"
    assert like_the_lens(found)
    assert load_calibration(found).serial == SERIAL


def test_a_calibration_that_exists_is_told_before_any_view_is_taken(rendered: Path, here: Path, scripted: Any) -> None:
    (here / "calibration").mkdir()
    (here / "calibration" / f"{SERIAL}.yaml").write_text("mine")
    station(rendered, 'type = "scripted"\nend = "ctrl-c"')
    done = scripted()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"calibration/{SERIAL}.yaml exists already" in done.stderr


def test_another_serial_number_than_the_cameras_is_refused(rendered: Path, scripted: Any) -> None:
    station(rendered, 'type = "scripted"\nend = "lost"')
    done = scripted("--serial", "7")
    assert done.returncode == 2
    assert f"--serial 7: camera top has the serial number {SERIAL}; leave --serial out" in done.stderr


def test_a_camera_that_is_not_there_is_told(rendered: Path, here: Path) -> None:
    file = station(here / "nowhere", 'type = "folder"')
    done = invoke("--camera", "top", "--config", file, "--board", BOARD, "--out", "cam.yaml")
    assert done.exit_code == 2
    assert "nowhere does not exist" in done.stderr


def test_a_board_is_written_with_the_text_for_calibrate(here: Path) -> None:
    done = invoke("board", "--type", "charuco", "--size", "4x6", "--pitch", "25mm", "--paper", "A4", "--pdf", "b.pdf")
    assert done.exit_code == 0, done.output
    assert (here / "b.pdf").read_bytes().startswith(b"%PDF")
    assert "for calibrate: --board charuco:4x6:25mm:18.75mm:DICT_6X6_250" in done.stdout
    assert "210 x 297 mm; print it at 100 %" in done.stdout


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("chessboard", "chessboard:9x6:25mm"),
        ("charuco", "charuco:5x7:30mm:22mm:DICT_6X6_250"),
        ("circles", "circles:4x11:20mm"),
    ],
)
def test_a_board_of_each_type_fits_on_a4_without_another_word(kind: str, text: str) -> None:
    done = invoke("board", "--type", kind)
    assert done.exit_code == 0, done.output
    assert f"--board {text}\n" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--pitch", "40mm"), "does not fit on A4: it fits on A3", id="too large"),
        pytest.param(("--pitch", "30"), "expected millimetres", id="no unit"),
        pytest.param(
            ("--type", "circles", "--marker", "9mm"),
            "--marker and --dictionary are for --type charuco",
            id="marker of circles",
        ),
        pytest.param(("--dictionary", "DICT_9"), "dictionary 'DICT_9'", id="dictionary"),
    ],
)
def test_a_board_that_cannot_be_printed_is_refused(here: Path, words: tuple[str, ...], said: str) -> None:
    done = invoke("board", *words, "--pdf", "b.pdf")
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (here / "b.pdf").exists()


def test_a_printed_board_is_not_overwritten_unless_forced(here: Path) -> None:
    (here / "b.pdf").write_text("mine")
    assert invoke("board", "--pdf", "b.pdf").exit_code == 2
    assert (here / "b.pdf").read_text() == "mine"
    assert invoke("board", "--pdf", "b.pdf", "--force").exit_code == 0


def test_the_help_of_board_shows_an_example() -> None:
    done = invoke("board", "--help")
    assert done.exit_code == 0
    assert "edge-inspector calibrate board --type charuco" in done.stdout
