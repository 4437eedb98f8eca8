from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_inspector.datatypes import InputSpec, Limits
from edge_inspector.engine.bundle import load_bundle, reading_of
from edge_inspector.engine.importer import import_model
from edge_inspector.errors import BundleError, ConfigError

ULTRALYTICS = {
    "description": "Ultralytics YOLO11n model trained on boards.yaml",
    "author": "Ultralytics",
    "date": "2026-10-02T09:00:00.000000",
    "version": "8.4.190",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "stride": "32",
    "task": "detect",
    "head": "Detect",
    "batch": "1",
    "imgsz": "[64, 64]",
    "names": "{0: 'open', 1: 'pin hole', 2: 'spur'}",
    "args": "{'batch': 1, 'nms': False}",
    "channels": "3",
    "end2end": "False",
}
PLAIN = {"color": "rgb", "scaling": "0-1", "licence": "proprietary", "classes": "a, b, c"}


def export(
    family: str, path: Path, metadata: Mapping[str, str] | None = None, *, classes: int = 3, channels: int = 3
) -> Path:
    networks.write(family, path, classes=classes, channels=channels)
    return with_metadata(path, metadata or {})


def with_metadata(path: Path, metadata: Mapping[str, str]) -> Path:
    model = onnx.load(path)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return path


