from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import networks
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import InputSpec
from edge_inspector.engine.bundle import find_bundle, load_bundle
from edge_inspector.engine.calibration_set import pictures, read_frame
from edge_inspector.engine.heads import LAYERS, constants_of, head_of
from edge_inspector.engine.invariants import check_invariants
from edge_inspector.engine.quantize import Method, quantize
from edge_inspector.engine.quantized_bundle import write_quantized
from edge_inspector.engine.verify import prove
from edge_inspector.errors import BundleError, ConfigError

SPEC = InputSpec(64, 64, "gray", 1 / 255, (0.0,), (1.0,), 128)


def quantized(source: Path, folder: Path, method: Method = "minmax", spec: InputSpec = SPEC) -> tuple[Path, Any]:
    target = source.with_name(f"{source.stem}-{method}-{folder.name}.onnx")
    return target, quantize(source, target, spec, folder, method, lambda done, text: None)


@pytest.fixture(scope="module")
def good_file(tmp_path_factory: pytest.TempPathFactory, calibration_folder: Path) -> Path:
    source = tmp_path_factory.mktemp("good") / "yolo.onnx"
    networks.write("yolo", source)
    return quantized(source, calibration_folder)[0]


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_family_keeps_its_last_layers_and_its_decoding_in_float(
    family: str, tmp_path: Path, calibration_folder: Path
) -> None:
    networks.write(family, tmp_path / "net.onnx")
    path, report = quantized(tmp_path / "net.onnx", calibration_folder)
    check_invariants(path)
    graph = onnx.load(path).graph
    head = head_of(graph)
    scaled = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    in_float = {node.name for node in graph.node if not scaled & set(node.input)}
    assert head.last
    assert {*head.last, *head.tail} <= in_float
    assert set(head.last) <= set(report["float"])
    layers = {node.name for node in graph.node if node.op_type in LAYERS and node.name not in in_float}
    assert layers
    assert layers <= set(report["int8"])


def test_the_sum_of_box_bins_is_found_by_its_weights(tmp_path: Path) -> None:
    networks.write("yolo", tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    constants = constants_of(graph)
    (name,) = head_of(graph).dfl
    (node,) = (node for node in graph.node if node.name == name)
    assert constants[node.input[1]].ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_verdicts_stay_what_they_were(family: str, tmp_path: Path, calibration_folder: Path) -> None:
    bundle = load_bundle(networks.bundle(family, tmp_path / "bundle", golden=4))
    write_quantized(bundle, tmp_path / "int8", calibration_folder, "minmax", lambda done, text: None)
    made = load_bundle(tmp_path / "int8")
    proof = prove(made, OnnxRuntimeBackend(Config(warm_up_runs=1)), made.model_file(), against=bundle)
    assert not proof.flips


def test_the_shipped_bundle_judges_golden_pictures_as_before(tmp_path: Path) -> None:
    bundle = load_bundle(find_bundle(Path("pcb-demo"), Path.cwd()))
    assert bundle.golden is not None
    golden = [path for kind in ("good", "bad") for path in sorted(bundle.golden.images.glob(f"{kind}_*.png"))]
    used, held_out = tmp_path / "used", tmp_path / "held_out"
    for folder, chosen in ((used, golden[:10] + golden[-10:]), (held_out, golden[20:26])):
        folder.mkdir()
        for path in chosen:
            shutil.copy(path, folder)
    write_quantized(bundle, tmp_path / "int8", used, "minmax", lambda done, text: None)
    made = load_bundle(tmp_path / "int8")
    proof = prove(made, OnnxRuntimeBackend(Config(warm_up_runs=1)), made.model_file(), images=held_out, against=bundle)
    assert (proof.good + proof.bad, len(proof.flips)) == (6, 0)


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_the_same_pictures_under_other_names_give_the_same_file(
    method: Method, tmp_path: Path, calibration_folder: Path
) -> None:
    networks.write("classifier", tmp_path / "net.onnx")
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(sorted(calibration_folder.iterdir(), reverse=True)):
        shutil.copy(path, renamed / f"{number}.png")
    first, _ = quantized(tmp_path / "net.onnx", calibration_folder, method)
    second, _ = quantized(tmp_path / "net.onnx", renamed, method)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("extra", [0, 1, 4])  # onnxruntime's other bounds on memory forget all but the last pictures
def test_every_picture_counts(extra: int, tmp_path: Path) -> None:
    networks.write("classifier", tmp_path / "net.onnx")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20 + extra):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((64, 64), 100 + number, np.uint8))
    path, _ = quantized(tmp_path / "net.onnx", folder)
    graph = onnx.load(path).graph
    (scale,) = (constants_of(graph)[node.input[1]] for node in graph.node if node.input[0] == "images")
    assert scale == pytest.approx((119 + extra) / 255 / 127, rel=1e-5)


