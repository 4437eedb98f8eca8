"""Classifiers (YOLO-cls, torch models): one output (n, classes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from edge_inspector.datatypes import Classification, Floats, Tensors
from edge_inspector.decoders.boxes import ROUNDING
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

SUM_TOLERANCE = 0.05  # of probabilities that fp16 or int8 has rounded; logits are off by far more
EXACT_SUM_TOLERANCE = 1e-5  # float32 probabilities of thousands of classes sum up to 1 as well as that


class Config(PluginConfig):
    """What the numbers are."""

    type: Literal["classifier"] = "classifier"
    activation: Literal["softmax", "sigmoid", "none"] = Field(
        default="softmax",
        description="softmax or sigmoid: the output holds logits (torch models), and this makes them scores; "
        "none: it holds probabilities that sum up to 1 (YOLO-cls).",
    )


class Classifier:
    """Each row: a number for each class."""

    tasks = ("classify",)

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, of shape (n, classes)."""
        problem = _problem(shapes, classes)
        if problem:
            raise BundleError(
                f"decoder classifier: {problem}; correct classes or decoder in model.toml, or export again"
            )

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Classification:
        """All scores, those below the floor too. InferenceError for numbers that are not what `activation` says."""
        problem = _problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder classifier: {problem}")
        (output,) = tensors.by_name.values()
        values = output[tile].astype(np.float32)
        if not np.isfinite(values).all():
            raise InferenceError("decoder classifier: a score is NaN or infinite, expected numbers")
        if self._config.activation == "none":
            _check_probabilities(values)
            return Classification(values.clip(0, 1))
        if classes > 1 and _in_range(values, 0.0) and abs(_sum(values) - 1) < EXACT_SUM_TOLERANCE:
            raise InferenceError(
                "decoder classifier: the scores are 0..1 and sum up to 1: they are probabilities and no logits; "
                'set decoder_options.activation to "none"'
            )
        return Classification(_sigmoid(values) if self._config.activation == "sigmoid" else _softmax(values))


def _check_probabilities(values: Floats) -> None:
    if not _in_range(values, ROUNDING):
        raise InferenceError(
            f"decoder classifier: the scores are {values.min():.4g}..{values.max():.4g}, expected 0..1; "
            "set decoder_options.activation to softmax or sigmoid"
        )
    if abs(_sum(values) - 1) > SUM_TOLERANCE:
        raise InferenceError(
            f"decoder classifier: the probabilities sum up to {_sum(values):.4g}, expected 1; "
            "set decoder_options.activation to softmax or sigmoid, or export again"
        )


def _in_range(values: Floats, beyond: float) -> bool:
    return bool(values.min() >= -beyond and values.max() <= 1 + beyond)


def _sum(values: Floats) -> float:
    return float(values.sum(dtype=np.float64))


def _softmax(values: Floats) -> Floats:
    weights = np.exp(values - values.max())
    shares: Floats = weights / weights.sum()
    return shares


def _sigmoid(values: Floats) -> Floats:
    scores: Floats = np.float32(0.5) * (1 + np.tanh(values / 2))  # does not overflow
    return scores


def _problem(shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
    expected = f"expected one of (n, {classes}) for {classes} classes"
    if len(shapes) != 1:
        return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
    ((name, shape),) = shapes.items()
    return "" if len(shape) == 2 and shape[1] == classes else f"output {name} is {shape}, {expected}"
