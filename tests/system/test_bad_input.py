"""A real station on pictures and models that no line should ever give it: UNDEFINED with a reason, never a crash."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fault_record import FaultBook, balance, longest_without_verdict_s
from onnx import TensorProto, helper, numpy_helper

import edge_inspector
from edge_inspector.calibration.file import calibration_text
from edge_inspector.datatypes import Calibration, Evaluation, Reason

pytestmark = pytest.mark.system
WAIT_S = 60.0  # a busy machine may need long to start; nothing waits for the whole of it
JUDGED = {(Evaluation.OK, Reason.NONE), (Evaluation.NOT_OK, Reason.DEFECT)}
BAD_FRAME = (Evaluation.UNDEFINED, Reason.BAD_FRAME)
STATION = """\
schema = 1
[station]
name = "bad"
recipe = "any"
[cameras.cam]
type = "folder"
path = "pictures"
loop = false
{camera}
[backend]
type = "onnxruntime"
warm_up_runs = 1
[recipes.any]
number = 1
trigger = "timer"
period_s = 0.05
deadline_ms = 30000.0
bundle = "tiny"
views = [{{ camera = "cam"{roi} }}]
"""
MODEL = """\
schema = 1
name = "tiny"
version = "1"
task = "detect"
decoder = "yolo"
classes = ["bright"]
score_floor = 0.25
nms_iou = 0.5
licence = "Apache-2.0"
sha256 = "{sha256}"
description = "its one box is as sure as the picture is bright"
thresholds = {{ bright = 0.5 }}
[input]
width_px = 32
height_px = 32
color = "gray"
scale = 0.00392156862745098
mean = [0.0]
std = [1.0]
pad_value = 0
"""
LENS = calibration_text(Calibration((48, 64), (60.0, 60.0, 32.0, 24.0), (0.0, 0.0, 0.0, 0.0)))


def onnx_bytes(channels: int = 1, classes: int = 1, nodes: Sequence[Any] = (), score: str = "mean") -> bytes:
    """One box, (1, 4 + classes, 1); each class's score is the picture's mean, or what `nodes` make of it."""
    constants = {"box": np.array([16, 16, 8, 8], np.float32).reshape(1, 4, 1), "seven": np.float32([7 / 255])}
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2], keepdims=0),
            *nodes,
            helper.make_node("ReduceMean", [score], ["one"], axes=[1], keepdims=1),
            helper.make_node("Unsqueeze", ["one", "last"], ["row"]),
            helper.make_node("Concat", ["box", *["row"] * classes], ["output"], axis=1),
        ],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, channels, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4 + classes, 1])],
        [
            *(numpy_helper.from_array(value, name) for name, value in constants.items()),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def station(folder: Path, model: bytes, camera: str = "", roi: str = "") -> Path:
    """A station file with its bundle; the pictures are the test's."""
    (folder / "tiny").mkdir()
    (folder / "pictures").mkdir()
    (folder / "tiny" / "model.onnx").write_bytes(model)
    (folder / "tiny" / "model.toml").write_text(MODEL.format(sha256=hashlib.sha256(model).hexdigest()))
    (folder / "lens.yaml").write_text(LENS)
    path = folder / "station.toml"
    path.write_text(STATION.format(camera=camera, roi=roi))
    return path


def gray(value: int, hw: tuple[int, int] = (48, 64)) -> np.ndarray[Any, Any]:
    return np.full(hw, value, np.uint8)


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def results(path: Path, parts: int) -> list[tuple[Evaluation, Reason, str]]:
    """Run until so many parts are settled, stop, and give evaluation, reason and its text in order of the pictures.

    The process must have lived through all of it and must end with 0.
    """
    book = path.parent / "state" / "ledger.sqlite"
    with (path.parent / "log").open("w+") as log:
        process = subprocess.Popen([sys.executable, "-m", "edge_inspector", "run", str(path)], stderr=log, stdout=log)
        try:
            deadline = time.monotonic() + WAIT_S
            while process.poll() is None and len(settled(book)) < parts and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            code = process.wait(WAIT_S)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = log.read()
    assert code == 0, said
    assert "Traceback" not in said, said
    rows = settled(book)
    assert len(rows) >= parts, said
    return rows[:parts]