def little(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    outputs: Mapping[str, Sequence[int | str]],
    given: Sequence[int | str] = ("n", 3, 8, 8),
    kind: int = TensorProto.FLOAT,
    weights: Sequence[onnx.TensorProto] = (),
    out_kind: int = TensorProto.FLOAT,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "little",
        [helper.make_tensor_value_info("input", kind, list(given))],
        [helper.make_tensor_value_info(name, out_kind, list(shape)) for name, shape in outputs.items()],
        list(weights),
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def mean_of(given: str, output: str) -> list[onnx.NodeProto]:
    return [helper.make_node("ReduceMean", [given], [output], axes=[1], keepdims=1)]


def test_an_ultralytics_detector_needs_no_answer(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "best.onnx", ULTRALYTICS)
    made = import_model(source, tmp_path / "board-7", {}, None)
    bundle = load_bundle(made.folder)
    assert (bundle.name, bundle.version, bundle.task, bundle.decoder) == ("board-7", "2026-10-02", "detect", "yolo")
    assert bundle.classes == ("open", "pin hole", "spur")
    assert bundle.spec == InputSpec(64, 64, "rgb", 1 / 255, (0.0,) * 3, (1.0,) * 3, 114)
    assert bundle.default_thresholds == (0.25, 0.25, 0.25)
    assert (bundle.score_floor, bundle.nms_iou) == (0.05, 0.7)
    assert bundle.licence == ULTRALYTICS["license"]
    assert (made.folder / "model.onnx").read_bytes() == source.read_bytes()
    assert made.exporter == "Ultralytics 8.4.190"
    assert "classes: open, pin hole, spur (the file's metadata: names)" in made.sources
    assert any("AGPL" in note for note in made.notes)


def test_the_model_toml_says_where_its_values_are_from(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "best.onnx", ULTRALYTICS)
    import_model(source, tmp_path / "b", {"threshold": "0.4"}, None)
    text = (tmp_path / "b" / "model.toml").read_text()
    assert "# Imported from Ultralytics 8.4.190." in text
    assert "#   pad: 114 (Ultralytics' convention)" in text
    assert "#   threshold: 0.4 (--threshold)" in text
    assert "a starting point, tune it on pictures of your parts" in text


@pytest.mark.parametrize(
    ("family", "changes", "decoder", "task", "options"),
    [
        ("end2end", {"end2end": "True"}, "end2end", "detect", {}),
        ("end2end", {"args": "{'nms': True}"}, "end2end", "detect", {}),
        ("yolo_seg", {"task": "segment"}, "yolo_seg", "segment", {"rows": "anchors"}),
        (
            "segmentation",
            {"task": "semantic"},
            "segmentation",
            "segment",
            {"activation": "softmax", "background": -1, "map_stride": 1},
        ),
    ],
)
def test_what_ultralytics_says_names_the_decoder(
    tmp_path: Path, family: str, changes: dict[str, str], decoder: str, task: str, options: dict[str, Any]
) -> None:
    source = export(family, tmp_path / "m.onnx", {**ULTRALYTICS, **changes})
    bundle = load_bundle(import_model(source, tmp_path / "b", {}, None).folder)
    assert (bundle.decoder, bundle.task, bundle.decoder_options) == (decoder, task, options)


@pytest.mark.parametrize(("columns", "layout"), [(6, "chosen"), (7, "joined")])
def test_ultralytics_rtdetr_has_one_output_of_its_own_layout(tmp_path: Path, columns: int, layout: str) -> None:
    nodes = [
        helper.make_node("Mul", ["input", "none"], ["zeros"]),
        helper.make_node("Reshape", ["zeros", "rows"], ["output0"]),
    ]
    weights = [
        numpy_helper.from_array(np.zeros(1, np.float32), "none"),
        numpy_helper.from_array(np.array([0, -1, columns], np.int64), "rows"),
    ]
    outputs = {"output0": ("n", 3 * 8 * 14 // columns, columns)}
    source = with_metadata(
        little(tmp_path / "m.onnx", nodes, outputs, given=("n", 3, 8, 14), weights=weights),
        {**ULTRALYTICS, "head": "RTDETRDecoder"},
    )
    bundle = load_bundle(import_model(source, tmp_path / "b", {}, None).folder)
    assert bundle.decoder == "rtdetr"
    assert bundle.decoder_options == {"layout": layout, "score_kind": "probabilities", "input_px": [14, 8]}


def test_an_ultralytics_classifier_asks_which_classes_are_good(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["output0"], axis=1),
    ]
    source = with_metadata(
        little(tmp_path / "m.onnx", nodes, {"output0": ("n", 3)}), {**ULTRALYTICS, "task": "classify"}
    )
    with pytest.raises(ConfigError, match="--good is missing"):
        import_model(source, tmp_path / "b", {}, None)
    made = import_model(source, tmp_path / "b", {"good": "open, spur"}, None)
    bundle = load_bundle(made.folder)
    assert bundle.criteria.good == {0, 2}
    assert bundle.decoder_options == {"activation": "none"}
    assert any("roi" in note for note in made.notes)


def test_a_task_that_cannot_be_inspected_with_is_refused(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "m.onnx", {**ULTRALYTICS, "task": "pose"})
    with pytest.raises(ConfigError, match="task 'pose'"):
        import_model(source, tmp_path / "b", {}, None)


def test_a_yolov5_export_is_known_by_names_and_stride(tmp_path: Path) -> None:
    source = export("yolov5", tmp_path / "m.onnx", {"stride": "32", "names": "['a', 'b', 'c']"})
    bundle = load_bundle(import_model(source, tmp_path / "b", {"licence": "AGPL-3.0"}, None).folder)
    assert (bundle.decoder, bundle.classes, bundle.spec.color) == ("yolov5", ("a", "b", "c"), "rgb")


def test_an_anomalib_2_model_is_known_by_its_outputs(tmp_path: Path) -> None:
    source = export("anomaly", tmp_path / "m.onnx", classes=1)
    bundle = load_bundle(import_model(source, tmp_path / "b", {"licence": "Apache-2.0"}, None).folder)
    assert (bundle.decoder, bundle.task, bundle.classes) == ("anomaly", "anomaly", ("anomaly",))
    assert bundle.default_thresholds == (0.5,)
    assert bundle.decoder_options == {
        "score_output": "pred_score",
        "map_output": "anomaly_map",
        "map_stride": 1.0,
    }


def test_anomalib_2s_labels_and_masks_do_no_harm(tmp_path: Path) -> None:
    """The outputs of its InferenceBatch: a score, a label (bool), a map and a mask (bool)."""
    nodes = [
        *mean_of("input", "anomaly_map"),
        helper.make_node("ReduceMax", ["anomaly_map"], ["pred_score"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Greater", ["pred_score", "half"], ["pred_label"]),
        helper.make_node("Greater", ["anomaly_map", "half"], ["pred_mask"]),
    ]
    shapes = {"pred_score": ("n",), "pred_label": ("n",), "anomaly_map": ("n", 1, 8, 8), "pred_mask": ("n", 1, 8, 8)}
    model = onnx.load(little(tmp_path / "m.onnx", nodes, shapes))
    for output in model.graph.output:
        if output.name in ("pred_label", "pred_mask"):
            output.type.tensor_type.elem_type = TensorProto.BOOL
    onnx.save(model, tmp_path / "m.onnx")
    made = import_model(tmp_path / "m.onnx", tmp_path / "b", {"licence": "Apache-2.0"}, None)
    assert made.exporter == "anomalib 2"
    assert load_bundle(made.folder).decoder_options["map_output"] == "anomaly_map"


ANOMALIB_1 = {
    "task": "segmentation",
    "image_threshold": 31.25,
    "pixel_threshold": 30.5,
    "pred_scores.min": 20.0,
    "pred_scores.max": 50.0,
    "anomaly_maps.min": 0.5,
    "anomaly_maps.max": 50.0,
}


def coarse_map(path: Path) -> Path:
    """A map of half the input's size, as anomalib 1 gives it: one output of raw values."""
    pool = helper.make_node("MaxPool", ["input"], ["small"], kernel_shape=[2, 2], strides=[2, 2])
    return little(path, [pool, *mean_of("small", "output")], {"output": ("n", 1, 4, 4)})


def test_an_anomalib_1_model_has_its_thresholds_in_metadata_json(tmp_path: Path) -> None:
    source = coarse_map(tmp_path / "model.onnx")
    (tmp_path / "metadata.json").write_text(json.dumps(ANOMALIB_1))
    made = import_model(source, tmp_path / "b", {"licence": "Apache-2.0"}, None)
    assert made.exporter == "anomalib 1"
    assert load_bundle(made.folder).decoder_options == {
        "score_output": "",
        "map_output": "output",
        "image": {"threshold": 31.25, "min": 20.0, "max": 50.0},
        "pixel": {"threshold": 30.5, "min": 0.5, "max": 50.0},
        "map_stride": 2.0,
    }


def test_metadata_without_a_normalisation_say_what_to_do(tmp_path: Path) -> None:
    source = coarse_map(tmp_path / "model.onnx")
    told = {key: value for key, value in ANOMALIB_1.items() if not key.startswith("anomaly_maps")}
    (tmp_path / "metadata.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"lacks anomaly_maps\.min, anomaly_maps\.max.*min_max"):
        import_model(source, tmp_path / "b", {}, None)


def test_a_map_of_other_proportions_than_the_input_is_refused(tmp_path: Path) -> None:
    cut = helper.make_node("MaxPool", ["input"], ["small"], kernel_shape=[2, 1], strides=[2, 1])
    source = little(tmp_path / "m.onnx", [cut, *mean_of("small", "anomaly_map")], {"anomaly_map": ("n", 1, 4, 8)})
    with pytest.raises(BundleError, match="same proportions"):
        import_model(source, tmp_path / "b", {"licence": "x"}, None)


def test_an_unknown_exporter_is_asked_about_only_what_the_file_does_not_say(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "m.onnx")
    asked: list[str] = []
    given = {**PLAIN, "decoder": "yolo"}

    def answer(option: str, question: str, choices: Sequence[str], problem: str) -> str:
        asked.append(option)
        assert question
        assert not problem
        assert not choices or given[option] in choices
        return given[option]

    bundle = load_bundle(import_model(source, tmp_path / "b", {}, answer).folder)
    assert sorted(asked) == ["classes", "color", "decoder", "licence", "scaling"]
    assert bundle.classes == ("a", "b", "c")


@pytest.mark.parametrize("option", ["classes", "color", "decoder", "licence", "scaling"])
def test_a_question_that_nobody_answers_names_its_option(tmp_path: Path, option: str) -> None:
    source = export("yolo", tmp_path / "m.onnx")
    wishes = {name: text for name, text in {**PLAIN, "decoder": "yolo"}.items() if name != option}
    with pytest.raises(ConfigError, match=f"--{option} is missing"):
        import_model(source, tmp_path / "b", wishes, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx"]


@pytest.mark.parametrize(
    ("family", "wishes", "options"),
    [
        ("rtdetr", {}, {"input_px": [64, 64]}),
        ("yolox", {}, {"input_px": [64, 64]}),
        ("classifier", {"good": "a"}, {"activation": "softmax"}),
        (
            "segmentation",
            {"classes": "b, c", "background": "0"},
            {"activation": "softmax", "background": 0, "map_stride": 1.0},
        ),
        ("segmentation", {"good": "a"}, {"activation": "softmax", "background": -1, "map_stride": 1.0}),
        ("regression", {"limits": "a=1.5..2.5 mm, b=-4..4, c=0..1e3 µm"}, {}),
    ],
)
def test_every_family_can_be_imported_by_name(
    tmp_path: Path, family: str, wishes: dict[str, str], options: dict[str, Any]
) -> None:
    source = export(family, tmp_path / "m.onnx")
    bundle = load_bundle(import_model(source, tmp_path / "b", {**PLAIN, "decoder": family, **wishes}, None).folder)
    assert bundle.decoder == family
    assert bundle.decoder_options == options
    assert reading_of(bundle).decoder is not None
    if family == "regression":
        assert bundle.criteria.limits == (Limits(1.5, 2.5, "mm"), Limits(-4, 4), Limits(0, 1000, "µm"))


def class_map(path: Path) -> Path:
    nodes = [helper.make_node("ArgMax", ["input"], ["best"], axis=1, keepdims=0)]
    return little(path, nodes, {"best": ("n", 8, 8)}, out_kind=TensorProto.INT64)


@pytest.mark.parametrize(("background", "channel", "classes"), [("0", 0, "a, b"), ("none", -1, "a, b, c")])
def test_a_map_of_class_numbers_is_known_by_its_kind_but_not_which_of_them_is_nothing(
    tmp_path: Path, background: str, channel: int, classes: str
) -> None:
    """A class that is taken for background would never be found."""
    source = class_map(tmp_path / "m.onnx")
    wishes = {**PLAIN, "decoder": "segmentation", "classes": classes}
    with pytest.raises(ConfigError, match="--background is missing"):
        import_model(source, tmp_path / "b", wishes, None)
    bundle = load_bundle(import_model(source, tmp_path / "b", {**wishes, "background": background}, None).folder)
    assert bundle.decoder_options == {"activation": "argmax", "background": channel, "map_stride": 1.0}


def test_fewer_classes_than_channels_are_asked_which_is_nothing(tmp_path: Path) -> None:
    source = export("segmentation", tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="--background is missing"):
        import_model(source, tmp_path / "b", {**PLAIN, "decoder": "segmentation", "classes": "a, b"}, None)


def test_ultralytics_semantic_models_of_several_classes_have_no_background(tmp_path: Path) -> None:
    """As ultralytics 8.4.190 exports them: class numbers, 0 the first of its names."""
    source = with_metadata(class_map(tmp_path / "m.onnx"), {**ULTRALYTICS, "task": "semantic", "imgsz": "[8, 8]"})
    made = import_model(source, tmp_path / "b", {}, None)
    assert load_bundle(made.folder).decoder_options == {"activation": "argmax", "background": -1, "map_stride": 1.0}
    assert any("--good" in note for note in made.notes)


def test_ultralytics_semantic_models_of_one_class_say_0_for_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["gray"], axes=[1], keepdims=0),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Greater", ["gray", "half"], ["more"]),
        helper.make_node("Cast", ["more"], ["output0"], to=TensorProto.UINT8),
    ]
    source = with_metadata(
        little(tmp_path / "m.onnx", nodes, {"output0": ("n", 8, 8)}, out_kind=TensorProto.UINT8),
        {**ULTRALYTICS, "task": "semantic", "names": "{0: 'scratch'}"},
    )
    bundle = load_bundle(import_model(source, tmp_path / "b", {}, None).folder)
    assert bundle.classes == ("scratch",)
    assert bundle.decoder_options == {"activation": "argmax", "background": 0, "map_stride": 1.0}


def test_a_network_of_any_size_is_asked_for_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sigmoid", ["input"], ["map"])]
    source = little(tmp_path / "m.onnx", nodes, {"map": ("n", 3, "h", "w")}, given=("n", 3, "h", "w"))
    wishes = {**PLAIN, "decoder": "segmentation"}
    with pytest.raises(ConfigError, match="--size is missing"):
        import_model(source, tmp_path / "b", wishes, None)
    bundle = load_bundle(import_model(source, tmp_path / "b", {**wishes, "size": "48x32"}, None).folder)
    assert (bundle.spec.width_px, bundle.spec.height_px) == (48, 32)
    assert bundle.decoder_options["activation"] == "none"


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    networks.write("yolo", tmp_path / "whole.onnx", channels=3)
    (tmp_path / "apart").mkdir()
    onnx.save(
        onnx.load(tmp_path / "whole.onnx"),
        tmp_path / "apart" / "m.onnx",
        save_as_external_data=True,
        location="m.onnx.data",
        size_threshold=1024,
    )
    made = import_model(tmp_path / "apart" / "m.onnx", tmp_path / "b", {**PLAIN, "decoder": "yolo"}, None)
    assert sorted(path.name for path in made.folder.iterdir()) == ["model.onnx", "model.toml"]
    assert (made.folder / "model.onnx").stat().st_size > (tmp_path / "apart" / "m.onnx").stat().st_size
    assert any("beside the file" in note for note in made.notes)
    (tmp_path / "apart" / "m.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"m\.onnx"):
        import_model(tmp_path / "apart" / "m.onnx", tmp_path / "c", {**PLAIN, "decoder": "yolo"}, None)


def test_dynamic_int8_is_named_with_the_way_out(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(192, 3)).astype(np.float32), "weight")
    nodes = [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["y"])]
    little(tmp_path / "float.onnx", nodes, {"y": ("n", 3)}, weights=[weight])
    onnxruntime.quantization.quantize_dynamic(tmp_path / "float.onnx", tmp_path / "m.onnx")
    wishes = {**PLAIN, "decoder": "classifier", "good": "a"}
    made = import_model(tmp_path / "m.onnx", tmp_path / "b", wishes, None)
    (note,) = (note for note in made.notes if "TensorRT" in note)
    assert "dynamic quantisation" in note
    assert "engine quantize" in note
    assert not any(
        "dynamic" in note for note in import_model(tmp_path / "float.onnx", tmp_path / "c", wishes, None).notes
    )


@pytest.mark.parametrize(
    ("given", "kind", "named"),
    [
        (("n", 3, 8, 8), TensorProto.FLOAT16, "float16, expected float.*half=True"),
        (("n", 3, 8, 8), TensorProto.UINT8, "uint8, expected float"),
        (("n", 8, 8, 3), TensorProto.FLOAT, "channels are last"),
        (("n", 4, 8, 8), TensorProto.FLOAT, "expected 1 or 3 channels"),
        (("n", 192), TensorProto.FLOAT, r"expected \(n, channels, height, width\)"),
        ((4, 3, 8, 8), TensorProto.FLOAT, "4 pictures at once"),
    ],
)
def test_an_input_that_no_backend_gives_is_refused(
    tmp_path: Path, given: tuple[int | str, ...], kind: int, named: str
) -> None:
    source = little(
        tmp_path / "m.onnx", [helper.make_node("Identity", ["input"], ["y"])], {"y": given}, given, kind, out_kind=kind
    )
    with pytest.raises(BundleError, match=named):
        import_model(source, tmp_path / "b", {**PLAIN, "decoder": "yolo"}, None)


def test_a_network_with_two_inputs_is_refused(tmp_path: Path) -> None:
    source = little(tmp_path / "m.onnx", [helper.make_node("Identity", ["input"], ["y"])], {"y": ("n", 3, 8, 8)})
    model = onnx.load(source)
    model.graph.input.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2]))
    onnx.save(model, source)
    with pytest.raises(BundleError, match=r"2 inputs \(input, orig_target_sizes\)"):
        import_model(source, tmp_path / "b", PLAIN, None)


