from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_inspector import plugins
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Batch, InputSpec, Letterbox, PreparePlan, Roi
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile

PLAN = PreparePlan(InputSpec(4, 6, "gray", 1.0, (0.0,), (1.0,), 0))
BACKEND = OnnxRuntimeBackend(Config(warm_up_runs=1))


def save(
    path: Path, nodes: list, outputs: dict[str, list], input_shape: list, input_type: int, *, constants=()
) -> ModelFile:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", input_type, input_shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return ModelFile(str(path), "")


@pytest.fixture
def doubler(tmp_path: Path) -> Callable[..., ModelFile]:
    """A net that doubles its input."""

    def make(shape=(1, 1, 4, 6), kind: int = TensorProto.FLOAT) -> ModelFile:
        nodes = [helper.make_node("Add", ["images", "images"], ["doubled"])]
        if kind == TensorProto.FLOAT16:
            nodes = [
                helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
                helper.make_node("Add", ["wide", "wide"], ["doubled"]),
            ]
        return save(tmp_path / "model.onnx", nodes, {"doubled": list(shape)}, list(shape), kind)

    return make


@pytest.fixture
def reciprocal(tmp_path: Path) -> ModelFile:
    """A net that gives 1 / (1 - x): infinite where a pixel is 1, fine for the blank picture of the warm-up."""
    nodes = [
        helper.make_node("Sub", ["one", "images"], ["rest"]),
        helper.make_node("Reciprocal", ["rest"], ["output"]),
    ]
    one = [("one", np.ones(1, np.float32))]
    return save(
        tmp_path / "model.onnx", nodes, {"output": [1, 1, 4, 6]}, [1, 1, 4, 6], TensorProto.FLOAT, constants=one
    )


def batch(value: float, shape=(1, 1, 4, 6), dtype: type = np.float32) -> Batch:
    return Batch(np.full(shape, value, dtype), (Letterbox(1.0, 0.0, 0.0),) * shape[0], Roi(0, 0, 6, 4))


def test_the_name_onnxruntime_leads_here() -> None:
    assert plugins.load("backend", "onnxruntime") is OnnxRuntimeBackend
    assert plugins.config_model("backend", "onnxruntime")(type="onnxruntime") == Config()


def test_each_ticket_gets_the_outputs_of_its_own_batch(doubler) -> None:
    model = BACKEND.load(doubler(), PLAN, 1)
    first, second = model.submit(batch(1.0), 0), model.submit(batch(2.0), 1)
    assert (model.collect(first, 1.0).by_name["doubled"] == 2.0).all()
    third = model.submit(batch(3.0), 0)
    assert (model.collect(second, 1.0).by_name["doubled"] == 4.0).all()
    assert (model.collect(third, 1.0).by_name["doubled"] == 6.0).all()


def test_a_later_run_does_not_change_outputs_already_given(doubler) -> None:
    model = BACKEND.load(doubler(), PLAN, 1)
    kept = model.collect(model.submit(batch(1.0), 0), 1.0)
    model.collect(model.submit(batch(9.0), 0), 1.0)
    assert (kept.by_name["doubled"] == 2.0).all()


def test_the_model_tells_its_size_and_its_outputs_real_shapes(doubler) -> None:
    file = doubler(("n", 1, "h", "w"))
    model = BACKEND.load(file, PLAN, 2)
    assert model.memory_bytes == Path(file.onnx_path).stat().st_size > 0
    assert model.output_shapes == {"doubled": (2, 1, 4, 6)}


