from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_inspector import plugins
from edge_inspector.datatypes import Detections, Tensors
from edge_inspector.decoders.segmentation import Config, Segmentation
from edge_inspector.errors import BundleError, InferenceError


def seen(config: Config, output: np.ndarray, floor: float, classes: int) -> Detections:
    return Segmentation(config).decode(Tensors({"logits": output}), 0, floor, classes)


def test_the_name_segmentation_leads_here() -> None:
    assert plugins.load("decoder", "segmentation") is Segmentation
    assert plugins.config_model("decoder", "segmentation")(type="segmentation") == Config()


def test_the_background_is_no_class_and_those_after_it_move_up() -> None:
    shares = np.zeros((1, 3, 4, 4), np.float32)
    shares[0, 1] = 1.0
    shares[0, :, 1, 1:3] = [[0.75], [0.125], [0.125]]
    shares[0, :, 3, 0] = [0.0, 0.375, 0.625]
    found = seen(Config(activation="none", background=1), shares, 0.5, classes=2)
    assert found.class_id.tolist() == [0, 1]
    assert found.confidence.tolist() == [0.75, 0.625]
    assert found.xyxy.tolist() == [[1, 1, 3, 2], [0, 3, 1, 4]]
    assert found.regions is not None
    assert [region.area_px for region in found.regions] == [2, 1]


def test_softmax_is_taken_over_the_channels_without_overflow() -> None:
    logits = np.full((1, 2, 2, 2), -1000, np.float32)
    logits[0, 0] = 1000
    logits[0, 1, 0, 0] = 1000 + math.log(3)
    found = seen(Config(background=0), logits, 0.5, classes=1)
    assert found.xyxy.tolist() == [[0, 0, 1, 1]]
    assert found.confidence[0] == pytest.approx(0.75, abs=1e-4)


@given(
    logits=arrays(np.float32, (1, 3, 3, 4), elements=st.floats(-20, 20, width=32)),
    floor=st.floats(0.01, 0.99),
    background=st.integers(-1, 1),
    activation=st.sampled_from(["softmax", "sigmoid"]),
)
def test_places_are_found_by_their_probability_alone(
    logits: np.ndarray, floor: float, background: int, activation: Literal["softmax", "sigmoid"]
) -> None:
    """Against the textbook formula, of which the decoder leaves out what cannot reach the floor."""
    logits[0, 0, 0, 0] = -20  # no map of probabilities
    double = logits[0].astype(np.float64)
    expected = np.exp(double) / np.exp(double).sum(axis=0) if activation == "softmax" else 1 / (1 + np.exp(-double))
    expected = np.delete(expected, background, axis=0) if background >= 0 else expected
    assume((np.abs(expected - floor) > 1e-5).all())
    found = seen(Config(activation=activation, background=background), logits, floor, classes=len(expected))
    assert found.regions is not None
    for class_id, shares in enumerate(expected):
        of = found.class_id == class_id
        areas = [region.area_px for region, mine in zip(found.regions, of, strict=True) if mine]
        assert sum(areas) == (shares >= floor).sum()
        assert found.confidence[of].max(initial=0) == pytest.approx(shares.max() if of.any() else 0, abs=1e-5)


def test_sigmoid_lets_two_classes_lie_in_one_place() -> None:
    logits = np.full((1, 2, 2, 2), -200, np.float32)
    logits[0, :, 0, 0] = [math.log(3), math.log(9)]
    found = seen(Config(activation="sigmoid"), logits, 0.5, classes=2)
    assert found.class_id.tolist() == [0, 1]
    assert found.confidence.tolist() == pytest.approx([0.75, 0.9])


def test_a_map_of_classes_is_certain() -> None:
    best = np.array([[[0, 2, 2], [0, 0, 0], [1, 0, 2]]], np.int64)
    found = seen(Config(activation="argmax", background=0), best[:, None], 0.5, classes=2)
    assert found.class_id.tolist() == [0, 1, 1]
    assert found.confidence.tolist() == [1, 1, 1]
    assert found.xyxy.tolist() == [[0, 2, 1, 3], [1, 0, 3, 1], [2, 2, 3, 3]]
    without_axis = seen(Config(activation="argmax", background=0), best.astype(np.float32), 0.5, classes=2)
    assert without_axis.xyxy.tolist() == found.xyxy.tolist()
    yes_or_no = seen(Config(activation="argmax", background=0), best == 2, 0.5, classes=1)
    assert yes_or_no.xyxy.tolist() == [[1, 0, 3, 1], [2, 2, 3, 3]]


