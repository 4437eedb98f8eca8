# ruff: noqa: E501 - a table reads best with a case a line
from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
import yaml
from hypothesis import example, given

from edge_inspector.calibration.file import calibration_text, load_calibration, save_calibration
from edge_inspector.calibration.records import Board, Coverage, PlaneFit, Sighting, Solution
from edge_inspector.datatypes import Calibration
from edge_inspector.errors import ConfigError

PLANE = (0.5, 0.01, -160.25, -0.02, 0.51, -120.5, 1e-05, -3e-17, 1.0)
PINHOLE = Calibration(
    (480, 640), (532.8, 532.9, 342.5, 233.9), (-0.281, 0.025, 1.2e-03, -1e-05, 0.163), serial="40012345"
)
RATIONAL = Calibration((480, 640), (532.8, 532.9, 342.5, 233.9), (-6.5, 20.5, 0.001, -1e-06, -6.9, -6.2, 18.9, -2.5))
FISHEYE = Calibration(
    (1200, 1920), (600.0, 601.5, 960.0, 599.5), (0.02, -0.005, 0.002, -0.001), "fisheye", "A-1", PLANE
)
SEEN = Sighting("plane.png", (480, 640), np.arange(0), np.zeros((0, 2), np.float32))
SOLUTION = Solution(
    calibration=PINHOLE,
    lens="pinhole",
    board=Board("charuco", 5, 7, 30.0, 22.0, "DICT_6X6_250"),
    views=(),
    dropped=(),
    rms_px=0.196,
    held_out_px=0.213,
    deviations={"fx": 0.4, "k1": 0.005},
    coverage=Coverage(np.zeros((6, 8), np.int64), 0.0, (), ()),
    made_utc="2026-11-22T10:00:00.000Z",
)

ROS = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [535.37, 0, 325.53, 0, 536.12, 247.78, 0, 0, 1]
distortion_model: {model}
distortion_coefficients:
  rows: 1
  cols: {count}
  data: [{values}]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [535.37, 0, 325.53, 0, 0, 536.12, 247.78, 0, 0, 0, 1, 0]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "camera.yaml"


@pytest.mark.parametrize("calibration", [PINHOLE, RATIONAL, FISHEYE])
def test_a_calibration_survives_its_file_to_the_last_digit(file: Path, calibration: Calibration) -> None:
    file.write_text(calibration_text(calibration), encoding="utf-8")
    assert load_calibration(file) == calibration


numbers = st.floats(-1e9, 1e9)
positive = st.floats(1e-300, 1e9)


@given(
    hw=st.tuples(st.integers(1, 65536), st.integers(1, 65536)),
    matrix=st.tuples(positive, positive, numbers, numbers),
    distortion=st.sampled_from([4, 5, 8]).flatmap(lambda n: st.tuples(*[numbers] * n)),
    serial=st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=200),
)
@example(hw=(1, 1), matrix=(1.0, 1.0, 0.0, -0.0), distortion=(1e-05, 1e9, 5e-324, -1e-05), serial="\"\\': #\\n%{é")
def test_any_calibration_survives_its_file(
    hw: tuple[int, int], matrix: tuple[float, float, float, float], distortion: tuple[float, ...], serial: str
) -> None:
    calibration = Calibration(hw, matrix, distortion, "pinhole", serial)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "camera.yaml"
        file.write_text(calibration_text(calibration), encoding="utf-8")
        assert load_calibration(file) == calibration
        assert yaml.safe_load(file.read_text(encoding="utf-8"))["distortion_coefficients"]["data"] == list(distortion)


def test_opencv_reads_what_we_write(file: Path) -> None:
    save_calibration(file, SOLUTION, PlaneFit(PLANE, 0.5, 0.01, SEEN))
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
    matrix = storage.getNode("camera_matrix").mat()
    assert matrix.tolist() == [[532.8, 0, 342.5], [0, 532.9, 233.9], [0, 0, 1]]
    assert tuple(storage.getNode("distortion_coefficients").mat().ravel()) == PINHOLE.distortion
    assert (storage.getNode("image_width").real(), storage.getNode("image_height").real()) == (640, 480)
    assert storage.getNode("plane_homography").mat().ravel().tolist() == list(PLANE)
    assert storage.getNode("serial").string() == "40012345"
    assert storage.getNode("rms").real() == 0.196
    assert storage.getNode("board").string() == "charuco:5x7:30mm:22mm:DICT_6X6_250"
    storage.release()


