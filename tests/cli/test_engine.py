"""`edge-inspector engine`: what a person and the station see of engines."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import networks
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import quantize_dynamic
from typer.testing import CliRunner, Result

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.cli import engine_print
from edge_inspector.cli.main import app
from edge_inspector.engine.build import build
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.engine.passport import FILE, Proof
from edge_inspector.engine.store import EngineStore

STATION = """\
schema = 1

[station]
name = "cell"
recipe = "board"
state_dir = "state"

[cameras.top]
type = "folder"
path = "pictures"

[backend]
type = "onnxruntime"
max_batch = 2

[recipes.board]
number = 1
trigger = "timer"
period_s = 1.0
bundle = "boards"
views = [{ camera = "top" }]
"""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.bundle("yolo", tmp_path_factory.mktemp("bundles") / "yolo", golden=20)


@pytest.fixture
def place(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a station file and its bundle, in which the commands run."""
    shutil.copytree(shared, tmp_path / "boards")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "station.toml").write_text(STATION)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["engine", *words], input=answer, catch_exceptions=False)


def built(place: Path, bundle: str = "boards") -> str:
    """The digest of the engine that the station needs of this bundle."""
    backend = OnnxRuntimeBackend(Config(max_batch=2, warm_up_runs=1))
    store = EngineStore(place / "state" / "engines")
    return build(load_bundle(place / bundle), backend, store, lambda share, text: None).passport.digest