def settled(book: Path) -> list[tuple[Evaluation, Reason, str]]:
    if not book.exists():
        return []
    with sqlite3.connect(f"file:{book}?mode=ro", uri=True) as connection:
        try:
            rows = connection.execute("SELECT evaluation, reason, reason_text FROM results ORDER BY seq").fetchall()
        except sqlite3.OperationalError:  # the tables are not made yet
            rows = []
    connection.close()
    return [(Evaluation(evaluation), Reason(reason), text) for evaluation, reason, text in rows]


def test_each_odd_picture_is_judged_or_undefined_with_its_name_and_the_station_goes_on(tmp_path: Path) -> None:
    path = station(tmp_path, onnx_bytes())
    whole = png(np.random.default_rng(1).integers(0, 100, (48, 64), np.uint8))
    jpeg = cv2.imencode(".jpg", gray(10))[1].tobytes()
    pictures = {
        "a_dark.png": (png(gray(20)), (Evaluation.OK, Reason.NONE)),
        "b_bright.png": (png(gray(200, (64, 64))), (Evaluation.NOT_OK, Reason.DEFECT)),
        "c_cut.png": (whole[: len(whole) // 2], BAD_FRAME),
        "d_cut.jpg": (jpeg[: len(jpeg) // 2], BAD_FRAME),
        "e_text.png": (b"this is no picture", BAD_FRAME),
        "f_empty.png": (b"", BAD_FRAME),
        "g_header.png": (whole[:8], BAD_FRAME),
        "h_16_bit_too_bright.png": (png(np.full((48, 64), 65535, np.uint16)), BAD_FRAME),
        "i_12_bit.png": (png(np.full((48, 64), 160, np.uint16)), (Evaluation.OK, Reason.NONE)),
        "j_1x1.png": (png(gray(9, (1, 1))), (Evaluation.OK, Reason.NONE)),
        "k_thin.png": (png(gray(9, (1, 4000))), (Evaluation.OK, Reason.NONE)),
        "l_colour.png": (png(np.full((48, 64, 3), 30, np.uint8)), (Evaluation.OK, Reason.NONE)),
        "m_alpha.png": (png(np.full((48, 64, 4), 30, np.uint8)), (Evaluation.OK, Reason.NONE)),
        "n_16_bit_colour.png": (png(np.full((48, 64, 3), 3000, np.uint16)), BAD_FRAME),
        "o_large.png": (png(gray(9, (6000, 8000))), (Evaluation.OK, Reason.NONE)),
        "p_float.tif": (cv2.imencode(".tif", np.zeros((48, 64), np.float32))[1].tobytes(), BAD_FRAME),
        "q_good.png": (png(gray(20)), (Evaluation.OK, Reason.NONE)),
    }
    for name, (content, _) in pictures.items():
        (tmp_path / "pictures" / name).write_bytes(content)
    (tmp_path / "pictures" / "r_folder.png").mkdir()
    expected = {**{name: outcome for name, (_, outcome) in pictures.items()}, "r_folder.png": BAD_FRAME}
    got = results(path, len(expected))
    assert {name: row[:2] for name, row in zip(expected, got, strict=True)} == expected
    for name, (evaluation, _, text) in zip(expected, got, strict=True):
        assert (name in text) == (evaluation is Evaluation.UNDEFINED)


@pytest.mark.parametrize(
    ("camera", "roi", "said"),
    [
        pytest.param("", ", roi = { x = 32, y = 0, width = 32, height = 48 }", "does not lie in the 40x48", id="roi"),
        pytest.param('calibration = "lens.yaml"', "", "the picture is 40x48, its calibration", id="calibration"),
    ],
)
def test_a_picture_of_another_size_is_undefined_and_the_next_right_one_is_judged(
    tmp_path: Path, camera: str, roi: str, said: str
) -> None:
    path = station(tmp_path, onnx_bytes(), camera, roi)
    for i, width in enumerate((64, 40, 64)):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(png(gray(20, (48, width))))
    first, wrong, last = results(path, 3)
    assert first[:2] == last[:2] == (Evaluation.OK, Reason.NONE)
    assert wrong[:2] == BAD_FRAME
    assert said in wrong[2]


def test_outputs_that_are_no_numbers_make_the_part_undefined_and_the_next_one_is_judged(
    tmp_path: Path, fault: FaultBook
) -> None:
    nodes = [
        helper.make_node("Sub", ["mean", "seven"], ["rest"]),
        helper.make_node("Div", ["rest", "rest"], ["score"]),  # 0 / 0 for a picture of sevens, else 1
    ]
    path = station(tmp_path, onnx_bytes(nodes=nodes, score="score"))
    for i, value in enumerate((20, 7, 20)):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(png(gray(value, (32, 32))))
    first, wrong, last = results(path, 3)
    assert first[0] is last[0] is Evaluation.NOT_OK
    assert wrong[:2] == (Evaluation.UNDEFINED, Reason.INFERENCE)
    assert "NaN or infinity" in wrong[2]
    ledger = tmp_path / "state" / "ledger.sqlite"
    fault.tell(
        11,
        injected="a network that divides 0 by 0 for one picture",
        saw="OK or NOT_OK before and after, UNDEFINED (inference) for that part",
        books=balance(ledger),
        recovery_s=longest_without_verdict_s(ledger),
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param(onnx_bytes()[:200], "is not a model that ONNX Runtime can load", id="a truncated network"),
        pytest.param(b"", "is not a model that ONNX Runtime can load", id="an empty network"),
        pytest.param(onnx_bytes(channels=3), "input images is float32 (1, 3, 32, 32)", id="a colour network"),
        pytest.param(onnx_bytes(classes=2), "expected one of (n, 5, anchors) for 1 classes", id="a class too many"),
    ],
)
def test_a_model_that_is_not_what_its_bundle_says_ends_the_start_with_2_and_a_sentence(
    tmp_path: Path, fault: FaultBook, model: bytes, said: str
) -> None:
    path = station(tmp_path, model)
    (tmp_path / "pictures" / "0.png").write_bytes(png(gray(20)))
    done = run_to_its_end(path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert settled(tmp_path / "state" / "ledger.sqlite") == []
    fault.tell(
        11,
        injected=f"a crafted ONNX file: {said}",
        saw="nothing: the station ends before it is READY, exit code 2",
        books="no part was accepted",
    )


def run_to_its_end(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_inspector", "run", str(path)]
    env = {**os.environ, **env}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_a_backend_whose_package_is_missing_ends_the_start_with_2_and_the_package(tmp_path: Path) -> None:
    path = station(tmp_path, onnx_bytes())
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError('No module named onnxruntime')\n")
    root = Path(edge_inspector.__file__).parents[1]
    done = run_to_its_end(path, PYTHONPATH=f"{tmp_path}{os.pathsep}{root}")
    assert (done.returncode, 'pip install "edge-inspector[ort]"' in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_another_program_holds_ends_the_start_with_75_and_no_traceback(tmp_path: Path) -> None:
    path = station(tmp_path, onnx_bytes())
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        path.write_text(path.read_text() + f'[plc.line]\ntype = "opcua_server"\nacknowledge = false\nport = {port}\n')
        done = run_to_its_end(path)
    assert done.returncode == 75, done.stderr
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"] == "station_cannot_run"
    assert f"cannot listen on 127.0.0.1:{port}" in last["error"]
    assert "exception" not in last  # the one traceback in the log is asyncua's own


def test_a_state_folder_that_cannot_be_made_ends_the_start_with_2_and_a_sentence(tmp_path: Path) -> None:
    path = station(tmp_path, onnx_bytes())
    (tmp_path / "state").write_text("a file in the way")
    done = run_to_its_end(path)
    assert done.returncode == 2
    assert f"File exists: '{tmp_path / 'state'}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ledger_of_another_program_ends_the_start_with_75_and_no_traceback(tmp_path: Path) -> None:
    path = station(tmp_path, onnx_bytes())
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    done = run_to_its_end(path)
    assert done.returncode == 75, done.stderr
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"] == "station_cannot_run"
    assert "is a SQLite database of another program" in last["error"]
    assert "Traceback" not in done.stderr
