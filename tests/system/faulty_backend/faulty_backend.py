"""The plugin backend `faulty`: the real ONNX Runtime backend, and a device that fails on order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edge_inspector.backends.onnxruntime import Config as OrtConfig
from edge_inspector.backends.onnxruntime import OnnxRuntimeBackend
from edge_inspector.backends.tensorrt.failures import translated
from edge_inspector.datatypes import Batch, InputSpec, PreparePlan, RawView, Tensors
from edge_inspector.errors import BundleError
from edge_inspector.interfaces import EngineOptions, Model, ModelFile, Ticket
from edge_inspector.settings import LocalPath

STICKY = "cuEventSynchronize failed: an illegal memory access was encountered"
PASSING = "cuMemAlloc failed: out of memory"


class Config(OrtConfig):
    """As ONNX Runtime's."""

    type: Literal["faulty"] = "faulty"  # type: ignore[assignment]
    orders: LocalPath = Field(description="File with JSON lines, one for each run to come; `<orders>.did` tells.")


class FaultyBackend:
    """Each run looks for an order `{"fault": ..., "n": 1, "s": 0.0}` in the file, which it takes away.

    error: the run fails, the device answers on. memory: it has no room for this run. lost: an illegal address, after
    which every call fails, in every model, until the process ends. hang: the call never comes back. slow: it takes `s`
    longer. bug: an exception that no driver should raise. A file `unloadable` names a bundle that cannot be loaded.
    """

    prepares_on_device = False
    options = EngineOptions()

    def __init__(self, config: Config) -> None:
        self._real = OnnxRuntimeBackend(config)
        self.max_batch = self._real.max_batch
        self.proof: Literal["none", "kept", "each_start"] = "none"
        self._device = _Device(Path(config.orders))

    def facts(self) -> Mapping[str, str]:
        return self._real.facts()

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        return self._real.build(model, spec, into, progress)

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> Model:
        self._device.take(Path(model.onnx_path))
        return _FaultyModel(self._real.load(model, plan, max_batch), self._device)


class _Device:
    """What all models run on."""

    def __init__(self, orders: Path) -> None:
        self._orders = orders
        self._lost = False
        self._did = (orders.parent / f"{orders.name}.did").open("a", buffering=1)

    def take(self, network: Path) -> None:
        """BundleError while a file `unloadable` names the network's folder."""
        refused = self._orders.parent / "unloadable"
        if refused.exists() and refused.read_text() == network.parent.name:
            raise BundleError(f"{network}: the device has no room for it; as the test ordered")

    def suffer(self) -> None:
        """What has been ordered of this run."""
        if self._lost:
            raise translated("the run", STICKY, answers=False)
        order = self._next()
        fault = str(order.get("fault", ""))
        if not fault:
            return
        self._did.write(json.dumps({"fault": fault, "ns": time.monotonic_ns()}) + "\n")
        if fault == "hang":
            threading.Event().wait()
        if fault == "slow":
            time.sleep(float(order["s"]))
        if fault == "lost":
            self._lost = True
            raise translated("the run", STICKY, answers=False)
        if fault in ("error", "memory"):
            raise translated("the run", PASSING if fault == "memory" else "invalid argument", answers=True)
        if fault == "bug":
            raise ZeroDivisionError("a defect of the backend itself")

    def _next(self) -> dict[str, Any]:
        """The first order of the file; one of several runs stays until its last."""
        try:
            lines = self._orders.read_text().splitlines()
        except FileNotFoundError:
            return {}
        if not lines:
            return {}
        order: dict[str, Any] = json.loads(lines[0])
        left = int(order.get("n", 1)) - 1
        rest = ([json.dumps({**order, "n": left})] if left > 0 else []) + lines[1:]
        fresh = self._orders.with_suffix(".next")
        fresh.write_text("".join(line + "\n" for line in rest))
        fresh.replace(self._orders)
        return order


class _FaultyModel:
    def __init__(self, real: Model, device: _Device) -> None:
        self._real = real
        self._device = device
        self.memory_bytes = real.memory_bytes
        self.output_shapes = real.output_shapes

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        return self._real.submit(batch, slot)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        tensors = self._real.collect(ticket, timeout_s)  # first: its slot is free again in any case
        self._device.suffer()
        return tensors

    def rehearse(self, plan: PreparePlan) -> None:
        self._real.rehearse(plan)

    def keep_warm(self) -> None:
        self._real.keep_warm()

    def close(self) -> None:
        self._real.close()