def test_any_yaml_reader_and_ros_read_what_we_write(file: Path) -> None:
    save_calibration(file, SOLUTION, PlaneFit(PLANE, 0.5, 0.01, SEEN))
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    matrices = {key: value for key, value in document.items() if isinstance(value, dict)}
    for matrix in matrices.values():
        assert len(matrix["data"]) == matrix["rows"] * matrix["cols"]
        assert all(isinstance(value, float) for value in matrix["data"])
    # all that ROS's camera_info parser asks for
    assert list(matrices) == [
        *("camera_matrix", "distortion_coefficients", "rectification_matrix", "projection_matrix", "plane_homography")
    ]
    assert matrices["projection_matrix"]["data"] == [532.8, 0, 342.5, 0, 0, 532.9, 233.9, 0, 0, 0, 1, 0]
    assert {key: value for key, value in document.items() if key not in matrices} == {
        "schema": 1,
        "image_width": 640,
        "image_height": 480,
        "camera_name": "40012345",
        "distortion_model": "plumb_bob",
        "serial": "40012345",
        "date": "2026-11-22T10:00:00.000Z",
        "board": "charuco:5x7:30mm:22mm:DICT_6X6_250",
        "lens": "pinhole",
        "views": 0,
        "views_dropped": 0,
        "rms": 0.196,
        "held_out_px": 0.213,
        "fx_deviation": 0.4,
        "k1_deviation": 0.005,
        "plane_mm_per_px": 0.5,
        "plane_rms_mm": 0.01,
    }


def test_a_solution_is_saved_with_its_plane_and_read_back(file: Path) -> None:
    save_calibration(file, SOLUTION, None)
    assert load_calibration(file) == PINHOLE
    save_calibration(file, SOLUTION, PlaneFit(PLANE, 0.5, 0.01, SEEN))
    assert load_calibration(file) == replace(PINHOLE, plane=PLANE)


def test_a_figure_that_is_not_known_is_left_out(file: Path) -> None:
    save_calibration(file, replace(SOLUTION, held_out_px=float("nan")), None)
    assert "held_out_px" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "values", "lens"),
    [
        ("plumb_bob", "-0.26, -0.04, 0.0018, -2.8e-4, 0.24", "pinhole"),
        ("plumb_bob", "0, 0, 0, 0", "pinhole"),
        ("rational_polynomial", "1, 2, 3, 4, 5, 6, 7, 8", "pinhole"),
        ("rational_polynomial", "1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0.0, 0", "pinhole"),
        ("equidistant", ".02, -5.e-03, +0.002, -1E-3", "fisheye"),
    ],
)
def test_a_file_of_ros_is_read(file: Path, model: str, values: str, lens: str) -> None:
    count = values.count(",") + 1
    file.write_text(ROS.format(model=model, count=count, values=values))
    calibration = load_calibration(file)
    assert (calibration.image_hw, calibration.matrix) == ((480, 640), (535.37, 536.12, 325.53, 247.78))
    assert calibration.distortion == tuple(float(v) for v in values.split(","))[:8]
    assert (calibration.lens, calibration.serial, calibration.plane) == (lens, "", None)


