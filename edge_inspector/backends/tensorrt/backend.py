"""The backend: what it needs, builds and loads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from edge_inspector.backends.tensorrt import build, cache_file, cubin, device, prepare_kernel
from edge_inspector.backends.tensorrt.config import Config
from edge_inspector.backends.tensorrt.engine import Engine
from edge_inspector.backends.tensorrt.gpu import Gpu
from edge_inspector.backends.tensorrt.library import library
from edge_inspector.backends.tensorrt.model import TensorRtModel
from edge_inspector.backends.tensorrt.preparation import Preparation
from edge_inspector.datatypes import InputSpec, PreparePlan
from edge_inspector.errors import BundleError, DeviceLostError, InferenceError
from edge_inspector.interfaces import ModelFile

_KERNEL_SOURCE = Path(prepare_kernel.__file__).with_name("prepare.cu")


class TensorRtBackend:
    """Builds and loads engines on one GPU."""

    proof: Literal["kept"] = "kept"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._gpu: Gpu | None = None
        self.prepares_on_device = config.prepare_on_device
        self.max_batch = config.max_batch
        self.options = config.engine_options

    def facts(self) -> Mapping[str, str]:
        """As `device.facts`, and the preparation kernel: verdicts depend on it too."""
        kernel = hashlib.sha256((prepare_kernel.SOURCE + " ".join(cubin.OPTIONS)).encode()).hexdigest()[:16]
        return {
            **device.facts(library(self._config.library), self._config),
            "prepare": kernel if self._config.prepare_on_device else "on the cpu",
        }

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        """Write the plan, and the preparation kernel for this GPU. Without a GPU TensorRT-RTX writes a plan for all."""
        lib = library(self._config.library)
        facts = self.facts()
        with self._context(facts):
            if facts["sm"] != "none" and self._config.prepare_on_device:
                cubin.compile_cubin(_KERNEL_SOURCE, facts["sm"], into)
            return build.build_plan(lib, self._config, model.onnx_path, spec, into, facts, progress)

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> TensorRtModel:
        """Load and warm up. BundleError: damaged, of another device, not what the plan gives. ConfigError: no GPU."""
        lib = library(self._config.library)
        gpu = self._opened()
        folder = Path(model.engine_dir)
        try:
            content = (folder / build.PLAN).read_bytes()
        except OSError as exc:
            raise BundleError(f"{folder} holds no engine ({exc}); build it: edge-inspector engine build") from exc
        try:
            with gpu.current("loading the engine"):
                jit = cache_file.beside(folder, "jit", self.facts())
                engine = Engine(lib, content, str(folder / build.PLAN), self._config.dla_core, jit)
                _check(engine, plan, folder)
                preparation = self._preparation(gpu, engine, folder, plan.input)
                loaded = TensorRtModel(gpu, engine, preparation, min(engine.most, max(1, max_batch)), len(content))
            loaded.keeps_warm = self._config.keep_warm
            loaded.warm_up(self._config.warm_up_runs, self._config.cuda_graph)
            loaded.rehearse(plan)
        except DeviceLostError:
            raise
        except InferenceError as exc:
            raise BundleError(
                f"{folder}: the engine does not run: {exc}; build it again on this device: edge-inspector engine build"
            ) from exc
        return loaded

    def _preparation(self, gpu: Gpu, engine: Engine, folder: Path, spec: InputSpec) -> Preparation | None:
        if not self.prepares_on_device:
            return None
        file = folder / cubin.NAME
        if not file.is_file():
            raise BundleError(f"{file} is missing; build the engine again on this device: edge-inspector engine build")
        with gpu.current(f"loading {cubin.NAME}"):
            return Preparation(gpu, file, "float16" if engine.input.dtype == np.float16 else "float32", spec)

    def _opened(self) -> Gpu:
        if self._gpu is None:
            self._gpu = Gpu(self._config.device)
        return self._gpu

    @contextmanager
    def _context(self, facts: Mapping[str, str]) -> Iterator[None]:
        """The GPU's context, where there is one. BundleError for what CUDA says in a build."""
        if facts["gpu"] == "none":
            yield
            return
        try:
            with self._opened().current("building the engine"):
                yield
        except InferenceError as exc:
            raise BundleError(str(exc)) from exc


def _check(engine: Engine, plan: PreparePlan, folder: Path) -> None:
    spec = plan.input
    wanted = (spec.channels, spec.height_px, spec.width_px)
    if engine.input.shape != wanted or engine.input.dtype.kind != "f":
        raise BundleError(
            f"{folder}: the engine takes {engine.input.dtype} {engine.input.shape}, the plan gives float {wanted} "
            "(channels, height, width); correct model.toml's [input] or build the engine again"
        )