def test_an_output_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    """As scikit-learn's exporter writes a classifier."""
    source = little(tmp_path / "m.onnx", [helper.make_node("SequenceConstruct", ["input"], ["y"])], {})
    model = onnx.load(source)
    model.graph.output.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    onnx.save(model, source)
    with pytest.raises(BundleError, match="output y is no tensor"):
        import_model(source, tmp_path / "b", PLAIN, None)


def test_outputs_that_are_not_the_decoders_leave_nothing_behind(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "m.onnx")
    with pytest.raises(BundleError, match=r"expected one of \(n, 6, anchors\) for 2 classes"):
        import_model(source, tmp_path / "b", {**PLAIN, "decoder": "yolo", "classes": "a, b"}, None)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_values_that_are_not_the_decoders_are_found_by_trying(tmp_path: Path) -> None:
    nodes = [helper.make_node("Flatten", ["input"], ["y"])]
    source = with_metadata(
        little(tmp_path / "m.onnx", nodes, {"y": ("n", 3)}, given=("n", 3, 1, 1)),
        {**ULTRALYTICS, "task": "classify", "imgsz": "[1, 1]"},
    )
    with pytest.raises(BundleError, match=r"picture of noise.*sum up to"):
        import_model(source, tmp_path / "b", {"good": "open"}, None)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "m.onnx", ULTRALYTICS)
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        import_model(source, tmp_path / "b", {}, None)