def test_blank_pictures_do_not_blow_up_the_histograms(tmp_path: Path) -> None:
    networks.write("classifier", tmp_path / "net.onnx")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(19):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((64, 64), number % 2, np.uint8))
    cv2.imwrite(str(folder / "one.png"), np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    assert quantized(tmp_path / "net.onnx", folder, "entropy")[1]["pictures"] == 20


def test_a_fixed_batch_is_filled_up(tmp_path: Path, calibration_folder: Path) -> None:
    networks.write("classifier", tmp_path / "net.onnx", batch=3)
    assert quantized(tmp_path / "net.onnx", calibration_folder)[1]["pictures"] == 20


def test_few_pictures_are_a_warning_and_too_few_an_error(tmp_path: Path, calibration_folder: Path) -> None:
    networks.write("classifier", tmp_path / "net.onnx")
    folder = tmp_path / "few"
    folder.mkdir()
    for path in pictures(calibration_folder)[:19]:
        shutil.copy(path, folder)
    (warning,) = quantized(tmp_path / "net.onnx", calibration_folder)[1]["warnings"]
    assert "20 pictures only" in warning
    with pytest.raises(ConfigError, match=r"holds 19 pictures, expected at least 20 .* 100 or more"):
        quantized(tmp_path / "net.onnx", folder)


def test_a_quantised_network_is_not_quantised_again(good_file: Path, calibration_folder: Path) -> None:
    with pytest.raises(BundleError, match=r"quantised already: node .* is a QuantizeLinear"):
        quantized(good_file, calibration_folder)


def test_dynamic_8_bits_are_refused_with_the_way_out(tmp_path: Path, calibration_folder: Path) -> None:
    networks.write("classifier", tmp_path / "net.onnx")
    dynamic = tmp_path / "dynamic.onnx"
    quantize_dynamic(tmp_path / "net.onnx", dynamic, weight_type=QuantType.QUInt8)
    for refused in (lambda: quantized(dynamic, calibration_folder), lambda: check_invariants(dynamic)):
        with pytest.raises(BundleError, match=r"DynamicQuantizeLinear.* TensorRT cannot; export it in float32"):
            refused()


def test_what_is_no_network_is_refused(tmp_path: Path, calibration_folder: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\xff" * 99)
    with pytest.raises(BundleError, match="is not an ONNX file"):
        quantized(tmp_path / "net.onnx", calibration_folder)


def shifted_zero_point(graph: Any) -> None:
    replaced(graph, next(node for node in graph.node if node.input[0] == "images").input[2], np.array(3, np.int8))


def unsigned(graph: Any) -> None:
    node = next(node for node in graph.node if node.input[0] == "images")
    replaced(graph, node.input[2], np.array(0, np.uint8))


def no_zero_point(graph: Any) -> None:
    del next(node for node in graph.node if node.op_type == "DequantizeLinear").input[2]


def scale_of_zero(graph: Any) -> None:
    node = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    replaced(graph, node.input[1], np.zeros_like(constants_of(graph)[node.input[1]]))


def quantized_bias(graph: Any) -> None:
    layer = next(node for node in graph.node if node.op_type == "Conv" and len(node.input) == 3)
    bias = constants_of(graph)[layer.input[2]]
    for name, value in (("b8", np.ones(len(bias), np.int32)), ("b8_scale", np.array(0.1, np.float32))):
        graph.initializer.append(numpy_helper.from_array(value, name))
    graph.node.insert(0, helper.make_node("DequantizeLinear", ["b8", "b8_scale"], ["b8_float"], "b8_back"))
    layer.input[2] = "b8_float"


def quantized_output(graph: Any) -> None:
    layer = next(node for node in graph.node if node.op_type == "Conv")
    index = list(graph.node).index(layer)
    name, layer.output[0] = layer.output[0], "before"
    scale = next(node for node in graph.node if node.input[0] == "images").input[1:3]
    graph.node.insert(index + 1, helper.make_node("QuantizeLinear", ["before", *scale], ["q8"], "q_out"))
    graph.node.insert(index + 2, helper.make_node("DequantizeLinear", ["q8", *scale], [name], "dq_out"))


def scales_inside(graph: Any) -> None:
    next(node for node in graph.node if node.op_type == "Conv").op_type = "QLinearConv"


def replaced(graph: Any, name: str, value: np.ndarray) -> None:
    (tensor,) = (tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (shifted_zero_point, "has the zero-point 3, expected 0"),
        (unsigned, "is uint8, expected int8"),
        (no_zero_point, "has no constant zero-point, which means uint8"),
        (scale_of_zero, "has a scale of 0.0, expected numbers above 0"),
        (quantized_bias, "the bias of node .*Conv.* is quantised, expected float"),
        (quantized_output, "the output of node .*Conv.* is quantised by 'q_out', expected float"),
        (scales_inside, "node .* is a QLinearConv, expected QuantizeLinear and DequantizeLinear"),
    ],
)
def test_a_broken_invariant_is_told_with_its_node(
    break_it: Callable[[Any], None], expected: str, good_file: Path, tmp_path: Path
) -> None:
    check_invariants(good_file)
    model = onnx.load(good_file)
    break_it(model.graph)
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(BundleError, match=f"broken.onnx: .*{expected}") as told:
        check_invariants(tmp_path / "broken.onnx")
    assert any(repr(node.name) in str(told.value) for node in model.graph.node)


def test_a_layer_may_hand_8_bits_to_the_next_layer_alone(tmp_path: Path, calibration_folder: Path) -> None:
    """Two layers with nothing between, as in a linear bottleneck, whose sum with the input is then left in float."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(4, 4, 3, 3)).astype(np.float32) for name in "abcd"}
    weights["a"] = weights["a"][:, :1]
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["images", "a"], ["x"], **same),
        helper.make_node("Conv", ["x", "b"], ["y"], **same),
        helper.make_node("Add", ["x", "y"], ["z"]),
        helper.make_node("Conv", ["z", "c"], ["u"], **same),
        helper.make_node("Relu", ["u"], ["v"]),
        helper.make_node("Conv", ["v", "d"], ["out"], **same),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 64, 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 64, 64])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "net.onnx")
    _, report = quantized(tmp_path / "net.onnx", calibration_folder)
    assert len(report["int8"]) == 3
    assert ["directly" in reason for reason in report["float"].values()] == [True, False]


def test_pictures_are_prepared_as_the_station_does(tmp_path: Path) -> None:
    """A colour picture for a gray network with a mean: the input's scale shows what it was given."""
    networks.write("classifier", tmp_path / "net.onnx")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((50, 100, 3), (number, 200, 30), np.uint8))
    spec = InputSpec(64, 64, "gray", 1 / 255, (0.1,), (0.25,), 0)
    path, _ = quantized(tmp_path / "net.onnx", folder, spec=spec)
    gray = max(int(cv2.cvtColor(read_frame(p).pixels, cv2.COLOR_BGR2GRAY)[0, 0]) for p in folder.iterdir())
    graph = onnx.load(path).graph
    (scale,) = (constants_of(graph)[node.input[1]] for node in graph.node if node.input[0] == "images")
    assert scale == pytest.approx((gray / 255 - 0.1) / 0.25 / 127, rel=0.01)
