"""What is peculiar to ONNX Runtime; the rest is in test_batches.py."""

from __future__ import annotations

import hashlib
import platform
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from small_nets import FREE, ONE, PLAN, batch, doubler, save

from edge_inspector import plugins
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile

BACKEND = OnnxRuntimeBackend(Config(warm_up_runs=1))


def test_the_name_onnxruntime_leads_here() -> None:
    assert plugins.load("backend", "onnxruntime") is OnnxRuntimeBackend
    assert plugins.config_model("backend", "onnxruntime")(type="onnxruntime") == Config()


@pytest.mark.parametrize(("max_batch", "proof"), [(1, "none"), (2, "kept"), (16, "kept")])
def test_it_is_its_own_reference_only_with_one_picture_a_run(max_batch: int, proof: str) -> None:
    backend = OnnxRuntimeBackend(Config(max_batch=max_batch))
    assert (backend.proof, backend.max_batch) == (proof, max_batch)


def test_facts_tell_apart_what_changes_a_result() -> None:
    facts = dict(OnnxRuntimeBackend(Config(threads=2, max_batch=4)).facts())
    words = [path.read_text() for path in map(Path, ("/proc/device-tree/model", "/proc/cpuinfo")) if path.is_file()]
    assert facts.pop("cpu") in "".join([*words, platform.machine()])
    assert facts == {"onnxruntime": onnxruntime.__version__, "max_batch": "4", "option.threads": "2"}


def test_the_model_tells_its_size(tmp_path: Path) -> None:
    file = doubler(tmp_path, FREE)
    assert BACKEND.load(file, PLAN, 2).memory_bytes == Path(file.onnx_path).stat().st_size > 0


def test_nothing_is_built(tmp_path: Path) -> None:
    assert BACKEND.build(doubler(tmp_path), PLAN.input, tmp_path / "engine", lambda done, text: None) == {}
    assert not (tmp_path / "engine").exists()


def test_a_run_that_fails_inside_the_runtime_is_an_inference_error(tmp_path: Path) -> None:
    """The index of the brightest pixel is out of range of a list of one, except in the blank picture."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["list", "index"], ["output"]),
    ]
    file = save(tmp_path / "m.onnx", nodes, {"output": []}, constants={"list": np.ones(1, np.float32)})
    model = BACKEND.load(file, PLAN, 1)
    with pytest.raises(InferenceError, match="onnxruntime failed"):
        model.collect(model.submit(batch(7.0), 0), 1.0)
    assert model.collect(model.submit(batch(0.0), 0), 1.0).by_name["output"] == 1.0


def test_a_session_that_moved_to_another_provider_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As packages do that bring providers of their own and put them first."""
    both = ["AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda session: both)
    with pytest.raises(ConfigError, match=r"run it on AzureExecutionProvider, CPUExecutionProvider, expected CPU"):
        BACKEND.load(doubler(tmp_path), PLAN, 1)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "missing"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str, capfd) -> None:
    path = Path(doubler(tmp_path).onnx_path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "text": b"version https://", "empty": b""}[damage])
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        BACKEND.load(ModelFile(str(path), ""), PLAN, 1)
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


def test_a_file_that_was_replaced_since_its_bundle_was_read_is_refused(tmp_path: Path) -> None:
    file = doubler(tmp_path)
    bundled = replace(file, sha256=hashlib.sha256(Path(file.onnx_path).read_bytes()).hexdigest())
    BACKEND.load(bundled, PLAN, 1).close()
    save(Path(file.onnx_path), [helper.make_node("Neg", ["images"], ["output"])], {"output": ONE})
    with pytest.raises(BundleError, match="was replaced meanwhile"):
        BACKEND.load(bundled, PLAN, 1)


def test_weights_that_lie_beside_the_file_and_that_no_sum_covers_are_refused(tmp_path: Path) -> None:
    constants = {"weights": np.ones(ONE, np.float32)}
    nodes = [helper.make_node("Mul", ["images", "weights"], ["output"])]
    file = save(tmp_path / "model.onnx", nodes, {"output": ONE}, constants=constants)
    onnx.save(onnx.load(file.onnx_path), file.onnx_path, save_as_external_data=True, location="w", size_threshold=0)
    assert (tmp_path / "w").stat().st_size
    BACKEND.load(file, PLAN, 1).close()
    bundled = replace(file, sha256=hashlib.sha256(Path(file.onnx_path).read_bytes()).hexdigest())
    with pytest.raises(BundleError, match="can load"):
        BACKEND.load(bundled, PLAN, 1)


def test_without_onnxruntime_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = doubler(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r'pip install "edge-inspector\[ort\]"'):
        BACKEND.load(file, PLAN, 1)
