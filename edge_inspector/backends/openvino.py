"""Intel's OpenVINO, on its CPUs and other devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from edge_inspector.backends.batches import BatchModel, NetworkInput, Outputs, network_bytes, network_input
from edge_inspector.datatypes import Floats, InputSpec, PreparePlan
from edge_inspector.errors import BundleError, ConfigError, InferenceError
from edge_inspector.interfaces import EngineOptions, ModelFile
from edge_inspector.settings import PluginConfig

WARM_UP_TIMEOUT_S = 120.0
"""For one run on blank pictures: the first on a device may still compile."""


class Config(PluginConfig):
    """One device by its name: nothing is moved to another one in silence."""

    type: Literal["openvino"] = "openvino"
    device: str = Field(
        "CPU",
        pattern=r"^(CPU|GPU|NPU)(\.\d+)?$",
        description="Which device, in OpenVINO's words. AUTO, MULTI and HETERO are refused: they choose by themselves.",
    )
    threads: int = Field(
        1, ge=1, le=256, description="Threads for one inference on the CPU. More than idle cores make it slower."
    )
    precision: Literal["f32", "f16", "bf16"] = Field(
        "f32",
        description="What it computes in. Left to itself OpenVINO takes bf16 or f16 where the device is faster with "
        "it, and the same bundle gives other verdicts on the next machine.",
    )
    max_batch: int = Field(1, ge=1, le=16, description="Pictures in one run, tiles and views alike.")
    warm_up_runs: int = Field(3, ge=1, le=1000, description="Runs on a blank picture before the model is ready.")


class OpenVinoBackend:
    """Loads models on one device of OpenVINO."""

    prepares_on_device = False
    proof: Literal["none", "kept", "each_start"] = "kept"
    options = EngineOptions()

    def __init__(self, config: Config) -> None:
        self._config = config
        self.max_batch = config.max_batch

    def facts(self) -> Mapping[str, str]:
        openvino = package()
        config = self._config
        return {
            "openvino": openvino.__version__,
            "device": _core(config.device).get_property(config.device, "FULL_DEVICE_NAME"),
            "precision": config.precision,
            "max_batch": str(config.max_batch),
            "option.threads": str(config.threads),
        }

    def build(
        self, model: ModelFile, spec: InputSpec, into: Path, progress: Callable[[float, str], None]
    ) -> Mapping[str, object]:
        """Nothing: it compiles the ONNX file in memory, in about a second, each time it is loaded."""
        return {}

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> BatchModel:
        """Compile and warm up. BundleError: damaged, or its input is not the plan's. ConfigError: the device."""
        openvino = package()
        core = _core(self._config.device)
        network_bytes(model)
        try:
            network = core.read_model(model.onnx_path)
            given = _input(model.onnx_path, network, plan.input, max_batch)
            tiles = openvino.Dimension(1, given.tiles_per_run) if given.tiles_per_run > 1 else 1
            network.reshape(openvino.PartialShape([tiles, *given.chw]))
            # a compiled network adds names of its own
            names = [output.get_any_name() for output in network.outputs]
            compiled = core.compile_model(network, self._config.device, properties(self._config))
        except RuntimeError as exc:
            raise BundleError(
                f"{model.onnx_path} is not a model that OpenVINO can load ({_said(exc)}); export or copy it "
                "again, or use backend onnxruntime"
            ) from exc
        self._refuse_another(compiled)
        requests = _Requests(compiled, names)
        loaded = BatchModel(given, requests.start, Path(model.onnx_path).stat().st_size, requests.close)
        try:
            loaded.warm_up(self._config.warm_up_runs, WARM_UP_TIMEOUT_S)
        except InferenceError as exc:
            raise BundleError(f"{model.onnx_path}: the first inference failed: {exc}; export the model again") from exc
        return loaded

    def _refuse_another(self, compiled: Any) -> None:
        """ConfigError when it would not compute where and in what was asked."""
        config = self._config
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        devices = list(compiled.get_property("EXECUTION_DEVICES"))
        if precision != config.precision or devices not in ([config.device], [f"{config.device}.0"]):
            raise ConfigError(
                f"backend openvino would compute in {precision} on {', '.join(devices)}, expected {config.precision} "
                f"on {config.device}; correct precision or device in [backend]"
            )


