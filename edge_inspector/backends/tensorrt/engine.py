"""A loaded plan: its tensors, and one execution context for each slot and number of tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from edge_inspector.backends.tensorrt import cache_file
from edge_inspector.backends.tensorrt.library import RTX, Library, Log, logger, offers, shape_of
from edge_inspector.errors import BundleError

if TYPE_CHECKING:
    import tensorrt as trt


@dataclass(frozen=True)
class Tensor:
    """One input or output: `shape` is one tile's, without the axis of tiles."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def tile_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class Engine:
    """The plan on the GPU. Its CUDA context must be current in every call.

    A context is bound to its addresses and shape once, because a captured graph dies with any change to it. All of them
    share one scratch block: their runs follow one another on one stream.
    """

    def __init__(self, lib: Library, plan: bytes, where: str, dla_core: int | None, jit_cache: Path | None) -> None:
        """BundleError: this library cannot load the plan on this device, or it has tensors that we do not serve."""
        self.log = Log()
        self._lib = lib
        self._talker = logger(lib, self.log)
        self._runtime = lib.Runtime(self._talker)
        if dla_core is not None:
            self._runtime.DLA_core = dla_core
        engine = cast("trt.ICudaEngine | None", self._runtime.deserialize_cuda_engine(plan))
        if engine is None:
            raise BundleError(
                f"{where}: {lib.__name__} {lib.__version__} cannot load this plan: {self.log.why()}; "
                "build it again on this device: edge-inspector engine build"
            )
        self._engine = engine
        self.input, self.outputs, self.most = _tensors(lib, engine, where)
        self.scratch_bytes = int(engine.device_memory_size_v2)
        self._jit_cache = jit_cache if lib.__name__ == RTX else None
        self._jit: Any = None
        self._settings: list[Any] = []  # must outlive the contexts made with them

    def context(self, tiles: int, addresses: Mapping[str, int], scratch: int) -> trt.IExecutionContext:
        """A context for exactly `tiles`, bound to these device addresses. BundleError when it cannot be made."""
        context = self._new_context()
        context.set_device_memory(scratch, self.scratch_bytes)
        done = context.set_input_shape(self.input.name, (tiles, *self.input.shape))
        done = done and all(context.set_tensor_address(name, address) for name, address in addresses.items())
        if not done or not _shapes_known(context):
            raise BundleError(f"an execution context for {tiles} tiles cannot be bound: {self.log.why()}")
        for tensor in self.outputs:
            shape = shape_of(context.get_tensor_shape(tensor.name))
            if shape != (tiles, *tensor.shape):
                raise BundleError(
                    f"output {tensor.name} is {shape} for {tiles} tiles, expected {(tiles, *tensor.shape)}: its first "
                    "axis must be the tile; export the model with a dynamic batch on every output"
                )
        return context

    def keep_jit(self) -> None:
        """Save what TensorRT-RTX compiled in the warm-up, so that the next start need not; nothing elsewhere."""
        if self._jit is not None and self._jit_cache is not None:
            cache_file.write(self._jit_cache, bytes(self._jit.serialize()))

    def close(self) -> None:
        """Free the weights; no context may be left. Within the GPU's context, which is not current later on."""
        self._settings.clear()
        self._jit = None
        del self._engine, self._runtime

    def _new_context(self) -> trt.IExecutionContext:
        strategy = self._lib.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._jit_cache is None:
            made = self._engine.create_execution_context(strategy)
        else:
            made = self._engine.create_execution_context(self._jit_settings(self._jit_cache))
        context = cast("trt.IExecutionContext | None", made)
        if context is None:
            raise BundleError(f"no execution context can be made: {self.log.why()}; is the GPU's memory used up?")
        return context

    def _jit_settings(self, path: Path) -> Any:
        """TensorRT-RTX alone: it compiles kernels as it runs. All of them at once and from the cache where it fits.

        Left to itself it swaps kernels in the background: the same picture could then be judged by other arithmetic.
        """
        settings: Any = self._engine.create_runtime_config()
        settings.set_execution_context_allocation_strategy(self._lib.ExecutionContextAllocationStrategy.USER_MANAGED)
        kinds: Any = self._lib
        settings.dynamic_shapes_kernel_specialization_strategy = kinds.DynamicShapesKernelSpecializationStrategy.EAGER
        if self._jit is None:
            self._jit = settings.create_runtime_cache()
            known = cache_file.read(path)
            if known and not self._jit.deserialize(known):
                self.log.add(2, f"{path.name} is of another driver or device and is written anew")
        if not settings.set_runtime_cache(self._jit):
            self.log.add(2, f"{path.name} is not used: each start compiles anew")
        self._settings.append(settings)
        return settings


def capturable(context: trt.IExecutionContext, stream: int) -> bool:
    """Whether the library itself rules out a CUDA graph; only TensorRT-RTX can tell, the others are tried."""
    asked: Any = context
    return not offers(asked, "is_stream_capturable") or bool(asked.is_stream_capturable(stream))


def _shapes_known(context: trt.IExecutionContext) -> bool:
    try:
        return not context.infer_shapes()
    except RuntimeError:  # its word for shapes that contradict each other; the log says which
        return False


def numpy_type(lib: Library, kind: trt.DataType, tensor: str) -> np.dtype[Any]:
    """BundleError: a type that numpy does not have, such as bfloat16."""
    try:
        return np.dtype(cast(npt.DTypeLike, lib.nptype(kind)))
    except TypeError as exc:
        raise BundleError(
            f"{tensor} consists of {kind.name}, expected float32, float16 or whole numbers; export the "
            "model with float32 inputs and outputs"
        ) from exc


def _tensors(lib: Library, engine: trt.ICudaEngine, where: str) -> tuple[Tensor, tuple[Tensor, ...], int]:
    """Its input, its outputs, and how many tiles it takes at most."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    for name in names:
        shape = shape_of(engine.get_tensor_shape(name))
        tensor = Tensor(name, shape[1:], numpy_type(lib, engine.get_tensor_dtype(name), f"{where}: tensor {name}"))
        if any(n < 0 for n in tensor.shape) or not shape:
            raise BundleError(
                f"{where}: tensor {name} is {shape}: only the number of tiles may vary; export the model with fixed "
                "sizes and without NMS"
            )
        (inputs if engine.get_tensor_mode(name) == lib.TensorIOMode.INPUT else outputs).append(tensor)
    if len(inputs) != 1 or not outputs:
        raise BundleError(f"{where} has {len(inputs)} inputs and {len(outputs)} outputs, expected 1 and at least 1")
    (given,) = inputs
    batch = engine.get_tensor_shape(given.name)[0]
    most = engine.get_tensor_profile_shape(given.name, 0)[2][0] if batch < 0 else batch
    return given, tuple(outputs), int(most)
