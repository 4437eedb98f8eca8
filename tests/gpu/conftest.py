"""A real NVIDIA GPU: what these tests need of it, and the page into which their figures go."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import networks
import numpy as np
import pytest
from gpu_results import Results

from edge_inspector.backends.tensorrt import Config, TensorRtBackend, device
from edge_inspector.backends.tensorrt.gpu import Gpu
from edge_inspector.backends.tensorrt.library import library
from edge_inspector.backends.tensorrt.model import TensorRtModel
from edge_inspector.datatypes import PreparePlan
from edge_inspector.engine.bundle import Bundle, load_bundle
from edge_inspector.engine.typed import write_typed
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import ModelFile

RESULTS = "EDGE_INSPECTOR_GPU_RESULTS"
"""Environment variable: the file to write; the figures are only printed without it."""
LIBRARIES: tuple[Literal["tensorrt", "tensorrt_rtx"], ...] = ("tensorrt", "tensorrt_rtx")
RTX_TARGETS = {"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"}  # compute capabilities that TensorRT-RTX 1.7 builds for


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    try:
        return Gpu(0)
    except ConfigError as exc:
        pytest.skip(f"no usable GPU: {exc}")


@pytest.fixture(scope="session")
def results(gpu: Gpu) -> Iterator[Results]:
    """Collects figures; writes the page at the end of the session."""
    found = Results()
    yield found
    number = gpu.driver.Device(0)
    libraries = [f"{name} {library(name).__version__}" for name in LIBRARIES if _has(name)]
    facts = {
        "GPU": number.name(),
        "compute capability": ".".join(map(str, number.compute_capability())),
        "CUDA driver": device.cuda_version(gpu.driver.get_driver_version()),
        "PyCUDA built with CUDA": ".".join(map(str, gpu.driver.get_version())),
        "TensorRT": ", ".join(libraries) or "none",
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    page = found.page(facts)
    print(page)  # noqa: T201
    if os.environ.get(RESULTS):
        Path(os.environ[RESULTS]).write_text(page, encoding="utf-8")


@pytest.fixture(scope="session")
def library_name(gpu: Gpu) -> Any:
    """The TensorRT that runs here: the full one, else TensorRT-RTX."""
    if _has("tensorrt"):
        return "tensorrt"
    if not _has("tensorrt_rtx"):
        pytest.skip("neither tensorrt nor tensorrt_rtx is installed")
    capability = ".".join(map(str, gpu.driver.Device(0).compute_capability()))
    if capability not in RTX_TARGETS:
        pytest.skip(f"TensorRT-RTX does not build for compute capability {capability}, and tensorrt is not installed")
    return "tensorrt_rtx"


@pytest.fixture(scope="session")
def loaded(
    gpu: Gpu, library_name: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., tuple[Bundle, TensorRtModel, Path]]]:
    """Builds and loads an engine: (family, precision, **Config) -> bundle, model, and the ONNX it was built of."""
    made: dict[str, tuple[Bundle, TensorRtModel, Path]] = {}

    def load(family: str, precision: Any, *, size: int = 64, **keys: Any) -> tuple[Bundle, TensorRtModel, Path]:
        wanted = repr((family, precision, size, sorted(keys.items())))
        if wanted not in made:  # minutes on a Jetson
            made[wanted] = build(family, precision, size, keys)
        return made[wanted]

    def build(family: str, precision: Any, size: int, keys: Any) -> tuple[Bundle, TensorRtModel, Path]:
        folder = tmp_path_factory.mktemp(f"{family}-{precision}")
        bundle = load_bundle(networks.bundle(family, folder / "bundle", size=size, golden=20))
        pictures = folder / "bundle" / "golden"
        keys = {"compact_rows": 0, "warm_up_runs": 5, "max_batch": 4, **keys}
        backend = TensorRtBackend(Config(library=library_name, precision=precision, calibration=pictures, **keys))
        typed = folder / "typed.onnx"
        write_typed(bundle, backend.options, typed, lambda part, text: None)
        (folder / "engine").mkdir()
        backend.build(ModelFile(str(typed), ""), bundle.spec, folder / "engine", lambda part, text: None)
        file = ModelFile(str(typed), "", str(folder / "engine"))
        return bundle, backend.load(file, PreparePlan(bundle.spec), backend.max_batch), typed

    yield load
    for _, model, _ in made.values():
        model.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


def _has(name: Literal["tensorrt", "tensorrt_rtx"]) -> bool:
    try:
        library(name)
    except ConfigError:
        return False
    return True
