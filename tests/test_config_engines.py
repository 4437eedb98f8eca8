"""What a station file asks of engines is checked before anything is built."""

from __future__ import annotations

from pathlib import Path

import cv2
import networks
import numpy as np
import pytest

from edge_inspector import assembly
from edge_inspector.config import StationFileError

STATION = """\
schema = 1
[station]
name = "cell1"
recipe = "board"
state_dir = "state"
{station}
[cameras.top]
type = "folder"
path = "pictures"
[backend]
{backend}
[recipes.board]
number = 1
bundle = "bundle"
trigger = "timer"
period_s = 1.0
views = [{{ camera = "top" }}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    networks.bundle("yolo", tmp_path / "bundle", golden=1)
    for name, count in (("few", 19), ("enough", 20), ("empty", 0)):
        (tmp_path / name).mkdir()
        for i in range(count):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.full((4, 4), i, np.uint8))
    return tmp_path


def checked(folder: Path, backend: str, station: str = "") -> None:
    path = folder / "station.toml"
    path.write_text(STATION.format(station=station, backend=backend))
    assembly.check(path)


@pytest.mark.parametrize(
    ("backend", "station", "said"),
    [
        (
            'type = "onnxruntime"',
            'accept_unverified = ["nope"]',
            ["station.accept_unverified", "'nope'", "little-yolo"],
        ),
        ('type = "tensorrt"\nprecision = "int8"', "", ["backend.calibration", "is missing", "little-yolo", "'board'"]),
        ('type = "tensorrt"\nprecision = "int8"\ncalibration = "gone"', "", ["backend.calibration", "gone", "No such"]),
        (
            'type = "tensorrt"\nprecision = "int8"\ncalibration = "empty"',
            "",
            ["backend.calibration", "holds no picture"],
        ),
        ('type = "tensorrt"\nprecision = "int8"\ncalibration = "few"', "", ["holds 19 pictures, expected 20"]),
        (
            'type = "triton"\nurl = "s:8001"\nmodel = "m"\ntls = true\nca_file = "gone.pem"',
            "",
            ["backend.ca_file", "gone.pem"],
        ),
    ],
)
def test_what_cannot_be_is_told_by_its_key(folder: Path, backend: str, station: str, said: list[str]) -> None:
    with pytest.raises(StationFileError) as caught:
        checked(folder, backend, station)
    assert [word for word in said if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("backend", "station"),
    [
        ('type = "onnxruntime"', 'accept_unverified = ["little-yolo"]'),
        ('type = "tensorrt"\nprecision = "int8"\ncalibration = "enough"', ""),
        ('type = "openvino"', ""),
    ],
)
def test_what_can_be_is_right(folder: Path, backend: str, station: str) -> None:
    checked(folder, backend, station)


def test_a_golden_picture_that_is_missing_is_told_where_engines_are_proven(folder: Path) -> None:
    for path in (folder / "bundle" / "golden").glob("*.png"):
        path.unlink()
    with pytest.raises(StationFileError, match="pictures are missing"):
        checked(folder, 'type = "openvino"')
    checked(folder, 'type = "onnxruntime"')  # nothing is proven there
