"""Engines built by NVIDIA's own parser and builder, which `tensorrt_rtx` brings to machines without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import onnx
import onnx.helper as make
import pytest

from edge_inspector.backends.tensorrt import Config, TensorRtBackend
from edge_inspector.backends.tensorrt.build import PLAN
from edge_inspector.backends.tensorrt.engine import numpy_type
from edge_inspector.backends.tensorrt.library import library
from edge_inspector.datatypes import InputSpec
from edge_inspector.decoders import compact as compact_outputs
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.compact import COMPACTABLE
from edge_inspector.engine.typed import write_typed
from edge_inspector.errors import BundleError
from edge_inspector.interfaces import EngineOptions, ModelFile

pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed here (it has wheels for x86-64 only)")

SIZE = 64
SPEC = InputSpec(SIZE, SIZE, "gray", 1 / 255, (0.0,), (1.0,), 0)
Report = Mapping[str, Any]


def build(onnx_path: Path, into: Path, spec: InputSpec = SPEC, **keys: Any) -> Report:
    """What the backend reports of an engine that it built of the file."""
    into.mkdir()
    backend = TensorRtBackend(Config(library="tensorrt_rtx", **keys))
    return backend.build(ModelFile(str(onnx_path), ""), spec, into, lambda part, text: None)


def tensors(report: Report, mode: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {t["name"]: (t["dtype"], tuple(t["shape"])) for t in report["tensors"] if t["mode"] == mode}


def shapes(onnx_path: Path) -> dict[str, tuple[int, ...]]:
    """The file's own outputs, with -1 for the number of tiles."""
    outputs = onnx.load(onnx_path).graph.output
    return {o.name: tuple(d.dim_value or -1 for d in o.type.tensor_type.shape.dim) for o in outputs}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures by which int8 can be scaled."""
    folder = tmp_path / "calibration"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        cv2.imwrite(str(folder / f"{i:02d}.png"), networks.picture(rng, SIZE, 1, 250 if i % 2 else 6)[0])
    return folder


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_family_becomes_an_engine_in_fp32(tmp_path: Path, family: str) -> None:
    network = tmp_path / "model.onnx"
    networks.write(family, network, size=SIZE)
    report = build(network, tmp_path / "engine", precision="fp32", max_batch=4)
    assert (tmp_path / "engine" / PLAN).stat().st_size > 100_000
    assert tensors(report, "input") == {"images": ("FLOAT", (-1, 1, SIZE, SIZE))}
    assert {name: shape for name, (_, shape) in tensors(report, "output").items()} == shapes(network)
    assert report["batch"] == [1, 4]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_family_becomes_a_typed_engine(tmp_path: Path, pictures: Path, family: str, precision: Any) -> None:
    bundle = load_bundle(networks.bundle(family, tmp_path / "bundle", size=SIZE))
    typed = tmp_path / "typed.onnx"
    write_typed(bundle, EngineOptions(precision, 0, str(pictures)), typed, lambda part, text: None)
    kinds = {node.op_type for node in onnx.load(typed).graph.node}
    assert ("QuantizeLinear" in kinds) == (precision == "int8")
    report = build(typed, tmp_path / "engine", bundle.spec, precision=precision)
    assert (tmp_path / "engine" / PLAN).stat().st_size > 50_000
    assert [dtype for dtype, _ in tensors(report, "input").values()] == ["FLOAT"]
    assert {dtype for dtype, _ in tensors(report, "output").values()} <= {"FLOAT", "INT64", "INT32"}


def test_half_precision_makes_the_plan_smaller(tmp_path: Path) -> None:
    bundle = load_bundle(networks.bundle("yolo", tmp_path / "bundle", size=SIZE))
    sizes = {}
    for precision in ("fp32", "fp16"):
        typed = tmp_path / f"{precision}.onnx"
        write_typed(bundle, EngineOptions(precision, 0, ""), typed, lambda part, text: None)  # type: ignore[arg-type]
        build(typed, tmp_path / precision, bundle.spec, precision=precision)
        sizes[precision] = typed.stat().st_size, (tmp_path / precision / PLAN).stat().st_size
    assert sizes["fp16"][1] < sizes["fp32"][1]


@pytest.mark.parametrize("family", COMPACTABLE)
def test_the_compact_head_is_built_too(tmp_path: Path, family: str) -> None:
    bundle = load_bundle(networks.bundle(family, tmp_path / "bundle", size=SIZE))
    typed = tmp_path / "typed.onnx"
    write_typed(bundle, EngineOptions("fp16", 40, ""), typed, lambda part, text: None)
    report = build(typed, tmp_path / "engine", bundle.spec, max_batch=2)
    assert tensors(report, "output") == {compact_outputs.OUTPUT: ("FLOAT", (-1, 40, 6))}


def test_a_network_for_one_picture_takes_one_at_a_time_whatever_max_batch_says(tmp_path: Path) -> None:
    network = tmp_path / "model.onnx"
    networks.write("yolo", network, size=SIZE, batch=1)
    report = build(network, tmp_path / "engine", max_batch=4)
    assert report["batch"] == [1, 1]
    assert tensors(report, "input") == {"images": ("FLOAT", (1, 1, SIZE, SIZE))}


def test_what_could_not_be_known_without_a_gpu_is_said_and_not_invented(tmp_path: Path) -> None:
    network = tmp_path / "model.onnx"
    networks.write("classifier", network, size=SIZE)
    report = build(network, tmp_path / "engine", sparsity=True)
    assert report["gpu"] == "none"
    assert "there is none here" in report["layer_precisions"]
    assert "there is none here" in report["scratch_mb"]
    assert report["timing_cache"] == "none: this library times nothing"
    assert report["sparsity"].startswith("2:4 kernels where weights allow")
    assert report["plan_mb"] == round((tmp_path / "engine" / PLAN).stat().st_size / 1e6, 3)
    assert [path.name for path in (tmp_path / "engine").iterdir()] == [PLAN]


def test_progress_rises_from_0_to_1(tmp_path: Path) -> None:
    network = tmp_path / "model.onnx"
    networks.write("yolo", network, size=SIZE)
    told: list[float] = []
    (tmp_path / "engine").mkdir()
    TensorRtBackend(Config(library="tensorrt_rtx")).build(
        ModelFile(str(network), ""), SPEC, tmp_path / "engine", lambda part, text: told.append(part)
    )
    assert told[0] == 0.0
    assert told[-1] == 1.0
    assert told == sorted(told)
    assert len(told) > 10


def test_a_build_that_its_caller_ends_leaves_no_plan(tmp_path: Path) -> None:
    network = tmp_path / "model.onnx"
    networks.write("yolo", network, size=SIZE)
    (tmp_path / "engine").mkdir()

    def interrupted(part: float, text: str) -> None:
        if part > 0.1:
            raise BrokenPipeError("nobody reads the progress")

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        TensorRtBackend(Config(library="tensorrt_rtx")).build(
            ModelFile(str(network), ""), SPEC, tmp_path / "engine", interrupted
        )
    assert list((tmp_path / "engine").iterdir()) == []


def test_a_tensor_that_numpy_cannot_hold_is_refused_by_its_type() -> None:
    lib = library("tensorrt_rtx")
    kinds: Any = lib
    assert numpy_type(lib, kinds.DataType.INT64, "tensor classes") == np.int64
    with pytest.raises(BundleError, match=r"tensor boxes consists of BF16, expected float32, float16 or whole numbers"):
        numpy_type(lib, kinds.DataType.BF16, "tensor boxes")


def test_facts_name_the_library_and_every_option(tmp_path: Path) -> None:
    facts = TensorRtBackend(Config(library="tensorrt_rtx", max_batch=4, workspace_mb=64)).facts()
    assert facts["library"].startswith("tensorrt_rtx 1.")
    assert facts["option.max_batch"] == "4"
    assert facts["option.workspace_mb"] == "64"
    on_the_cpu = TensorRtBackend(Config(library="tensorrt_rtx", max_batch=4, workspace_mb=64, prepare_on_device=False))
    assert {name for name, value in facts.items() if on_the_cpu.facts()[name] != value} == {"prepare"}


def dynamic_int8(path: Path) -> None:
    """What `quantize_dynamic` makes of one convolution."""
    weights = onnx.numpy_helper.from_array(np.ones((2, 1, 3, 3), np.uint8), "w")
    nodes = [
        make.make_node("DynamicQuantizeLinear", ["images"], ["q", "scale", "zero"], "quantize"),
        make.make_node("ConvInteger", ["q", "w", "zero"], ["sum"], "conv_quant"),
        make.make_node("Cast", ["sum"], ["output"], "cast", to=onnx.TensorProto.FLOAT),
    ]
    save(path, nodes, [weights], (2, SIZE - 2, SIZE - 2))


def unknown_operator(path: Path) -> None:
    save(path, [make.make_node("DoMagic", ["images"], ["output"], "the_magic")], [], (1, SIZE, SIZE))


def save(path: Path, nodes: list[Any], weights: list[Any], output: tuple[int, ...]) -> None:
    given = make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ("n", 1, SIZE, SIZE))
    made = make.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ("n", *output))
    graph = make.make_graph(nodes, "g", [given], [made], weights)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (dynamic_int8, r"node \d 'quantize' \(DynamicQuantizeLinear\).*`edge-inspector engine quantize`"),
        (unknown_operator, r"node 0 'the_magic' \(DoMagic\).*without custom operators"),
        (lambda path: path.write_bytes(b"no ONNX at all"), "the file is damaged or no ONNX file"),
        (lambda path: None, "the file is damaged or no ONNX file"),
    ],
    ids=["dynamic-int8", "unknown-operator", "no-onnx", "missing"],
)
def test_a_file_that_is_no_network_is_refused_by_its_node_and_with_the_way_out(
    tmp_path: Path, write: Callable[[Path], None], told: str
) -> None:
    network = tmp_path / "model.onnx"
    write(network)
    with pytest.raises(BundleError, match=told) as caught:
        build(network, tmp_path / "engine")
    assert str(network) in str(caught.value)
    assert list((tmp_path / "engine").iterdir()) == []


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    network = tmp_path / "model.onnx"
    networks.write("yolo", network, size=SIZE)
    network.write_bytes(network.read_bytes()[:-1000])
    with pytest.raises(BundleError, match="is no network for tensorrt_rtx"):
        build(network, tmp_path / "engine")


@pytest.mark.parametrize(
    ("spec", "batch", "told"),
    [
        (InputSpec(SIZE, SIZE, "rgb", 1 / 255, (0.0,) * 3, (1.0,) * 3, 0), "n", r"asks for float \(tiles, 3, 64, 64\)"),
        (InputSpec(96, SIZE, "gray", 1 / 255, (0.0,), (1.0,), 0), "n", r"asks for float \(tiles, 1, 96, 64\)"),
        (SPEC, 4, "takes exactly 4 pictures at once"),
    ],
    ids=["colour", "size", "fixed-batch"],
)
def test_a_network_for_other_pictures_is_refused(tmp_path: Path, spec: InputSpec, batch: Any, told: str) -> None:
    network = tmp_path / "model.onnx"
    networks.write("yolo", network, size=SIZE, batch=batch)
    with pytest.raises(BundleError, match=told):
        build(network, tmp_path / "engine", spec)


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    infos = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, (1, 1, SIZE, SIZE)) for n in ("a", "b", "c")]
    graph = make.make_graph([make.make_node("Add", ["a", "b"], ["c"])], "g", infos[:2], infos[2:])
    network = tmp_path / "model.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), network)
    with pytest.raises(BundleError, match=r"has 2 inputs \(a, b\), expected one picture"):
        build(network, tmp_path / "engine")
