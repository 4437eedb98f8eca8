"""Whole engines on a real GPU: equal to ONNX Runtime, graphs, slots, tiles, and the time around the engine."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import onnxruntime
import pytest
from gpu_results import Results

from edge_inspector.backends.tensorrt import Config, TensorRtBackend
from edge_inspector.backends.tensorrt.model import TensorRtModel
from edge_inspector.datatypes import Batch, Calibration, Frame, Letterbox, PreparePlan, Roi, Tiling
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.verify import prove
from edge_inspector.errors import BundleError
from edge_inspector.interfaces import ModelFile
from edge_inspector.stages.prepare import prepare, raw_view

Load = Callable[..., tuple[Bundle, TensorRtModel, Path]]
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 6e-2}  # of an output's largest value: other kernels round otherwise
TIMEOUT_S = 10.0
RUNS = 300


def batch(pixels: np.ndarray[Any, Any]) -> Batch:
    tiles, _, height, width = pixels.shape
    whole = Roi(0, 0, width, height)
    return Batch(pixels, (Letterbox(1.0, 0.0, 0.0),) * tiles, whole, (whole,) * tiles)


def ran(model: TensorRtModel, given: Any, slot: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    return dict(model.collect(model.submit(given, slot), TIMEOUT_S).by_name)


def pictures(bundle: Bundle, count: int) -> list[Frame]:
    files = sorted((bundle.folder / "golden").glob("*.png"))[:count]
    images = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    return [Frame("cam", n, 0, 0, image, "Mono8") for n, image in enumerate(images) if image is not None]


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("family", networks.FAMILIES)
def test_an_engine_gives_what_onnx_runtime_gives_of_the_same_file(loaded: Load, family: str, precision: str) -> None:
    bundle, model, typed = loaded(family, precision, prepare_on_device=False)
    options = onnxruntime.SessionOptions()
    # its own int8 operators take float32 scales only, and are put in for a typed file's without asking
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(typed), options, providers=["CPUExecutionProvider"])
    for frame in pictures(bundle, 4):
        given = prepare(frame.pixels, frame.pixel_format, PreparePlan(bundle.spec))
        wanted = dict(
            zip([o.name for o in session.get_outputs()], session.run(None, {"images": given.pixels}), strict=True)
        )
        outputs = ran(model, given)
        assert outputs.keys() == wanted.keys()
        for name, array in outputs.items():
            assert array.shape == wanted[name].shape
            if precision == "fp32" or family not in ("end2end", "rtdetr"):  # whose rows are sorted by rounded scores
                reach = TOLERANCE[precision] * max(float(np.abs(wanted[name]).max()), 1.0)
                assert float(np.abs(array.astype(np.float64) - wanted[name]).max()) <= reach, name


@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_an_engine_passes_the_gate_with_the_preparation_on_the_gpu(
    loaded: Load, library_name: Any, precision: Any, tmp_path: Path
) -> None:
    bundle, _, typed = loaded("yolo", precision)
    backend = TensorRtBackend(Config(library=library_name, precision=precision, compact_rows=0, warm_up_runs=5))
    (tmp_path / "engine").mkdir()
    backend.build(ModelFile(str(typed), ""), bundle.spec, tmp_path / "engine", lambda part, text: None)
    proof = prove(bundle, backend, ModelFile(str(typed), "", str(tmp_path / "engine")))
    assert proof.outcome == "passed", proof.text
    assert (proof.good, proof.bad, proof.flips) == (20, 20, ())


def test_a_graph_gives_what_plain_runs_give_at_every_size(
    loaded: Load, rng: np.random.Generator, results: Results
) -> None:
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("cuda-bindings is not installed: pip install cuda-bindings")
    _, graph, _ = loaded("yolo", "fp16", size=320, prepare_on_device=False, cuda_graph=True)
    _, plain, _ = loaded("yolo", "fp16", size=320, prepare_on_device=False, cuda_graph=False)
    for tiles in (1, 2, 3, 4):
        given = batch(rng.random((tiles, 1, 320, 320), np.float32))
        theirs, ours = ran(plain, given), ran(graph, given)
        for name, array in theirs.items():
            np.testing.assert_allclose(ours[name], array, atol=1e-3 * float(np.abs(array).max()))
    one = batch(rng.random((1, 1, 320, 320), np.float32))
    with_graph, without = serial_ms(graph, one), serial_ms(plain, one)
    results.add(
        "CUDA graph", "yolo of tests/networks.py at 320x320, fp16", f"{with_graph:.3f} ms, plain {without:.3f} ms"
    )
    assert graph.uses_graphs
    assert not plain.uses_graphs


def test_two_slots_in_turn_never_mix_their_parts(loaded: Load, rng: np.random.Generator) -> None:
    _, model, _ = loaded("yolo", "fp32", prepare_on_device=False)
    given = [batch(rng.random((1, 1, 64, 64), np.float32)) for _ in range(8)]
    alone = [ran(model, one) for one in given]
    tickets = []
    for number in range(200):
        tickets.append((number % 8, model.submit(given[number % 8], number % 2)))
        if len(tickets) == 2:
            which, ticket = tickets.pop(0)
            for name, array in model.collect(ticket, TIMEOUT_S).by_name.items():
                np.testing.assert_array_equal(array, alone[which][name])
    model.collect(tickets[0][1], TIMEOUT_S)


def test_a_frame_is_the_callers_again_as_soon_as_it_is_submitted(loaded: Load) -> None:
    bundle, model, _ = loaded("yolo", "fp32", prepare_on_device=True)
    (frame,) = pictures(bundle, 1)
    view = raw_view(frame, PreparePlan(bundle.spec))
    wanted = ran(model, view)
    ticket = model.submit(view, 1)
    frame.pixels[:] = 0
    for name, array in model.collect(ticket, TIMEOUT_S).by_name.items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize("max_batch", [1, 4])
def test_a_view_of_many_tiles_is_what_its_tiles_are_alone(
    loaded: Load, rng: np.random.Generator, max_batch: int
) -> None:
    bundle, model, _ = loaded("yolo", "fp32", max_batch=max_batch, prepare_on_device=True)
    frame = Frame("cam", 1, 0, 0, rng.integers(0, 256, (150, 210), np.uint8), "Mono8")
    plan = PreparePlan(bundle.spec, tiling=Tiling(64, 64, 16))
    view = raw_view(frame, plan)
    together = ran(model, view)
    assert len(view.tiles) > 4
    for tile, window in enumerate(view.windows):
        alone = ran(model, raw_view(frame, PreparePlan(bundle.spec, roi=window)))
        for name, array in together.items():
            np.testing.assert_allclose(array[tile], alone[name][0], atol=1e-3 * float(np.abs(array).max()))


def test_a_rehearsal_of_a_view_changes_no_result(loaded: Load) -> None:
    bundle, model, _ = loaded("yolo", "fp32", prepare_on_device=True)
    (frame,) = pictures(bundle, 1)
    height, width = frame.hw
    lens = Calibration(frame.hw, (80.0, 80.0, width / 2, height / 2), (-0.2, 0.05, 0.0, 0.0))
    plan = PreparePlan(bundle.spec, calibration=lens, tiling=Tiling(40, 40, 8))
    view = raw_view(frame, plan)
    wanted = ran(model, view)
    model.rehearse(plan)
    for slot in (0, 1):
        for name, array in ran(model, view, slot).items():
            np.testing.assert_array_equal(array, wanted[name])


def test_keeping_warm_changes_no_result(loaded: Load, rng: np.random.Generator) -> None:
    _, model, _ = loaded("yolo", "fp32", prepare_on_device=False)
    given = batch(rng.random((2, 1, 64, 64), np.float32))
    wanted = ran(model, given)
    model.keep_warm()
    ticket = model.submit(given, 0)
    model.keep_warm()  # nothing happens: a part is under way
    outputs = model.collect(ticket, TIMEOUT_S).by_name
    for name, array in wanted.items():
        np.testing.assert_array_equal(outputs[name], array)


def test_a_foreign_plan_is_refused(loaded: Load, library_name: Any, tmp_path: Path) -> None:
    bundle, _, _ = loaded("yolo", "fp32", prepare_on_device=False)
    backend = TensorRtBackend(Config(library=library_name, prepare_on_device=False))
    for content in (b"", b"no plan at all", bytes(100_000)):
        (tmp_path / "engine.plan").write_bytes(content)
        with pytest.raises(BundleError, match="cannot load this plan"):
            backend.load(ModelFile("model.onnx", "", str(tmp_path)), PreparePlan(bundle.spec), 1)


def test_the_report_names_the_precision_of_each_layer(loaded: Load, library_name: Any, tmp_path: Path) -> None:
    bundle, _, typed = loaded("yolo", "fp16", prepare_on_device=False)
    backend = TensorRtBackend(Config(library=library_name, prepare_on_device=False))
    report = backend.build(ModelFile(str(typed), ""), bundle.spec, tmp_path, lambda part, text: None)
    counted: Any = report["layer_precisions"]
    assert counted.get("fp16", 0) > counted.get("fp32", 0)


def test_the_whole_way_beside_the_bare_engine(loaded: Load, results: Results, rng: np.random.Generator) -> None:
    bundle, model, _ = loaded("yolo", "fp16", size=640, compact_rows=300, prepare_on_device=True, warm_up_runs=50)
    frame = Frame("cam", 1, 0, 0, rng.integers(0, 256, (1200, 1920), np.uint8), "BayerRG8")
    view = raw_view(frame, PreparePlan(bundle.spec))
    ran(model, view)
    whole_ms = serial_ms(model, view)
    bare_ms = median_ms(model.run_once)
    results.add(
        "Whole way, 1920x1200 BayerRG8 to 640x640, yolo of tests/networks.py, fp16, 300 rows",
        "from the camera's pixels in memory to the outputs in memory",
        f"{whole_ms:.3f} ms; bare enqueue and wait {bare_ms:.3f} ms; around the engine {whole_ms - bare_ms:.3f} ms",
    )
    assert whole_ms >= bare_ms * 0.9, "the bare engine cannot be slower than the whole way: something is not measured"


def serial_ms(model: TensorRtModel, given: Any) -> float:
    """The median of a part from submit to its outputs, one after another."""
    return median_ms(lambda: ran(model, given))


def median_ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begun)
    return float(np.median(times)) / 1e6
