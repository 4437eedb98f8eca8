"""The reference: the same network on prepared pictures, with no station around it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

from edge_inspector.backends import onnxruntime as ort
from edge_inspector.backends import openvino as ov
from edge_inspector.datatypes import Batch, PreparePlan
from edge_inspector.interfaces import Backend, ModelFile
from edge_inspector.settings import PluginConfig

Call = Callable[[Batch], object]
TIMEOUT_S = 60.0


class Bare:
    """Calls the network again and again."""

    def __init__(self, call: Call, batches: Sequence[Batch]) -> None:
        self._call = call
        self._batches = itertools.cycle(batches)

    def block(self, runs: int) -> list[int]:
        """How long each of so many runs took, ns."""
        spent = []
        for _ in range(runs):
            batch = next(self._batches)
            begun = time.monotonic_ns()
            self._call(batch)
            spent.append(time.monotonic_ns() - begun)
        return spent


def bare_call(settings: PluginConfig, backend: Backend, model: ModelFile, plan: PreparePlan) -> Call:
    """The native call of the runtime that `settings` are for, or what comes next to it."""
    if isinstance(settings, ort.Config):
        return session_run(model.onnx_path, settings.threads)
    if isinstance(settings, ov.Config):
        return openvino_infer(model.onnx_path, settings)
    return backend_run(backend, model, plan)


def session_run(onnx_path: str, threads: int) -> Call:
    """ONNX Runtime's own `session.run`, with the threads that the station's session has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # as the station: its findings come as exceptions
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the station's session
    session = onnxruntime.InferenceSession(onnx_path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch.pixels})


def openvino_infer(onnx_path: str, config: ov.Config) -> Call:
    """OpenVINO's own `infer` of one request, compiled as the station's is; gives the outputs in the file's order."""
    core = ov.the_core()
    compiled = core.compile_model(core.read_model(onnx_path), config.device, ov.properties(config))
    request = compiled.create_infer_request()
    return lambda batch: list(request.infer({0: batch.pixels}, share_inputs=True).values())


def backend_run(backend: Backend, model: ModelFile, plan: PreparePlan) -> Call:
    """For a backend whose native call we do not know: its model, one submit and one collect at a time."""
    loaded = backend.load(model, plan, max_batch=1)
    return lambda batch: loaded.collect(loaded.submit(batch, slot=0), TIMEOUT_S)
