from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import networks
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Detections, Precision, PreparePlan
from edge_inspector.decoders.compact import OUTPUT
from edge_inspector.engine.bundle import Bundle, load_bundle, reading_of
from edge_inspector.engine.calibration_set import pictures, read_frame
from edge_inspector.engine.compact import COMPACTABLE
from edge_inspector.engine.invariants import check_invariants
from edge_inspector.engine.quantized_bundle import write_quantized
from edge_inspector.engine.typed import write_typed
from edge_inspector.errors import BundleError, ConfigError
from edge_inspector.interfaces import EngineOptions, ModelFile
from edge_inspector.pipeline import finish, prepare

BOUNDS: dict[Precision, float] = {"fp32": 1e-6, "fp16": 0.004, "int8": 0.05}
"""How far the confidence of the best detection may move."""
PRECISIONS = tuple(BOUNDS)


def little(family: str, folder: Path) -> Bundle:
    return load_bundle(networks.bundle(family, folder / f"{family}-bundle"))


def typed(bundle: Bundle, folder: Path, precision: Precision, calibration: Path | str = "", rows: int = 0) -> Any:
    target = folder / f"{bundle.decoder}-{precision}-{rows}.onnx"
    options = EngineOptions(precision, rows, str(calibration))
    return target, write_typed(bundle, options, target, lambda done, text: None)


def seen(bundle: Bundle, network: Path, picture: Path) -> Detections:
    plan = PreparePlan(bundle.spec)
    model = OnnxRuntimeBackend(Config(warm_up_runs=1)).load(ModelFile(str(network), ""), plan, 1)
    batch = prepare(read_frame(picture), plan)
    found = finish(model.collect(model.submit(batch, 0), 10.0), batch, reading_of(bundle))
    model.close()
    assert isinstance(found, Detections)
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", networks.FAMILIES)
def test_nvidias_builder_takes_every_family_in_every_precision(
    family: str, precision: Precision, tmp_path: Path, calibration_folder: Path
) -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: it has wheels for some Pythons only")
    import tensorrt_rtx as trt

    path, _ = typed(little(family, tmp_path), tmp_path, precision, calibration_folder)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(path.read_bytes()), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    (given,) = (network.get_input(i) for i in range(network.num_inputs))
    profile.set_shape(given.name, *[(1, *tuple(given.shape)[1:])] * 3)
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", COMPACTABLE)
def test_fewer_candidates_and_less_precision_find_the_same_defects(
    family: str, precision: Precision, tmp_path: Path, calibration_folder: Path
) -> None:
    bundle = little(family, tmp_path)
    path, _ = typed(bundle, tmp_path, precision, calibration_folder, rows=100)
    assert [output.name for output in onnx.load(path).graph.output] == [OUTPUT]
    found_by_class = 0
    for picture in pictures(calibration_folder)[:6]:
        plain, ours = seen(bundle, bundle.folder / "model.onnx", picture), seen(bundle, path, picture)
        for class_id in range(2):  # bright and dark
            best, ours_best = (
                found.confidence[found.class_id == class_id].max(initial=0.05) for found in (plain, ours)
            )
            assert ours_best == pytest.approx(best, abs=BOUNDS[precision])
            found_by_class += best > 0.5
    assert found_by_class


def test_float32_with_all_candidates_is_a_copy(tmp_path: Path) -> None:
    bundle = little("yolo", tmp_path)
    path, report = typed(bundle, tmp_path, "fp32")
    assert path.read_bytes() == (bundle.folder / "model.onnx").read_bytes()
    assert report == {"precision": "fp32", "compact_rows": 0}


def test_8_bits_of_a_bundle_that_has_them_are_kept(tmp_path: Path, calibration_folder: Path) -> None:
    bundle = little("yolo", tmp_path)
    write_quantized(bundle, tmp_path / "int8", calibration_folder, "minmax", lambda done, text: None)
    made = load_bundle(tmp_path / "int8")
    path, report = typed(made, tmp_path, "int8")
    check_invariants(path)
    scales = [
        sum(node.op_type == "QuantizeLinear" for node in onnx.load(file).graph.node)
        for file in (made.folder / "model.onnx", path)
    ]
    assert report["quantized"] == {"kept": "the bundle holds its 8-bit scales"}
    assert scales[0] == scales[1] > 10


def test_8_bits_need_pictures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int8 needs pictures to scale it by; set calibration "):
        typed(little("yolo", tmp_path), tmp_path, "int8")


def test_dynamic_8_bits_are_refused(tmp_path: Path) -> None:
    bundle = little("classifier", tmp_path)
    network = bundle.folder / "model.onnx"
    quantize_dynamic(network, network, weight_type=QuantType.QUInt8)
    with pytest.raises(BundleError, match="is a DynamicQuantizeLinear"):
        typed(bundle, tmp_path, "int8")


def test_an_input_that_is_not_the_bundles_is_told(tmp_path: Path) -> None:
    bundle = little("classifier", tmp_path)
    networks.write("classifier", bundle.folder / "model.onnx", channels=3)
    with pytest.raises(BundleError, match=r"cannot be run by ONNX Runtime with model.toml's \[input\]"):
        typed(bundle, tmp_path, "fp16")


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    bundle = little("yolo", tmp_path)
    target = tmp_path / "out" / "net.onnx"
    with pytest.raises(ConfigError):
        write_typed(bundle, EngineOptions("int8", 100), target, lambda done, text: None)
    assert list(target.parent.iterdir()) == []


def test_progress_rises_from_nothing_to_one(tmp_path: Path, calibration_folder: Path) -> None:
    told: list[tuple[float, str]] = []
    options = EngineOptions("int8", 100, str(calibration_folder))
    write_typed(little("yolo", tmp_path), options, tmp_path / "net.onnx", lambda done, text: told.append((done, text)))
    shares = [done for done, _ in told]
    assert (shares, shares[0], shares[-1]) == (sorted(shares), 0.0, 1.0)
    assert sum("calibration picture" in text for _, text in told) == len(pictures(calibration_folder))
