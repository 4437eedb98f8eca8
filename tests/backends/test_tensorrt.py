"""TensorRT on any machine: settings, refusals, caches, progress, and the words of the report."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edge_inspector.backends.tensorrt import Config, TensorRtBackend, cache_file, cubin, device, report
from edge_inspector.backends.tensorrt.library import MESSAGES_KEPT, Log, library
from edge_inspector.backends.tensorrt.phases import Phases
from edge_inspector.datatypes import InputSpec, PreparePlan
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import EngineOptions, ModelFile

SPEC = InputSpec(64, 64, "gray", 1 / 255, (0.0,), (1.0,), 0)
R36 = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025"
)


def has(module: str) -> bool:
    """Whether it can be imported and is more than the folder of its type stubs."""
    try:
        return importlib.import_module(module).__file__ is not None
    except ImportError:
        return False


@pytest.mark.parametrize(("text", "version"), [(R36, "36.4.3"), ("", "none"), ("Ubuntu 22.04", "none")])
def test_a_jetsons_software_is_read_off_its_release_file(text: str, version: str) -> None:
    assert device.l4t(text) == version


@pytest.mark.parametrize(("number", "version"), [(12060, "12.6"), (13000, "13.0"), (11040, "11.4")])
def test_a_cuda_version_is_written_as_people_do(number: int, version: str) -> None:
    assert device.cuda_version(number) == version


def test_without_the_library_the_user_is_told_what_to_install() -> None:
    if has("tensorrt"):
        pytest.skip("tensorrt itself is installed here: its absence cannot be shown")
    with pytest.raises(ConfigError, match=r"python3-libnvinfer, and a venv made with --system-site-packages"):
        library("tensorrt")
    with pytest.raises(ConfigError, match="python3-libnvinfer"):
        TensorRtBackend(Config()).facts()


def test_without_a_gpu_loading_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    if not has("tensorrt_rtx"):
        pytest.skip("tensorrt_rtx is not installed here (it has wheels for x86-64 only)")
    if has("pycuda.driver"):
        pytest.skip("PyCUDA works here: the refusal without a GPU cannot be shown")
    (tmp_path / "engine.plan").write_bytes(b"plan")
    backend = TensorRtBackend(Config(library="tensorrt_rtx"))
    with pytest.raises(ConfigError, match="needs PyCUDA and NVIDIA's driver") as caught:
        backend.load(ModelFile("model.onnx", "", str(tmp_path)), PreparePlan(SPEC), 1)
    assert "pip install pycuda cuda-bindings" in str(caught.value)


def test_the_station_files_words_become_the_backends() -> None:
    backend = TensorRtBackend(Config(precision="int8", calibration=Path("/pictures"), compact_rows=100, max_batch=4))
    assert backend.options == EngineOptions("int8", 100, "/pictures")
    assert (backend.max_batch, backend.prepares_on_device, backend.proof) == (4, True, "kept")
    assert not TensorRtBackend(Config(prepare_on_device=False)).prepares_on_device


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"dla_core": 0, "library": "tensorrt_rtx"}, "TensorRT-RTX has no DLA"),
        ({"dla_core": 0, "precision": "fp32"}, "fp16 and int8 only"),
        ({"dla_core": 1, "max_batch": 2}, "set it to 1"),
        ({"dla_core": 2}, "less than or equal to 1"),
        ({"max_batch": 0}, "greater than or equal to 1"),
        ({"optimization_level": 6}, "less than or equal to 5"),
        ({"precision": "bf16"}, "'fp32', 'fp16' or 'int8'"),
    ],
)
def test_a_setting_that_no_device_can_do_is_refused_before_anything_is_opened(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Config(**keys)


def test_a_dla_is_taken_with_what_it_can_do() -> None:
    assert Config(dla_core=1, precision="int8").dla_core == 1


def test_a_kernel_compiles_for_an_orin(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("CUDA's compiler nvcc is not on this machine")
    little = tmp_path / "little.cu"  # what becomes of prepare.cu itself, test_prepare_kernel.py shows
    little.write_text('extern "C" __global__ void kernel() {}')
    path = cubin.compile_cubin(little, "8.7", tmp_path)
    assert path == tmp_path / "prepare.cubin"
    assert path.read_bytes()[:4] == b"\x7fELF"


def test_a_product_and_a_sum_are_rounded_one_by_one_as_opencv_does(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("CUDA's compiler nvcc is not on this machine")
    little, ptx = tmp_path / "little.cu", tmp_path / "little.ptx"
    little.write_text('extern "C" __global__ void kernel(float* x) { *x = x[1] * x[2] + x[3]; }')
    fused = []
    for options in (("-O3",), cubin.OPTIONS):
        subprocess.run(["nvcc", "--ptx", "-arch=sm_87", *options, "-o", str(ptx), str(little)], check=True)
        fused.append("fma.rn.f32" in ptx.read_text())
    assert fused == [True, False]


def test_a_kernel_that_nvcc_refuses_is_quoted(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("CUDA's compiler nvcc is not on this machine")
    broken = tmp_path / "broken.cu"
    broken.write_text("__global__ void kernel() { nonsense; }")
    with pytest.raises(ConfigError, match=r'cannot compile broken\.cu for sm 8\.7: .*"nonsense" is undefined'):
        cubin.compile_cubin(broken, "8.7", tmp_path)


def test_the_compiler_is_looked_for_on_the_path_and_then_where_jetpack_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt install cuda-nvcc"):
        cubin.nvcc(tmp_path / "cuda" / "nvcc")
    there = tmp_path / "cuda" / "nvcc"
    there.parent.mkdir()
    there.touch()
    assert cubin.nvcc(there) == str(there)


def test_one_cache_serves_all_options_of_a_device_and_no_other_device(tmp_path: Path) -> None:
    facts = {"gpu": "Orin", "library": "tensorrt 10.3.0", "option.max_batch": "1"}
    path = cache_file.beside(tmp_path / "abc", "timing", facts)
    assert path.parent == tmp_path
    assert path == cache_file.beside(tmp_path / "def", "timing", {**facts, "option.max_batch": "8"})
    assert path != cache_file.beside(tmp_path / "abc", "timing", {**facts, "gpu": "Thor"})


def test_a_cache_outlives_the_hidden_folder_in_which_an_engine_is_built(tmp_path: Path) -> None:
    assert cache_file.beside(tmp_path / ".building" / "engine", "timing", {}).parent == tmp_path


def test_a_cache_is_replaced_whole_and_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "timing.cache"
    assert cache_file.read(path) == b""
    cache_file.write(path, b"first, and longer")
    cache_file.write(path, b"second")
    assert cache_file.read(path) == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_cache_that_says_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "jit.cache"
    cache_file.write(path, b"kernels")
    before = path.stat()
    cache_file.write(path, b"kernels")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_cache_that_cannot_be_read_or_written_costs_no_build(tmp_path: Path) -> None:
    missing = tmp_path / "no such folder" / "timing.cache"
    cache_file.write(missing, b"lost")
    assert not missing.exists()
    folder = tmp_path / "a folder.cache"
    folder.mkdir()
    assert cache_file.read(folder) == b""
    cache_file.write(folder, b"lost")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a folder.cache"]


def test_nested_phases_make_one_number_that_never_falls() -> None:
    told: list[tuple[float, str]] = []
    phases = Phases(lambda part, text: told.append((part, text)))
    phases.start("build", None, 2)
    phases.start("inner", "build", 4)
    for step in range(4):
        assert phases.step("inner", step)
    phases.finish("inner")
    phases.step("build", 0)
    phases.start("again", "build", 1)
    phases.step("again", 0)
    phases.step("build", 1)
    phases.finish("build")
    assert told == [(0.0, "build"), (0.125, "inner"), (0.25, "inner"), (0.375, "inner"), (0.5, "inner"), (1.0, "again")]


def test_a_phase_that_nobody_announced_is_left_out() -> None:
    told: list[float] = []
    phases = Phases(lambda part, text: told.append(part))
    assert phases.step("unknown", 3)
    phases.start("orphan", "never seen", 0)
    phases.finish("unknown")
    assert told == [0.0]


def test_what_the_callers_progress_raises_ends_the_build_and_is_kept() -> None:
    def broken(part: float, text: str) -> None:
        raise ConfigError("the pipe is closed")

    phases = Phases(broken)
    phases.start("build", None, 2)
    assert not phases.step("build", 0)
    assert isinstance(phases.failure, ConfigError)


def test_the_library_is_quoted_once_and_not_without_end() -> None:
    log = Log()
    for number in range(2 * MESSAGES_KEPT):
        log.add(1, f"error {number // 2}")
    log.add(2, "careful")
    log.add(3, "chatter")
    assert len(log.errors) == MESSAGES_KEPT
    assert (log.errors[0], log.errors[1], log.warnings) == ("error 0", "error 1", ["careful"])
    log.clear()
    assert log.why() == "it gave no reason"


@pytest.mark.parametrize(
    ("layer", "computes_in"),
    [
        ({"Inputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]}, "fp16"),
        ({"Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]}, "int8"),
        ({"Inputs": [{"Format/Datatype": "Row major linear FP32"}]}, "fp32"),
        ({"Inputs": [{"Format/Datatype": "Half"}], "Outputs": [{"Format/Datatype": "Float"}]}, "fp16"),
        ({"Inputs": [], "Outputs": [{"Format/Datatype": "Int64"}]}, "int64"),
        ({"Inputs": [{"Format/Datatype": "Something new"}]}, "Something new"),
        ({"Inputs": [{"DataType": "Half", "Format": "Channel major FP32 format"}]}, "fp16"),  # TensorRT 11
        ({"Inputs": [{"Datatype": "Int8", "Format": "N/A"}]}, "int8"),
        ({}, "unknown"),
    ],
)
def test_a_layers_precision_is_read_off_the_inspectors_words(layer: dict[str, Any], computes_in: str) -> None:
    assert report.precision(layer) == computes_in


def test_layers_are_counted_by_precision_and_bare_names_too() -> None:
    half = {"Name": "conv", "Inputs": [{"Format/Datatype": "Half"}]}
    layers = report._layers(json.dumps({"Layers": [half, "bare", half]}))
    assert report.precisions(layers) == {"fp16": 2, "unknown": 1}
