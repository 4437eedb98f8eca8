"""From a bundle to a proven engine in the store."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from doctored import Doctored, Outputs
from onnx import TensorProto, helper, numpy_helper

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import ThresholdState
from edge_inspector.engine import build as module
from edge_inspector.engine.build import build
from edge_inspector.engine.bundle import Bundle, load_bundle
from edge_inspector.engine.fingerprint import fingerprint
from edge_inspector.engine.golden import golden_sum
from edge_inspector.engine.passport import Latency
from edge_inspector.engine.store import EngineStore
from edge_inspector.errors import BundleError, ConfigError, DeviceLostError
from edge_inspector.interfaces import EngineOptions

PLAN = bytes(range(256))


def silent(share: float, text: str) -> None:
    pass


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.bundle("yolo", tmp_path_factory.mktemp("bundles") / "yolo", golden=20)


@pytest.fixture
def bundle(shared: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(shared, tmp_path / "yolo")
    return load_bundle(tmp_path / "yolo")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


def test_an_engine_is_built_proven_and_kept_with_its_passport(bundle: Bundle, store: EngineStore) -> None:
    backend = Doctored(plan=PLAN)
    engine = build(bundle, backend, store, silent)
    passport = engine.passport
    assert (engine.folder / "plan").read_bytes() == PLAN
    assert (passport.digest, passport.facts) == (
        fingerprint(bundle, backend).digest,
        fingerprint(bundle, backend).facts,
    )
    assert (passport.bundle, passport.version) == ("little-yolo", "1.0.0")
    assert passport.report == {"layers": {"conv": "fp16"}}
    assert (passport.proof.outcome, passport.proof.golden) == ("passed", golden_sum(bundle))
    assert passport.built_utc.endswith("Z")
    assert Path(backend.loaded[0].engine_dir).name == "engine", "it was proven before it got its name"
    assert backend.loaded[0].onnx_path == str(bundle.folder / "model.onnx")


def test_what_is_there_is_not_built_again(bundle: Bundle, store: EngineStore) -> None:
    first = build(bundle, Doctored(plan=PLAN), store, silent)
    backend = Doctored(plan=PLAN)
    assert build(bundle, backend, store, silent) == first
    assert (backend.built_from, backend.loaded) == ([], [])


def test_it_is_built_again_where_that_is_asked_for(bundle: Bundle, store: EngineStore) -> None:
    build(bundle, Doctored(plan=PLAN), store, silent)
    again = build(bundle, Doctored(plan=PLAN + b"another"), store, silent, again=True)
    assert (again.folder / "plan").read_bytes() == PLAN + b"another"
    assert len(store.list()) == 1


def test_progress_only_grows_and_says_what_is_done(bundle: Bundle, store: EngineStore) -> None:
    told: list[tuple[float, str]] = []
    backend = Doctored(plan=PLAN, options=EngineOptions("fp16", 50))
    build(bundle, backend, store, lambda share, text: told.append((share, text)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0] <= 0.01, shares[-1]) == (True, 1.0)
    assert {"half of it", "40 of 40 pictures compared"} <= {text for _, text in told}


def test_an_engine_that_fails_its_proof_is_kept_with_that_and_serves_nobody(bundle: Bundle, store: EngineStore) -> None:
    def blind(number: int, outputs: Outputs) -> None:
        outputs["output0"][:, 4:] = 0

    engine = build(bundle, Doctored(blind, plan=PLAN), store, silent)
    assert engine.passport.proof.outcome == "failed"
    assert store.last_good(engine.passport.fingerprint) is None
    backend = Doctored(plan=PLAN)
    assert build(bundle, backend, store, silent).passport.proof.outcome == "failed"
    assert backend.built_from == [], "it is not built for ten minutes at each start"


def test_a_backend_that_writes_nothing_keeps_its_proof_alone(bundle: Bundle, store: EngineStore) -> None:
    engine = build(bundle, OnnxRuntimeBackend(Config(max_batch=2, warm_up_runs=1)), store, silent)
    assert (engine.passport.files, engine.engine_dir) == ({}, "")
    assert engine.passport.proof.batch_sizes == (1, 2)


@pytest.mark.parametrize("proof", ["none", "each_start"])
def test_a_backend_whose_proof_is_not_kept_has_nothing_built(bundle: Bundle, store: EngineStore, proof: str) -> None:
    backend = Doctored(plan=PLAN)
    backend.proof = proof  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=f"proof = '{proof}'"):
        build(bundle, backend, store, silent)
    assert not store.folder.exists()


def test_a_changed_golden_set_asks_for_a_new_proof_and_no_new_engine(bundle: Bundle, store: EngineStore) -> None:
    assert bundle.golden is not None
    first = build(bundle, Doctored(plan=PLAN), store, silent)
    coco = json.loads(bundle.golden.coco.read_text())
    gone = coco["images"].pop(0)
    bundle.golden.coco.write_text(json.dumps(coco))
    assert gone["file_name"] == "good_000.png"
    backend = Doctored(plan=PLAN)
    second = build(bundle, backend, store, silent)
    assert (first.passport.proof.outcome, second.passport.proof.outcome) == ("passed", "unverified")
    assert (backend.built_from, backend.loaded[0].engine_dir) == ([], str(first.folder))
    assert store.find(fingerprint(bundle, backend)) == second


def test_other_thresholds_ask_for_a_new_proof_and_the_same_ones_do_not(bundle: Bundle, store: EngineStore) -> None:
    build(bundle, Doctored(plan=PLAN), store, silent)
    recipes = [ThresholdState((0.9, 0.8, 0.7))]
    first, second = Doctored(plan=PLAN), Doctored(plan=PLAN)
    proven = build(bundle, first, store, silent, thresholds=recipes)
    assert proven.passport.proof.thresholds == ((0.9, 0.8, 0.7),)
    assert build(bundle, second, store, silent, thresholds=recipes) == proven
    assert (first.built_from, len(first.loaded), second.loaded) == ([], 1, [])


def test_a_device_that_is_lost_in_the_proof_leaves_no_engine(bundle: Bundle, store: EngineStore) -> None:
    def lost(number: int, outputs: Outputs) -> None:
        raise DeviceLostError("the driver was reset")

    with pytest.raises(DeviceLostError):
        build(bundle, Doctored(lost, plan=PLAN), store, silent)
    assert list(store.list()) == []


def test_a_new_proof_keeps_the_latencies_of_other_power_modes(bundle: Bundle, store: EngineStore) -> None:
    backend = Doctored(plan=PLAN)
    engine = build(bundle, backend, store, silent)
    slow = Latency(median_ms=40, p99_ms=50, runs=50)
    proof = engine.passport.proof.model_copy(update={"latency": {"15W": slow}})
    again = module.prove_again(bundle, backend, store, store.renew(engine, proof), silent)
    assert again.passport.proof.latency.keys() == {"15W", "default"}
    assert again.passport.proof.latency["15W"] == slow


def test_the_backend_gets_the_onnx_file_that_its_options_ask_for(bundle: Bundle, store: EngineStore) -> None:
    seen: list[tuple[int, set[str]]] = []

    class Looks(Doctored):
        def build(self, model, spec, into, progress):  # type: ignore[no-untyped-def]
            graph = onnx.load(model.onnx_path).graph
            half = sum(tensor.data_type == TensorProto.FLOAT16 for tensor in graph.initializer)
            seen.append((half, {output.name for output in graph.output}))
            assert not model.onnx_path.startswith(str(bundle.folder))
            return super().build(model, spec, into, progress)

    engine = build(bundle, Looks(plan=PLAN, options=EngineOptions("fp16", 50)), store, silent)
    ((half, outputs),) = seen
    assert (half > 0, outputs) == (True, {"edge_inspector_top_rows"})
    assert engine.passport.report["onnx"]["precision"] == "fp16"
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", engine.folder.name]


def test_a_network_that_quantises_itself_while_it_runs_is_refused_with_the_way_out(
    bundle: Bundle, store: EngineStore
) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["images"], ["q", "scale", "zero"], name="quant"),
        helper.make_node("ConvInteger", ["q", "w", "zero"], ["sums"], name="conv"),
        helper.make_node("Cast", ["sums"], ["output0"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "dynamic",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 1, 64, 64])],
        [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.uint8), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), bundle.folder / "model.onnx")
    with pytest.raises(BundleError, match=r"DynamicQuantizeLinear.*engine quantize"):
        build(bundle, Doctored(plan=PLAN, options=EngineOptions("fp16")), store, silent)
    assert list(store.list()) == []


def test_int8_without_pictures_is_refused(bundle: Bundle, store: EngineStore) -> None:
    with pytest.raises(ConfigError, match="calibration"):
        build(bundle, Doctored(plan=PLAN, options=EngineOptions("int8")), store, silent)
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock"]


def test_a_build_that_fails_leaves_the_engine_before(bundle: Bundle, store: EngineStore) -> None:
    class Fails(Doctored):
        def build(self, model, spec, into, progress):  # type: ignore[no-untyped-def]
            (into / "plan").write_bytes(b"half")
            raise BundleError("layer 7 cannot be built")

    before = build(bundle, Doctored(plan=PLAN), store, silent)
    with pytest.raises(BundleError, match="layer 7"):
        build(bundle, Fails(), store, silent, again=True)
    assert store.find(before.passport.fingerprint) == before


NICED = """
import os
from pathlib import Path
from edge_inspector.engine.build import niced
niced()
print(os.getpriority(os.PRIO_PROCESS, 0), Path("/proc/self/oom_score_adj").read_text().strip())
os.execvp("ionice", ["ionice", "-p", str(os.getpid())])
"""


def test_a_builder_gets_only_what_nobody_else_wants() -> None:
    if shutil.which("ionice") is None:
        pytest.skip("needs ionice (util-linux) to read the I/O class back")
    done = subprocess.run([sys.executable, "-c", NICED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["19", "1000", "idle"]


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
"""
CHILD = """
import time
from edge_inspector.engine.build import tied_to_parent
tied_to_parent()
print("tied", flush=True)
while True:
    time.sleep(60)
"""


def test_a_builder_ends_with_the_station_that_waits_for_it() -> None:
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        ended = os.pidfd_open(child)
        try:
            parent.send_signal(signal.SIGKILL)
            parent.wait(timeout=60)
            assert has_ended(ended), "the child is still there"
        finally:
            os.close(ended)


def has_ended(pidfd: int) -> bool:
    """Whether that process has ended, or ends within a minute."""
    return bool(select.select([pidfd], [], [], 60)[0])
