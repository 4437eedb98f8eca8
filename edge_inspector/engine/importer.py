"""From a trained ONNX file to a bundle: what the file says is read, what it cannot say is asked."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_inspector import pipeline, plugins
from edge_inspector.datatypes import Batch, Color, InputSpec, Letterbox, PreparePlan, Roi, Tensors
from edge_inspector.engine.bundle import DamagedBundleError, load_bundle, reading_of
from edge_inspector.engine.exports import Said, read_export
from edge_inspector.engine.files import beside
from edge_inspector.engine.model_toml import model_toml
from edge_inspector.engine.observed import observed_options
from edge_inspector.engine.onnx_network import Network, read_network
from edge_inspector.engine.questions import (
    Answers,
    Ask,
    bundle_name,
    channel,
    confidence,
    gray,
    limits_of,
    names,
    size,
    some_of,
)
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile

SCALINGS: Mapping[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    "0-1": (1 / 255, (0.0,), (1.0,)),
    "0-255": (1.0, (0.0,), (1.0,)),
    "imagenet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # torchvision's models
}
"""What a network was trained on: (value8 * scale - mean) / std."""
RUN_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Imported:
    """A new bundle: where each value is from, a line each, and what the user should know."""

    folder: Path
    exporter: str
    sources: tuple[str, ...]
    notes: tuple[str, ...]


def import_model(source: Path, out: Path, wishes: Mapping[str, str], ask: Ask | None) -> Imported:
    """Write `source` as a bundle to the new folder `out`, whole or not at all.

    `wishes` are options by name, as text; `ask` None = nobody is there. ConfigError: the folder, an option that is
    wrong or of no use here, or a question that nobody answers.
    BundleError: a network that no backend runs, or that is not what its decoder reads.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already, and nothing is overwritten; give another folder with --out")
    network = read_network(source)
    export = read_export(network)
    answers = Answers(wishes, export.said, ask)
    spec = _input_spec(network, answers)
    seen = _tried(network.path, spec)
    document = _document(network, answers, spec, seen, out)
    for option in answers.unused():
        raise ConfigError(
            f"--{option} {wishes[option]!r} is of no use with decoder {document['decoder']}, task {document['task']}; "
            "leave it out"
        )
    with beside(out) as work:
        _copy_network(network, work / "model.onnx")
        document["sha256"] = hashlib.sha256((work / "model.onnx").read_bytes()).hexdigest()
        (work / "model.toml").write_text(model_toml(document, export.exporter, answers.sources), encoding="utf-8")
        _check(work, seen)
        os.rename(work, out)
    return Imported(out, export.exporter, tuple(answers.sources), (*export.notes, *_notes(network, document["task"])))


def _input_spec(network: Network, answers: Answers) -> InputSpec:
    _, channels, height, width = network.input
    if height is None or width is None:
        width, height = answers.value("size", "Width and height of the network's input, such as 640x640", size)
    elif answers.wished("size") and answers.value("size", "", size) != (width, height):
        raise ConfigError(f"--size: {network.path} takes {width}x{height} px and nothing else; leave it out")
    colors = ("gray",) if channels == 1 else ("rgb", "bgr") if channels == 3 else ("gray", "rgb", "bgr")
    color: Color = "gray"
    if channels != 1 or answers.wished("color"):
        color = answers.value("color", "Colour order of the training", choices=colors)
    name = answers.value("scaling", "Values of the training's pictures", choices=tuple(SCALINGS))
    scale, mean, std = SCALINGS[name]
    wanted = 1 if color == "gray" else 3
    if len(mean) > wanted:
        raise ConfigError(f"--scaling {name} is for three channels, the network takes {wanted}; correct it")
    pad = answers.value("pad", "Gray value of the border around a fitted picture", gray, default=114)
    repeated = wanted // len(mean)
    return InputSpec(height, width, color, scale, mean * repeated, std * repeated, pad)


def _tried(path: Path, spec: InputSpec) -> Tensors:
    """The outputs for a picture of noise. BundleError: ONNX Runtime cannot load or run the network."""
    backend = plugins.load("backend", "onnxruntime")(plugins.config_model("backend", "onnxruntime")(type="onnxruntime"))
    model = backend.load(ModelFile(str(path), ""), PreparePlan(spec), 1)
    try:
        return model.collect(model.submit(_noise(spec), 0), RUN_TIMEOUT_S)  # type: ignore[no-any-return]
    except InferenceError as exc:
        raise BundleError(f"{path}: {exc}") from exc
    finally:
        model.close()


def _noise(spec: InputSpec) -> Batch:
    """Noise, so that probabilities show: a blank picture may give numbers that are anything."""
    levels = np.random.default_rng(0).integers(0, 256, (1, spec.channels, spec.height_px, spec.width_px))
    mean, std = (np.reshape(values, (1, -1, 1, 1)) for values in (spec.mean, spec.std))
    pixels = ((levels * spec.scale - mean) / std).astype(np.float32)
    whole = Roi(0, 0, spec.width_px, spec.height_px)
    return Batch(pixels, (Letterbox(1.0, 0.0, 0.0),), whole, (whole,))


