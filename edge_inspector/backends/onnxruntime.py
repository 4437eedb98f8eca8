"""ONNX Runtime on the CPU: the reference for every other backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edge_inspector.backends.batches import BatchModel, NetworkInput, Outputs, cpu_name, network_bytes, network_input
from edge_inspector.datatypes import Floats, InputSpec, PreparePlan
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import EngineOptions, ModelFile
from edge_inspector.settings import PluginConfig

PROVIDERS = ["CPUExecutionProvider"]
FATAL = 4  # ONNX Runtime's severity: its findings come as exceptions, the station's log stays ours


class Config(PluginConfig):
    """A CPU has no queue to fill: threads are all there is to set."""

    type: Literal["onnxruntime"] = "onnxruntime"
    threads: int = Field(1, ge=1, le=256, description="Threads for one inference. More than idle cores make it slower.")
    max_batch: int = Field(
        1, ge=1, le=16, description="Pictures in one run, tiles and views alike. On a CPU more of them save nothing."
    )
    warm_up_runs: int = Field(3, ge=1, le=1000, description="Runs on a blank picture before the model is ready.")


class OnnxRuntimeBackend:
    """Loads models on the CPU."""

    prepares_on_device = False
    options = EngineOptions()

    def __init__(self, config: Config) -> None:
        self._config = config
        self.max_batch = config.max_batch
        # one picture a run is the reference itself; in a larger run the last digits may differ
        self.proof: Literal["none", "kept", "each_start"] = "none" if config.max_batch == 1 else "kept"

    def facts(self) -> Mapping[str, str]:
        return {
            "onnxruntime": _onnxruntime().__version__,
            "cpu": cpu_name(),
            "max_batch": str(self.max_batch),
            "option.threads": str(self._config.threads),
        }

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        """Nothing: it runs the ONNX file."""
        return {}

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> BatchModel:
        """Load and warm up. BundleError: damaged, or its input is not the plan's. ConfigError: not on the CPU alone."""
        session = _session(model, self._config.threads)
        inputs = [(i.name, {"tensor(float)": "float32"}.get(i.type, i.type), i.shape) for i in session.get_inputs()]
        network = _Network(session, network_input(model.onnx_path, inputs, plan.input, max_batch))
        loaded = BatchModel(network.input, network.start, Path(model.onnx_path).stat().st_size, network.close)
        try:
            loaded.warm_up(self._config.warm_up_runs, timeout_s=0.0)
        except InferenceError as exc:
            raise BundleError(f"{model.onnx_path}: the first inference failed: {exc}; export the model again") from exc
        return loaded


class _Network:
    """A session, and what is asked of it."""

    def __init__(self, session: Any, given: NetworkInput) -> None:
        self.input = given
        self._session = session
        self._output_names = [output.name for output in session.get_outputs()]

    def start(self, pixels: Floats) -> _Run:
        return _Run(self, pixels)

    def run(self, pixels: Floats) -> Outputs:
        try:
            arrays = self._session.run(self._output_names, {self.input.name: pixels})
        except _vendor_errors() as exc:
            raise InferenceError(f"onnxruntime failed: {exc}") from exc
        return dict(zip(self._output_names, arrays, strict=True))

    def close(self) -> None:
        self._session = None


class _Run:
    """It runs when its outputs are asked for: earlier it would hold back the part before it, which is ready.

    A run cannot be interrupted from its own thread: `timeout_s` is not enforced here, the part's deadline is.
    """

    def __init__(self, network: _Network, pixels: Floats) -> None:
        self._network = network
        self._pixels = pixels

    def outputs(self, timeout_s: float) -> Outputs:
        return self._network.run(self._pixels)

    def cancel(self) -> None:
        """Nothing runs."""


def _session(model: ModelFile, threads: int) -> Any:
    onnxruntime, onnx_path = _onnxruntime(), model.onnx_path
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # threads that spin between runs take the cores from the camera and the PLC
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # a sum is of one file: from its bytes no weights are loaded that lie beside it and may be any
    network = network_bytes(model) if model.sha256 else onnx_path
    try:
        session = onnxruntime.InferenceSession(network, options, providers=PROVIDERS)
    except _vendor_errors() as exc:
        raise BundleError(
            f"{onnx_path} is not a model that ONNX Runtime can load ({exc}); export or copy it again"
        ) from exc
    if session.get_providers() != PROVIDERS:
        raise ConfigError(
            f"{onnx_path}: ONNX Runtime wants to run it on {', '.join(session.get_providers())}, expected "
            f"{', '.join(PROVIDERS)} alone; install the plain onnxruntime package"
        )
    return session


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as exc:
        raise ConfigError(
            'backend onnxruntime needs a package that is missing: pip install "edge-inspector[ort]"'
        ) from exc
    return onnxruntime


def _vendor_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions, which have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(e for e in vars(state).values() if isinstance(e, type) and issubclass(e, Exception))