def run_build(*words: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which becomes the lowest of all and could not undo that."""
    command = [sys.executable, "-m", "edge_inspector", "engine", "build", "boards", "--station", "station.toml", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_build_proves_the_engine_and_says_where_it_is(place: Path) -> None:
    done = run_build()
    assert (done.returncode, done.stderr) == (0, "")
    assert "passed: 40 pictures, 20 good and 20 bad: all verdicts are the same" in done.stdout
    assert "same verdicts with so many pictures in a run: 1, 2" in done.stdout
    (one,) = EngineStore(place / "state" / "engines").list()
    assert str(one.folder) in done.stdout.replace("\n", "")


def test_progress_is_json_lines_and_the_last_has_the_proof_whatever_is_logged(place: Path) -> None:
    folder = place / "state" / "engines" / built(place)
    (folder / "plan").write_bytes(b"not in the passport")
    done = run_build("--progress")
    *steps, last = map(json.loads, done.stdout.splitlines())
    assert all(step.keys() == {"progress", "text"} and 0 <= step["progress"] <= 1 for step in steps)
    assert len(steps) > 40
    assert (last["engine"], last["outcome"], Proof.model_validate(last["proof"]).good) == (folder.name, "passed", 20)
    assert "engine_damaged" in done.stderr
    assert folder.with_name(f"{folder.name}.damaged").is_dir()


def test_other_verdicts_have_an_exit_code_of_their_own(place: Path) -> None:
    shutil.copytree(place / "boards", place / "deaf")
    toml = place / "deaf" / "model.toml"
    toml.write_text(toml.read_text().replace("= 0.5\n", "= 1.0\n"))
    done = run("verify", "deaf", "--backend", "onnxruntime", "--against", "boards", "--json")
    assert done.exit_code == 4
    assert [flip["escape"] for flip in json.loads(done.stdout)["flips"]] == [True] * 20
    done = run("verify", "boards", "--backend", "onnxruntime", "--against", "deaf")
    assert done.exit_code == 4
    assert "20 pictures are passed by the reference and rejected by the engine, allowed 0" in done.stdout
    assert "bad_019.png" in done.stdout


def test_unproven_is_no_failure(place: Path) -> None:
    networks.bundle("yolo", place / "bare")
    done = run("verify", "bare", "--backend", "onnxruntime")
    assert done.exit_code == 0
    assert "unverified: 0 good and 0 bad pictures" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["build", "nowhere"], "model bundle nowhere is not there"),
        (["build", "boards", "--station", "nowhere.toml"], "nowhere.toml: file: no such file"),
        (["build", "boards", "--backend", "nothing"], "backend type 'nothing' is not known"),
        (["build", "boards", "--station", "station.toml", "--precision", "fp16"], "nothing that --precision could"),
        (["build", "boards", "--backend", "openvino", "--workspace", "64"], "nothing that --workspace could choose"),
        (
            ["build", "boards", "--backend", "tensorrt", "--precision", "fp8"],
            "backend tensorrt: precision = 'fp8': Input should be",
        ),
        (["build", "boards", "--backend", "onnxruntime"], "backend onnxruntime runs the ONNX file as it is"),
        (["verify", "boards", "--station", "station.toml"], "build it with edge-inspector engine build"),
        (["verify", "boards", "--backend", "onnxruntime", "--images", "pictures"], "holds no picture"),
        (["verify", "boards", "--backend", "onnxruntime", "--against", "nowhere"], "model bundle nowhere is not there"),
        (["inspect", "nowhere"], "model bundle nowhere is not there"),
        (["inspect", "abcd12"], "begins with abcd12, and model bundle abcd12 is not there"),
        (["inspect", "boards/model.onnx"], "boards/model.onnx is a file, expected a bundle's folder"),
        (["prune", "--station", "nowhere.toml"], "no such file"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(place: Path, words: list[str], told: str) -> None:
    done = run(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


def test_verify_puts_a_new_proof_into_the_passport(place: Path) -> None:
    digest = built(place)
    golden = place / "boards" / "golden" / "annotations_coco.json"
    coco = json.loads(golden.read_text())
    golden.write_text(json.dumps({**coco, "images": coco["images"][1:]}))
    done = run("verify", "boards", "--station", "station.toml", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["good"] == 19
    kept = json.loads((place / "state" / "engines" / digest / FILE).read_bytes())
    assert kept["proof"] == json.loads(done.stdout)


def test_verify_of_other_pictures_leaves_the_proof_alone(place: Path) -> None:
    passport = place / "state" / "engines" / built(place) / FILE
    before = passport.read_bytes()
    done = run("verify", "boards", "--station", "station.toml", "--images", "boards/golden")
    assert (done.exit_code, passport.read_bytes() == before) == (0, True)
    assert "compared with onnxruntime" in done.stdout


def test_the_thresholds_of_the_stations_recipes_are_proven_too(place: Path) -> None:
    built(place)
    with (place / "station.toml").open("a") as file:
        file.write("\n[recipes.board.thresholds]\nbright = 0.75\n")
    done = run("verify", "boards", "--station", "station.toml")
    assert done.exit_code == 0
    assert "judged by the thresholds 0.75, 0.5, 0.5 too" in done.stdout
    (one,) = EngineStore(place / "state" / "engines").list()
    assert one.passport is not None
    assert one.passport.proof.thresholds == ((0.75, 0.5, 0.5),)


def test_list_and_inspect_tell_the_same_of_an_engine(place: Path) -> None:
    assert run("list", "--station", "station.toml").stdout == f"no engines in {place / 'state' / 'engines'}\n"
    digest = built(place)
    (row,) = [line for line in run("list", "--station", "station.toml").stdout.splitlines() if digest[:12] in line]
    assert row.split()[1:4] == ["little-yolo", "1.0.0", "onnxruntime"]
    assert row.split()[-1] == "passed"
    assert not row.endswith(" ")
    (listed,) = json.loads(run("list", "--state-dir", "state", "--json").stdout)
    inspected = json.loads(run("inspect", digest[:6], "--station", "station.toml", "--json").stdout)
    assert (listed["engine"], listed["problem"], listed["passport"]) == (digest, "", inspected)
    shown = run("inspect", digest[:6], "--station", "station.toml").stdout
    assert all(f"{name} " in shown and value in shown for name, value in inspected["facts"].items())


def test_an_unverified_engine_says_what_a_station_needs_to_run_it(place: Path) -> None:
    networks.bundle("yolo", place / "bare")
    digest = built(place, "bare")
    shown = run("inspect", digest[:8], "--state-dir", "state").stdout
    assert 'accept_unverified = ["little-yolo"]' in shown
    proven = built(place)
    assert "accept_unverified" not in run("inspect", proven[:8], "--state-dir", "state").stdout


@pytest.mark.parametrize(("facts", "column"), [({}, "fp32"), ({"precision": "bf16"}, "bf16")])
def test_list_shows_the_precision_that_the_backend_computes_in(
    place: Path, capsys: pytest.CaptureFixture[str], facts: dict[str, str], column: str
) -> None:
    built(place)
    (one,) = EngineStore(place / "state" / "engines").list()
    assert one.passport is not None
    told = one.passport.model_copy(update={"facts": {**one.passport.facts, **facts}})
    engine_print.stored([replace(one, passport=told)])
    assert capsys.readouterr().out.splitlines()[1].split()[4] == column


def test_inspect_shows_what_a_network_is(place: Path) -> None:
    facts = json.loads(run("inspect", "boards", "--json").stdout)
    network = onnx.load(place / "boards" / "model.onnx")
    assert facts["bundle"]["model_hash"] == load_bundle(place / "boards").model_hash
    assert facts["network"]["opset"] == 17
    assert facts["network"]["inputs"] == ["images float32 (n, 1, 64, 64)"]
    assert facts["network"]["outputs"] == ["output0 float32 (n, 7, 84)"]
    assert facts["network"]["parameters"] == sum(
        numpy_helper.to_array(tensor).size for tensor in network.graph.initializer
    )
    assert sum(facts["network"]["operators"].values()) == len(network.graph.node)
    assert (facts["network"]["quantised"], facts["network"]["dynamic"]) == (0, [])
    shown = run("inspect", "boards").stdout
    assert "images float32 (n, 1, 64, 64)" in shown
    assert "Conv " in shown


def test_inspect_names_what_quantises_itself_while_it_runs(place: Path) -> None:
    path = place / "boards" / "model.onnx"
    quantize_dynamic(path, path)
    toml = place / "boards" / "model.toml"
    before = load_bundle_sum(toml)
    toml.write_text(toml.read_text().replace(before, sha256_of(path)))
    facts = json.loads(run("inspect", "boards", "--json").stdout)["network"]
    assert facts["dynamic"]
    assert "TensorRT refuses them" in run("inspect", "boards").stdout


def load_bundle_sum(toml: Path) -> str:
    (line,) = [line for line in toml.read_text().splitlines() if line.startswith("sha256")]
    return line.split('"')[1]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_prune_asks_and_keeps_what_the_recipes_need(place: Path) -> None:
    needed = built(place)
    networks.bundle("yolo", place / "old", seed=5)
    built(place, "old")
    store = EngineStore(place / "state" / "engines")
    assert len(store.list()) == 2
    refused = run("prune", "--station", "station.toml", answer="n\n")
    assert (refused.exit_code, len(store.list())) == (1, 2)
    done = run("prune", "--station", "station.toml", "--yes")
    assert (done.exit_code, [one.folder.name for one in store.list()]) == (0, [needed])
    assert "1 engine(s) removed, " in done.stdout
    assert "nothing to remove" in run("prune", "--station", "station.toml").stdout


def test_exit_codes_are_in_the_help() -> None:
    done = run("--help")
    assert "4 an engine gives other verdicts" in " ".join(done.stdout.split())
    for command in ("build", "inspect", "verify", "list", "prune", "quantize", "import"):
        assert "Example" in run(command, "--help").stdout