@pytest.mark.parametrize(
    ("option", "text", "named"),
    [
        ("decoder", "yolo9000", "expected one of"),
        ("color", "gray", "expected one of rgb, bgr"),
        ("scaling", "0-2", "0-1, 0-255, imagenet"),
        ("threshold", "1.5", "1 at the most"),
        ("threshold", "much", "expected a number above 0"),
        ("pad", "256", "0 to 255"),
        ("pad", "gray", "a whole number, 0 to 255"),
        ("size", "640", "as 640x480"),
        ("size", "99999x64", "8192 px at the most"),
        ("limits", "a=1..2", "no use with decoder segmentation, task segment"),
        ("background", "last", "or none"),
        ("classes", "a,,b", "commas"),
        ("classes", "a, b, b", "b is there twice"),
        ("name", "Board 7", "letters"),
        ("good", "fine", "fine is no class, expected some of a, b, c"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(tmp_path: Path, option: str, text: str, named: str) -> None:
    nodes = [helper.make_node("Sigmoid", ["input"], ["map"])]
    source = little(tmp_path / "m.onnx", nodes, {"map": ("n", 3, "h", "w")}, given=("n", 3, "h", "w"))
    wishes = {**PLAIN, "decoder": "segmentation", "size": "48x32", option: text}
    with pytest.raises(ConfigError, match=named):
        import_model(source, tmp_path / "b", wishes, None)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_wrong_answer_is_asked_for_again(tmp_path: Path) -> None:
    answers = iter(["classifer", "classifier", "a,b,b", "a,b,c", "good", "a"])
    problems: list[str] = []

    def answer(option: str, question: str, choices: Sequence[str], problem: str) -> str:
        problems.append(problem)
        return next(answers)

    source = export("classifier", tmp_path / "m.onnx")
    wishes = {"color": "rgb", "scaling": "0-1", "licence": "x"}
    bundle = load_bundle(import_model(source, tmp_path / "b", wishes, answer).folder)
    assert (bundle.decoder, bundle.classes, bundle.criteria.good) == ("classifier", ("a", "b", "c"), frozenset({0}))
    assert [problem.split(",")[0] for problem in problems] == [
        "",
        "--decoder 'classifer' is not known",
        "",
        "--classes 'a",
        "",
        "--good 'good': good is no class",
    ]


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "m.onnx", channels=1)
    with pytest.raises(ConfigError, match=r"--scaling is missing .* Missing too: --decoder, --licence$"):
        import_model(source, tmp_path / "b", {"classes": "a, b, c"}, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a=1..2, b=1..2", "expected one for each of a, b, c"),
        ("a=1..2, b=1..2, c=1..2, d=1..2", "expected one for each of a, b, c"),
        ("a=2..1, b=1..2, c=1..2", "2 is above 1"),
        ("a=1..x, b=1..2, c=1..2", "is not NAME=LOW..HIGH UNIT"),
    ],
)
def test_limits_that_make_no_sense_are_named(tmp_path: Path, text: str, named: str) -> None:
    source = export("regression", tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=named):
        import_model(source, tmp_path / "b", {**PLAIN, "decoder": "regression", "limits": text}, None)


def test_another_size_than_the_networks_is_refused_and_its_own_is_not(tmp_path: Path) -> None:
    source = export("yolo", tmp_path / "m.onnx", ULTRALYTICS)
    with pytest.raises(ConfigError, match="takes 64x64 px and nothing else"):
        import_model(source, tmp_path / "b", {"size": "96x96"}, None)
    assert load_bundle(import_model(source, tmp_path / "b", {"size": "64x64"}, None).folder).spec.width_px == 64


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"PK\x03\x04 no network")
    with pytest.raises(BundleError, match="not an ONNX file"):
        import_model(tmp_path / "m.onnx", tmp_path / "b", {}, None)
    with pytest.raises(BundleError, match="nowhere"):
        import_model(tmp_path / "nowhere.onnx", tmp_path / "b", {}, None)


