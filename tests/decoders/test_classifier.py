from __future__ import annotations

import math

import numpy as np
import pytest

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.classifier import Classifier, Config
from edge_inspector.errors import BundleError, InferenceError


def scores(config: Config, *values: float, dtype: type = np.float32) -> list[float]:
    output = np.array([values], dtype)
    return Classifier(config).decode(Tensors({"output": output}), 0, 0.5, len(values)).scores.tolist()


def test_the_name_classifier_leads_here() -> None:
    assert plugins.load("decoder", "classifier") is Classifier
    assert plugins.config_model("decoder", "classifier")(type="classifier") == Config()


def test_probabilities_stay_what_they_are_below_the_floor_too() -> None:
    assert scores(Config(activation="none"), 0.75, 0.125, 0.125) == [0.75, 0.125, 0.125]


def test_softmax_does_not_overflow() -> None:
    assert scores(Config(), 1000 + math.log(3), 1000, -1000) == pytest.approx([0.75, 0.25, 0], abs=1e-4)


def test_sigmoid_scores_each_class_alone_and_does_not_overflow() -> None:
    found = scores(Config(activation="sigmoid"), math.log(3), math.log(9), -1000, 1000)
    assert found == pytest.approx([0.75, 0.9, 0, 1])


def test_hundreds_of_classes_in_half_precision_are_probabilities() -> None:
    rng = np.random.default_rng(0)
    weights = np.exp(rng.normal(0, 2, 1000))
    halves = (weights / weights.sum()).astype(np.float16)
    found = scores(Config(activation="none"), *halves.tolist(), dtype=np.float16)
    assert found == halves.astype(np.float32).tolist()


def test_each_tile_has_its_own_scores() -> None:
    both = Tensors({"output": np.array([[1, 0], [0, 1]], np.float32)})
    assert Classifier(Config(activation="none")).decode(both, 1, 0.5, 2).scores.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("activation", "values", "named"),
    [
        pytest.param("none", [3.2, -1.0], "softmax or sigmoid", id="logits"),
        pytest.param("none", [0.9, 0.8], "sum up to 1.7", id="a score for each class alone"),
        pytest.param("none", [0.0, 0.0], "sum up to 0", id="nothing at all"),
        pytest.param("softmax", [0.75, 0.25], 'activation to "none"', id="probabilities twice made so"),
        pytest.param("sigmoid", [0.75, 0.25], 'activation to "none"', id="probabilities made scores"),
        pytest.param("softmax", [math.nan, 1.0], "NaN", id="no number"),
        pytest.param("sigmoid", [math.inf, 1.0], "infinite", id="infinity"),
    ],
)
def test_numbers_that_are_not_what_the_bundle_says_are_refused(
    activation: str, values: list[float], named: str
) -> None:
    with pytest.raises(InferenceError, match=named):
        scores(Config(activation=activation), *values)


@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        ({"a": (1, 3)}, None),
        ({"a": (8, 3)}, None),
        ({"a": (1, 4)}, r"expected one of \(n, 3\)"),
        ({"a": (1, 3, 1, 1)}, "expected one of"),
        ({"a": (1, 3), "b": (1, 3)}, "2 outputs"),
    ],
)
def test_check_tells_what_does_not_fit(shapes: dict[str, tuple[int, ...]], named: str | None) -> None:
    decoder = Classifier(Config())
    if named is None:
        decoder.check(shapes, classes=3)
        return
    with pytest.raises(BundleError, match=named):
        decoder.check(shapes, classes=3)
    with pytest.raises(InferenceError, match=named):
        decoder.decode(Tensors({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}), 0, 0.5, 3)
