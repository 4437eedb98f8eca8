"""The engine as a CUDA graph: captured once, replayed with one call, believed only after a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

_TOLERANCE = 1e-3
"""Of the largest value of an output: sums that atomics add up in another order; a stale output is off by far more."""


class GraphError(Exception):
    """This engine cannot be captured or replayed here; it runs without a graph."""


class Graph:
    """One captured run of one execution context: fixed shapes and addresses."""

    def __init__(self, cuda: Any, executable: Any, stream: Any) -> None:
        self._cuda = cuda
        self._executable = executable
        self._stream = stream

    def launch(self) -> None:
        """Queue a replay. GraphError when CUDA refuses."""
        _checked(self._cuda, "cuGraphLaunch", self._cuda.cuGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        """Whatever CUDA says: a graph of a lost context is gone already."""
        self._cuda.cuGraphExecDestroy(self._executable)


def bindings() -> Any:
    """cuda-bindings' driver module. GraphError when it is not installed."""
    try:
        from cuda.bindings import driver
    except ImportError as exc:
        raise GraphError(f"cuda-bindings is missing ({exc}): pip install cuda-bindings") from exc
    return driver


def capture(cuda: Any, stream_handle: int, enqueue: Callable[[], bool]) -> Graph:
    """What `enqueue` puts on the stream, as a graph; nothing runs yet. GraphError when a part cannot be captured.

    Thread-local mode: what other threads do with CUDA meanwhile does not spoil it.
    """
    stream = cuda.CUstream(stream_handle)
    mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    _checked(cuda, "cuStreamBeginCapture", cuda.cuStreamBeginCapture(stream, mode))
    try:
        enqueued = enqueue()
    finally:  # the stream must leave capture mode whatever happened
        ended = cuda.cuStreamEndCapture(stream)
    (graph,) = _checked(cuda, "cuStreamEndCapture", ended)
    try:
        if not enqueued:
            raise GraphError("the engine refused to be captured")
        (executable,) = _checked(cuda, "cuGraphInstantiate", cuda.cuGraphInstantiate(graph, 0))
    finally:
        cuda.cuGraphDestroy(graph)
    return Graph(cuda, executable, stream)


def doubt(plain: Arrays, replayed: Arrays, before: Arrays) -> str:
    """Why a replay cannot be trusted; empty = it can.

    `plain` and `replayed` come from the same input, `before` from another one: where those two are alike, an empty
    graph that left the old outputs standing would look right.
    """
    if plain.keys() != replayed.keys():
        return f"outputs {sorted(replayed)} instead of {sorted(plain)}"
    for name, wanted in plain.items():
        given = replayed[name]
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            return f"output {name} is {given.dtype} {given.shape} instead of {wanted.dtype} {wanted.shape}"
        if given.dtype.kind == "f" and not np.array_equal(np.isfinite(given), np.isfinite(wanted)):
            return f"output {name} was not written whole"
        if not _close(given, wanted):
            return f"output {name} differs from that of a plain run by up to {_distance(given, wanted):.3g}"
    if all(np.array_equal(plain[name], before[name]) for name in plain):
        return "two different inputs give the same outputs, so a replay that does nothing could not be told"
    return ""


def _close(given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> bool:
    if not np.issubdtype(wanted.dtype, np.floating):
        return bool(np.array_equal(given, wanted))
    return _distance(given, wanted) <= _TOLERANCE * max(float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0)), 1e-6)


def _distance(given: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    finite = np.isfinite(wanted) & np.isfinite(given)
    difference = given[finite].astype(np.float64) - wanted[finite].astype(np.float64)
    return float(np.abs(difference).max(initial=0))


def _checked(cuda: Any, call: str, answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """What cuda-bindings gave besides the error code."""
    code, *values = answer
    if code != cuda.CUresult.CUDA_SUCCESS:
        raise GraphError(f"{call} failed: {code.name}")
    return tuple(values)
