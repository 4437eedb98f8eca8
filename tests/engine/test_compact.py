from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import networks
import numpy as np
import onnx
import onnxruntime
import pytest

from edge_inspector import pipeline, plugins
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Detections, Frame, PreparePlan, Tensors
from edge_inspector.decoders.compact import OUTPUT
from edge_inspector.engine.bundle import Bundle, find_bundle, load_bundle, reading_of
from edge_inspector.engine.compact import COMPACTABLE, MOST_ROWS, add_top_rows
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile

BOARDS = Path(__file__).resolve().parents[3] / "shared" / "data" / "pcb" / "test"
FLOOR = 0.05


def outputs(path: Path, pictures: np.ndarray) -> Tensors:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return Tensors(dict(zip(names, session.run(names, {"images": pictures}), strict=True)))


def spotted(count: int, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(7)
    drawn = [networks.picture(rng, size, 1, spot)[0] for spot in (250, 6, None)[:count]]
    return np.stack([cv2.resize(one, (size, size))[None] for one in drawn]).astype(np.float32) / 255


def rows_of(found: Detections) -> list[list[float]]:
    """In an order of its own: equal scores may change places."""
    return sorted(np.column_stack([found.confidence, found.class_id, found.xyxy]).tolist())


@pytest.mark.parametrize("batch", [1, 3, "n"])
@pytest.mark.parametrize("family", COMPACTABLE)
def test_the_candidates_are_those_of_the_plain_network(family: str, batch: int | str, tmp_path: Path) -> None:
    plain, compact = tmp_path / "plain.onnx", tmp_path / "compact.onnx"
    networks.write(family, plain, batch=batch)
    add_top_rows(plain, compact, family, 3, rows=100)
    decoder = plugins.load("decoder", family)()
    for tiles in {1: [1], 3: [3], "n": [1, 3]}[batch]:
        whole, few = outputs(plain, spotted(tiles)), outputs(compact, spotted(tiles))
        assert {name: array.shape for name, array in few.by_name.items()} == {OUTPUT: (tiles, 100, 6)}
        for tile in range(tiles):
            expected = rows_of(decoder.decode(whole, tile, FLOOR, 3))
            assert rows_of(decoder.decode(few, tile, FLOOR, 3)) == expected
            assert len(expected) >= 3 or tile == 2  # the third picture is a good one


@pytest.mark.parametrize("family", COMPACTABLE)
def test_rows_are_the_best_pairs_in_order_and_what_is_left_is_zero(family: str, tmp_path: Path) -> None:
    networks.write(family, tmp_path / "plain.onnx")
    noise = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    raw = next(iter(outputs(tmp_path / "plain.onnx", noise).by_name.values()))[0]
    scores = raw[4:].T if family == "yolo" else raw[:, 5:] * raw[:, 4:5]
    best = np.sort(scores.ravel())[::-1]
    for rows in (40, best.size, best.size + 9):
        add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", family, 3, rows)
        given = outputs(tmp_path / "compact.onnx", noise).by_name[OUTPUT][0]
        assert given[: best.size, 4].tolist() == best[:rows].tolist()
        assert not given[best.size :].any()


def test_a_class_is_not_hidden_by_a_more_likely_one(tmp_path: Path) -> None:
    anchors = np.zeros((1, 6, 4), np.float32)
    anchors[0, :, 1] = [50, 40, 20, 10, 0.75, 0.5]
    anchors[0, :, 3] = [10, 10, 4, 4, 0.25, 0.0]
    save_constant(tmp_path / "plain.onnx", anchors)
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolo", 2, rows=4)
    given = outputs(tmp_path / "compact.onnx", np.zeros((1, 6, 4), np.float32)).by_name[OUTPUT][0]
    assert given[:3].tolist() == [[40, 35, 60, 45, 0.75, 0], [40, 35, 60, 45, 0.5, 1], [8, 8, 12, 12, 0.25, 0]]


def test_more_candidates_than_rows_are_a_doubt(tmp_path: Path) -> None:
    networks.write("yolo", tmp_path / "plain.onnx")
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolo", 3, rows=5)
    with pytest.raises(InferenceError, match="all 5 rows"):
        plugins.load("decoder", "yolo")().decode(outputs(tmp_path / "compact.onnx", spotted(1)), 0, FLOOR, 3)


@pytest.mark.parametrize(("opset", "right"), [(11, True), (13, True), (18, True), (21, True), (10, False)])
def test_opsets_from_11_on_can_have_the_head(opset: int, right: bool, tmp_path: Path) -> None:
    anchors = np.zeros((1, 6, 9), np.float32)
    anchors[0, :, 4] = [50, 40, 20, 10, 0.75, 0.5]
    save_constant(tmp_path / "plain.onnx", anchors, opset)
    if not right:
        with pytest.raises(BundleError, match=r"opset 10, expected 11"):
            add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolo", 2)
        return
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolo", 2)
    given = outputs(tmp_path / "compact.onnx", np.zeros((1, 6, 9), np.float32)).by_name[OUTPUT][0]
    assert given[:2].tolist() == [[40, 35, 60, 45, 0.75, 0], [40, 35, 60, 45, 0.5, 1]]


def test_an_export_that_leaves_every_size_open_can_have_the_head(tmp_path: Path) -> None:
    anchors = np.zeros((1, 6, 9), np.float32)
    anchors[0, :, 4] = [50, 40, 20, 10, 0.75, 0.5]
    save_constant(tmp_path / "plain.onnx", anchors, open_sizes=True)
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolo", 2, rows=9)
    given = outputs(tmp_path / "compact.onnx", np.zeros((1, 6, 9), np.float32)).by_name[OUTPUT][0]
    assert given[:2, 4].tolist() == [0.75, 0.5]


def test_an_export_in_half_precision_can_have_the_head(tmp_path: Path) -> None:
    anchors = np.zeros((1, 6, 9), np.float16)
    anchors[0, :, 4] = [50, 40, 20, 10, 0.75, 0.5]
    save_constant(tmp_path / "plain.onnx", anchors)
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolo", 2, rows=5)
    given = outputs(tmp_path / "compact.onnx", np.zeros((1, 6, 9), np.float16)).by_name[OUTPUT]
    assert given.dtype == np.float32
    assert given[0, :2].tolist() == [[40, 35, 60, 45, 0.75, 0], [40, 35, 60, 45, 0.5, 1]]


def test_of_several_outputs_the_one_that_the_bundle_names_is_read(tmp_path: Path) -> None:
    networks.write("yolov5", tmp_path / "plain.onnx")
    model = onnx.load(tmp_path / "plain.onnx")
    (boxes,) = model.graph.output
    raw = onnx.helper.make_tensor_value_info(model.graph.node[0].output[0], onnx.TensorProto.FLOAT, None)
    del model.graph.output[:]
    model.graph.output.extend([raw, boxes])
    onnx.save(model, tmp_path / "both.onnx")
    with pytest.raises(BundleError, match=r"2 outputs .*decoder_options\.output"):
        add_top_rows(tmp_path / "both.onnx", tmp_path / "compact.onnx", "yolov5", 3)
    add_top_rows(tmp_path / "both.onnx", tmp_path / "compact.onnx", "yolov5", 3, 100, {"output": boxes.name})
    few = outputs(tmp_path / "compact.onnx", spotted(1))
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolov5", 3, 100)
    assert few.by_name[OUTPUT].tolist() == outputs(tmp_path / "compact.onnx", spotted(1)).by_name[OUTPUT].tolist()
    with pytest.raises(BundleError, match="objectness_only"):
        add_top_rows(tmp_path / "plain.onnx", tmp_path / "x.onnx", "yolov5", 1, 100, {"objectness_only": True})


@pytest.mark.parametrize("family", COMPACTABLE)
def test_nvidias_parser_and_builder_take_the_head(family: str, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="NVIDIA's builder is not installed: see requirements/nvidia.in")
    networks.write(family, tmp_path / "plain.onnx")
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", family, 3)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(tmp_path / "compact.onnx")), parser.get_error(0)
    assert (network.num_outputs, network.get_output(0).name) == (1, OUTPUT)
    assert tuple(network.get_output(0).shape)[1:] == (300, 6)
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape("images", (1, 1, 64, 64), (1, 1, 64, 64), (4, 1, 64, 64))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config).nbytes > 10_000


