"""The reference: the same network on prepared pictures, with no station around it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

from edge_inspector.datatypes import Batch, PreparePlan
from edge_inspector.interfaces import Backend, ModelFile

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


def backend_run(backend: Backend, model: ModelFile, plan: PreparePlan) -> Call:
    """For a backend whose native call we do not know: its model, one submit and one collect at a time."""
    loaded = backend.load(model, plan, max_batch=1)
    return lambda batch: loaded.collect(loaded.submit(batch, slot=0), TIMEOUT_S)
