"""Regression heads: one output (n, values), numbers that the model reads off the view."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from edge_inspector.datatypes import Measurement, Tensors
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.settings import PluginConfig

Number = Annotated[float, Field(allow_inf_nan=False)]


class Config(PluginConfig):
    """How the network's numbers become values in their units."""

    type: Literal["regression"] = "regression"
    scale: tuple[Number, ...] = Field(default=(), description="Multiplies each value, one number a value; empty = 1.")
    offset: tuple[Number, ...] = Field(
        default=(), description="Then added to each value, one number a value; empty = 0."
    )


class Regression:
    """Each row: a number for each value of the bundle's classes."""

    tasks = ("measure",)

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError unless there is exactly one output, of shape (n, classes), and as many scales and offsets."""
        problem = self._problem(shapes, classes)
        if problem:
            raise BundleError(
                f"decoder regression: {problem}; correct classes or decoder_options in model.toml, or export again"
            )

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Measurement:
        """value * scale + offset; the floor is not looked at. InferenceError for what is no number."""
        problem = self._problem({name: array.shape for name, array in tensors.by_name.items()}, classes)
        if problem:
            raise InferenceError(f"decoder regression: {problem}")
        ((name, output),) = tensors.by_name.items()
        # the shortest decimals that are these float32: as a double 0.1 is 0.10000000149, beyond a limit of 0.1
        read = [float(str(value)) for value in output[tile].reshape(-1)]
        scale, offset = self._config.scale or (1.0,) * classes, self._config.offset or (0.0,) * classes
        values = tuple(v * s + o for v, s, o in zip(read, scale, offset, strict=True))
        if not all(math.isfinite(value) for value in values):
            raise InferenceError(
                f"decoder regression: output {name} gives the values {values}, expected finite numbers"
            )
        return Measurement(values)

    def _problem(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> str:
        for option, numbers in (("scale", self._config.scale), ("offset", self._config.offset)):
            if len(numbers) not in (0, classes):
                return f"decoder_options.{option} has {len(numbers)} numbers, expected {classes}, one a value, or none"
        expected = f"expected one of (n, {classes}) for {classes} values" + (", or (n,)" if classes == 1 else "")
        if len(shapes) != 1:
            return f"the model has {len(shapes)} outputs ({', '.join(shapes)}), {expected}"
        ((name, shape),) = shapes.items()
        fits = (len(shape) == 2 and shape[1] == classes) or (len(shape) == 1 and classes == 1)
        return "" if fits else f"output {name} is {shape}, {expected}"
