"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from edge_inspector.datatypes import Batch, PreparePlan, Tensors
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import ModelFile, Ticket
from edge_inspector.settings import PluginConfig

SLOTS = 2
FATAL = 4  # ONNX Runtime's severity: its findings come as exceptions, the station's log stays ours


class Config(PluginConfig):
    """A CPU has no queue to fill: threads are all there is to set."""

    type: Literal["onnxruntime"] = "onnxruntime"
    threads: int = Field(1, ge=1, le=256, description="Threads for one inference. More than idle cores make it slower.")
    warm_up_runs: int = Field(3, ge=1, le=1000, description="Runs on a blank picture before the model is ready.")


@dataclass(frozen=True)
class _Input:
    """A network's one input: `tiles` are the batch sizes it takes, `chw` the rest of its shape."""

    name: str
    tiles: range
    chw: tuple[int, int, int]


class OnnxRuntimeBackend:
    """Loads models on the CPU."""

    prepares_on_device = False

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> OnnxRuntimeModel:
        """Load and warm up; `model.output_shapes` is not read. BundleError: damaged, or its input is not the plan's."""
        session = _session(model.onnx_path, self._config.threads)
        loaded = OnnxRuntimeModel(
            session, _input(session, plan, max_batch, model.onnx_path), Path(model.onnx_path).stat().st_size
        )
        try:
            loaded.warm_up(self._config.warm_up_runs)
        except InferenceError as exc:
            raise BundleError(f"{model.onnx_path}: the first inference failed: {exc}; export the model again") from exc
        return loaded


class OnnxRuntimeModel:
    """A network on the CPU. It runs in `collect`: in `submit` it would hold back the part before it, which is ready.

    A run cannot be interrupted from its own thread: `timeout_s` is not enforced here, the part's deadline is.
    """

    def __init__(self, session: Any, given: _Input, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self.output_shapes: Mapping[str, tuple[int, ...]] = {}
        self._session = session
        self._input = given
        self._output_names = [output.name for output in session.get_outputs()]
        self._waiting: dict[int, tuple[int, Batch]] = {}
        self._submitted = 0

    def warm_up(self, runs: int) -> None:
        """Run on a blank picture, which also shows the outputs' real shapes. InferenceError as `collect`."""
        blank = np.zeros((self._input.tiles[-1], *self._input.chw), np.float32)
        for _ in range(runs):
            outputs = self._run(blank)
        self.output_shapes = {name: array.shape for name, array in outputs.items()}

    def submit(self, batch: Batch, slot: int) -> Ticket:
        """Keep the batch for `collect`. InferenceError when it does not fit the model."""
        if slot not in range(SLOTS) or slot in self._waiting:
            raise ValueError(f"slot {slot} is not free; slots 0..{SLOTS - 1}, occupied {sorted(self._waiting)}")
        tiles, *chw = batch.pixels.shape
        if tiles not in self._input.tiles or tuple(chw) != self._input.chw or batch.pixels.dtype != np.float32:
            raise InferenceError(
                f"the batch is {batch.pixels.dtype} {batch.pixels.shape}, the model was loaded for float32 "
                f"{self._input.chw}, {self._input.tiles[0]}..{self._input.tiles[-1]} tiles; load it with this plan"
            )
        self._submitted += 1
        self._waiting[slot] = (self._submitted, batch)
        return Ticket(slot, self._submitted)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        """Run and give the outputs. InferenceError when it fails or an output is not finite."""
        number, batch = self._waiting.pop(ticket.slot, (0, None))
        if batch is None or number != ticket.number:
            raise ValueError(f"{ticket} is not waiting: collected before, or of another model")
        return Tensors(self._run(batch.pixels))

    def close(self) -> None:
        """Free the network; submitting afterwards is a bug."""
        self._waiting.clear()
        self._session = None

    def _run(self, pixels: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        try:
            arrays = self._session.run(self._output_names, {self._input.name: pixels})
        except _vendor_errors() as exc:
            raise InferenceError(f"onnxruntime failed: {exc}") from exc
        outputs = dict(zip(self._output_names, arrays, strict=True))
        for name, array in outputs.items():
            if not np.isfinite(array).all():  # measured 0.007 ms for (1,10,8400), 0.11 ms for (1,84,8400)
                raise InferenceError(
                    f"output {name} holds NaN or infinity, expected numbers; the model overflows on this picture: "
                    "keep the picture and check the export's precision with it"
                )
        return outputs


def _session(onnx_path: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as exc:
        raise ConfigError(
            'backend onnxruntime needs a package that is missing: pip install "edge-inspector[ort]"'
        ) from exc
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # threads that spin between runs take the cores from the camera and the PLC
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
    except _vendor_errors() as exc:
        raise BundleError(
            f"{onnx_path} is not a model that ONNX Runtime can load ({exc}); export or copy it again"
        ) from exc


def _input(session: Any, plan: PreparePlan, max_batch: int, onnx_path: str) -> _Input:
    spec = plan.input
    chw = (spec.channels, spec.height_px, spec.width_px)
    wanted = (max_batch, *chw)
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise BundleError(f"{onnx_path} has {len(inputs)} inputs ({names}), expected one picture; export it again")
    (given,) = inputs
    fits = len(given.shape) == 4 and all(
        not isinstance(have, int) or have == want for have, want in zip(given.shape, wanted, strict=True)
    )
    if not fits or given.type != "tensor(float)":
        raise BundleError(
            f"{onnx_path}: input {given.name} is {given.type} {tuple(given.shape)}, model.toml's [input] asks for "
            f"tensor(float) {wanted} (tiles, channels, height, width); correct [input] or export it again"
        )
    return _Input(given.name, range(max_batch if isinstance(given.shape[0], int) else 1, max_batch + 1), chw)


def _vendor_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions, which have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(e for e in vars(state).values() if isinstance(e, type) and issubclass(e, Exception))