def test_a_dynamic_model_takes_any_number_of_tiles_up_to_the_one_it_was_loaded_for(doubler) -> None:
    model = BACKEND.load(doubler(("n", 1, 4, 6)), PLAN, 2)
    for tiles in (1, 2):
        tensors = model.collect(model.submit(batch(1.0, (tiles, 1, 4, 6)), 0), 1.0)
        assert tensors.by_name["doubled"].shape == (tiles, 1, 4, 6)
    with pytest.raises(InferenceError, match=r"1\.\.2 tiles"):
        model.submit(batch(1.0, (3, 1, 4, 6)), 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (batch(0.0, (1, 1, 4, 5)), "(1, 1, 4, 5)"),
        (batch(0.0, (2, 1, 4, 6)), "(2, 1, 4, 6)"),
        (batch(0.0, dtype=np.float64), "float64"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_and_takes_no_slot(doubler, wrong: Batch, said: str) -> None:
    model = BACKEND.load(doubler(), PLAN, 1)
    with pytest.raises(InferenceError) as caught:
        model.submit(wrong, 0)
    assert said in str(caught.value)
    assert (model.collect(model.submit(batch(1.0), 0), 1.0).by_name["doubled"] == 2.0).all()


def test_outputs_that_are_not_finite_are_refused_and_the_next_part_is_judged(reciprocal: ModelFile) -> None:
    model = BACKEND.load(reciprocal, PLAN, 1)
    blind = batch(0.5)
    blind.pixels[0, 0, 2, 3] = 1.0
    with pytest.raises(InferenceError, match=r"output.*infinity"):
        model.collect(model.submit(blind, 0), 1.0)
    assert (model.collect(model.submit(batch(0.5), 0), 1.0).by_name["output"] == 2.0).all()


def test_a_pixel_that_is_not_a_number_is_refused(doubler) -> None:
    model = BACKEND.load(doubler(), PLAN, 1)
    with pytest.raises(InferenceError, match="NaN"):
        model.collect(model.submit(batch(float("nan")), 0), 1.0)


def test_a_model_that_never_gives_finite_outputs_is_refused_at_load(tmp_path: Path) -> None:
    nodes = [helper.make_node("Log", ["images"], ["output"])]  # of the blank picture: -infinity
    file = save(tmp_path / "model.onnx", nodes, {"output": [1, 1, 4, 6]}, [1, 1, 4, 6], TensorProto.FLOAT)
    with pytest.raises(BundleError, match="first inference failed"):
        BACKEND.load(file, PLAN, 1)


def test_a_run_that_fails_inside_the_runtime_is_an_inference_error(tmp_path: Path) -> None:
    """The index of the brightest pixel is out of range of a list of one, except in the blank picture."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["list", "index"], ["output"]),
    ]
    constants = [("list", np.ones(1, np.float32))]
    file = save(tmp_path / "m.onnx", nodes, {"output": []}, [1, 1, 4, 6], TensorProto.FLOAT, constants=constants)
    model = BACKEND.load(file, PLAN, 1)
    with pytest.raises(InferenceError, match="onnxruntime failed"):
        model.collect(model.submit(batch(7.0), 0), 1.0)
    assert model.collect(model.submit(batch(0.0), 0), 1.0).by_name["output"] == 1.0


@pytest.mark.parametrize(
    ("shape", "kind", "max_batch", "said"),
    [
        ((1, 1, 4, 7), TensorProto.FLOAT, 1, ["(1, 1, 4, 7)", "(1, 1, 4, 6)", "images"]),
        ((1, 3, 4, 6), TensorProto.FLOAT, 1, ["(1, 3, 4, 6)"]),
        ((4, 6), TensorProto.FLOAT, 1, ["(4, 6)"]),
        ((1, 1, 4, 6), TensorProto.FLOAT, 2, ["(2, 1, 4, 6)"]),
        ((1, 1, 4, 6), TensorProto.FLOAT16, 1, ["tensor(float16)"]),
    ],
)
def test_an_input_that_is_not_the_plans_is_refused_at_load(doubler, shape, kind, max_batch, said) -> None:
    with pytest.raises(BundleError) as caught:
        BACKEND.load(doubler(shape, kind), PLAN, max_batch)
    assert all(word in str(caught.value) for word in said)


def test_a_model_with_two_inputs_is_refused(tmp_path: Path) -> None:
    shape = [1, 1, 4, 6]
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "sizes"], ["output"])],
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "sizes")],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(BundleError, match=r"2 inputs \(images, sizes\)"):
        BACKEND.load(ModelFile(str(tmp_path / "m.onnx"), ""), PLAN, 1)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "missing"])
def test_a_damaged_file_is_refused_by_name(doubler, tmp_path: Path, damage: str, capfd) -> None:
    path = Path(doubler().onnx_path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "text": b"version https://", "empty": b""}[damage])
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        BACKEND.load(ModelFile(str(path), ""), PLAN, 1)
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


def test_without_onnxruntime_the_command_that_installs_it_is_told(doubler, monkeypatch: pytest.MonkeyPatch) -> None:
    file = doubler()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r'pip install "edge-inspector\[ort\]"'):
        BACKEND.load(file, PLAN, 1)


@pytest.mark.parametrize("slot", [0, 2, -1])
def test_a_slot_that_is_not_free_is_a_bug(doubler, slot: int) -> None:
    model = BACKEND.load(doubler(), PLAN, 1)
    model.submit(batch(1.0), 0)
    with pytest.raises(ValueError, match="not free"):
        model.submit(batch(1.0), slot)


def test_collecting_twice_is_a_bug(doubler) -> None:
    model = BACKEND.load(doubler(), PLAN, 1)
    ticket = model.submit(batch(1.0), 0)
    model.collect(ticket, 1.0)
    with pytest.raises(ValueError, match="not waiting"):
        model.collect(ticket, 1.0)