@pytest.mark.parametrize("count", [5, 8, 14])
def test_a_file_that_opencv_writes_is_read(file: Path, count: int) -> None:
    distortion = np.r_[np.arange(1, min(count, 8) + 1) / 100, np.zeros(max(0, count - 8))]
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", np.array([[500.5, 0, 320.25], [0, 501.5, 240.75], [0, 0, 1]]))
    storage.write("distortion_coefficients", distortion[:, None])
    storage.release()
    assert load_calibration(file) == Calibration(
        (480, 640), (500.5, 501.5, 320.25, 240.75), tuple(distortion[:8].tolist())
    )


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["checkerboard_9x6/left_intrinsics.yml", "aruco_charuco/tutorial_camera_charuco.yml"])
def test_opencvs_own_files_are_read_as_opencv_reads_them(real: Path, name: str) -> None:
    calibration = load_calibration(real / name)
    storage = cv2.FileStorage(str(real / name), cv2.FILE_STORAGE_READ)
    matrix, distortion = (storage.getNode(key).mat() for key in ("camera_matrix", "distortion_coefficients"))
    storage.release()
    assert calibration.image_hw == (480, 640)
    assert calibration.matrix == (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    assert calibration.distortion == tuple(distortion.ravel())


GOOD = calibration_text(replace(PINHOLE, plane=(0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0)))
LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        pytest.param("image_width: 640\n", "", "image_width is missing; add it", id="no width"),
        pytest.param("image_width: 640", "image_width: 640.5", "image_width = '640.5': expected a whole number from 1 to 65536", id="half a pixel"),
        pytest.param("image_width: 640", "image_width: 0", "image_width = '0': expected a whole number", id="no pixel"),
        pytest.param("image_width: 640", "image_width: 1000000", "image_width = '1000000'", id="a million pixels"),
        pytest.param("image_width: 640", "image_width: [640]", "image_width = ['640']: expected a number", id="a list for a number"),
        pytest.param("image_height: 480", "image_height: 0x1e0", "image_height = '0x1e0': expected a number", id="hexadecimal"),
        pytest.param("image_height: 480", "image_height: " + "9" * 6000, "image_height = '9999", id="six thousand digits"),
        pytest.param("image_height: 480", "image_height: 480\nimage_height: 481", "image_height is there twice", id="a key twice"),
        pytest.param("532.8, 0.0, 342.5", ".nan, 0.0, 342.5", "camera_matrix.data = '.nan': expected a number between", id="no number"),
        pytest.param("532.8, 0.0, 342.5", "nan, 0.0, 342.5", "camera_matrix.data = 'nan': expected a number between", id="Python's no number"),
        pytest.param("532.8, 0.0, 342.5", ".inf, 0.0, 342.5", "camera_matrix.data = '.inf'", id="infinite"),
        pytest.param("532.8, 0.0, 342.5", "1.0e+300, 0.0, 342.5", "camera_matrix.data = '1.0e+300'", id="huge"),
        pytest.param("532.8, 0.0, 342.5", "1_000.0, 0.0, 342.5", "camera_matrix.data = '1_000.0'", id="underscores"),
        pytest.param("532.8, 0.0, 342.5", "-532.8, 0.0, 342.5", "[-532.8, 532.9]: expected focal lengths above 0", id="a negative focal length"),
        pytest.param("532.8, 0.0, 342.5", "532.8, 0.1, 342.5", "expected [fx, 0, cx, 0, fy, cy, 0, 0, 1]", id="skew"),
        pytest.param("532.8, 0.0, 342.5", "532.8, 342.5", "camera_matrix = '3x3 with 8 numbers': expected 3x3", id="a number too few"),
        pytest.param("camera_matrix:\n   rows: 3", "camera_matrix:\n   rows: 9", "camera_matrix = '9x3 with 9 numbers': expected 3x3", id="too many rows"),
        pytest.param("camera_matrix:\n   rows: 3", "camera_matrix:\n   rows: x", "camera_matrix.rows = 'x': expected a number", id="rows that are no number"),
        pytest.param("camera_matrix:\n   rows: 3\n", "camera_matrix:\n", "camera_matrix.rows = '': expected a number", id="no rows"),
        pytest.param("camera_matrix:\n   rows: 3\n   cols: 3\n   dt: d\n   data:", "camera_matrix: ", "camera_matrix = ['532.8'", id="a bare list"),
        pytest.param("cols: 5", "cols: 4", "distortion_coefficients = '1x4 with 5 numbers'", id="a coefficient too many"),
        pytest.param("cols: 5\n   dt: d\n   data: [ -0.281, 0.025, 0.0012,", "cols: 3\n   dt: d\n   data: [ 0.0012,", "distortion_coefficients.data = '3 numbers': expected 4 or 5 of a plumb_bob lens", id="three coefficients"),
        pytest.param('"plumb_bob"', '"equidistant"', "distortion_coefficients.data = '5 numbers': expected 4 of a equidistant lens", id="another lens"),
        pytest.param('"plumb_bob"', '"omni"', "distortion_model = 'omni': expected one of plumb_bob, rational_polynomial, equidistant", id="an unknown lens"),
        pytest.param('"plumb_bob"', "[plumb_bob]", "distortion_model = ['plumb_bob']: expected at most 200 printable characters", id="a list for a name"),
        pytest.param('serial: "40012345"', 'serial: "a\\x07"', "serial = 'a\\x07': expected at most 200 printable", id="a bell in a serial"),
        pytest.param('serial: "40012345"', f'serial: "{"x" * 201}"', "serial = 'xxx", id="an endless serial"),
        pytest.param("0.0, 0.0, 1.0 ]\n", "0.0, 0.0, 1.0, 0.0 ]\n", "with 10 numbers", id="ten numbers in 3x3"),
        pytest.param("[ 0.5, 0.0, 0.0,\n          0.0, 0.5, 0.0,", "[ 0.5, 0.0, 0.0,\n          0.5, 0.0, 0.0,", "expected a plane that lies before the whole picture", id="a flat homography"),
        pytest.param("0.0, 0.5, 0.0,\n          0.0, 0.0, 1.0", "0.0, 0.5, 0.0,\n          0.01, 0.0, -1.0", "expected a plane that lies before the whole picture", id="a horizon in the picture"),
        pytest.param("schema: 1", "schema: 2", "schema = '2': expected 1; update edge-inspector", id="a newer schema"),
        pytest.param("camera_matrix:", "camera_matrix: [", "is not YAML: while parsing a flow", id="not YAML"),
        pytest.param("schema: 1", "? [a, b]\n: 1", "is not YAML: while constructing a mapping", id="a list for a key"),
        pytest.param("schema: 1", LAUGHS, "is not YAML: references (*name) are not taken", id="billion laughs"),
        pytest.param("schema: 1", "s: &s 1\nt: *s", "references (*name)", id="one reference"),
        pytest.param("schema: 1", "schema: " + "[" * 5000, "nested too deeply", id="five thousand levels"),
        pytest.param("schema: 1", "schema: " + "{a: " * 5000, "nested too deeply", id="five thousand mappings"),
        pytest.param("schema: 1", "note: \x00", "is not YAML: unacceptable character", id="a zero byte"),
        pytest.param("schema: 1", "--- 1\n--- 2", "is not YAML: expected a single document", id="two documents"),
    ],
)  # fmt: skip
def test_a_bad_file_names_itself_the_key_the_value_and_what_was_expected(
    file: Path, old: str, new: str, complaint: str
) -> None:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(complaint)) as caught:
        load_calibration(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert len(str(caught.value)) < len(str(file)) + 400


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(b"", "calibration holds None, expected keys such as camera_matrix", id="empty"),
        pytest.param(b"- 1\n- 2\n", "calibration holds ['1', '2'], expected keys", id="a list"),
        pytest.param(b"\xff\xd8\xff\xe0", "calibration is not YAML: 'utf-8' codec can't decode", id="a photo"),
        pytest.param(GOOD.encode("utf-16"), "calibration is not YAML: 'utf-8' codec can't decode", id="UTF-16"),
        pytest.param(b"#" * 1_000_001, "calibration has more than 1000000 bytes", id="a megabyte"),
        pytest.param(b'schema = 1\nwidth_px = 960\n', "calibration holds 'schema = 1 width_px = 960', expected keys", id="the TOML of before"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_told_as_such(file: Path, content: bytes, complaint: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"{file}: {complaint}")):
        load_calibration(file)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [(".", "Is a directory"), ("gone.yaml", "No such file"), ("x" * 300, "File name too long"), ("a\0b", "null")],
)
def test_a_path_that_is_no_file_is_told(tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_calibration(tmp_path / name)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + calibration_text(PINHOLE).replace("\n", "\r\n").encode())
    assert load_calibration(file) == PINHOLE


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(str.encode)
    | st.tuples(st.integers(0, len(GOOD)), st.integers(0, 40), st.text(max_size=12)).map(
        lambda cut: (GOOD[: cut[0]] + cut[2] + GOOD[cut[0] + cut[1] :]).encode()
    )
)
def test_whatever_a_file_holds_it_is_a_calibration_or_an_error_in_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "camera.yaml"
        file.write_bytes(content)
        try:
            calibration = load_calibration(file)
        except ConfigError:
            return
    assert np.isfinite([*calibration.matrix, *calibration.distortion, *(calibration.plane or ())]).all()
    assert min(*calibration.image_hw, *calibration.matrix[:2]) > 0
    assert len(calibration.distortion) in (4, 5, 8)


