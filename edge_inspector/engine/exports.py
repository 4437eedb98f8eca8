"""What Ultralytics, YOLOv5 and anomalib say in the ONNX files that they export, or beside them."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_inspector.engine.onnx_network import Network
from edge_inspector.errors import ConfigError


@dataclass(frozen=True)
class Said:
    """A value for model.toml and where it is from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Export:
    """What the exporter is known by, what it says by the names of `importer`'s questions, and what to tell the user."""

    exporter: str
    said: Mapping[str, Said]
    notes: tuple[str, ...] = ()


def read_export(network: Network) -> Export:
    """What the exporter says. ConfigError for a task that cannot be inspected with, or metadata that are damaged."""
    names = set(network.outputs)
    beside = network.path.with_name("metadata.json")
    if {"names", "stride"} <= network.metadata.keys():
        return _ultralytics(network) if "task" in network.metadata else _yolov5(network)
    if "image_threshold" in network.metadata:
        return _anomalib_1(network, network.metadata, "the file's metadata")
    if names & {"pred_score", "anomaly_map"}:
        return _anomalib_2(network)
    if beside.is_file() and "image_threshold" in (said := _json(beside)):
        return _anomalib_1(network, said, beside.name)
    return Export("an unknown exporter", {})


def _ultralytics(network: Network) -> Export:
    metadata = network.metadata
    task, head, args = metadata["task"], metadata.get("head", ""), _literal(metadata, "args", {})
    names = _class_names(metadata)
    channels = _literal(metadata, "channels", network.input[1] or 3)
    chosen = _literal(metadata, "end2end", False) or args.get("nms", False)
    notes = []
    options: dict[str, Any] = {}
    if task == "detect" and head == "RTDETRDecoder":
        decoder, options = "rtdetr", {"layout": "chosen" if _last(network) == 6 else "joined"}
        options["score_kind"] = "probabilities"
    elif task == "detect":
        decoder = "end2end" if chosen else "yolo"
    elif task == "segment":
        decoder, options = "yolo_seg", {"rows": "end2end" if chosen else "anchors"}
    elif task == "classify":
        decoder, options = "classifier", {"activation": "none"}
        notes.append("Ultralytics crops the middle of a picture; here it is fitted whole: use a square roi")
    elif task == "semantic":
        decoder, options = "segmentation", _semantic(len(names), bool(network.whole_numbers))
        notes.append("every class of a semantic model is a defect until --good names those that are not")
    else:
        raise ConfigError(
            f"{network.path} is an Ultralytics model for task {task!r}, which edge-inspector cannot use, expected "
            "detect, segment, classify or semantic"
        )
    if channels not in (1, 3):
        raise ConfigError(f"{network.path} takes {channels} channels, expected 1 (gray) or 3 (rgb)")
    if "AGPL" in metadata.get("license", ""):
        notes.append("the licence AGPL-3.0 binds whoever offers this model to others, over a network too")
    source, convention = "the file's metadata", "Ultralytics' convention"
    said = {
        "decoder": Said(decoder, f"{source}: task {task}"),
        "options": Said(options, f"{source}: task {task}"),
        "classes": Said(names, f"{source}: names"),
        "color": Said("rgb" if channels == 3 else "gray", convention),
        "scaling": Said("0-1", convention),
        "pad": Said(114, convention),
        "nms_iou": Said(0.7, convention),
    }
    size = _literal(metadata, "imgsz", None)
    if size is not None:
        said["size"] = Said((size[1], size[0]), f"{source}: imgsz")
    for key, name in (("license", "licence"), ("description", "description")):
        if metadata.get(key):
            said[name] = Said(metadata[key], f"{source}: {key}")
    if metadata.get("date"):
        said["version"] = Said(metadata["date"][:10], f"{source}: date")
    return Export(f"Ultralytics {metadata.get('version', '')}".strip(), said, tuple(notes))


