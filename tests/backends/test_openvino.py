from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import openvino
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError
from small_nets import FREE, ONE, PLAN, batch, doubler, save

from edge_inspector import plugins
from edge_inspector.backends.openvino import Config, OpenVinoBackend, the_core
from edge_inspector.datatypes import InputSpec, PreparePlan
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile

WAIT_S = 30.0
BACKEND = OpenVinoBackend(Config(warm_up_runs=1))
SILENCE = """
import json, pathlib, sys
told = []
sys.addaudithook(lambda event, args: told.append(event) if event.startswith("socket.") else None)
import threading
from edge_inspector.backends.openvino import Config, OpenVinoBackend
OpenVinoBackend(Config()).facts()
import openvino.tools.ovc.telemetry_utils as telemetry
print(json.dumps([told, [t.name for t in threading.enumerate()], telemetry.tm.__name__]))
"""
ENDS_ELSEWHERE = """
import os, signal, threading
from edge_inspector.backends.openvino import Config, OpenVinoBackend
signal.signal(signal.SIGHUP, lambda number, frame: print("heard"))
backends = [OpenVinoBackend(Config())]
backends[0].facts()
ended = threading.Thread(target=backends.clear)
ended.start()
ended.join()
os.kill(os.getpid(), signal.SIGHUP)
"""


def test_the_name_openvino_leads_here() -> None:
    assert plugins.load("backend", "openvino") is OpenVinoBackend
    assert plugins.config_model("backend", "openvino")(type="openvino") == Config()


def test_importing_openvino_tells_nobody(tmp_path: Path) -> None:
    """Unmuzzled, the package sends a report to Google Analytics from a thread of its own at each import."""
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", SILENCE], capture_output=True, text=True, check=True, env=variables, timeout=60
    )
    told, threads, telemetry = json.loads(done.stdout)
    assert (told, threads, telemetry) == ([], ["MainThread"], "openvino.tools.ovc.telemetry_stub")
    assert list(tmp_path.iterdir()) == []  # nor does it leave its client id


def test_it_computes_in_f32_although_openvino_would_not(tmp_path: Path) -> None:
    """On this processor or the next: where bf16 or f16 is faster, OpenVINO's own choice is that."""
    networks.write("yolo", tmp_path / "model.onnx", batch=1)
    plan = PreparePlan(InputSpec(64, 64, "gray", 1 / 255, (0.0,), (1.0,), 0))
    given = batch(0.5, chw=(1, 64, 64))
    found = {}
    for precision in ("f32", "bf16"):
        backend = OpenVinoBackend(Config(precision=precision, warm_up_runs=1))
        model = backend.load(ModelFile(str(tmp_path / "model.onnx"), ""), plan, 1)
        found[precision] = model.collect(model.submit(given, 0), WAIT_S).by_name["output0"]
        assert backend.facts()["precision"] == precision
    core = the_core()
    choice = core.compile_model(core.read_model(str(tmp_path / "model.onnx")), "CPU", {"NUM_STREAMS": 1})
    own = choice(given.pixels)[0]
    asked = choice.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    assert not np.array_equal(found["f32"], found["bf16"])
    assert np.array_equal(own, found["f32"]) == (asked == "f32")


def test_a_signal_after_the_end_of_a_backend_in_another_thread_is_heard() -> None:
    """Where the processor has AMX, a core of OpenVINO that ends takes the signal stack of its first thread along."""
    heard = subprocess.run(
        [sys.executable, "-c", ENDS_ELSEWHERE], capture_output=True, text=True, check=False, timeout=60
    )
    assert (heard.returncode, heard.stdout) == (0, "heard\n"), heard.stderr


def test_the_device_that_was_asked_for_is_in_the_facts() -> None:
    name = the_core().get_property("CPU", "FULL_DEVICE_NAME")
    assert OpenVinoBackend(Config(threads=2, max_batch=4)).facts() == {
        "openvino": openvino.__version__,
        "device": name,
        "precision": "f32",
        "max_batch": "4",
        "option.threads": "2",
    }


def test_a_device_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    backend = OpenVinoBackend(Config(device="NPU"))
    for ask in (backend.facts, lambda: backend.load(doubler(tmp_path), PLAN, 1)):
        with pytest.raises(ConfigError, match=r"'NPU' is not there, found CPU"):
            ask()


