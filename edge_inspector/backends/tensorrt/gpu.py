"""One GPU through PyCUDA: its primary context, stream, pinned memory and events; its errors in our words."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.backends.tensorrt import device
from edge_inspector.backends.tensorrt.failures import translated
from edge_inspector.errors import ConfigError, DeviceLostError, InferenceError

POLL_S = 0.00005
"""Between two looks at an event. CUDA's own blocking wait (cuEventSynchronize) takes no time-out; a look costs 1 us."""
_UPLOAD_S = 10.0  # for what lies before it on the stream; the copy itself takes milliseconds
_STREAM_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which PyCUDA has no name for: the legacy stream does not hold us up


class Gpu:
    """The primary context, which TensorRT uses too; kept as long as the process. Calls on one thread, within `current`.

    PyCUDA frees what it gave out (memory, stream, events) when the last reference to it goes.
    """

    def __init__(self, number: int) -> None:
        """ConfigError when the GPU or PyCUDA is not there."""
        self.driver: Any = device.driver()
        if number >= self.driver.Device.count():
            raise ConfigError(f"device = {number}, but this machine has {self.driver.Device.count()} GPUs")
        found = self.driver.Device(number)
        self.integrated = bool(found.get_attribute(self.driver.device_attribute.INTEGRATED))
        """Whether GPU and CPU share one memory, as on a Jetson: then the GPU reads pinned memory where it lies."""
        try:
            self._context = found.retain_primary_context()
        except self.driver.Error as exc:
            raise ConfigError(
                f"{found.name()} (device = {number}) cannot be opened: {exc}; is its memory used up, or its driver "
                "older than PyCUDA?"
            ) from exc
        self._lost = ""
        self.stream: Any = None
        # kept until the end: when PyCUDA collects it, it calls cuCtxDetach, which a primary context refuses
        atexit.register(self._detach)
        with self.current("making a stream"):
            self.stream = self.driver.Stream(_STREAM_NON_BLOCKING)

    @contextmanager
    def current(self, doing: str) -> Iterator[None]:
        """Push the context, pop it at the end. InferenceError or DeviceLostError for what CUDA says meanwhile."""
        if self._lost:
            raise DeviceLostError(f"{doing}: {self._lost}")
        try:
            self._context.push()
        except self.driver.Error as exc:
            raise translated(doing, str(exc), answers=False) from exc
        try:
            yield
        except self.driver.Error as exc:
            raise translated(doing, str(exc), self.answers()) from exc
        finally:
            self._pop(doing)

    def answers(self) -> bool:
        """Whether the stream can still be asked how far it is; a lost context answers nothing."""
        if self.stream is None:
            return False
        try:
            self.stream.is_done()
        except self.driver.Error:
            return False
        return True

    def memory(self, size: int) -> Any:
        """Device memory of at least one byte."""
        return self.driver.mem_alloc(max(size, 1))

    def uploaded(self, array: npt.NDArray[Any]) -> Any:
        """Device memory that holds a copy of the array. InferenceError when the stream is busy for too long.

        Queued on our stream: a plain copy goes through the legacy stream, for which ours does not wait.
        """
        there, sent = self.memory(array.nbytes), np.ascontiguousarray(array)
        self.driver.memcpy_htod_async(there, sent, self.stream)
        if not waited(self.stream.is_done, _UPLOAD_S):
            raise InferenceError(f"{array.nbytes} bytes have not reached the GPU within {_UPLOAD_S:.0f} s; is it busy?")
        return there

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Page-locked host memory; on an integrated GPU it has an address there too: `mapped_address`."""
        flags = self.driver.host_alloc_flags.DEVICEMAP if self.integrated else 0
        array: npt.NDArray[Any] = self.driver.pagelocked_empty(shape, dtype, mem_flags=flags)
        return array

    def mapped_address(self, pinned: npt.NDArray[Any]) -> int:
        """Where an integrated GPU sees what `pinned` gave."""
        return int(pinned.base.get_device_pointer())  # type: ignore[union-attr]  # PyCUDA's HostAllocation

    def event(self) -> Any:
        flags = self.driver.event_flags
        return self.driver.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING)

    def _pop(self, doing: str) -> None:
        """A lost context may refuse; left on PyCUDA's stack, it would abort the process at the end of the thread."""
        if self._lost:
            return
        try:
            self.driver.Context.pop()
        except self.driver.Error as exc:
            lost = translated(doing, str(exc), answers=False)
            self._lost = str(lost)
            atexit.unregister(self._detach)
            self._detach()
            raise lost from exc

    def _detach(self) -> None:
        """Once; also takes the context off PyCUDA's stack."""
        self._context.detach()


def waited(done: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it is done within the time. Asks again every `POLL_S` and sleeps in between, so other threads run."""
    until = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_S)
    return True
