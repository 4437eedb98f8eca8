"""Networks of one or two nodes: input "images", a plan that fits them, and batches for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_inspector.datatypes import Batch, InputSpec, Letterbox, PreparePlan, Roi
from edge_inspector.interfaces import ModelFile

PLAN = PreparePlan(InputSpec(4, 6, "gray", 1.0, (0.0,), (1.0,), 0))
ONE = (1, 1, 4, 6)
FREE = ("n", 1, 4, 6)
Shape = Sequence[int | str]


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, Shape],
    inputs: dict[str, Shape] | None = None,
    kind: int = TensorProto.FLOAT,
    constants: dict[str, np.ndarray] | None = None,
) -> ModelFile:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in (inputs or {"images": ONE}).items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return ModelFile(str(path), "")


def doubler(folder: Path, shape: Shape = ONE, kind: int = TensorProto.FLOAT) -> ModelFile:
    """Output "doubled" is twice the input."""
    nodes = [helper.make_node("Add", ["images", "images"], ["doubled"])]
    if kind == TensorProto.FLOAT16:
        nodes = [
            helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["wide", "wide"], ["doubled"]),
        ]
    return save(folder / "model.onnx", nodes, {"doubled": shape}, {"images": shape}, kind)


def reciprocal(folder: Path, shape: Shape = ONE) -> ModelFile:
    """Output "output" is 1 / (1 - x): infinite where a pixel is 1, fine for the blank picture of the warm-up."""
    nodes = [
        helper.make_node("Sub", ["one", "images"], ["rest"]),
        helper.make_node("Reciprocal", ["rest"], ["output"]),
    ]
    one = {"one": np.ones(1, np.float32)}
    return save(folder / "model.onnx", nodes, {"output": shape}, {"images": shape}, constants=one)


def rows_of_bright_pixels(folder: Path) -> ModelFile:
    """Output "rows" (pixels above 0.5, 4) has no tiles along its first axis."""
    nodes = [
        helper.make_node("Greater", ["images", "half"], ["bright"]),
        helper.make_node("NonZero", ["bright"], ["where"]),
        helper.make_node("Transpose", ["where"], ["places"], perm=[1, 0]),
        helper.make_node("Cast", ["places"], ["rows"], to=TensorProto.FLOAT),
    ]
    half = {"half": np.full(1, 0.5, np.float32)}
    return save(folder / "model.onnx", nodes, {"rows": ("k", 4)}, {"images": FREE}, constants=half)


def batch(*values: float, chw: tuple[int, int, int] = (1, 4, 6), dtype: type = np.float32) -> Batch:
    """A tile for each value, filled with it."""
    pixels = np.stack([np.full(chw, value, dtype) for value in values])
    bounds = Roi(0, 0, 6, 4)
    return Batch(pixels, (Letterbox(1.0, 0.0, 0.0),) * len(values), bounds, (bounds,) * len(values))
