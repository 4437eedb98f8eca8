"""A backend that is ONNX Runtime, but for what a test does to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Batch, InputSpec, PreparePlan, RawView, Tensors
from edge_inspector.interfaces import EngineOptions, Model, ModelFile, Ticket
from edge_inspector.pipeline import prepare

Outputs = dict[str, np.ndarray]
Change = Callable[[int, Outputs], Outputs | None]
"""Of the run of this number since loading, from 0; None leaves them as they are."""


class Doctored:
    """`change` sees each run's outputs; `plan` is what `build` writes, empty = nothing."""

    proof: Literal["none", "kept", "each_start"] = "kept"

    def __init__(
        self,
        change: Change = lambda number, outputs: None,
        *,
        max_batch: int = 1,
        plan: bytes = b"",
        prepares_on_device: bool = False,
        options: EngineOptions | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.max_batch = max_batch
        self.prepares_on_device = prepares_on_device
        self.options = options or EngineOptions()
        self.built_from: list[ModelFile] = []
        self.loaded: list[ModelFile] = []
        self.open_models = 0
        self._change = change
        self._plan = plan
        self._facts = facts or {"device": "doctored"}
        self._runtime = OnnxRuntimeBackend(Config(max_batch=max_batch, warm_up_runs=1))

    def facts(self) -> Mapping[str, str]:
        return self._facts

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        assert list(into.iterdir()) == []
        self.built_from.append(model)
        progress(0.5, "half of it")
        if self._plan:
            (into / "plan").write_bytes(self._plan)
        progress(1.0, "all of it")
        return {"layers": {"conv": "fp16"}}

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> Model:
        self.loaded.append(model)
        self.open_models += 1
        return _Doctored(self, self._runtime.load(model, plan, max_batch), self._change)


class _Doctored:
    def __init__(self, backend: Doctored, model: Model, change: Change) -> None:
        self.memory_bytes = model.memory_bytes
        self.output_shapes = model.output_shapes
        self._backend = backend
        self._model = model
        self._change = change
        self._runs = 0

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        assert isinstance(batch, RawView) == self._backend.prepares_on_device
        return self._model.submit(prepare(batch.frame, batch.plan) if isinstance(batch, RawView) else batch, slot)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        number, self._runs = self._runs, self._runs + 1
        outputs: dict[str, Any] = {
            name: array.copy() for name, array in self._model.collect(ticket, timeout_s).by_name.items()
        }
        return Tensors(self._change(number, outputs) or outputs)

    def close(self) -> None:
        self._backend.open_models -= 1
        self._model.close()
