"""Adds a head to a network that lets only its best candidates leave the device: 7 kB instead of megabytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_inspector import plugins
from edge_inspector.decoders.compact import COLUMNS, OUTPUT
from edge_inspector.engine.invariants import load
from edge_inspector.errors import BundleError, ConfigError

OLDEST_OPSET = 11  # the first with GatherElements and with TopK in its present form
MOST_ROWS = 3840  # TensorRT's limit of TopK


def add_top_rows(
    source: Path,
    target: Path,
    decoder: str,
    classes: int,
    rows: int = 300,
    decoder_options: Mapping[str, Any] | None = None,
) -> None:
    """Write `source` to `target` with the one output (n, `rows`, 6) of `decoders.compact`.

    Its rows are the pairs of anchor and class with the highest scores, best first; rows that nothing is left for are
    zero. BundleError: the network is not of that decoder, or has an opset for which the head does not exist.
    """
    options = decoder_options or {}
    if decoder not in COMPACTABLE:
        raise BundleError(
            f"compact_rows: the outputs of decoder {decoder!r} cannot be made smaller, expected one of "
            f"{', '.join(COMPACTABLE)}; set compact_rows = 0"
        )
    if not 1 <= rows <= MOST_ROWS:
        raise ConfigError(f"compact_rows = {rows}, expected 1..{MOST_ROWS}; correct it")
    model = load(source)
    import onnx

    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise BundleError(
            f"{source} has opset {opset}, expected {OLDEST_OPSET} or later for compact_rows; export it again"
        )
    output = _output(model, source, decoder, classes, options)
    dims = _dims(output)
    anchors = dims[_FAMILIES[decoder].anchors_axis]
    head = _Head(output.name, opset)
    if output.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:  # half precision: no runtime sorts it
        head.source = head.one("Cast", output.name, to=onnx.TensorProto.FLOAT)
    boxes, scores = _FAMILIES[decoder].parts(head, classes)
    head.top_rows(boxes, scores, classes, rows, anchors if isinstance(anchors, int) else None)
    batch = dims[0] or "n"
    del model.graph.output[:]
    model.graph.node.extend(head.nodes)
    model.graph.initializer.extend(head.constants)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [batch, rows, COLUMNS])
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


class _Head:
    """Nodes and constants to add, all named after our output; `source` is the network's own, in float32."""

    def __init__(self, source: str, opset: int) -> None:
        self.source = source
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._opset = opset

    def op(self, kind: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: Any) -> list[str]:
        import onnx

        stem = f"{OUTPUT}/{len(self.nodes)}_{kind}"
        names = [name] if name else [f"{stem}_{i}" for i in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), names, stem, **attributes))
        return names

    def one(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        return self.op(kind, *inputs, name=name, **attributes)[0]

    def constant(self, value: object, dtype: type = np.int64) -> str:
        import onnx

        name = f"{OUTPUT}/constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def part(self, x: str, axis: int, start: int, end: int) -> str:
        return self.one("Slice", x, *(self.constant([number]) for number in (start, end, axis)))

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps an axis, -1 is what is left."""
        return self.one("Reshape", x, self.constant(shape))

    def largest(self, x: str, axis: int) -> str:
        if self._opset < 18:
            return self.one("ReduceMax", x, axes=[axis], keepdims=0)
        return self.one("ReduceMax", x, self.constant([axis]), keepdims=0)

    def rows(self, x: str, index: str, columns: int) -> str:
        """Those rows of x (n, a, columns) that index (n, k) names: (n, k, columns)."""
        repeats = self.constant([1, 1, columns])
        return self.one("GatherElements", x, self.one("Tile", self.reshape(index, 0, -1, 1), repeats), axis=1)

    def top_rows(self, boxes: str, scores: str, classes: int, rows: int, anchors: int | None) -> None:
        """From boxes (n, a, 4), centre and size, and scores (n, a, classes).

        Two steps, because a choice among all pairs is slow: the best pairs can only be of the anchors whose best class
        is best.
        """
        first = rows if anchors is None else min(rows, anchors)
        _, anchor = self.op("TopK", self.largest(scores, 2), self.constant([first]), outputs=2, axis=1)
        boxes, scores = self.rows(boxes, anchor, 4), self.rows(scores, anchor, classes)
        second = min(rows, first * classes)
        pairs = self.reshape(scores, 0, -1)
        best, pair = self.op("TopK", pairs, self.constant([second]), outputs=2, axis=1)
        count = self.constant([classes])
        row = self.one("Div", pair, count)
        class_id = self.one("Sub", pair, self.one("Mul", row, count))
        boxes = self.rows(boxes, row, 4)
        centre, size = self.part(boxes, 2, 0, 2), self.part(boxes, 2, 2, 4)
        half = self.one("Div", size, self.constant(2, np.float32))
        columns = [
            self.one("Sub", centre, half),
            self.one("Add", centre, half),
            self.reshape(best, 0, -1, 1),
            self.reshape(self.one("Cast", class_id, to=1), 0, -1, 1),
        ]
        if second == rows:
            self.one("Concat", *columns, name=OUTPUT, axis=2)
        else:
            found = self.one("Concat", *columns, axis=2)
            self.one("Pad", found, self.constant([0, 0, 0, 0, rows - second, 0]), name=OUTPUT)


@dataclass(frozen=True)
class _Family:
    """Where an output (n, ..., ...) has its anchors, how many columns it has, and which are boxes and scores."""

    anchors_axis: int
    columns: Callable[[int], int]
    parts: Callable[[_Head, int], tuple[str, str]]


def _yolo(head: _Head, classes: int) -> tuple[str, str]:
    rows = head.one("Transpose", head.source, perm=[0, 2, 1])
    return head.part(rows, 2, 0, 4), head.part(rows, 2, 4, 4 + classes)


def _yolov5(head: _Head, classes: int) -> tuple[str, str]:
    objectness, shown = head.part(head.source, 2, 4, 5), head.part(head.source, 2, 5, 5 + classes)
    return head.part(head.source, 2, 0, 4), head.one("Mul", shown, objectness)


_FAMILIES = {
    "yolo": _Family(2, lambda classes: 4 + classes, _yolo),
    "yolov5": _Family(1, lambda classes: 5 + classes, _yolov5),
}
COMPACTABLE: tuple[str, ...] = tuple(_FAMILIES)
"""Decoders whose outputs are worth it, and which read the head's."""


def _output(model: Any, source: Path, decoder: str, classes: int, options: Mapping[str, Any]) -> Any:
    """The one that the decoder reads. BundleError: the outputs are not the decoder's."""
    # sizes that the export leaves open are taken for what they should be: a run would tell
    family, should_be = _FAMILIES[decoder], [1, 1, 1]
    should_be[3 - family.anchors_axis] = family.columns(classes)
    shapes = {}
    for output in model.graph.output:
        dims = _dims(output)
        known = zip(dims, should_be, strict=True) if len(dims) == 3 else ((d, 0) for d in dims)
        shapes[output.name] = tuple(d if isinstance(d, int) else other for d, other in known)
    if OUTPUT in shapes:
        raise BundleError(f"{source} has the output {OUTPUT} already; give the exported file")
    config = plugins.config_model("decoder", decoder).model_validate({"type": decoder, **options})
    if getattr(config, "objectness_only", False):
        raise BundleError(f"{source}: compact_rows cannot serve decoder_options.objectness_only; set compact_rows = 0")
    try:
        plugins.load("decoder", decoder)(config).check(shapes, classes)
    except BundleError as exc:
        raise BundleError(f"{source}: {exc}") from exc
    name = options.get("output") or next(iter(shapes))
    return next(output for output in model.graph.output if output.name == name)


def _dims(output: Any) -> list[int | str]:
    """Numbers, and names (empty = none) for what is open."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in output.type.tensor_type.shape.dim]
