"""What one slot owns: the memory that its runs read and write, on the GPU and pinned on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.backends.tensorrt.engine import Engine
from edge_inspector.backends.tensorrt.gpu import Gpu


class Buffers:
    """Input and outputs lie in device memory, sized for one run; a slot's host arrays hold all tiles of its view.

    The raw picture is pinned host memory: an integrated GPU reads it there, any other gets a copy. Within the GPU's
    context; a slot is refilled only when its last run is over.
    """

    def __init__(self, gpu: Gpu, engine: Engine, most: int) -> None:
        self._gpu = gpu
        self._engine = engine
        self.finished = gpu.event()
        self.input = gpu.memory(most * engine.input.tile_bytes)
        self._outputs = {t.name: gpu.memory(most * t.tile_bytes) for t in engine.outputs}
        self._faults = gpu.memory(4)
        self._host_faults = gpu.pinned((1,), np.uint32)
        self._host_faults[0] = 0
        self._host: dict[str, npt.NDArray[Any]] = {}
        self._staging = gpu.pinned((1,), np.uint8)
        self._picture: Any = None
        self._hold(most)
        self._stage_room(most * engine.input.tile_bytes)

    @property
    def addresses(self) -> dict[str, int]:
        """Of the engine's tensors, on the GPU."""
        return {self._engine.input.name: int(self.input), **{n: int(m) for n, m in self._outputs.items()}}

    @property
    def faults(self) -> int:
        return int(self._faults)

    @property
    def host_bytes(self) -> int:
        return self._staging.nbytes + sum(a.nbytes for a in self._host.values())

    def begin(self, tiles: int) -> None:
        """Make room for the outputs of so many tiles, and forget the faults of the last view."""
        self._hold(tiles)
        self._host_faults[0] = 0
        self._gpu.driver.memset_d8_async(self._faults, 0, 4, self._gpu.stream)

    def stage_tiles(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Copy prepared tiles into pinned memory, as the input's type; they are the caller's again."""
        size = pixels.size * self._engine.input.dtype.itemsize
        self._stage_room(size)
        staged = self._staging[:size].view(self._engine.input.dtype).reshape(pixels.shape)
        np.copyto(staged, pixels, casting="same_kind")
        return staged

    def upload_tiles(self, staged: npt.NDArray[Any]) -> None:
        """Queue the copy of staged tiles, at most one run's, into the engine's input."""
        self._gpu.driver.memcpy_htod_async(self.input, staged, self._gpu.stream)

    def stage_picture(self, pixels: npt.NDArray[Any]) -> int:
        """Copy a camera's picture into pinned memory and give its address on the GPU; it is the caller's again."""
        self._stage_room(pixels.nbytes)
        staged = self._staging[: pixels.nbytes]
        np.copyto(staged.view(pixels.dtype).reshape(pixels.shape), pixels)
        if self._gpu.integrated:
            return self._gpu.mapped_address(self._staging)
        self._gpu.driver.memcpy_htod_async(self._picture, staged, self._gpu.stream)
        return int(self._picture)

    def fetch(self, tiles: range) -> None:
        """Queue the copy of a run's outputs to where these tiles of the view belong."""
        for tensor in self._engine.outputs:
            there = self._host[tensor.name][tiles.start : tiles.stop]
            self._gpu.driver.memcpy_dtoh_async(there, self._outputs[tensor.name], self._gpu.stream)

    def fetch_faults(self) -> None:
        self._gpu.driver.memcpy_dtoh_async(self._host_faults, self._faults, self._gpu.stream)

    def poison(self, tiles: int) -> None:
        """Queue the filling of the outputs with NaN, so that what a run does not write can be told."""
        for tensor in self._engine.outputs:
            count = tiles * tensor.tile_bytes
            self._gpu.driver.memset_d8_async(self._outputs[tensor.name], 0xFF, count, self._gpu.stream)

    def outputs(self, tiles: int) -> dict[str, npt.NDArray[Any]]:
        """Copies of what was fetched, (tiles, ...) each."""
        return {name: array[:tiles].copy() for name, array in self._host.items()}

    @property
    def faulty(self) -> bool:
        """Whether the kernel met a pixel that the camera's format does not have."""
        return bool(self._host_faults[0])

    def _hold(self, tiles: int) -> None:
        for tensor in self._engine.outputs:
            held = self._host.get(tensor.name)
            if held is None or len(held) < tiles:
                self._host[tensor.name] = self._gpu.pinned((tiles, *tensor.shape), tensor.dtype)

    def _stage_room(self, size: int) -> None:
        if self._staging.nbytes >= size and self._picture is not None:
            return
        staging = self._gpu.pinned((size,), np.uint8)
        self._picture = self._gpu.memory(1 if self._gpu.integrated else size)  # when it fails the two still fit
        self._staging = staging
