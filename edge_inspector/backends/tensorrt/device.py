"""What this machine is: GPU, CUDA, TensorRT, JetPack. An engine runs only on the like of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_inspector.backends.tensorrt.config import Config
from edge_inspector.backends.tensorrt.library import RTX, Library
from edge_inspector.errors import ConfigError

L4T_FILE = Path("/etc/nv_tegra_release")
NO_PYCUDA = (
    "backend tensorrt needs PyCUDA and NVIDIA's driver, and cannot load them ({why}). "
    "`nvidia-smi` (on a Jetson `tegrastats`) must show the GPU; then, with the CUDA toolkit's nvcc on the PATH: "
    "pip install pycuda cuda-bindings"
)


def driver() -> Any:
    """PyCUDA's driver API, ready to use. ConfigError: not installed, or there is no NVIDIA driver."""
    try:
        import pycuda.driver
    except ImportError as exc:
        raise ConfigError(NO_PYCUDA.format(why=exc)) from exc
    try:
        pycuda.driver.init()
    except pycuda.driver.Error as exc:
        raise ConfigError(NO_PYCUDA.format(why=exc)) from exc
    return pycuda.driver


def facts(lib: Library, config: Config) -> Mapping[str, str]:
    """As `Backend.facts`. TensorRT-RTX can build without a GPU: then "gpu" is "none"; TensorRT gives a ConfigError."""
    return {
        "library": f"{lib.__name__} {lib.__version__}",
        **_gpu(lib, config.device),
        "l4t": l4t(_text(L4T_FILE)),
        "option.max_batch": str(config.max_batch),
        "option.workspace_mb": str(config.workspace_mb),
        "option.optimization_level": str(config.optimization_level),
        "option.sparsity": str(config.sparsity).lower(),
        "option.dla_core": "none" if config.dla_core is None else str(config.dla_core),
    }


def l4t(release: str) -> str:
    """The version of a Jetson's software, "36.4.3", from its release file; "none" on anything else."""
    found = re.search(r"# R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", release)
    return f"{found[1]}.{found[2]}" if found else "none"


def cuda_version(number: int) -> str:
    """12060 -> "12.6"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpu(lib: Library, number: int) -> Mapping[str, str]:
    try:
        cuda = driver()
    except ConfigError:
        if lib.__name__ == RTX:
            return {"gpu": "none", "sm": "none", "cuda": "none", "cuda_driver": "none"}
        raise
    if number >= cuda.Device.count():
        raise ConfigError(f"device = {number}, but this machine has {cuda.Device.count()} GPUs, counted from 0")
    gpu = cuda.Device(number)
    major, minor = gpu.compute_capability()
    built_with = cuda.get_version()
    return {
        "gpu": gpu.name(),
        "sm": f"{major}.{minor}",
        "cuda": f"{built_with[0]}.{built_with[1]}",
        "cuda_driver": cuda_version(cuda.get_driver_version()),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
