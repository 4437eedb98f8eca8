"""The preparation kernel on the GPU: loaded with the engine, its maps and tables uploaded once for each view."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

from edge_inspector.backends.tensorrt import prepare_kernel
from edge_inspector.backends.tensorrt.gpu import Gpu
from edge_inspector.datatypes import InputSpec, RawView

_ARGUMENTS = [prepare_kernel.PARAMETERS, "P", "P", "P", "P", "P"]
"""The kernel's: its parameters by value, then picture, map, table, output, faults."""


class Preparation:
    """Queues the launches of a view. Within the GPU's context."""

    def __init__(self, gpu: Gpu, cubin: Path, element: Literal["float32", "float16"], spec: InputSpec) -> None:
        """BundleError when the input's type cannot hold what `spec` makes of a pixel."""
        self._gpu = gpu
        self._element: Literal["float32", "float16"] = element
        self._tile_bytes = spec.channels * spec.height_px * spec.width_px * (2 if element == "float16" else 4)
        self._module = gpu.driver.module_from_buffer(cubin.read_bytes())
        self._kernel = self._module.get_function(prepare_kernel.ENTRY)
        self._kernel.prepare(_ARGUMENTS)
        self._kept: dict[Hashable, Any] = {}
        self._address(prepare_kernel.Table(spec, element))

    def launches(self, view: RawView) -> Sequence[prepare_kernel.Launch]:
        """What prepares the view, tile by tile. FrameError: it cannot be."""
        return prepare_kernel.launches(view, self._element)

    def queue(
        self, launches: Sequence[prepare_kernel.Launch], tiles: range, picture: int, output: int, faults: int
    ) -> None:
        """Write these tiles of a view into the input at `output`, from its first place on.

        `launches` are all of the view's; `picture`, `output` and `faults` are device addresses.
        """
        of_tile_0 = output - tiles.start * self._tile_bytes  # where it would lie; nothing is written there
        for launch in launches[tiles.start : tiles.stop]:
            self._kernel.prepared_async_call(
                launch.grid,
                launch.block,
                self._gpu.stream,
                launch.parameters,
                picture,
                0 if launch.map is None else self._address(launch.map),
                self._address(launch.table),
                of_tile_0,
                faults,
            )

    def _address(self, key: prepare_kernel.SourceMap | prepare_kernel.Table) -> int:
        if key not in self._kept:
            self._kept[key] = self._gpu.uploaded(key.array())
        return int(self._kept[key])