@pytest.mark.parametrize("device", ["AUTO", "MULTI:CPU,GPU", "HETERO:GPU,CPU", "CPU,GPU", "cpu", ""])
def test_a_device_that_chooses_by_itself_is_no_device(device: str) -> None:
    with pytest.raises(ValidationError):
        Config(device=device)


def test_a_precision_that_the_device_does_not_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiled network says of itself counts: here it was compiled for another."""
    compile_model = openvino.Core.compile_model

    def in_bf16(core, model, device, properties):
        return compile_model(core, model, device, {**properties, "INFERENCE_PRECISION_HINT": "bf16"})

    monkeypatch.setattr(openvino.Core, "compile_model", in_bf16)
    with pytest.raises(ConfigError, match=r"would compute in bf16 on CPU, expected f32 on CPU"):
        BACKEND.load(doubler(tmp_path), PLAN, 1)


def test_outputs_have_the_names_of_the_file_and_not_those_of_the_compiler(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["images"], ["a_first"]),
        helper.make_node("Identity", ["a_first"], ["b_second"]),
        helper.make_node("Identity", ["b_second"], ["wanted"]),
    ]
    model = BACKEND.load(save(tmp_path / "m.onnx", nodes, {"wanted": ONE}), PLAN, 1)
    assert list(model.collect(model.submit(batch(1.0), 0), WAIT_S).by_name) == ["wanted"]


def slow_net(folder: Path) -> ModelFile:
    """Multiplies a matrix as often as the brightest pixel says: never for a blank picture."""
    inner = helper.make_graph(
        [
            helper.make_node("MatMul", ["m_in", "matrix"], ["m_out"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "again",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("m_in", TensorProto.FLOAT, [64, 64]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("m_out", TensorProto.FLOAT, [64, 64]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["times"], to=TensorProto.INT64),
        helper.make_node("Loop", ["times", "yes", "matrix"], ["product"], body=inner),
        helper.make_node("ReduceMax", ["product"], ["level"], keepdims=0),
        helper.make_node("Mul", ["images", "level"], ["output"]),
    ]
    constants = {"matrix": np.eye(64, dtype=np.float32), "yes": np.array(True)}
    return save(folder / "m.onnx", nodes, {"output": ONE}, constants=constants)


def test_a_run_that_takes_too_long_is_given_up_and_the_device_serves_again(tmp_path: Path) -> None:
    model = BACKEND.load(slow_net(tmp_path), PLAN, 1)
    slow = model.submit(batch(60_000.0), 0)
    with pytest.raises(InferenceError, match=r"no answer within 0\.01 s"):
        model.collect(slow, 0.01)
    refusals, given_up = 0, time.monotonic() + WAIT_S
    while True:
        try:
            ticket = model.submit(batch(1.0), 0)
            break
        except InferenceError as exc:
            assert "still busy" in str(exc)  # noqa: PT017 - until the device lets go of the long one
            assert time.monotonic() < given_up
            refusals += 1
    assert refusals > 0
    assert (model.collect(ticket, WAIT_S).by_name["output"] == 1.0).all()


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "missing"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = Path(doubler(tmp_path).onnx_path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "text": b"version https://", "empty": b""}[damage])
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        BACKEND.load(ModelFile(str(path), ""), PLAN, 1)
    assert caught.value.__cause__ is not None


def test_a_file_that_was_replaced_since_its_bundle_was_read_is_refused(tmp_path: Path) -> None:
    file = replace(doubler(tmp_path), sha256="0" * 64)
    with pytest.raises(BundleError, match="was replaced meanwhile"):
        BACKEND.load(file, PLAN, 1)


def test_an_operation_that_openvino_does_not_know_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Unheard", ["images"], ["output"], domain="org.example")]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ONE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ONE)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    with pytest.raises(BundleError, match=r"Unheard.*use backend onnxruntime"):
        BACKEND.load(ModelFile(str(path), ""), PLAN, 1)


def test_without_openvino_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r'pip install "edge-inspector\[openvino\]"'):
        BACKEND.facts()


def test_nothing_is_built(tmp_path: Path) -> None:
    assert BACKEND.build(doubler(tmp_path), PLAN.input, tmp_path / "engine", lambda done, text: None) == {}
    assert BACKEND.proof == "kept"
    assert not (tmp_path / "engine").exists()


def test_a_free_network_is_compiled_for_one_picture_unless_more_are_wanted(tmp_path: Path) -> None:
    assert BACKEND.load(doubler(tmp_path, FREE), PLAN, 1).output_shapes == {"doubled": ONE}
