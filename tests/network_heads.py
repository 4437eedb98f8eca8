"""The outputs of every decoder family, as exporters write them, on the features of `network_graph`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from network_graph import BRIGHT, DARK, FEATURES, Graph, head, hidden, last_weight

STRIDES = (8, 16, 32)
BACKGROUND = -3.5  # logit where nothing is: just below a score floor of 0.05
GOOD = 2.0  # logit of a classifier's first class
OBJECTNESS, SHOWN = -1.5, -2.0  # logits of which the product is just below it
GAIN = 2.5  # logit for each step in which a place is too bright or too dark
BINS = 8  # of a distance in the heads with distribution focal loss
QUERIES = 30  # of RT-DETR
ROWS = 100  # of end-to-end heads, where there are as many candidates
MASKS = 32  # prototypes of yolo_seg
ANCHORS = ((10, 13), (16, 30), (33, 23))  # yolov5's, px at a stride of 8; doubled at each coarser one
Outputs = dict[str, tuple[int, ...]]


def _wanted(outputs: int) -> np.ndarray:
    """The first output rises with brightness, the second with darkness."""
    wanted = np.zeros((outputs, 2))
    wanted[BRIGHT, BRIGHT] = GAIN
    if outputs > 1:
        wanted[DARK, DARK] = GAIN
    return wanted


def _class_logits(graph: Graph, x: str, classes: int) -> str:
    return head(graph, x, _wanted(classes), np.full(classes, BACKGROUND))


def _centres(size: int, stride: int, offset: float = 0.5) -> np.ndarray:
    """(2, cells): x, y in cells, row by row."""
    y, x = np.indices((size // stride, size // stride)).reshape(2, -1) + offset
    return np.stack([x, y])


def _distributed_boxes(graph: Graph, levels: list[str], size: int, corners: bool) -> str:
    """(n, 4, cells) in px: centre and size, or corners, from distances that are means of a distribution over bins."""
    bias = np.tile(-((np.arange(BINS) - 1.5) ** 2), 4)
    raw = [graph.reshape(head(graph, x, np.zeros((4 * BINS, 2)), bias), 0, 4, BINS, -1) for x in levels]
    shares = graph.op("Softmax", graph.op("Transpose", graph.op("Concat", *raw, axis=3), perm=[0, 2, 1, 3]), axis=1)
    distances = graph.conv(shares, np.arange(BINS).reshape(1, BINS, 1, 1), np.zeros(1))
    low, high = graph.ops(
        "Split", graph.reshape(distances, 0, 4, -1), graph.constant([2, 2], np.int64), outputs=2, axis=1
    )
    centres = graph.constant(np.concatenate([_centres(size, s) for s in STRIDES], axis=1)[None])
    low, high = graph.op("Sub", centres, low), graph.op("Add", centres, high)
    if not corners:
        middle = graph.op("Div", graph.op("Add", low, high), graph.constant(2))
        low, high = middle, graph.op("Sub", high, low)
    strides = np.repeat(STRIDES, [(size // s) ** 2 for s in STRIDES])
    return graph.op("Mul", graph.op("Concat", low, high, axis=1), graph.constant(strides))


def _class_scores(graph: Graph, levels: list[str], classes: int) -> str:
    """(n, classes, cells)"""
    logits = [graph.reshape(_class_logits(graph, x, classes), 0, classes, -1) for x in levels]
    return graph.op("Sigmoid", graph.op("Concat", *logits, axis=2))


def _cells(size: int) -> int:
    return sum((size // s) ** 2 for s in STRIDES)


def _yolo(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    boxes = _distributed_boxes(graph, levels, size, corners=False)
    graph.op("Concat", boxes, _class_scores(graph, levels, classes), axis=1, name="output0")
    return {"output0": (4 + classes, _cells(size))}


def _yolo_seg(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    boxes = _distributed_boxes(graph, levels, size, corners=False)
    scores = _class_scores(graph, levels, classes)
    raw = [graph.reshape(head(graph, x, np.zeros((MASKS, 2)), np.zeros(MASKS)), 0, MASKS, -1) for x in levels]
    wanted = np.zeros((MASKS, 2))
    wanted[:2] = 4 * np.eye(2)
    shapes = head(graph, graph.up(levels[0], 2), wanted, np.zeros(MASKS))
    graph.op("Concat", boxes, scores, graph.op("Concat", *raw, axis=2), axis=1, name="output0")
    graph.op("Mul", shapes, graph.op("Sigmoid", shapes), name="output1")
    return {"output0": (4 + classes + MASKS, _cells(size)), "output1": (MASKS, size // 4, size // 4)}


def _yolov5(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    wanted = np.concatenate([np.zeros((4, 2)), np.full((1, 2), GAIN), _wanted(classes)])
    bias = np.concatenate([np.zeros(4), [OBJECTNESS], np.full(classes, SHOWN)])
    rows = []
    for i, (x, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        n = len(ANCHORS)
        raw = graph.reshape(head(graph, x, np.tile(wanted, (n, 1)), np.tile(bias, n)), 0, n, 5 + classes, -1)
        shares = graph.op("Sigmoid", graph.op("Transpose", raw, perm=[0, 1, 3, 2]))
        parts = graph.constant([2, 2, 1 + classes], np.int64)
        xy, wh, scores = graph.ops("Split", shares, parts, outputs=3, axis=3)
        corner = _centres(size, stride, offset=-0.5).T
        xy = graph.op("Add", graph.op("Mul", xy, graph.constant(2 * stride)), graph.constant(corner * stride))
        anchors = 4 * np.reshape(ANCHORS, (n, 1, 2)) * 2**i  # (2 s)^2 anchor
        wh = graph.op("Mul", graph.op("Mul", wh, wh), graph.constant(anchors))
        rows.append(graph.reshape(graph.op("Concat", xy, wh, scores, axis=3), 0, -1, 5 + classes))
    graph.op("Concat", *rows, axis=1, name="output0")
    return {"output0": (len(ANCHORS) * _cells(size), 5 + classes)}


def _yolox(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    flat = []
    for x in levels:
        boxes = head(graph, x, np.zeros((4, 2)), np.array([0, 0, 1.0, 1.0]))
        shown = graph.op("Sigmoid", head(graph, x, np.full((1, 2), GAIN), np.array([OBJECTNESS])))
        scores = graph.op("Sigmoid", head(graph, x, _wanted(classes), np.full(classes, SHOWN)))
        flat.append(graph.reshape(graph.op("Concat", boxes, shown, scores, axis=1), 0, 5 + classes, -1))
    graph.op("Transpose", graph.op("Concat", *flat, axis=2), perm=[0, 2, 1], name="output")
    return {"output": (_cells(size), 5 + classes)}


def _end2end(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    boxes = graph.op("Transpose", _distributed_boxes(graph, levels, size, corners=True), perm=[0, 2, 1])
    scores = graph.reshape(graph.op("Transpose", _class_scores(graph, levels, classes), perm=[0, 2, 1]), 0, -1)
    rows = min(ROWS, _cells(size) * classes)
    best, where = graph.ops("TopK", scores, graph.constant([rows], np.int64), outputs=2, axis=1)
    count = graph.constant(classes, np.int64)
    cell = graph.op("Unsqueeze", graph.op("Div", where, count), graph.constant([2], np.int64))
    class_id = graph.op("Cast", graph.op("Mod", where, count), to=onnx.TensorProto.FLOAT)
    last = graph.constant([2], np.int64)
    columns = [
        graph.op("GatherND", boxes, cell, batch_dims=1),
        *(graph.op("Unsqueeze", x, last) for x in (best, class_id)),
    ]
    graph.op("Concat", *columns, axis=2, name="output0")
    return {"output0": (rows, 6)}


def _rtdetr(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    """One layer of attention, then the tokens with the highest scores are the queries."""
    tokens = graph.op("Concat", *(graph.reshape(x, 0, FEATURES, -1) for x in levels), axis=2)
    scores = graph.op(
        "Concat", *(graph.reshape(_class_logits(graph, x, classes), 0, classes, -1) for x in levels), axis=2
    )
    tokens = graph.op("Transpose", tokens, perm=[0, 2, 1])
    matrices = [graph.constant(graph.random(FEATURES, FEATURES)[:, :, 0, 0]) for _ in range(3)]
    query, key, value = (graph.op("MatMul", tokens, m) for m in matrices)
    likeness = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 2, 1]))
    shares = graph.op("Softmax", graph.op("Div", likeness, graph.constant(FEATURES**0.5)), axis=2)
    mixed = graph.op("Add", tokens, graph.op("MatMul", shares, value))
    ones, zeros = graph.constant(np.ones(FEATURES)), graph.constant(np.zeros(FEATURES))
    normed = graph.op("LayerNormalization", mixed, ones, zeros, axis=-1)
    best = graph.op("ReduceMax", scores, axes=[1], keepdims=0)
    _, where = graph.ops("TopK", best, graph.constant([QUERIES], np.int64), outputs=2, axis=1)
    where = graph.op("Unsqueeze", where, graph.constant([2], np.int64))
    centres = np.concatenate([_centres(size, s) * s / size for s in STRIDES], axis=1).T
    sizes = np.repeat([2.5 * s / size for s in STRIDES], [(size // s) ** 2 for s in STRIDES])
    start = np.concatenate([centres, np.stack([sizes, sizes], axis=1)], axis=1).clip(0.02, 0.98)
    moved = graph.op("MatMul", normed, graph.constant(0.1 * graph.random(4, FEATURES)[:, :, 0, 0].T))
    boxes = graph.op("Sigmoid", graph.op("Add", moved, graph.constant(np.log(start / (1 - start)))))
    graph.op("GatherND", boxes, where, batch_dims=1, name="pred_boxes")
    graph.op("GatherND", graph.op("Transpose", scores, perm=[0, 2, 1]), where, batch_dims=1, name="pred_logits")
    return {"pred_logits": (QUERIES, classes), "pred_boxes": (QUERIES, 4)}


def _segmentation(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    wanted, bias = np.zeros((classes, 2)), np.full(classes, BACKGROUND)
    wanted[1:] = _wanted(classes - 1)
    bias[0] = 0
    graph.up(head(graph, levels[0], wanted, bias), 8, "linear", name="logits")
    return {"logits": (classes, size, size)}


def _anomaly(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    coarse = head(graph, levels[0], np.full((1, 2), GAIN), np.array([BACKGROUND]))
    graph.op("Sigmoid", graph.up(coarse, 8, "linear"), name="anomaly_map")
    graph.op("ReduceMax", graph.reshape("anomaly_map", 0, -1), axes=[1], keepdims=1, name="pred_score")
    return {"pred_score": (1,), "anomaly_map": (1, size, size)}


def _classifier(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    wanted = np.zeros((classes, 2))
    wanted[1:] = _wanted(classes - 1)
    return {"logits": _pooled(graph, levels[0], wanted, np.array([GOOD, *[BACKGROUND] * (classes - 1)]), "logits")}


def _regression(graph: Graph, levels: list[str], size: int, classes: int) -> Outputs:
    return {"values": _pooled(graph, levels[0], _wanted(classes), np.zeros(classes), "values")}


def _pooled(graph: Graph, x: str, wanted: np.ndarray, bias: np.ndarray, name: str) -> tuple[int, ...]:
    """(n, outputs): the strongest of the whole picture."""
    features = graph.op("Flatten", graph.op("GlobalMaxPool", hidden(graph, x)), axis=1)
    weight = last_weight(graph, wanted)[:, :, 0, 0]
    graph.op("Gemm", features, graph.constant(weight), graph.constant(bias), name=name, transB=1)
    return (len(bias),)


HEADS: dict[str, Callable[[Graph, list[str], int, int], Outputs]] = {
    "yolo": _yolo,
    "yolov5": _yolov5,
    "yolox": _yolox,
    "rtdetr": _rtdetr,
    "end2end": _end2end,
    "yolo_seg": _yolo_seg,
    "segmentation": _segmentation,
    "anomaly": _anomaly,
    "classifier": _classifier,
    "regression": _regression,
}
