from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from edge_inspector import plugins
from edge_inspector.datatypes import Tensors
from edge_inspector.decoders.regression import Config, Regression
from edge_inspector.errors import BundleError, InferenceError


def test_the_name_regression_leads_here() -> None:
    assert plugins.load("decoder", "regression") is Regression
    assert plugins.config_model("decoder", "regression")(type="regression") == Config()


def test_each_value_has_its_scale_and_offset() -> None:
    given = Tensors({"values": np.array([[9, 9], [0.5, -2]], np.float32)})
    assert Regression(Config()).decode(given, 1, 0.5, 2).values == (0.5, -2)
    scaled = Regression(Config(scale=(100.0, 0.5), offset=(1.0, -3.0)))
    assert scaled.decode(given, 1, 0.5, 2).values == (51, -4)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("limit", [0.1, 0.7, 12.35, -4.2])
def test_a_value_that_is_its_limit_as_well_as_its_kind_can_say_is_that_limit(limit: float, kind: type) -> None:
    given = Tensors({"v": np.array([[limit]], kind)})
    assert Regression(Config()).decode(given, 0, 0.5, 1).values == (limit,)


def test_one_value_may_come_without_an_axis() -> None:
    assert Regression(Config()).decode(Tensors({"v": np.array([1, 2], np.float16)}), 1, 0.5, 1).values == (2,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(InferenceError, match="finite"):
        Regression(Config()).decode(Tensors({"v": np.array([[1, bad]], np.float32)}), 0, 0.5, 2)


@pytest.mark.parametrize(
    ("config", "shapes", "named"),
    [
        (Config(), {"v": (1, 2)}, None),
        (Config(scale=(1.0, 2.0), offset=(0.0, 1.0)), {"v": (4, 2)}, None),
        (Config(), {"v": (1, 3)}, r"expected one of \(n, 2\)"),
        (Config(), {"v": (2,)}, r"expected one of \(n, 2\)"),
        (Config(), {"v": (1, 2), "w": (1, 2)}, "2 outputs"),
        (Config(scale=(1.0,)), {"v": (1, 2)}, "scale has 1 numbers, expected 2"),
        (Config(offset=(1.0, 2.0, 3.0)), {"v": (1, 2)}, "offset has 3 numbers, expected 2"),
    ],
)
def test_check_tells_what_does_not_fit(config: Config, shapes: dict[str, tuple[int, ...]], named: str | None) -> None:
    decoder = Regression(config)
    if named is None:
        decoder.check(shapes, classes=2)
        return
    with pytest.raises(BundleError, match=named):
        decoder.check(shapes, classes=2)
    with pytest.raises(InferenceError, match=named):
        decoder.decode(Tensors({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}), 0, 0.5, 2)


def test_a_scale_must_be_a_number() -> None:
    with pytest.raises(ValidationError):
        Config(scale=(math.nan,))