def _semantic(classes: int, whole_numbers: bool) -> dict[str, Any]:
    """Newer exports hold class numbers; a network of one class then says 0 for nothing and 1 for it."""
    if whole_numbers:
        return {"activation": "argmax", "background": 0 if classes == 1 else -1}
    return {"activation": "sigmoid" if classes == 1 else "softmax", "background": -1}


def _yolov5(network: Network) -> Export:
    convention = "YOLOv5's convention"
    return Export(
        "YOLOv5",
        {
            "decoder": Said("yolov5", "the file's metadata: names and stride, no task"),
            "options": Said({}, convention),
            "classes": Said(_class_names(network.metadata), "the file's metadata: names"),
            "color": Said("rgb", convention),
            "scaling": Said("0-1", convention),
            "pad": Said(114, convention),
        },
    )


def _anomalib_2(network: Network) -> Export:
    """Pre- and post-processing are in its graph: pictures of 0..1 go in, scores of which 0.5 is the threshold come."""
    outputs = {
        "score_output": "pred_score" if "pred_score" in network.outputs else "",
        "map_output": "anomaly_map" if "anomaly_map" in network.outputs else "",
    }
    return Export("anomalib 2", {**_ANOMALIB, "options": Said(outputs, "the names of its outputs")})


def _anomalib_1(network: Network, metadata: Mapping[str, Any], source: str) -> Export:
    """Its graph gives raw scores; metadata.json beside it says how anomalib shows them."""
    maps = [name for name, shape in network.outputs.items() if len(shape) >= 3]
    scores = [name for name in network.outputs if name not in maps]
    if len(maps) > 1 or len(scores) > 1:
        raise ConfigError(
            f"{network.path} has the outputs {', '.join(network.outputs)}, expected one score or one map or both; "
            "export it with anomalib 2"
        )
    options: dict[str, Any] = {"score_output": "".join(scores), "map_output": "".join(maps)}
    needed = {
        "image": ("image_threshold", "pred_scores.min", "pred_scores.max"),
        "pixel": ("pixel_threshold", "anomaly_maps.min", "anomaly_maps.max"),
    }
    if not maps:
        del needed["pixel"]
    for scale, keys in needed.items():
        missing = [key for key in keys if key not in metadata]
        if missing:
            raise ConfigError(
                f"{source} of {network.path} lacks {', '.join(missing)}; validate the model with anomalib's min_max "
                "normalisation before it is exported, or export it with anomalib 2"
            )
        try:
            options[scale] = dict(zip(("threshold", "min", "max"), (float(metadata[k]) for k in keys), strict=True))
        except (TypeError, ValueError) as exc:
            raise ConfigError(f"{source} of {network.path}: {', '.join(keys)}: {exc}, expected numbers") from exc
    return Export("anomalib 1", {**_ANOMALIB, "options": Said(options, f"{source}: thresholds, min and max")})


_ANOMALIB = {
    "decoder": Said("anomaly", "anomalib"),
    "classes": Said(("anomaly",), "anomalib"),
    "color": Said("rgb", "anomalib's convention"),
    "scaling": Said("0-1", "anomalib's convention: mean and std are in the network"),
    "threshold": Said(0.5, "anomalib's convention: 0.5 is its own threshold"),
}


def _last(network: Network) -> int | None:
    (shape,) = list(network.outputs.values())[:1]
    return shape[-1]


def _class_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """A list, or a table by class number."""
    names = _literal(metadata, "names", [])
    if not isinstance(names, dict | list):
        raise ConfigError(f"the file's metadata names = {metadata['names']!r} is no list of classes; export it again")
    return tuple(str(names[key]) for key in sorted(names)) if isinstance(names, dict) else tuple(map(str, names))


def _literal(metadata: Mapping[str, str], key: str, otherwise: Any) -> Any:
    """Ultralytics writes Python literals."""
    if key not in metadata:
        return otherwise
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError) as exc:
        raise ConfigError(f"the file's metadata {key} = {metadata[key]!r} cannot be read; export it again") from exc


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read ({exc}); remove it, or export the model again") from exc
    return read if isinstance(read, dict) else {}
