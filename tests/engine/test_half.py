from __future__ import annotations

from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import InputSpec
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.half import to_half
from edge_inspector.engine.heads import head_of
from edge_inspector.engine.invariants import check_invariants
from edge_inspector.engine.quantize import quantize
from edge_inspector.engine.verify import prove
from edge_inspector.errors import BundleError
from edge_inspector.interfaces import ModelFile

SPEC = InputSpec(64, 64, "gray", 1 / 255, (0.0,), (1.0,), 128)
BOUND = 2.0**-8
"""Of the largest number of an output: some ten layers, each of whose results is rounded to 11 bits."""


def halved(source: Path) -> tuple[Path, Any]:
    target = source.with_name(f"{source.stem}.half.onnx")
    return target, to_half(source, target, SPEC)


def outputs(path: Path, pixels: np.ndarray) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: pixels}), strict=True))


def network(path: Path, nodes: list[Any], weights: dict[str, np.ndarray], shape: list[int], opset: int = 17) -> Path:
    """A network from "images" (1, 1, 64, 64) to "out"."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 64, 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def layer(scale: float) -> dict[str, np.ndarray]:
    return {"w": np.full((1, 1, 1, 1), scale, np.float32)}


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_family_is_half_inside_and_float32_at_its_ends(family: str, tmp_path: Path) -> None:
    networks.write(family, tmp_path / "net.onnx")
    path, report = halved(tmp_path / "net.onnx")
    graph = onnx.load(path).graph
    ends = [end.type.tensor_type.elem_type for end in (*graph.input, *graph.output)]
    layers = [node.name for node in graph.node if node.op_type == "Conv" and node.name not in report["float32"]]
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert set(ends) == {TensorProto.FLOAT}
    assert len(layers) > 5
    assert {weights[node.input[1]] for node in graph.node if node.name in layers} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_outputs_are_near_those_of_float32(family: str, tmp_path: Path) -> None:
    networks.write(family, tmp_path / "net.onnx")
    path, _ = halved(tmp_path / "net.onnx")
    pixels = np.random.default_rng(3).random((1, 1, 64, 64), np.float32)
    exact, half = outputs(tmp_path / "net.onnx", pixels), outputs(path, pixels)
    for name, array in exact.items():
        theirs, ours = array, half[name]
        if family == "end2end":  # rows of almost equal score may change places
            theirs, ours = np.sort(array[..., 4]), np.sort(half[name][..., 4])
        assert np.abs(ours - theirs).max() <= BOUND * np.abs(theirs).max(), name


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_nothing_after_the_last_layer_is_rounded(family: str, tmp_path: Path) -> None:
    networks.write(family, tmp_path / "net.onnx")
    path, report = halved(tmp_path / "net.onnx")
    before = onnx.load(tmp_path / "net.onnx").graph
    graph = onnx.load(path).graph
    tail = set(head_of(graph).tail)
    rounding = [
        node.name
        for node in graph.node
        if node.op_type == "Cast" and node.name in tail and node.attribute[0].i == TensorProto.FLOAT16
    ]
    assert not rounding
    named = {node.name for node in before.node}
    assert {name for name in head_of(before).tail if name in named} <= set(report["float32"])


def test_boxes_keep_what_half_precision_would_round(tmp_path: Path) -> None:
    """A box edge at 600.3 px, which float16 has as 600.5, through several nodes that share their inputs."""
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["feature"], "conv"),
        helper.make_node("Mul", ["feature", "zero"], ["nothing"], "mul"),
        helper.make_node("Add", ["nothing", "edge"], ["at"], "add"),
        helper.make_node("Add", ["at", "at"], ["twice"], "twice"),
        helper.make_node("Sub", ["twice", "at"], ["out"], "once"),
    ]
    given = {**layer(1.0), "zero": np.zeros(1, np.float32), "edge": np.full(1, 600.3, np.float32)}
    source = network(tmp_path / "net.onnx", nodes, given, [1, 1, 64, 64])
    path, _ = halved(source)
    seen = outputs(path, np.ones((1, 1, 64, 64), np.float32))["out"]
    assert np.abs(seen - np.float32(600.3)).max() < 1e-4


def test_constants_inside_nodes_and_shared_with_the_body_stay_exact_where_boxes_are_made(tmp_path: Path) -> None:
    grid = numpy_helper.from_array(np.full(1, 600.3, np.float32), "value")
    nodes = [
        helper.make_node("Constant", [], ["grid"], "grid_node", value=grid),
        helper.make_node("Mul", ["images", "grid"], ["large"], "body"),
        helper.make_node("Conv", ["large", "w"], ["small"], "conv"),
        helper.make_node("Clip", ["small", "", "none"], ["nothing"], "clip"),
        helper.make_node("Sub", ["grid", "nothing"], ["out"], "decode"),
    ]
    source = network(tmp_path / "net.onnx", nodes, {**layer(1.0), "none": np.array(0, np.float32)}, [1, 1, 64, 64])
    path, _ = halved(source)
    seen = outputs(path, np.zeros((1, 1, 64, 64), np.float32))["out"]
    assert np.abs(seen - np.float32(600.3)).max() < 1e-4


def test_sums_that_half_precision_cannot_hold_are_kept_and_named(tmp_path: Path) -> None:
    """An image-wide normalisation: 4096 pixels of up to 100 sum up to 409 600."""
    nodes = [
        helper.make_node("Mul", ["images", "hundred"], ["large"], "scaled"),
        helper.make_node("ReduceSum", ["large", "axes"], ["sum"], "all_pixels"),
        helper.make_node("Div", ["large", "sum"], ["share"], "normalised"),
        helper.make_node("Conv", ["share", "w"], ["out"], "conv"),
    ]
    given = {**layer(1000.0), "hundred": np.array(100, np.float32), "axes": np.array([2, 3])}
    source = network(tmp_path / "net.onnx", nodes, given, [1, 1, 64, 64])
    path, report = halved(source)
    pixels = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    exact = outputs(source, pixels)["out"]
    assert set(report["float32"]) == {"all_pixels", "normalised"}
    assert np.abs(outputs(path, pixels)["out"] - exact).max() <= BOUND * exact.max()


def test_weights_beyond_half_precision_stay_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["images", "tiny"], ["small"], "small"),
        helper.make_node("Conv", ["small", "w"], ["middle"], "huge"),
        helper.make_node("Conv", ["middle", "one"], ["out"], "conv"),
    ]
    given = {**layer(1e6), "tiny": np.array(2.0**-12, np.float32), "one": np.ones((1, 1, 1, 1), np.float32)}
    source = network(tmp_path / "net.onnx", nodes, given, [1, 1, 64, 64])
    path, report = halved(source)
    seen = outputs(path, np.ones((1, 1, 64, 64), np.float32))["out"]
    assert report["float32"] == {"huge": "its constants leave the range of half precision"}
    assert seen == pytest.approx(1e6 * 2**-12, rel=BOUND)


def test_layers_whose_numbers_overflow_are_kept_and_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["x"], "first"),
        helper.make_node("Conv", ["x", "w"], ["large"], "second"),
        helper.make_node("Conv", ["large", "small"], ["y"], "third"),
        helper.make_node("Conv", ["y", "one"], ["out"], "fourth"),
    ]
    given = {**layer(1e3), "small": np.full((1, 1, 1, 1), 1e-5, np.float32), "one": np.ones((1, 1, 1, 1), np.float32)}
    path, report = halved(network(tmp_path / "net.onnx", nodes, given, [1, 1, 64, 64]))
    assert list(report["float32"]) == ["second", "third"]
    assert all("its numbers reach 1e+06" in reason for reason in report["float32"].values())
    assert outputs(path, np.ones((1, 1, 64, 64), np.float32))["out"] == pytest.approx(10.0, rel=BOUND)


def test_a_network_that_decides_while_it_runs_is_refused(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["same"])],
        "branch",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, [1, 1, 64, 64])],
    )
    nodes = [helper.make_node("If", ["yes"], ["out"], "choice", then_branch=branch, else_branch=branch)]
    source = network(tmp_path / "net.onnx", nodes, {"yes": np.array(True)}, [1, 1, 64, 64])
    with pytest.raises(BundleError, match=r"node 'choice' \(If\) decides while the network runs"):
        halved(source)


def test_8_bits_get_half_scales_and_keep_their_invariants(tmp_path: Path, calibration_folder: Path) -> None:
    networks.write("yolo", tmp_path / "net.onnx")
    quantize(tmp_path / "net.onnx", tmp_path / "q.onnx", SPEC, calibration_folder, "minmax", lambda done, text: None)
    path, _ = halved(tmp_path / "q.onnx")
    check_invariants(path)
    graph = onnx.load(path).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    scales = {types[node.input[1]] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    assert scales == {TensorProto.FLOAT16}
    pixels = np.random.default_rng(3).random((1, 1, 64, 64), np.float32)
    exact, half = outputs(tmp_path / "q.onnx", pixels)["output0"], outputs(path, pixels)["output0"]
    assert np.abs(half - exact).max() <= 4 * BOUND * np.abs(exact).max()  # a rounded value may fall to the next step


def test_a_scale_too_small_for_half_precision_stays_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"], "images_q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"], "images_dq"),
        helper.make_node("QuantizeLinear", ["w", "ws", "z"], ["wq"], "weight_q"),
        helper.make_node("DequantizeLinear", ["wq", "ws", "z"], ["wx"], "weight_dq"),
        helper.make_node("Conv", ["x", "wx"], ["y"], "conv"),
        helper.make_node("Mul", ["y", "million"], ["out"], "large"),
    ]
    given = {
        **layer(1e-5),
        "s": np.array(1 / 127, np.float32),
        "ws": np.array(1e-5 / 127, np.float32),
        "z": np.array(0, np.int8),
        "million": np.array(1e6, np.float32),
    }
    source = network(tmp_path / "net.onnx", nodes, given, [1, 1, 64, 64])
    path, report = halved(source)
    assert {"weight_q", "weight_dq"} <= set(report["float32"])
    assert not {"images_q", "images_dq"} & set(report["float32"])
    assert outputs(path, np.ones((1, 1, 64, 64), np.float32))["out"] == pytest.approx(10.0, rel=BOUND)


def test_nodes_without_names_are_told_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["out"]),
    ]
    _, report = halved(network(tmp_path / "net.onnx", nodes, layer(1.0), [1, 1, 64, 64]))
    assert list(report["float32"]) == ["Exp_1"]


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_verdicts_stay_what_they_were_in_half_precision(family: str, tmp_path: Path) -> None:
    bundle = load_bundle(networks.bundle(family, tmp_path / "bundle", golden=4))
    path, _ = halved(tmp_path / "bundle" / "model.onnx")
    proof = prove(bundle, OnnxRuntimeBackend(Config(warm_up_runs=1)), ModelFile(str(path), ""))
    assert proof.good + proof.bad == 8
    assert not proof.flips