def properties(config: Config) -> dict[str, object]:
    """What a network is compiled with."""
    wanted: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": config.precision}
    if config.device.startswith("CPU"):
        # one stream: a second part waits for the first instead of taking its cores. Pinned threads of two processes
        # would all sit on the first cores
        wanted |= {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": config.threads, "ENABLE_CPU_PINNING": False}
    return wanted


class _Requests:
    """A compiled network, and a request for each of its runs that are on their way at once."""

    def __init__(self, compiled: Any, names: list[str]) -> None:
        self.names = names
        self.idle: list[Any] = []
        self.overdue: list[_Run] = []
        self._compiled = compiled

    def start(self, pixels: Floats) -> _Run:
        """InferenceError while a run that nobody waits for any more keeps the device busy."""
        self.overdue = [run for run in self.overdue if not run.over()]
        if self.overdue:
            raise InferenceError(
                "OpenVINO is still busy with a picture that took too long; wait, or restart the station"
            )
        request = self.idle.pop() if self.idle else self._compiled.create_infer_request()
        return _Run(self, request, pixels)

    def close(self) -> None:
        self.idle.clear()
        self._compiled = None


class _Run:
    """It keeps the pixels: they are read where they lie."""

    def __init__(self, requests: _Requests, request: Any, pixels: Floats) -> None:
        self._requests = requests
        self._request = request
        self._pixels = pixels
        try:
            request.start_async({0: pixels}, share_inputs=True)
        except RuntimeError as exc:
            raise InferenceError(f"OpenVINO failed: {_said(exc)}") from exc

    def outputs(self, timeout_s: float) -> Outputs:
        try:
            finished = self._request.wait_for(round(1000 * timeout_s))
        except RuntimeError as exc:
            raise InferenceError(f"OpenVINO failed: {_said(exc)}") from exc
        if not finished:
            raise InferenceError(
                f"OpenVINO gave no answer within {timeout_s:.3g} s; use fewer tiles or a smaller model"
            )
        # copied: the request's own memory is the next run's
        arrays = [np.array(self._request.get_output_tensor(i).data) for i in range(len(self._requests.names))]
        self._requests.idle.append(self._request)
        return dict(zip(self._requests.names, arrays, strict=True))

    def cancel(self) -> None:
        self._request.cancel()
        self._requests.overdue.append(self)

    def over(self) -> bool:
        """Whether the device has let go of it, without waiting."""
        try:
            return bool(self._request.wait_for(0))
        except RuntimeError:  # it ended, cancelled or failed
            return True


def _core(device: str) -> Any:
    """ConfigError when it has no such device."""
    core = the_core()
    there = core.available_devices
    if device not in there and f"{device}.0" not in there:
        raise ConfigError(
            f"backend openvino: device = {device!r} is not there, found {', '.join(there) or 'none'}; correct device, "
            "or install its driver"
        )
    return core


def _input(onnx_path: str, network: Any, spec: InputSpec, max_batch: int) -> NetworkInput:
    inputs = []
    for one in network.inputs:
        shape = one.get_partial_shape()
        free = [] if shape.rank.is_dynamic else [d.get_length() if d.is_static else str(d) for d in shape]
        inputs.append((one.get_any_name(), np.dtype(one.get_element_type().to_dtype()).name, free))
    return network_input(onnx_path, inputs, spec, max_batch)


@cache
def the_core() -> Any:
    """The process's only one, kept to its end. ConfigError when OpenVINO is not installed.

    On processors with AMX the first use of a core gives the thread a signal stack, and the core's end takes its memory
    away, whichever thread that is in: the next signal to the first one, a SIGTERM, would then be a SIGSEGV.
    """
    return package().Core()


def package() -> Any:
    """OpenVINO's own module, muzzled. ConfigError when it is not installed.

    It reports each import to Google Analytics; without its telemetry package it falls back on a stub that does not.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes its import fail
    try:
        import openvino
    except ImportError as exc:
        raise ConfigError(
            'backend openvino needs a package that is missing: pip install "edge-inspector[openvino]"'
        ) from exc
    return openvino


def _said(error: Exception) -> str:
    """OpenVINO's words without its source lines."""
    lines = [line.strip("- ") for line in str(error).splitlines() if not line.startswith(("Exception from", "Check "))]
    return " ".join(line for line in lines if line) or type(error).__name__
