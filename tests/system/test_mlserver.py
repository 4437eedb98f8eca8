"""The triton backend against a real KServe v2 server: MLServer, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edge_inspector import pipeline
from edge_inspector.backends.onnxruntime import Config as OnnxRuntime
from edge_inspector.backends.onnxruntime import OnnxRuntimeBackend
from edge_inspector.backends.triton import Config, TritonBackend
from edge_inspector.datatypes import Evaluation, Frame, Judgement, MeasuredView, PreparePlan
from edge_inspector.engine.bundle import Bundle, load_bundle, reading_of
from edge_inspector.errors import ConfigError, InferenceError
from edge_inspector.interfaces import Backend, Model
from edge_inspector.stages.rules import judge
from edge_inspector.stages.thresholds import fixed

pytestmark = [pytest.mark.system, pytest.mark.heavy, pytest.mark.timeout(900)]
BUNDLE = load_bundle(Path(__file__).parents[2] / "engines" / "pcb-demo")
PLAN = PreparePlan(BUNDLE.spec)
RUNTIME = Path(__file__).parent / "mlserver_model" / "onnx_model.py"
WANTED = ("mlserver==1.7.*", "fastapi<0.113", "onnxruntime")  # 1.7's HTTP side fails with a newer fastapi
PYTHONS = ("python3.11", "python3.12", "python3.10")
PICTURES = 6
"""Golden pictures of each kind."""
PATIENT_S = 60.0


class MlServer:
    """Serves the bundle's network as model "pcb", version 7; `kill` gives it no time to say goodbye."""

    def __init__(self, environment: Path, folder: Path, ports: list[int]) -> None:
        self.url = f"127.0.0.1:{ports[1]}"
        self._program = environment / "bin" / "mlserver"
        self._folder = folder
        shutil.copy(RUNTIME, folder)
        settings = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
        common = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        (folder / "settings.json").write_text(json.dumps({**settings, **common}))
        model = {
            "name": "pcb",
            "implementation": "onnx_model.OnnxModel",
            "parameters": {"uri": str(BUNDLE.folder / "model.onnx"), "version": "7"},
            "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 640, 640]}],
            "outputs": [{"name": "output0", "datatype": "FP32", "shape": [-1, 10, 6400]}],
        }
        (folder / "model-settings.json").write_text(json.dumps(model))

    def start(self) -> None:
        """Returns when it serves the model."""
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._program, "start", str(self._folder)], stdout=log, stderr=log, start_new_session=True
            )
        given_up = time.monotonic() + PATIENT_S
        while (why := self._why_not()) and self._process.poll() is None and time.monotonic() < given_up:
            time.sleep(0.1)
        assert not why, f"MLServer does not serve: {why}\n{(self._folder / 'log').read_text()}"

    def _why_not(self) -> str:
        try:
            TritonBackend(Config(url=self.url, model="pcb")).facts()
        except ConfigError as exc:
            return str(exc)
        return ""

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlServer]:
    environment = tmp_path_factory.mktemp("mlserver") / "venv"
    subprocess.run([_python(), "-m", "venv", environment], check=True)
    pip = subprocess.run(
        [environment / "bin" / "pip", "install", "--quiet", *WANTED], capture_output=True, text=True, check=False
    )
    assert pip.returncode == 0, f"MLServer cannot be installed:\n{pip.stdout}{pip.stderr}"
    running = MlServer(environment, tmp_path_factory.mktemp("model"), _free_ports(3))
    running.start()
    yield running
    running.kill()


def _python() -> str:
    """MLServer 1.7 has no wheel for Python 3.13."""
    if sys.version_info < (3, 13):
        return sys.executable
    found = next(filter(None, map(shutil.which, PYTHONS)), None)
    assert found, f"MLServer 1.7 needs one of {', '.join(PYTHONS)}; none is installed"
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def golden(bundle: Bundle) -> list[Frame]:
    """The first pictures of each kind, good and bad in turn."""
    assert bundle.golden is not None
    kinds = [sorted(bundle.golden.images.glob(f"{kind}_*.png"))[:PICTURES] for kind in ("good", "bad")]
    paths = [path for pair in zip(*kinds, strict=True) for path in pair]
    return [Frame("top", i, 0, 0, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), "Mono8") for i, path in enumerate(paths)]


def judgement(model: Model, frame: Frame, slot: int = 0) -> Judgement:
    """The station's whole way of one picture."""
    batch = pipeline.prepare(frame, PLAN)
    tensors = model.collect(model.submit(batch, slot), PATIENT_S)
    findings = pipeline.finish(tensors, batch, reading_of(BUNDLE))
    view = MeasuredView(frame.camera, findings, batch.bounds)
    return judge(["top"], BUNDLE.criteria, fixed(BUNDLE.classes, BUNDLE.default_thresholds, {}), [view])


def loaded(backend: Backend) -> Model:
    return backend.load(BUNDLE.model_file(), PLAN, 1)


def told(one: Judgement) -> tuple[Evaluation, list[tuple[str, float]]]:
    return one.evaluation, [(defect.class_name, round(defect.score, 3)) for defect in one.defects]


def test_mlservers_verdicts_are_onnxruntimes(server: MlServer) -> None:
    reference, remote = loaded(OnnxRuntimeBackend(OnnxRuntime())), loaded(TritonBackend(config(server)))
    frames = golden(BUNDLE)
    expected = [told(judgement(reference, frame)) for frame in frames]
    assert {evaluation for evaluation, _ in expected} == {Evaluation.OK, Evaluation.NOT_OK}
    assert [told(judgement(remote, frame)) for frame in frames] == expected
    remote.close()


def test_a_killed_mlserver_costs_the_parts_of_its_absence(server: MlServer) -> None:
    reference, remote = loaded(OnnxRuntimeBackend(OnnxRuntime())), loaded(TritonBackend(config(server)))
    frames = golden(BUNDLE)
    expected = [told(judgement(reference, frame)) for frame in frames]
    assert told(judgement(remote, frames[0])) == expected[0]
    in_hand = [remote.submit(pipeline.prepare(frame, PLAN), slot) for slot, frame in enumerate(frames[:2])]
    server.kill()
    for ticket in in_hand:
        with pytest.raises(InferenceError, match=r"unavailable|cancelled"):
            remote.collect(ticket, PATIENT_S)
    for frame in frames:
        with pytest.raises(InferenceError, match="unavailable"):
            judgement(remote, frame)
    with pytest.raises(ConfigError, match="start the server"):
        loaded(TritonBackend(config(server)))
    server.start()
    assert [told(judgement(remote, frame)) for frame in frames] == expected
    remote.close()


def test_mlserver_tells_what_it_is(server: MlServer) -> None:
    facts = TritonBackend(config(server)).facts()
    assert facts["server"].startswith("mlserver 1.7.")
    with pytest.raises(ConfigError, match=r"model pch of .* cannot be asked"):
        TritonBackend(Config(url=server.url, model="pch")).facts()
    with pytest.raises(ConfigError, match="version"):
        TritonBackend(Config(url=server.url, model="pcb", model_version="8")).facts()


def config(server: MlServer) -> Config:
    return Config(url=server.url, model="pcb", timeout_s=PATIENT_S)
