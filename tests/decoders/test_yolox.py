from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.yolox import Config, YoloX
from edge_inspector.errors import BundleError, InferenceError

DECODER = YoloX(Config(input_px=(64, 32)))  # 8x4 + 4x2 + 2x1 = 42 cells
STRIDES = (8, 16, 32)


def quiet(classes: int) -> np.ndarray:
    return np.zeros((1, 42, 5 + classes), np.float32)


def test_the_name_yolox_leads_here() -> None:
    assert plugins.load("decoder", "yolox") is YoloX
    assert plugins.config_model("decoder", "yolox")(type="yolox", input_px=(64, 32)).strides == STRIDES


@pytest.mark.parametrize(
    ("cell", "centre", "stride"),
    [
        (0, (4, 4), 8),
        (7, (60, 4), 8),  # the end of the first row: eight cells wide, four high
        (8, (4, 12), 8),
        (31, (60, 28), 8),
        (32, (8, 8), 16),
        (39, (56, 24), 16),
        (41, (48, 16), 32),
    ],
)
def test_a_box_lies_in_its_cell_and_is_measured_in_it(cell: int, centre: tuple[int, int], stride: int) -> None:
    raw = quiet(1)
    raw[0, cell] = [0.5, 0.5, 0, math.log(2), 1, 0.5]
    found = DECODER.decode(Tensors({"output": raw}), 0, 0.3, 1)
    x, y = centre
    np.testing.assert_allclose(found.xyxy, [[x - stride / 2, y - stride, x + stride / 2, y + stride]], atol=1e-4)
    assert found.confidence.tolist() == [0.5]


def test_every_cell_is_read_as_the_formula_says() -> None:
    rng = np.random.default_rng(5)
    raw = np.concatenate([rng.normal(0, 1, (2, 42, 4)), rng.random((2, 42, 4))], axis=2).astype(np.float32)
    found = DECODER.decode(Tensors({"output": raw}), 1, 0.2, 3)
    expected, cell = [], 0
    for stride in STRIDES:
        for y in range(32 // stride):
            for x in range(64 // stride):
                dx, dy, log_w, log_h, shown, *classes = raw[1, cell].tolist()
                cx, cy, w, h = (dx + x) * stride, (dy + y) * stride, math.exp(log_w) * stride, math.exp(log_h) * stride
                expected += [
                    [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, shown * p, c]
                    for c, p in enumerate(classes)
                    if shown * p >= 0.2
                ]
                cell += 1
    assert cell == 42
    rows = np.column_stack([found.xyxy, found.confidence, found.class_id])
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)


def test_numbers_are_those_of_yoloxs_own_demo() -> None:
    wave = np.sin(np.arange(42 * 4) * 1.7).astype(np.float32).reshape(42, 4)
    raw = np.concatenate([wave, (wave + 1) / 2], axis=1)
    found = DECODER.decode(Tensors({"output": raw[None]}), 0, 0.6, 3)
    rows = np.column_stack([found.xyxy, found.confidence, found.class_id])
    assert len(rows) == 18
    # Megvii-BaseDetection/YOLOX 6ddff48, yolox/utils/demo_utils.py: demo_postprocess(outputs, (32, 64))
    first, last = [9.9663, 4.2321, 13.9395, 8.5437, 0.6718, 0], [45.4534, -64.9987, 64.5352, 14.9353, 0.823, 2]
    middle = [5.4902, 3.6465, 9.1513, 20.069, 0.8231, 2]
    np.testing.assert_allclose(rows[[0, 8, 17]], [first, middle, last], atol=1e-4)


def test_other_strides_are_possible() -> None:
    decoder = YoloX(Config(input_px=(128, 64), strides=(8, 16, 32, 64)))
    decoder.check({"output": (1, 128 + 32 + 8 + 2, 6)}, 1)


def test_scores_before_their_sigmoid_are_refused() -> None:
    raw = quiet(1)
    raw[0, 3, 4] = -3.5
    with pytest.raises(InferenceError, match=r"-3\.5.*export_onnx"):
        DECODER.decode(Tensors({"output": raw}), 0, 0.3, 1)


def test_boxes_that_are_pixels_already_belong_to_another_decoder() -> None:
    raw = quiet(1)
    raw[0, 3] = [30, 20, 25, 12, 0, 0]
    with pytest.raises(InferenceError, match=r"25.*decode_in_inference.*yolov5"):
        DECODER.decode(Tensors({"output": raw}), 0, 0.3, 1)


def test_nothing_reaches_the_floor() -> None:
    assert len(DECODER.decode(Tensors({"output": quiet(2)}), 0, 0.3, 2)) == 0


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"o": (1, 84, 7)}, ["(1, 84, 7)", "(n, 42, 7)", "64x32 px", "8, 16, 32"]),
        ({"o": (1, 42, 8)}, ["(1, 42, 8)"]),
        ({"o": (42, 7)}, ["(42, 7)"]),
        ({"a": (1, 42, 7), "b": (1, 3)}, ["2 outputs (a, b)"]),
    ],
)
def test_another_familys_output_is_refused_at_load(shapes, said: list[str]) -> None:
    with pytest.raises(BundleError) as caught:
        DECODER.check(shapes, 2)
    assert all(word in str(caught.value) for word in said)


def test_an_output_that_changed_since_load_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"\(1, 41, 7\)"):
        DECODER.decode(Tensors({"output": quiet(2)[:, :41]}), 0, 0.3, 2)


@pytest.mark.parametrize("options", [{}, {"input_px": (0, 32)}, {"input_px": (64, 32), "strides": ()}])
def test_options_without_which_no_box_can_be_placed_are_asked_for(options) -> None:
    with pytest.raises(ValidationError):
        plugins.config_model("decoder", "yolox").model_validate({"type": "yolox", **options})