def test_the_folder_of_a_new_file_is_made(tmp_path: Path) -> None:
    save_calibration(tmp_path / "calibration" / "40012345.yaml", SOLUTION, None)
    assert [path.name for path in (tmp_path / "calibration").iterdir()] == ["40012345.yaml"]


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").mkdir()
    (tmp_path / "camera.yaml" / "kept").touch()
    with pytest.raises(ConfigError, match=r"camera.yaml: calibration cannot be written: Is a directory; give another"):
        save_calibration(tmp_path / "camera.yaml", SOLUTION, None)
    assert [path.name for path in tmp_path.rglob("*")] == ["camera.yaml", "kept"]


@pytest.mark.usefixtures("ordinary_user")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    with pytest.raises(ConfigError, match="calibration cannot be written: Permission denied"):
        save_calibration(closed / "camera.yaml", SOLUTION, None)


def test_a_serial_that_no_file_can_hold_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"serial 'a\\nb': expected at most 200 printable characters"):
        save_calibration(file, replace(SOLUTION, calibration=replace(PINHOLE, serial="a\nb")), None)
    assert not file.exists()


def test_the_example_is_a_calibration() -> None:
    example_file = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "calibration-top.yaml"
    assert load_calibration(example_file) == Calibration(
        (800, 960), (900.0, 900.0, 483.2, 397.6), (-0.18, 0.05, 0.0006, -0.0004, 0.0)
    )
