"""The preparation kernel, compiled for one GPU by CUDA's nvcc when the engine is built: a start compiles nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edge_inspector.errors import ConfigError

NAME = "prepare.cubin"
OPTIONS = ("-O3", "--fmad=false")
"""Not contracted: a product and a sum are rounded one by one, as in OpenCV and where the tests look at the kernel."""
_JETPACK_NVCC = Path("/usr/local/cuda/bin/nvcc")
_TIMEOUT_S = 300.0  # measured 2 s; a Jetson in its lowest power mode is far slower


def compile_cubin(source: Path, sm: str, into: Path) -> Path:
    """Write `into`/prepare.cubin for compute capability `sm` ("8.7"). ConfigError: no nvcc, or it refuses."""
    compiler = nvcc()
    target = into / NAME
    command = [
        compiler,
        "--cubin",
        f"--gpu-architecture=sm_{sm.replace('.', '')}",
        *OPTIONS,
        "-o",
        str(target),
        str(source),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ConfigError(
            f"{compiler} did not compile {source.name} within {_TIMEOUT_S:.0f} s; is the machine busy?"
        ) from exc
    if done.returncode != 0 or not target.is_file():
        raise ConfigError(
            f"{compiler} cannot compile {source.name} for sm {sm}: {done.stderr.strip() or done.stdout.strip()}; "
            "install the toolkit of this driver's CUDA, or set prepare_on_device = false"
        )
    return target


def nvcc(otherwise: Path = _JETPACK_NVCC) -> str:
    """The compiler on the PATH, or where JetPack and NVIDIA's packages put it. ConfigError when there is none."""
    found = shutil.which("nvcc") or (str(otherwise) if otherwise.is_file() else None)
    if found is None:
        raise ConfigError(
            f"prepare_on_device needs CUDA's compiler, which is neither on the PATH nor {otherwise}: "
            "apt install cuda-nvcc, or set prepare_on_device = false"
        )
    return found