@pytest.mark.parametrize("names", ["{0: 'open'", "7"])
def test_damaged_metadata_are_named(tmp_path: Path, names: str) -> None:
    source = export("yolo", tmp_path / "m.onnx", {**ULTRALYTICS, "names": names})
    with pytest.raises(ConfigError, match="metadata names"):
        import_model(source, tmp_path / "b", {}, None)


def test_of_very_many_classes_the_first_are_shown(tmp_path: Path) -> None:
    source = export("classifier", tmp_path / "m.onnx", classes=200)
    names = ",".join(f"c{i}" for i in range(200))
    wishes = {**PLAIN, "decoder": "classifier", "classes": names, "good": "c0"}
    made = import_model(source, tmp_path / "b", wishes, None)
    (line,) = (line for line in made.sources if line.startswith("classes:"))
    assert line.endswith("c18, c19, ... 200 in all (--classes)")
    assert len(load_bundle(made.folder).classes) == 200


def test_awkward_class_names_survive_the_file(tmp_path: Path) -> None:
    names = {0: 'say "no"', 1: "tab\there\x7f", 2: "Kratzer µ 😀 = # ["}
    source = export("yolo", tmp_path / "m.onnx", {**ULTRALYTICS, "names": repr(names)})
    bundle = load_bundle(import_model(source, tmp_path / "b", {}, None).folder)
    assert bundle.classes == tuple(names.values())