@pytest.mark.parametrize(
    ("family", "classes", "rows", "error", "said"),
    [
        ("end2end", 3, 300, BundleError, "'end2end' cannot be made smaller, expected one of yolo, yolov5"),
        ("yolo", 5, 300, BundleError, r"plain\.onnx: decoder yolo: .*\(1, 7, 84\).*5 classes"),
        ("yolov5", 3, 300, BundleError, r"decoder yolov5: .*decoder yolo reads it"),
        ("yolo", 3, 0, ConfigError, f"compact_rows = 0, expected 1..{MOST_ROWS}"),
        ("yolo", 3, MOST_ROWS + 1, ConfigError, f"compact_rows = {MOST_ROWS + 1}"),
    ],
)
def test_what_cannot_be_is_said(family: str, classes: int, rows: int, error, said: str, tmp_path: Path) -> None:
    networks.write("yolo", tmp_path / "plain.onnx")
    with pytest.raises(error, match=said):
        add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", family, classes, rows)
    assert not (tmp_path / "compact.onnx").exists()


def test_a_head_is_added_once(tmp_path: Path) -> None:
    networks.write("yolo", tmp_path / "plain.onnx")
    add_top_rows(tmp_path / "plain.onnx", tmp_path / "compact.onnx", "yolo", 3)
    with pytest.raises(BundleError, match=f"{OUTPUT} already"):
        add_top_rows(tmp_path / "compact.onnx", tmp_path / "twice.onnx", "yolo", 3)


