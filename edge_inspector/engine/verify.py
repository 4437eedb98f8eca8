"""The gate: does an engine judge pictures as the bundle's own ONNX file does?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edge_inspector import pipeline, plugins
from edge_inspector.datatypes import Evaluation, Frame, PreparePlan, ThresholdState
from edge_inspector.engine.bundle import Bundle, reading_of
from edge_inspector.engine.differences import FindingDifferences, TensorDifferences
from edge_inspector.engine.golden import Picture, golden_pictures, golden_sum, pictures_in
from edge_inspector.engine.latency import latency, power_mode
from edge_inspector.engine.looking import Side, looks, prepared
from edge_inspector.engine.passport import Latency, Proof
from edge_inspector.engine.verdicts import Compared, compare, worst
from edge_inspector.errors import ConfigError, DeviceLostError, InferenceError
from edge_inspector.interfaces import Backend, ModelFile

REFERENCE = "onnxruntime"
"""The backend that runs the ONNX file as it is."""
Progress: TypeAlias = Callable[[float, str], None]


def prove(
    bundle: Bundle,
    backend: Backend,
    model_file: ModelFile,
    *,
    images: Path | None = None,
    against: Bundle | None = None,
    thresholds: Sequence[ThresholdState] = (),
    progress: Progress = lambda share, text: None,
) -> Proof:
    """Show the bundle's golden set, or the pictures in `images`, to ONNX Runtime and to `backend`, and compare.

    Each is judged by its bundle's default thresholds and by each of `thresholds`, such as those of a station's recipes;
    what differs by one of them differs. `against` is another bundle of the same classes whose ONNX file is the
    reference. ConfigError: pictures cannot be used, or the backend cannot run here. BundleError: a model cannot be
    loaded or is not its bundle's. DeviceLostError: nothing was shown, try again in a new process.
    """
    original = bundle if against is None else against
    if original.classes != bundle.classes:
        raise ConfigError(
            f"bundle {bundle.name} has the classes {', '.join(bundle.classes)}, {original.name} "
            f"{', '.join(original.classes)}; compare bundles of the same classes"
        )
    # summed up before it is looked at: what somebody edits meanwhile is not what was proven
    golden = golden_sum(bundle) if images is None and against is None else ""
    pictures = golden_pictures(bundle) if images is None else pictures_in(images)
    with ExitStack() as stack:
        progress(0.0, "loading both models")
        runtime = plugins.load("backend", REFERENCE)(plugins.config_model("backend", REFERENCE)(type=REFERENCE))
        reference = _side(stack, original, runtime, original.model_file(), thresholds)
        engine = _side(stack, bundle, backend, model_file, thresholds)
        proof = _compared(reference, engine, pictures, progress)
        sizes = _batch_sizes(engine, backend, pictures) if proof.outcome == "passed" else (1,)
        progress(1.0, proof.text)
        return proof.model_copy(
            update={
                "reference": f"{REFERENCE} {runtime.facts()[REFERENCE]}, {original.name} {original.version}",
                "golden": golden,
                "thresholds": tuple(sorted({one.by_class for one in thresholds})),
                "batch_sizes": sizes,
                "latency": _latency(engine, pictures),
            }
        )


def is_of(proof: Proof, bundle: Bundle, thresholds: Sequence[ThresholdState]) -> bool:
    """Whether the proof was made with the golden set as it is now, and by these thresholds among others."""
    wanted = {one.by_class for one in thresholds} - {bundle.default_thresholds}
    return proof.golden == golden_sum(bundle) and wanted <= {*proof.thresholds}


def _side(
    stack: ExitStack, bundle: Bundle, backend: Backend, model_file: ModelFile, thresholds: Sequence[ThresholdState]
) -> Side:
    model = stack.enter_context(closing(backend.load(model_file, PreparePlan(bundle.spec), backend.max_batch)))
    reading = reading_of(bundle)
    reading.decoder.check(model.output_shapes, reading.classes)
    way = pipeline.prepare_on_device if backend.prepares_on_device else pipeline.prepare
    return Side(bundle, model, reading, way, (ThresholdState(bundle.default_thresholds), *thresholds))


def _compared(reference: Side, engine: Side, pictures: Sequence[Picture], progress: Progress) -> Proof:
    """As `Proof`, but for what is not measured on these pictures."""
    tensors, findings = TensorDifferences(), FindingDifferences(engine.bundle.default_thresholds)
    compared: list[Compared] = []
    both = zip(pictures, looks(reference, pictures), looks(engine, pictures), strict=True)
    for number, (picture, theirs, ours) in enumerate(both, start=1):
        pairs = zip(theirs.verdicts, ours.verdicts, strict=True)
        compared.append(worst([Compared(picture.name, picture.label, *pair) for pair in pairs]))
        if theirs.tensors is not None and ours.tensors is not None:
            tensors.add(theirs.tensors, ours.tensors)
        if theirs.findings is not None and ours.findings is not None:
            findings.add(theirs.findings, ours.findings)
        progress(number / len(pictures), f"{number} of {len(pictures)} pictures compared")
    limit = engine.bundle.golden.overkill_limit if engine.bundle.golden is not None else 0.0
    told = compare(compared, limit)
    return Proof(
        outcome=told.outcome,
        text=told.text,
        pictures=len(pictures),
        good=told.good,
        bad=told.bad,
        flips=told.flips,
        overkill=told.overkill,
        unanswered=told.unanswered,
        tensors=tensors.figures(),
        detections=findings.figures(),
    )


def _batch_sizes(engine: Side, backend: Backend, pictures: Sequence[Picture]) -> tuple[int, ...]:
    """How many pictures one run may hold without another verdict on any of them than alone, up to the first such size.

    No larger one: the tiles of a view fill runs of every size.
    """
    if backend.prepares_on_device or backend.max_batch == 1:
        return (1,)  # a `RawView` is one view
    alone = _evaluations(engine, pictures, 1)
    passed = [i for i, words in enumerate(alone) if words[0] is Evaluation.OK]
    rejected = [i for i, words in enumerate(alone) if words[0] is not Evaluation.OK]
    sizes = [1]
    for size in range(2, backend.max_batch + 1):
        order = _mixed((passed, rejected), size)
        if _evaluations(engine, [pictures[i] for i in order], size) != [alone[i] for i in order]:
            break
        sizes.append(size)
    return tuple(sizes)


def _evaluations(engine: Side, pictures: Sequence[Picture], size: int) -> list[tuple[Evaluation, ...]]:
    return [tuple(one.evaluation for one in seen.verdicts) for seen in looks(engine, pictures, size)]


def _mixed(kinds: tuple[Sequence[int], Sequence[int]], size: int) -> list[int]:
    """All of both kinds in runs of `size`. Each place has both kinds in turn, and no two places always the same kind.

    So an answer that lands on another place of its run, or a place that is blind, changes a verdict.
    """
    bits = (size - 1).bit_length()
    order: list[int] = []
    given, run = [0, 0], 0
    while run < 2 * bits or given[0] < len(kinds[0]) or given[1] < len(kinds[1]):
        for place in range(size):
            kind = (place >> (run // 2 % bits) ^ run) & 1
            order.append(kinds[kind][given[kind] % len(kinds[kind])])
            given[kind] += 1
        run += 1
    return order


def _latency(engine: Side, pictures: Sequence[Picture]) -> dict[str, Latency]:
    """By power mode; of the first picture, or of gray where there is none. Empty when the engine fails on it."""
    spec = engine.bundle.spec
    gray = Frame("gray", 0, 0, 0, np.full((spec.height_px, spec.width_px), 128, np.uint8), "Mono8")
    view = prepared(engine, pictures[0]) if pictures else engine.prepare(gray, PreparePlan(spec))
    try:
        return {power_mode(): latency(engine.model, view)}
    except DeviceLostError:
        raise
    except InferenceError:
        return {}
