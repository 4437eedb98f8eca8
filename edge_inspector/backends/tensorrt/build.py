"""Build an engine: ONNX file in, plan file and report out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_inspector.backends.tensorrt import cache_file, network, report
from edge_inspector.backends.tensorrt.config import Config
from edge_inspector.backends.tensorrt.library import RTX, Library, Log, logger
from edge_inspector.datatypes import InputSpec
from edge_inspector.errors import BundleError

if TYPE_CHECKING:
    import tensorrt as trt

PLAN = "engine.plan"
_BUILT = 0.97  # of the whole: what follows is writing the plan and asking it


def build_plan(
    lib: Library,
    config: Config,
    onnx_path: str,
    spec: InputSpec,
    into: Path,
    facts: Mapping[str, str],
    progress: Callable[[float, str], None],
) -> Mapping[str, object]:
    """Write `into`/engine.plan; with a GPU its context must be current. BundleError quotes what the library said."""
    begun = time.monotonic()
    gpu = facts["gpu"] != "none"
    log = Log()
    talker = logger(lib, log)
    builder = lib.Builder(talker)
    progress(0.0, "reading the network")
    parsed = network.parse(lib, builder, talker, log, onnx_path, spec)
    settings, phases = network.configure(
        lib, builder, parsed, config, lambda part, text: progress(part * _BUILT, text), gpu
    )
    off_the_dla = [] if config.dla_core is None else network.layers_off_the_dla(lib, parsed, settings)
    if config.dla_core is not None and len(off_the_dla) == parsed.network.num_layers:
        raise BundleError(
            f"{onnx_path}: {lib.__name__} {lib.__version__} runs none of its {len(off_the_dla)} layers on the DLA; "
            "leave dla_core out"
        )
    cache = None if lib.__name__ == RTX else cache_file.beside(into, "timing", facts)
    _use_timing_cache(settings, cache, log)
    plan = builder.build_serialized_network(parsed.network, settings)
    if phases.failure is not None:
        raise phases.failure
    if plan is None:
        raise BundleError(
            f"{lib.__name__} {lib.__version__} cannot build {onnx_path}: {log.why()}; with 'out of memory' or "
            "'no implementation', give it more workspace_mb; otherwise export the model again"
        )
    progress(_BUILT, "writing the plan")
    content = bytes(plan)
    _write(into / PLAN, content)
    timings = None if cache is None else cast("trt.ITimingCache | None", settings.get_timing_cache())
    if cache is not None and timings is not None:
        cache_file.write(cache, bytes(timings.serialize()))
    engine = _loaded(lib, talker, config, content, log) if gpu else None
    made = {
        "library": facts["library"],
        "gpu": facts["gpu"],
        "build_s": round(time.monotonic() - begun, 1),
        "plan_mb": round(len(content) / 1e6, 3),
        "network_layers": parsed.network.num_layers,
        "tensors": report.tensors(parsed.network),
        "batch": [1, config.max_batch if parsed.fixed_batch is None else parsed.fixed_batch],
        "workspace_mb": config.workspace_mb,
        "timing_cache": "none: this library times nothing" if cache is None else cache.name,
        "sparsity": "2:4 kernels where weights allow, the rest dense" if config.sparsity else "off",
        "dla": "off" if config.dla_core is None else {"core": config.dla_core, "on_the_gpu_instead": off_the_dla},
        **report.inspected(lib, engine),
        "warnings": list(log.warnings),
    }
    progress(1.0, "engine built")
    return made


def _use_timing_cache(settings: trt.IBuilderConfig, cache: Path | None, log: Log) -> None:
    """Start from what earlier builds on this device measured; a cache that is refused is begun anew."""
    if cache is None:
        return
    for known in (cache_file.read(cache), b""):
        timings = settings.create_timing_cache(known)
        if timings is not None and settings.set_timing_cache(timings, False):
            return
    log.add(2, f"{cache.name} was refused and could not be begun anew: this build measures everything")


def _loaded(lib: Library, talker: trt.ILogger, config: Config, plan: bytes, log: Log) -> trt.ICudaEngine:
    """The new plan as the station will load it: what cannot be loaded is told now and not at the next start."""
    runtime = lib.Runtime(talker)
    if config.dla_core is not None:
        runtime.DLA_core = config.dla_core
    engine = cast("trt.ICudaEngine | None", runtime.deserialize_cuda_engine(plan))
    if engine is None:
        raise BundleError(f"the plan was built but {lib.__name__} cannot load it again: {log.why()}")
    return engine


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