def test_on_the_golden_boards_all_findings_are_the_same(tmp_path: Path) -> None:
    bundle = load_bundle(find_bundle(Path("pcb-demo"), tmp_path))
    assert bundle.golden is not None
    assert compared(bundle, sorted(bundle.golden.images.glob("*.png"))[::4], tmp_path) > 10


@pytest.mark.realdata
@pytest.mark.skipif(not BOARDS.is_dir(), reason=f"{BOARDS} is not there")
def test_on_real_boards_all_findings_are_the_same(tmp_path: Path) -> None:
    bundle = load_bundle(find_bundle(Path("pcb-demo"), tmp_path))
    pictures = sorted(path for path in BOARDS.rglob("*") if path.suffix in (".jpg", ".png"))
    assert compared(bundle, pictures[:: max(1, len(pictures) // 24)], tmp_path) > 100


def compared(bundle: Bundle, pictures: Iterable[Path], folder: Path) -> int:
    """How many findings the plain and the compact network have in common on all pictures; they have no others."""
    add_top_rows(bundle.folder / "model.onnx", folder / "compact.onnx", bundle.decoder, len(bundle.classes))
    backend, plan, reading = OnnxRuntimeBackend(Config(warm_up_runs=1)), PreparePlan(bundle.spec), reading_of(bundle)
    plain = backend.load(bundle.model_file(), plan, 1)
    compact = backend.load(ModelFile(str(folder / "compact.onnx"), ""), plan, 1)
    common = 0
    for path in pictures:
        batch = pipeline.prepare(Frame("top", 1, 0, 0, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), "Mono8"), plan)
        seen = [pipeline.finish(model.collect(model.submit(batch, 0), 1), batch, reading) for model in (plain, compact)]
        assert rows_of(seen[0]) == rows_of(seen[1]), path.name
        common += len(seen[0])
    return common


def save_constant(path: Path, anchors: np.ndarray, opset: int = 17, open_sizes: bool = False) -> None:
    """A network with the output `anchors`, plus its input "images" of the same shape."""
    shape = ["n", "rows", "anchors"] if open_sizes else list(anchors.shape)
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(anchors.dtype)
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "anchors"], ["output0"])],
        "constant",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("output0", kind, shape)],
        [onnx.numpy_helper.from_array(anchors, "anchors")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
