"""The preparation kernel on the GPU: loaded with the engine, its maps and tables uploaded once for each view."""

from __future__ import annotations

from collections.abc import Hashable
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
        self._module = gpu.driver.module_from_buffer(cubin.read_bytes())
        self._kernel = self._module.get_function(prepare_kernel.ENTRY)
        self._kernel.prepare(_ARGUMENTS)
        self._kept: dict[Hashable, Any] = {}
        self._address(prepare_kernel.Table(spec, element))

    def queue(self, view: RawView, tiles: range, picture: int, output: int, faults: int) -> None:
        """Write these tiles of the view into the input at `output`, from its first place on. FrameError: it cannot.

        `picture`, `output` and `faults` are device addresses.
        """
        launches = prepare_kernel.launches(view, self._element, first_tile=-tiles.start)
        for launch in launches[tiles.start : tiles.stop]:
            self._kernel.prepared_async_call(
                launch.grid,
                launch.block,
                self._gpu.stream,
                launch.parameters,
                picture,
                0 if launch.map is None else self._address(launch.map),
                self._address(launch.table),
                output,
                faults,
            )

    def _address(self, key: prepare_kernel.SourceMap | prepare_kernel.Table) -> int:
        if key not in self._kept:
            self._kept[key] = self._gpu.uploaded(key.array())
        return int(self._kept[key])
