from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from edge_inspector import plugins
from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.decoders.rtdetr import Config, RtDetr
from edge_inspector.errors import BundleError, InferenceError

SEPARATE = RtDetr(Config(input_px=(96, 64)))
JOINED = RtDetr(Config(input_px=(96, 64), layout="joined", score_kind="probabilities"))
CHOSEN = RtDetr(Config(input_px=(96, 64), layout="chosen"))
WAVE = np.sin(np.arange(32) * 1.7).astype(np.float32)
LOGITS, BOXES = 3 * WAVE[:24].reshape(1, 8, 3), 0.5 + np.float32(0.3) * WAVE.reshape(1, 8, 4)
# Peterande/D-FINE 4a1f73a, DFINEPostProcessor(num_classes=3, num_top_queries=6) of an image of 96x64 px
TOP_SIX = [
    [59.8115, -2.6682, 86.8347, 44.1797, 0.9525, 0],
    [27.6798, 43.9278, 68.3202, 58.1521, 0.9514, 1],
    [1.1489, -6.0249, 68.4515, 38.4477, 0.9506, 2],
    [43.4809, -10.9274, 82.9943, 39.9962, 0.9333, 1],
    [62.588, 25.0478, 82.8997, 54.187, 0.9294, 2],
    [48.3087, 37.2651, 76.1523, 57.3968, 0.9165, 2],
]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def separate(logits: np.ndarray = LOGITS, boxes: np.ndarray = BOXES) -> Tensors:
    return Tensors({"pred_logits": logits, "pred_boxes": boxes})


def table(found: Detections) -> np.ndarray:
    return np.column_stack([found.xyxy, found.confidence, found.class_id])[np.argsort(-found.confidence)]


def test_the_name_rtdetr_leads_here() -> None:
    assert plugins.load("decoder", "rtdetr") is RtDetr
    assert plugins.config_model("decoder", "rtdetr")(type="rtdetr", input_px=(96, 64)).box_unit == "fraction"


def test_numbers_are_those_of_d_fines_own_postprocessor() -> None:
    np.testing.assert_allclose(table(SEPARATE.decode(separate(), 0, 0.912, 3)), TOP_SIX, atol=2e-4)


def test_one_joined_output_of_boxes_and_probabilities_gives_the_same() -> None:
    joined = Tensors({"output0": np.concatenate([BOXES, sigmoid(LOGITS)], axis=2)})
    np.testing.assert_allclose(table(JOINED.decode(joined, 0, 0.912, 3)), TOP_SIX, atol=2e-4)


def test_rows_that_the_export_has_chosen_give_the_same() -> None:
    # ultralytics 8.4.190, RTDETRDecoder.postprocess of the same boxes and logits: centre, size, score, class
    rows = [
        [0.7638, 0.3243, 0.2815, 0.732, 0.9525, 0],
        [0.5, 0.7975, 0.4233, 0.2223, 0.9514, 1],
        [0.3625, 0.2533, 0.7011, 0.6949, 0.9506, 2],
        [0.6587, 0.2271, 0.4116, 0.7957, 0.9333, 1],
        [0.7577, 0.619, 0.2116, 0.4553, 0.9294, 2],
        [0.6482, 0.7395, 0.29, 0.3146, 0.9165, 2],
        [0.5122, 0.2012, 0.5648, 0.7821, 0.9105, 1],
        [0.5122, 0.2012, 0.5648, 0.7821, 0.8302, 2],
    ]
    found = CHOSEN.decode(Tensors({"output0": np.array([rows], np.float32)}), 0, 0.912, 3)
    np.testing.assert_allclose(table(found), TOP_SIX, atol=1e-2)  # the rows are written with four digits
    with pytest.raises(InferenceError, match=r"all 8 rows.*max_det"):
        CHOSEN.decode(Tensors({"output0": np.array([rows], np.float32)}), 0, 0.8, 3)


def test_every_pair_from_the_floor_up_is_found() -> None:
    rng = np.random.default_rng(2)
    logits, boxes = rng.normal(-1, 2, (2, 300, 7)).astype(np.float32), rng.random((2, 300, 4)).astype(np.float32)
    found = SEPARATE.decode(separate(logits, boxes), 1, 0.25, 7)
    expected = [
        [(cx - w / 2) * 96, (cy - h / 2) * 64, (cx + w / 2) * 96, (cy + h / 2) * 64, score, c]
        for (cx, cy, w, h), scores in zip(boxes[1].tolist(), sigmoid(logits[1]).tolist(), strict=True)
        for c, score in enumerate(scores)
        if score >= 0.25
    ]
    assert 300 < len(expected) < 2000
    rows = np.column_stack([found.xyxy, found.confidence, found.class_id])
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("floor", [0.05, 0.5, 0.731])
def test_the_floor_belongs_to_what_is_found(floor: float) -> None:
    around = np.nextafter(np.float32(np.log(floor / (1 - floor))), np.float32([[-9], [9]]))
    logits = np.array([np.linspace(around[0, 0], around[1, 0], 5)], np.float32).reshape(1, 5, 1)
    logits = np.concatenate([logits, np.full((1, 1, 1), -9, np.float32)], axis=1)
    found = SEPARATE.decode(separate(logits, np.full((1, 6, 4), 0.5, np.float32)), 0, floor, 1)
    scores = 1 / (1 + np.exp(-logits[0, :, 0]))
    assert len(found) == int((scores >= np.float32(floor)).sum())
    assert (found.confidence >= floor).all()


