"""A little convolutional network, node by node: what `networks` puts its heads on."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BRIGHT, DARK = 0, 1
"""Two feature channels carry brightness and darkness, 0..4, through every layer; all others are random."""
CONTRAST = 4.0
FEATURES = 16
NOISE = 0.15
OPSET, IR_VERSION = 17, 8  # as exporters write them, and old enough for every runtime that we support


class Graph:
    """Collects nodes and weights; every method gives the name of what it has added."""

    def __init__(self, seed: int, activation: str) -> None:
        self.rng = np.random.default_rng(seed)
        self.activation = activation
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        return self.ops(kind, *inputs, outputs=1, name=name, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, name: str = "", **attributes: Any) -> list[str]:
        stem = f"{kind}_{len(self.nodes)}"
        names = [name] if name else [f"{stem}_output_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, stem, **attributes))
        return names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def conv(self, x: str, weight: np.ndarray, bias: np.ndarray, stride: int = 1) -> str:
        k = weight.shape[2]
        pads = [k // 2] * 4
        return self.op(
            "Conv", x, self.constant(weight), self.constant(bias), kernel_shape=[k, k], strides=[stride] * 2, pads=pads
        )

    def active(self, x: str) -> str:
        """SiLU as exporters write it, or ReLU."""
        return self.op("Relu", x) if self.activation == "relu" else self.op("Mul", x, self.op("Sigmoid", x))

    def block(self, x: str, channels: int, kernel: int = 3, stride: int = 1) -> str:
        """Convolution and activation that hand brightness and darkness on."""
        weight = self.random(FEATURES, channels, kernel)
        for channel in (BRIGHT, DARK):
            weight[channel] = 0
            weight[channel, channel, kernel // 2, kernel // 2] = 1
        return self.active(self.conv(x, weight, self.bias(), stride))

    def residual(self, x: str) -> str:
        weight = self.random(FEATURES, FEATURES, 3)
        weight[[BRIGHT, DARK]] = 0
        return self.op("Add", x, self.active(self.conv(x, weight, self.bias())))

    def random(self, out: int, channels: int, kernel: int = 1) -> np.ndarray:
        return self.rng.normal(0, (channels * kernel**2) ** -0.5, (out, channels, kernel, kernel))

    def bias(self) -> np.ndarray:
        bias = self.rng.normal(0, 0.1, FEATURES)
        bias[[BRIGHT, DARK]] = 0
        return bias

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps an axis, -1 is what is left."""
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def up(self, x: str, factor: int, mode: str = "nearest", name: str = "") -> str:
        scales = self.constant([1, 1, factor, factor])
        if mode == "nearest":
            how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        else:
            how = {"coordinate_transformation_mode": "half_pixel"}
        return self.op("Resize", x, "", scales, name=name, mode=mode, **how)

    def model(self, channels: int, size: int, batch: int | str, outputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
        picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, channels, size, size])
        given = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape]) for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "little", [picture], given, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def pyramid(graph: Graph, channels: int) -> list[str]:
    """Features of the picture "images" at a stride of 8, 16 and 32 px."""
    weight = graph.random(FEATURES, channels, 3)
    weight[[BRIGHT, DARK]] = 0
    weight[BRIGHT, :, 1, 1], weight[DARK, :, 1, 1] = CONTRAST / channels, -CONTRAST / channels
    bias = graph.bias()
    bias[DARK] = CONTRAST
    x = graph.active(graph.conv("images", weight, bias, 2))
    x = graph.residual(graph.block(x, FEATURES, stride=2))
    fine = graph.residual(graph.block(x, FEATURES, stride=2))
    middle = graph.block(fine, FEATURES, stride=2)
    coarse = graph.block(middle, FEATURES, stride=2)
    pooled = graph.op("MaxPool", coarse, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    coarse = graph.block(graph.op("Concat", coarse, pooled, axis=1), 2 * FEATURES, kernel=1)
    middle = graph.block(graph.op("Concat", middle, graph.up(coarse, 2), axis=1), 2 * FEATURES)
    fine = graph.block(graph.op("Concat", fine, graph.up(middle, 2), axis=1), 2 * FEATURES)
    return [fine, middle, coarse]


def hidden(graph: Graph, x: str) -> str:
    """Features of which the first two are above zero only where `x` is too bright or too dark."""
    weight = graph.random(FEATURES, FEATURES, 1)
    bias = graph.bias()
    for channel in (BRIGHT, DARK):
        weight[channel] = 0
        weight[channel, channel] = 6.0
        bias[channel] = -6.0 * (2.9 if graph.activation == "relu" else 2.4)  # between the middle gray and white
    return graph.active(graph.conv(x, weight, bias))


def head(graph: Graph, x: str, wanted: np.ndarray, bias: np.ndarray) -> str:
    """Two convolutions to (n, outputs, h, w): `wanted` (outputs, 2) of what is too bright and too dark, and noise."""
    return graph.conv(hidden(graph, x), last_weight(graph, wanted), bias)


def last_weight(graph: Graph, wanted: np.ndarray) -> np.ndarray:
    weight = graph.rng.normal(0, NOISE, (len(wanted), FEATURES, 1, 1))
    weight[:, [BRIGHT, DARK], 0, 0] = wanted
    return weight