def test_a_region_that_grows_never_becomes_less_of_a_defect() -> None:
    shares = np.zeros((1, 1, 1, 8), np.float32)
    shares[0, 0, 0, 0] = 0.875
    alone = seen(Config(activation="none"), shares, 0.5, classes=1)
    shares[0, 0, 0, 1:] = 0.5
    grown = seen(Config(activation="none"), shares, 0.5, classes=1)
    assert (alone.confidence.tolist(), grown.confidence.tolist()) == ([0.875], [0.875])
    assert grown.xyxy.tolist() == [[0, 0, 8, 1]]


def test_a_lower_floor_lets_more_pixels_in() -> None:
    shares = np.array([[[[0.5, 0.25, 0.125]]]], np.float32)
    widths = [seen(Config(activation="none"), shares, floor, 1).xyxy.tolist() for floor in (0.5, 0.25, 0.125, 0.75)]
    assert widths == [[[0, 0, 1, 1]], [[0, 0, 2, 1]], [[0, 0, 3, 1]], []]


def test_a_coarse_map_is_told_in_input_pixels_and_small_regions_dropped() -> None:
    shares = np.zeros((1, 1, 4, 4), np.float32)
    shares[0, 0, 0, 0] = shares[0, 0, 2:, 2:] = 0.75
    config = Config(activation="none", map_stride=4, min_area_px=17)  # one map pixel is 16
    found = seen(config, shares, 0.5, classes=1)
    assert found.xyxy.tolist() == [[8, 8, 16, 16]]
    assert found.regions is not None
    assert found.regions[0].area_px == 64
    assert found.regions[0].outline.max() == 16


@pytest.mark.parametrize(
    ("config", "values", "named"),
    [
        (Config(activation="none"), [0.5, 1.5], "softmax or sigmoid"),
        (Config(activation="none"), [-0.5, 0.5], "softmax or sigmoid"),
        (Config(activation="softmax"), [0.25, 0.75], "no logits"),
        (Config(activation="sigmoid"), [0.25, 0.75], "no logits"),
    ],
)
def test_values_that_are_not_what_the_bundle_says_are_refused(config: Config, values: list[float], named: str) -> None:
    with pytest.raises(InferenceError, match=named):
        seen(config, np.array(values, np.float32).reshape(1, 2, 1, 1), 0.5, classes=2)


@pytest.mark.parametrize("strange", [-1, 3, 0.5])
def test_a_class_that_the_bundle_does_not_have_is_refused(strange: float) -> None:
    with pytest.raises(InferenceError, match=r"expected whole numbers 0\.\.2"):
        seen(Config(activation="argmax", background=0), np.array([[[0, strange]]], np.float32), 0.5, classes=2)


@pytest.mark.parametrize(
    ("config", "shapes", "named"),
    [
        (Config(background=0), {"a": (1, 3, 8, 8)}, None),
        (Config(), {"a": (1, 2, 8, 8)}, None),
        (Config(activation="argmax"), {"a": (1, 1, 8, 8)}, None),
        (Config(activation="argmax"), {"a": (1, 8, 8)}, None),
        (Config(), {"a": (1, 3, 8, 8)}, r"expected one of \(n, 2, h, w\)"),
        (Config(), {"a": (1, 8, 8, 2)}, "channels last"),
        (Config(), {"a": (1, 2, 0, 8)}, "no pixel"),
        (Config(activation="argmax"), {"a": (1, 8, 0)}, "no pixel"),
        (Config(), {"a": (1, 8, 8)}, "expected one of"),
        (Config(activation="argmax"), {"a": (1, 2, 8, 8)}, r"\(n, 1, h, w\)"),
        (Config(), {"a": (1, 2, 8, 8), "aux": (1, 2, 8, 8)}, "2 outputs"),
        (Config(background=3), {"a": (1, 3, 8, 8)}, "background = 3, expected less than the 3 channels"),
    ],
)
def test_check_tells_what_does_not_fit(config: Config, shapes: dict[str, tuple[int, ...]], named: str | None) -> None:
    decoder = Segmentation(config)
    if named is None:
        decoder.check(shapes, classes=2)
        return
    with pytest.raises(BundleError, match=named):
        decoder.check(shapes, classes=2)
    with pytest.raises(InferenceError, match=named):
        decoder.decode(Tensors({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}), 0, 0.5, 2)