def test_boxes_may_be_in_pixels() -> None:
    decoder = RtDetr(Config(input_px=(96, 64), box_unit="px", boxes="dets", scores="labels"))
    tensors = Tensors({"dets": np.array([[[50, 40, 20, 10]]], np.float32), "labels": np.array([[[2, -2]]], np.float32)})
    assert decoder.decode(tensors, 0, 0.5, 2).xyxy.tolist() == [[40, 35, 60, 45]]


@pytest.mark.parametrize(
    ("options", "logits", "boxes", "said"),
    [
        ({}, sigmoid(LOGITS), BOXES, "no logit is below 0.*score_kind = 'probabilities'"),
        ({"score_kind": "probabilities"}, abs(LOGITS), BOXES, "a score is 2.*score_kind = 'logits'"),
        ({"score_kind": "probabilities"}, LOGITS, BOXES, "a score is -2.*score_kind = 'logits'"),
        ({}, LOGITS, BOXES * 64, r"a box holds 51\.2.*box_unit = 'px'"),
        ({"box_unit": "px"}, LOGITS, BOXES, r"no box number is above 0\.7999.*box_unit = 'fraction'"),
    ],
)
def test_an_option_that_does_not_fit_the_export_is_named(options, logits, boxes, said: str) -> None:
    with pytest.raises(InferenceError, match=said):
        RtDetr(Config(input_px=(96, 64), **options)).decode(separate(logits, boxes), 0, 0.5, 3)


@pytest.mark.parametrize("decoder", [SEPARATE, RtDetr(Config(input_px=(96, 64), box_unit="px"))])
def test_no_queries_show_nothing(decoder: RtDetr) -> None:
    assert len(decoder.decode(separate(LOGITS[:, :0], BOXES[:, :0]), 0, 0.5, 3)) == 0


def test_nothing_reaches_the_floor() -> None:
    assert len(SEPARATE.decode(separate(LOGITS - 9), 0, 0.5, 3)) == 0


@pytest.mark.parametrize(
    ("decoder", "shapes", "said"),
    [
        (SEPARATE, {"labels": (1, 9), "boxes": (1, 9, 4), "scores": (1, 9)}, ["labels (1, 9)", "postprocessor"]),
        (SEPARATE, {"pred_logits": (1, 300, 80), "pred_boxes": (1, 300, 4)}, ["(1, 300, 80)", "3 classes"]),
        (SEPARATE, {"pred_logits": (1, 300, 3), "pred_boxes": (1, 299, 4)}, ["(1, 299, 4)"]),
        (SEPARATE, {"pred_logits": (300,), "pred_boxes": (4,)}, ["(300,)"]),
        (SEPARATE, {"output0": (1, 300, 7)}, ["output0 (1, 300, 7)", "pred_boxes (n, queries, 4)"]),
        (JOINED, {"output0": (1, 300, 6)}, ["(1, 300, 6)", "(n, rows, 7)", "'joined'"]),
        (CHOSEN, {"output0": (1, 300, 7)}, ["(1, 300, 7)", "(n, rows, 6)", "'chosen'"]),
        (CHOSEN, {"a": (1, 300, 6), "b": (1, 300, 6)}, ["b (1, 300, 6)"]),
        (CHOSEN, {}, ["(n, rows, 6)"]),
    ],
)
def test_another_familys_output_is_refused_at_load(decoder: RtDetr, shapes, said: list[str]) -> None:
    with pytest.raises(BundleError) as caught:
        decoder.check(shapes, 3)
    assert all(word in str(caught.value) for word in said)


def test_its_own_outputs_are_accepted() -> None:
    SEPARATE.check({"pred_boxes": (1, 300, 4), "pred_logits": (1, 300, 3)}, 3)
    JOINED.check({"output0": (1, 300, 7)}, 3)
    CHOSEN.check({"output0": (1, 300, 6)}, 3)


def test_an_output_that_changed_since_load_is_refused() -> None:
    with pytest.raises(InferenceError, match=r"\(1, 8, 3\)"):
        SEPARATE.decode(separate(), 0, 0.5, 4)


def test_the_inputs_size_is_asked_for() -> None:
    with pytest.raises(ValidationError, match="input_px"):
        plugins.config_model("decoder", "rtdetr")(type="rtdetr")
