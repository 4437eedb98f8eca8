"""A loaded engine behind the `Model` protocol: submit, collect, keep warm."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np
import structlog

from edge_inspector.backends.tensorrt import graphs
from edge_inspector.backends.tensorrt.engine import Engine
from edge_inspector.backends.tensorrt.gpu import Gpu
from edge_inspector.backends.tensorrt.preparation import Preparation
from edge_inspector.backends.tensorrt.slot import HANGS_S, Slot
from edge_inspector.backends.tensorrt.slots import SLOTS, Slots, runs
from edge_inspector.datatypes import Batch, Frame, PreparePlan, RawView, Tensors
from edge_inspector.errors import DeviceLostError, FrameError, InferenceError
from edge_inspector.interfaces import Ticket
from edge_inspector.stages.prepare import raw_view

log = structlog.get_logger()
_FIRST_RUN_S = 60.0  # TensorRT loads kernels with the first run, TensorRT-RTX compiles them
_SEED = 20_261_122  # of the noise: the same at each start


class TensorRtModel:
    """Two slots on one stream: while one runs, the other is filled. All calls on the thread that made it.

    A run takes at most `most` tiles; a view with more of them takes several runs.
    """

    def __init__(self, gpu: Gpu, engine: Engine, preparation: Preparation | None, most: int, plan_bytes: int) -> None:
        """Within the GPU's context."""
        self._gpu = gpu
        self._engine = engine
        self._preparation = preparation
        self._most = most
        self._scratch = gpu.memory(engine.scratch_bytes)
        self._slots = [Slot(gpu, engine, most, int(self._scratch)) for _ in range(SLOTS)]
        self._book = Slots()
        self.keeps_warm = True
        self.output_shapes: Mapping[str, tuple[int, ...]] = {t.name: (most, *t.shape) for t in engine.outputs}
        tile_bytes = engine.input.tile_bytes + sum(t.tile_bytes for t in engine.outputs)
        host_bytes = sum(slot.buffers.host_bytes for slot in self._slots)
        self.memory_bytes = plan_bytes + engine.scratch_bytes + SLOTS * most * tile_bytes + host_bytes

    def warm_up(self, runs_of_each: int, cuda_graph: bool) -> None:
        """Run each slot and size on noise, then capture the graphs. InferenceError when a run fails."""
        rng = np.random.default_rng(_SEED)
        with self._gpu.current("warming up"):
            for slot in self._slots:
                for tiles in range(1, self._most + 1):
                    slot.warm_up(tiles, 1, rng, _FIRST_RUN_S)
            if cuda_graph:
                self._use_graphs(rng)
            for slot in self._slots:
                slot.warm_up(self._most, runs_of_each, rng, _FIRST_RUN_S)
            self._engine.keep_jit()

    def rehearse(self, plan: PreparePlan) -> None:
        """Take a black picture of this plan through each slot: what its first real one would wait for.

        That is the upload of its maps, memory for a picture and the first launch of the kernel. Nothing where pictures
        come prepared, and nothing of a plan that does not fit, which is told with each picture.
        """
        if self._preparation is None:
            return
        with suppress(FrameError), self._gpu.current("warming up the preparation"):
            view = black_view(plan)
            for slot in self._slots:
                slot.settle()
                self._queue(view, slot, len(view.tiles))
                slot.mark()
                slot.wait(_FIRST_RUN_S)

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        """Queue the whole way; the pixels are the caller's again. InferenceError when they do not fit or CUDA fails."""
        self._book.check(slot)
        tiles = self._tiles(batch)
        used = self._slots[slot]
        with self._gpu.current("submitting a view"):
            used.settle()
            try:
                self._queue(batch, used, tiles)
            except FrameError as exc:
                raise InferenceError(f"the picture cannot be prepared on the GPU: {exc}") from exc
            finally:
                used.mark()
        used.tiles = tiles
        return self._book.take(slot)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        """Wait and copy. InferenceError: failed, late, not finite, or a pixel that the camera's format cannot have."""
        self._book.give_back(ticket)
        used = self._slots[ticket.slot]
        with self._gpu.current("waiting for the engine"):
            used.wait(timeout_s)
            outputs = used.buffers.outputs(used.tiles)
        if used.buffers.faulty:
            raise InferenceError(
                "a 12-bit picture holds values above 4095; the camera's pixel format is not what its driver says"
            )
        for name, array in outputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InferenceError(
                    f"output {name} holds NaN or infinity, expected numbers; the model overflows on this picture: "
                    "keep the picture and check the engine's precision with it"
                )
        return Tensors(outputs)

    def keep_warm(self) -> None:
        """One run when nothing else runs, so that the clocks stay up; waits for it. DeviceLostError as `submit`."""
        if not self.keeps_warm or not self._book.idle:
            return
        try:
            self.run_once()
        except DeviceLostError:
            raise
        except InferenceError as exc:  # no part is concerned; the next one tells whether it was more than this
            self.keeps_warm = False
            log.warning("keep_warm_stopped", error=str(exc))

    def run_once(self) -> None:
        """The bare engine: one run on whatever lies in the first slot's input, which must be free, and its end."""
        with self._gpu.current("running the bare engine"):
            self._slots[0].settle()
            self._slots[0].run(1)
            self._slots[0].mark()
            self._slots[0].wait(HANGS_S)

    @property
    def uses_graphs(self) -> bool:
        """Whether it replays CUDA graphs."""
        return all(slot.uses_graphs for slot in self._slots)

    def close(self) -> None:
        """Free everything; submitting afterwards is a bug."""
        with self._gpu.current("freeing the model"):
            for slot in self._slots:
                slot.settle()
                slot.close()
            self._slots.clear()
            self._preparation = None
            self._scratch = None
            self._engine.close()

    def _tiles(self, batch: Batch | RawView) -> int:
        """How many tiles it has. InferenceError when the engine does not take them."""
        chw = self._engine.input.shape
        if isinstance(batch, RawView):
            spec = batch.plan.input
            given: tuple[int, ...] = (spec.channels, spec.height_px, spec.width_px)
            tiles = len(batch.tiles)
        else:
            tiles, *rest = batch.pixels.shape
            given = tuple(rest)
        if given != chw or tiles == 0:
            raise InferenceError(
                f"the view has {tiles} tiles of {given}, the engine takes tiles of {chw} (channels, height, width); "
                "load it with this plan"
            )
        return tiles

    def _queue(self, batch: Batch | RawView, used: Slot, tiles: int) -> None:
        buffers = used.buffers
        buffers.begin(tiles)
        if isinstance(batch, RawView):
            if self._preparation is None:
                raise TypeError("this model takes prepared pictures: prepares_on_device is False")
            launches = self._preparation.launches(batch)
            picture = buffers.stage_picture(batch.frame.pixels)
            for part in runs(tiles, self._most):
                self._preparation.queue(launches, part, picture, int(buffers.input), buffers.faults)
                used.run(len(part))
                buffers.fetch(part)
            buffers.fetch_faults()
            return
        staged = buffers.stage_tiles(batch.pixels)
        for part in runs(tiles, self._most):
            buffers.upload_tiles(staged[part.start : part.stop])
            used.run(len(part))
            buffers.fetch(part)

    def _use_graphs(self, rng: np.random.Generator) -> None:
        try:
            cuda = graphs.bindings()
            for slot in self._slots:
                slot.use_graphs(cuda, rng)
        except graphs.GraphError as exc:
            for slot in self._slots:
                slot.drop_graphs()
            log.warning("cuda_graph_not_used", reason=str(exc))


def black_view(plan: PreparePlan) -> RawView:
    """A picture for the plan, of its calibration's size; without one nobody knows it, and the least that fits does."""
    if plan.calibration is not None:
        hw = plan.calibration.image_hw
    elif plan.roi is not None:
        hw = (plan.roi.y + plan.roi.height, plan.roi.x + plan.roi.width)
    else:
        hw, plan = (plan.input.height_px, plan.input.width_px), replace(plan, tiling=None)
    return raw_view(Frame("black", 0, 0, 0, np.zeros(hw, np.uint8), "Mono8"), plan)