def _document(network: Network, answers: Answers, spec: InputSpec, seen: Tensors, out: Path) -> dict[str, Any]:
    shapes = {name: array.shape for name, array in seen.by_name.items()}
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    decoders = tuple(sorted(plugins.names("decoder")))
    decoder = answers.value("decoder", f"Decoder of the outputs {listed}", choices=decoders)
    task = plugins.load("decoder", decoder).tasks[0]
    classes = answers.value("classes", "Classes in the order of the outputs, with commas", names)
    options = answers.said("options") if answers.said("decoder") == decoder else {}
    options = {**options, **observed_options(decoder, options, spec, seen, network.whole_numbers)}
    if decoder == "segmentation" and ("background" not in options or answers.wished("background")):
        options["background"] = _background(answers, seen, options["activation"], len(classes))
    if options:
        source = "what the file says and what its outputs were for a picture of noise"
        answers.note("decoder_options", Said(options, source))
    document: dict[str, Any] = {
        "name": answers.value("name", "", bundle_name, default=Said(_name(out.name), "the folder's name")),
        "version": answers.value("version", "", default="1.0.0"),
        "task": task,
        "decoder": decoder,
        "classes": classes,
    }
    if task == "classify" or answers.wished("good"):
        document["good"] = answers.value("good", "Classes that are no defect, with commas", some_of(classes))
    threshold = 1.0
    if task != "measure":
        default = 0.5 if decoder in ("segmentation", "anomaly", "classifier") else 0.25
        threshold = answers.value("threshold", "", confidence, default=default)
        document["thresholds"] = dict.fromkeys(classes, threshold)
    else:
        document["limits"] = answers.value(
            "limits", "Limits, such as width=1.5..2.5 mm, depth=-4..4", limits_of(classes)
        )
    regions = decoder in ("segmentation", "anomaly")
    document |= {
        "score_floor": min(threshold, 0.5 if decoder == "segmentation" else 0.05),
        "nms_iou": answers.value("nms_iou", "", float, default=0.9 if regions else 0.5),
        "licence": answers.value("licence", "Licence of the network's weights, such as proprietary"),
        "description": answers.value("description", "", default=f"Imported from {network.path.name}."),
        "decoder_options": options,
        "input": spec,
    }
    return document


def _background(answers: Answers, seen: Tensors, activation: str, classes: int) -> int:
    """The channel that is no class; -1 = none, which as many channels as classes say."""
    (values,) = list(seen.by_name.values())[:1]
    if activation != "argmax" and values.shape[1:2] == (classes,) and not answers.wished("background"):
        return -1
    question = "Number of the channel that is background and no class, or none"
    return int(answers.value("background", question, channel))


def _copy_network(network: Network, target: Path) -> None:
    """As it is; weights that lie beside it are taken in, because a bundle's network is one file."""
    if not network.external:
        shutil.copyfile(network.path, target)
        return
    import onnx

    try:
        onnx.save(onnx.load(str(network.path)), str(target))
    except ValueError as exc:  # protobuf's limit of 2 GB
        raise BundleError(f"{network.path}: its weights do not fit into one file: {exc}") from exc


def _check(work: Path, seen: Tensors) -> None:
    """ConfigError unless it is a right bundle, BundleError unless its decoder reads what the network gave."""
    try:
        bundle = load_bundle(work)
    except DamagedBundleError as exc:
        problems = (problem.replace(str(work / "model.toml"), "model.toml") for problem in exc.problems)
        raise ConfigError("the answers make no model.toml:\n" + "\n".join(problems)) from exc
    reading = reading_of(bundle)
    try:
        reading.decoder.check({name: array.shape for name, array in seen.by_name.items()}, reading.classes)
    except BundleError as exc:
        raise BundleError(f"{exc}: model.toml is not written yet, give other --classes or another --decoder") from exc
    try:
        pipeline.finish(seen, _noise(bundle.spec), reading)
    except InferenceError as exc:
        raise BundleError(f"the outputs for a picture of noise are not what the decoder reads: {exc}") from exc


def _notes(network: Network, task: str) -> list[str]:
    notes = []
    if task == "classify":
        notes.append("thresholds are a starting point: try them on pictures of your parts that you know")
    elif task != "measure":
        notes.append(
            "thresholds are a starting point: tune them with edge-inspector evaluate on pictures of your parts"
        )
    notes.append("without a golden set of 20 good and 20 bad pictures no engine can be proven: add [golden]")
    if network.external:
        notes.append("weights that lay beside the file were taken into model.onnx")
    if network.dynamic_int8:
        notes.append(
            f"{len(network.dynamic_int8)} nodes ({network.dynamic_int8[0]}, ...) find their 8-bit scales anew on each "
            "picture (dynamic quantisation): onnxruntime runs that, TensorRT cannot; for TensorRT export it in "
            "float32, then use edge-inspector engine quantize with pictures"
        )
    return notes


def _name(folder: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder).strip("-_")[:63]
    return name or "model"
