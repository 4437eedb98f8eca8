# ruff: noqa: E501 - a row of a table reads best on one line
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_inspector import assembly
from edge_inspector.assembly import assemble
from edge_inspector.config import StationFileError
from edge_inspector.datatypes import Roi

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "deploy" / "examples"
WEIGHTS = b"not read before the station runs"
MODEL = f"""\
schema = 1
name = "tiny"
version = "1"
task = "detect"
decoder = "yolo"
classes = ["open", "pin hole"]
score_floor = 0.2
nms_iou = 0.5
licence = "Apache-2.0"
sha256 = "{hashlib.sha256(WEIGHTS).hexdigest()}"
description = "two defects"
thresholds = {{ open = 0.3, "pin hole" = 0.4 }}
[input]
width_px = 32
height_px = 32
color = "gray"
scale = 1.0
mean = [0.0]
std = [1.0]
pad_value = 0
"""
LENS = """\
%YAML 1.0
---
image_width: 100
image_height: 80
serial: "111"
camera_matrix: {rows: 3, cols: 3, data: [90.0, 0, 50.0, 0, 90.0, 40.0, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 4, data: [0.1, 0.0, 0.0, 0.0]}
"""
STATION = """\
schema = 1

[station]
name = "cell1"
recipe = "board"
runtime_dir = "/run/cell1"

[cameras.top]
type = "folder"
path = "pictures"
calibration = "lens.yaml"

[cameras.gate]
type = "folder"
path = "pictures"
trigger = "rate"

[backend]
type = "onnxruntime"

[recipes.board]
number = 1
bundle = "tiny"
thresholds = { open = 0.5 }
views = [{ camera = "top", roi = { x = 20, y = 0, width = 80, height = 80 } }]

[recipes.passing]
number = 2
trigger = "line"
bundle = "tiny"
views = [{ camera = "gate" }]

[plc.line]
type = "opcua_server"
acknowledge = false

[publishers.plant]
type = "mqtt"
username = "cell1"
password_file = "secret"
tls = { ca_file = "ca.pem" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A station file beside all that it names."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.onnx").write_bytes(WEIGHTS)
    (tmp_path / "tiny" / "model.toml").write_text(MODEL)
    (tmp_path / "lens.yaml").write_text(LENS)
    for name in ("secret", "ca.pem"):
        (tmp_path / name).write_text("x")
    (tmp_path / "station.toml").write_text(STATION)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def problems(folder: Path) -> dict[str, list[tuple[str, str]]]:
    with pytest.raises(StationFileError) as caught:
        assemble(folder / "station.toml")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    assert all(line.startswith(f"{folder / 'station.toml'}: ") for line in lines)
    by_key: dict[str, list[tuple[str, str]]] = {}
    for problem in caught.value.problems:
        by_key.setdefault(problem.key, []).append((problem.value, problem.expected))
    return by_key


def test_a_right_station_file_becomes_a_station_and_opens_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    parts, control = assemble(folder / "station.toml")
    board = parts.recipes["board"]
    assert (board.criteria.classes, board.thresholds.by_class) == (("open", "pin hole"), (0.5, 0.4))
    assert board.plans["top"].roi == Roi(20, 0, 80, 80)
    assert board.plans["top"].calibration.image_hw == (80, 100)
    assert parts.recipes["passing"].plans["gate"].calibration is None
    assert (parts.identity.station, parts.active_recipe) == ("cell1", "board")
    assert 1 <= parts.identity.boot_id < 2**32
    assert control.path.name == "control.sock"
    assert sorted(folder.rglob("*")) == before


def test_two_starts_have_two_boot_ids(folder: Path) -> None:
    assert len({assemble(folder / "station.toml")[0].identity.boot_id for _ in range(3)}) > 1


@pytest.mark.parametrize(
    ("file", "old", "new", "key", "value", "expected"),
    [
        pytest.param("station.toml", "[recipes.board]\nnumber = 1\nbundle = \"tiny\"", "[recipes.board]\nnumber = 1\nbundle = \"tinny\"", "recipes.board.bundle", "'tinny'", "model bundle tinny is not there; looked for", id="a bundle that is not there"),
        pytest.param("station.toml", "[recipes.board]\nnumber = 1\nbundle = \"tiny\"", f"[recipes.board]\nnumber = 1\nbundle = \"{'x' * 300}\"", "recipes.board.bundle", f"'{'x' * 300}'", "File name too long", id="a bundle whose name no file can have"),
        pytest.param("station.toml", "[recipes.board]\nnumber = 1\nbundle = \"tiny\"", "[recipes.board]\nnumber = 1\nbundle = \"lens.yaml\"", "recipes.board.bundle", "'lens.yaml'", "is not there; looked for the folders", id="a file in place of a bundle"),
        pytest.param("station.toml", "open = 0.5", "opne = 0.5", "recipes.board.thresholds.opne", "0.5", "is not a class of the bundle; its classes are open, pin hole", id="a threshold of an unknown class"),
        pytest.param("station.toml", "open = 0.5", '"pinhole " = 0.5', 'recipes.board.thresholds."pinhole "', "0.5", "is not a class of the bundle", id="a threshold of a class with a stray space"),
        pytest.param("station.toml", "open = 0.5", '"pin hole" = 0.1', 'recipes.board.thresholds."pin hole"', "0.1", "at least the bundle's score_floor (0.2)", id="a threshold below the score floor"),
        pytest.param("station.toml", "x = 20", "x = 21", "recipes.board.views.0.roi", "21,0 80x80", "expected inside the 100x80 picture", id="a rectangle outside of the calibrated picture"),
        pytest.param("station.toml", "acknowledge = false", "acknowledge = true", "plc.line.acknowledge", "true", "recipe 'passing' is not triggered by the PLC", id="acknowledgements of parts that the PLC never asked for"),
        pytest.param("station.toml", 'number = 2\ntrigger = "line"', "number = 2", "recipes.passing.views.0.camera", "'gate'", "trigger = 'plc' needs a camera triggered by 'software'", id="a self-triggering camera in a recipe of the PLC"),
        pytest.param("station.toml", 'views = [{ camera = "gate" }]', 'views = [{ camera = "top" }]', "recipes.passing.views.0.camera", "'top'", "is triggered by 'software'; trigger = 'line' needs a camera triggered by 'line' or 'free'", id="a software-triggered camera in a line recipe"),
        pytest.param("station.toml", 'views = [{ camera = "gate" }]', 'views = [{ camera = "gate" }, { camera = "top" }]', "recipes.passing.views", "2", "expected one view", id="two views in a line recipe"),
        pytest.param("station.toml", 'trigger = "line"', 'trigger = "announced"\nwindow_ms = [0, 100]', "recipes.passing.views.0.camera", "'gate'", "is triggered by 'free'; trigger = 'announced' needs a camera triggered by 'line'", id="a camera without a line input in an announced recipe"),
        pytest.param("station.toml", 'trigger = "line"', 'trigger = "announced"\nwindow_ms = [0, 975]', "recipes.passing.deadline_ms", "1000", "expected more than 1000: the verdict waits for the end of gate's window_ms (975), 20 for", id="a deadline before the end of the window"),
        pytest.param("station.toml", 'trigger = "line"', 'trigger = "announced"', "recipes.passing.window_ms", "", "is missing: trigger = 'announced' needs [earliest, latest]", id="an announced recipe without a window"),
        pytest.param("station.toml", 'trigger = "line"', 'trigger = "line"\nwindow_ms = [0, 100]', "recipes.passing.window_ms", "[0.0, 100.0]", "only trigger = 'announced' has a window", id="a window that nobody looks at"),
        pytest.param("station.toml", 'trigger = "line"', 'trigger = "announced"\nwindow_ms = [100, 100]', "recipes.passing.window_ms", "[100, 100]", "0 <= earliest < latest", id="a window that is never open"),
        pytest.param("station.toml", 'calibration = "lens.yaml"', 'calibration = "lense.toml"', "cameras.top.calibration", "lense.toml'", "calibration cannot be read: No such file", id="a calibration that is not there"),
        pytest.param("station.toml", 'calibration = "lens.yaml"', 'calibration = "tiny"', "cameras.top.calibration", "tiny'", "calibration cannot be read: Is a directory", id="a folder in place of a calibration"),
        pytest.param("lens.yaml", "[0.1, 0.0, 0.0, 0.0]", "[0.1, 0.0]", "cameras.top.calibration", "lens.yaml'", "distortion_coefficients", id="two coefficients of distortion"),
        pytest.param("lens.yaml", "image_width: 100\n", "", "cameras.top.calibration", "lens.yaml'", "image_width", id="a calibration without a width"),
        pytest.param("lens.yaml", "[90.0, 0, 50.0", "[" * 5000, "cameras.top.calibration", "lens.yaml'", "nested", id="a calibration of brackets"),
        pytest.param("station.toml", 'type = "folder"\npath = "pictures"\ncalibration', 'type = "basler"\nserial = "222"\ncalibration', "cameras.top.calibration", "lens.yaml'", "was made for the camera of serial 111, and this one is 222", id="a calibration of another camera"),
        pytest.param("station.toml", '"secret"', '"secrets"', "publishers.plant.password_file", "secrets'", "is not a file", id="a password file that is not there"),
        pytest.param("station.toml", '"ca.pem"', '"tiny"', "publishers.plant.tls.ca_file", "tiny'", "is not a file", id="a folder in place of a certificate"),
        pytest.param("station.toml", '"/run/cell1"', f'"/{"x" * 95}"', "station.runtime_dir", f"'/{'x' * 95}'", "has 109 bytes, expected at most 107", id="a runtime folder too deep for a socket"),
        pytest.param("tiny/model.toml", "score_floor = 0.2", "score_floor = 0.35", "recipes.board.bundle", "'tiny'", "thresholds.open = 0.3 can never act", id="a bundle at odds with itself"),
        pytest.param("tiny/model.toml", '"Apache-2.0"', '""', "recipes.passing.bundle", "'tiny'", "licence = ''", id="a bundle without a licence"),
    ],
)  # fmt: skip
def test_what_lies_beside_the_station_file_is_checked_and_named(
    folder: Path, file: str, old: str, new: str, key: str, value: str, expected: str
) -> None:
    edit(folder / file, old, new)
    found = problems(folder)
    assert key in found, found
    assert any(shown.endswith(value) and expected in said for shown, said in found[key]), found[key]


def test_a_damaged_model_is_told_for_every_recipe_that_uses_it(folder: Path) -> None:
    (folder / "tiny" / "model.onnx").write_bytes(WEIGHTS[:-1])
    found = problems(folder)
    assert set(found) == {"recipes.board.bundle", "recipes.passing.bundle"}
    assert "the file is damaged or was replaced" in found["recipes.board.bundle"][0][1]


def test_a_path_that_no_file_can_have_is_told_once_and_on_one_line(folder: Path) -> None:
    edit(folder / "station.toml", 'calibration = "lens.yaml"', 'calibration = "le\\nns.toml"')
    assert problems(folder) == {
        "cameras.top.calibration": [("'le\\nns.toml'", "expected text without control characters")]
    }


def test_a_station_file_in_a_folder_with_an_odd_name_is_told_on_one_line(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a\u2028b"
    odd.mkdir()
    (odd / "station.toml").write_text(STATION)
    with pytest.raises(StationFileError) as caught:
        assemble(odd / "station.toml")
    assert len(str(caught.value).splitlines()) == len(caught.value.problems) > 1


def test_an_empty_bundle_folder_is_told_file_by_file(folder: Path) -> None:
    shutil.rmtree(folder / "tiny")
    (folder / "tiny").mkdir()
    missing = [said.split(";")[0] for _, said in problems(folder)["recipes.board.bundle"]]
    assert missing == [f"{folder}/tiny/{name} is missing" for name in ("model.toml", "model.onnx")]


@pytest.fixture
def locked(folder: Path) -> Path:
    (folder / "tiny" / "model.onnx").chmod(0)
    return folder


@pytest.mark.usefixtures("locked", "ordinary_user")
def test_a_bundle_that_may_not_be_read_is_told(folder: Path) -> None:
    assert "Permission denied" in problems(folder)["recipes.board.bundle"][0][1]


def test_mistakes_in_the_file_and_beside_it_are_told_at_once(folder: Path) -> None:
    for old, new in [
        ("schema = 1", "schema = 2"),
        ('recipe = "board"', 'recipe = "bored"'),
        ('trigger = "rate"', 'trigger = "rate"\nrate_hz = 0'),
        ('type = "onnxruntime"', 'type = "cpu"'),
        ("open = 0.5", "opne = 0.5"),
        ("number = 2", "number = 1"),
        ('type = "opcua_server"', 'type = "opcua_server"\nport = -1'),
        ('"secret"', '"secrets"'),
    ]:
        edit(folder / "station.toml", old, new)
    edit(folder / "lens.yaml", "[90.0, 0", "[-90.0, 0")
    assert set(problems(folder)) == {
        "schema",
        "station.recipe",
        "cameras.gate.rate_hz",
        "cameras.top.calibration",
        "backend.type",
        "recipes.board.thresholds.opne",
        "recipes.passing.number",
        "plc.line.port",
        "publishers.plant.password_file",
    }


def test_a_mistake_in_a_cameras_table_does_not_make_its_recipes_wrong(folder: Path) -> None:
    edit(folder / "station.toml", 'path = "pictures"\ncalibration', 'pth = "pictures"\ncalibration')
    assert set(problems(folder)) == {"cameras.top.path", "cameras.top.pth"}


def test_the_example_station_is_right_where_neither_pylon_nor_onnxruntime_is_loaded() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom edge_inspector import assembly\n"
        "print(assembly.check(Path(sys.argv[1])).station.name)\n"
        "print([m for m in ('pypylon', 'onnxruntime', 'onnx', 'amqtt', 'pycocotools', 'paho') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(EXAMPLES / "station.toml")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["line3-cell2", "[]", ""]


def test_the_example_station_can_be_copied_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("station.toml", "calibration-top.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert assembly.check(Path("station.toml")).station.recipe == "board-a"
