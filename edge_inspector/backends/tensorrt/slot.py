"""One slot at work: its buffers, its execution contexts, its graphs, and the runs that it queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_inspector.backends.tensorrt import graphs
from edge_inspector.backends.tensorrt.buffers import Buffers
from edge_inspector.backends.tensorrt.engine import Engine, capturable
from edge_inspector.backends.tensorrt.failures import translated
from edge_inspector.backends.tensorrt.gpu import Gpu, waited
from edge_inspector.errors import DeviceLostError, InferenceError

if TYPE_CHECKING:
    import tensorrt as trt

HANGS_S = 5.0  # a run that was given up as too slow and has still not ended when its slot is wanted again


class Slot:
    """Everything within the GPU's context, on its stream. `most` is the largest number of tiles in one run."""

    def __init__(self, gpu: Gpu, engine: Engine, most: int, scratch: int) -> None:
        self.buffers = Buffers(gpu, engine, most)
        self.tiles = 0
        """Of the view that was submitted last."""
        self._gpu = gpu
        self._engine = engine
        addresses = self.buffers.addresses
        self._contexts = {n: engine.context(n, addresses, scratch) for n in range(1, most + 1)}
        self._graphs: dict[int, graphs.Graph] = {}

    @property
    def uses_graphs(self) -> bool:
        return bool(self._graphs)

    def settle(self) -> None:
        """Wait until nothing uses the buffers. DeviceLostError: the run before hangs, and with it the stream."""
        if not waited(self.buffers.finished.query, HANGS_S):
            raise DeviceLostError(
                "a run that was given up has still not ended: the GPU hangs and the process must start anew; "
                "`dmesg | grep -i -e nvgpu -e Xid` shows the driver's reason"
            )

    def run(self, tiles: int) -> None:
        """Queue one run of what lies in the input. InferenceError or DeviceLostError when it is refused."""
        graph = self._graphs.get(tiles)
        if graph is None:
            self._run_plain(tiles)
            return
        try:
            graph.launch()
        except graphs.GraphError as exc:
            raise translated("replaying the engine", str(exc), self._gpu.answers()) from exc

    def mark(self) -> None:
        """What was queued up to here is this slot's."""
        self.buffers.finished.record(self._gpu.stream)

    def use_graphs(self, cuda: Any, rng: np.random.Generator) -> None:
        """Capture each size and compare it with a plain run. GraphError: none is used then."""
        try:
            for tiles, context in self._contexts.items():
                self._graphs[tiles] = self._trusted(cuda, tiles, context, rng)
        except graphs.GraphError:
            self.drop_graphs()
            raise

    def drop_graphs(self) -> None:
        """Go on without them."""
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()

    def warm_up(self, tiles: int, runs: int, rng: np.random.Generator, timeout_s: float) -> None:
        """So many runs on noise. InferenceError when they take longer than the time."""
        self.buffers.upload_tiles(self._noise(tiles, rng))
        for _ in range(runs):
            self.run(tiles)
            self.mark()
            self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """Until all that was marked is done. InferenceError when it is not by then."""
        if not waited(self.buffers.finished.query, timeout_s):
            raise InferenceError(
                f"the engine has not finished within {timeout_s:.3g} s; is the GPU used by something else, or too hot?"
            )

    def close(self) -> None:
        self.drop_graphs()
        self._contexts.clear()

    def _run_plain(self, tiles: int) -> None:
        self._engine.log.clear()
        if not self._contexts[tiles].execute_async_v3(self._gpu.stream.handle):
            raise translated("running the engine", self._engine.log.why(), self._gpu.answers())

    def _trusted(self, cuda: Any, tiles: int, context: trt.IExecutionContext, rng: np.random.Generator) -> graphs.Graph:
        stream = self._gpu.stream.handle
        first, second = self._noise(tiles, rng).copy(), self._noise(tiles, rng).copy()
        before = self._outputs_of(tiles, first, None)  # also ends what the library puts off until a first run
        plain = self._outputs_of(tiles, second, None)
        if not capturable(context, stream):
            raise graphs.GraphError("the library says that this engine cannot be captured")
        graph = graphs.capture(cuda, stream, lambda: bool(context.execute_async_v3(stream)))
        doubt = graphs.doubt(plain, self._outputs_of(tiles, second, graph), before)
        if doubt:
            graph.close()
            raise graphs.GraphError(f"a replay of {tiles} tiles cannot be trusted: {doubt}")
        return graph

    def _outputs_of(
        self, tiles: int, pixels: npt.NDArray[Any], graph: graphs.Graph | None
    ) -> dict[str, npt.NDArray[Any]]:
        self.buffers.begin(tiles)
        self.buffers.poison(tiles)
        self.buffers.upload_tiles(self.buffers.stage_tiles(pixels))
        if graph is None:
            self._run_plain(tiles)
        else:
            graph.launch()
        self.buffers.fetch(range(tiles))
        self.mark()
        self.settle()
        return self.buffers.outputs(tiles)

    def _noise(self, tiles: int, rng: np.random.Generator) -> npt.NDArray[Any]:
        """Staged pixels 0..1 of so many tiles."""
        return self.buffers.stage_tiles(rng.random((tiles, *self._engine.input.shape), np.float32))
