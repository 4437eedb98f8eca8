"""Frame buffers that are lent out, counted and used again."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Lease

Pixels = npt.NDArray[Any]


class FrameRing:
    """At most `slots` frames in memory. A buffer is allocated when a size is first seen and kept for the next frames.

    One thread copies in; leases may be kept and released on any thread, also after the camera is closed.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._lock = threading.Lock()
        self._idle: list[npt.NDArray[np.uint8]] = [np.empty(0, np.uint8) for _ in range(slots)]

    @property
    def free_slots(self) -> int:
        return len(self._idle)

    def copy_in(
        self, view: memoryview | Pixels, shape: tuple[int, ...], dtype: npt.DTypeLike
    ) -> tuple[Pixels, Lease] | None:
        """A read-only, contiguous copy of `view` and the lease on it; None when every slot is held.

        numpy copies without the GIL, padded rows too: other threads run on meanwhile. `view` is plain bytes, or an
        array of that shape and dtype with any strides. ValueError when it does not fit.
        """
        source = _as_array(view, shape, np.dtype(dtype))
        with self._lock:
            if not self._idle:
                return None
            buffer = self._idle.pop()
        if buffer.nbytes < source.nbytes:
            buffer = np.empty(source.nbytes, np.uint8)
        pixels = buffer[: source.nbytes].view(source.dtype).reshape(shape)
        pixels[...] = source
        pixels.flags.writeable = False
        return pixels, _Hold(self._lock, self._idle, buffer)


class _Hold:
    """The lease on one filled buffer; never used for a second frame, so a stale holder cannot free another's pixels."""

    def __init__(self, lock: threading.Lock, idle: list[npt.NDArray[np.uint8]], buffer: npt.NDArray[np.uint8]) -> None:
        """`idle` is where the buffer goes in the end; with the lock, the ring's."""
        self._lock = lock
        self._idle = idle
        self._buffer = buffer
        self._holders = 1

    def retain(self) -> None:
        with self._lock:
            self._check_held("retain")
            self._holders += 1

    def retain_if_free(self, slots: int) -> bool:
        with self._lock:
            self._check_held("retain_if_free")
            if len(self._idle) < slots:
                return False
            self._holders += 1
            return True

    def release(self) -> None:
        with self._lock:
            self._check_held("release")
            self._holders -= 1
            if self._holders == 0:
                self._idle.append(self._buffer)

    def _check_held(self, call: str) -> None:
        if self._holders == 0:
            raise RuntimeError(
                f"{call}() on a frame that its last holder has already released; each holder releases once"
            )


def _as_array(view: memoryview | Pixels, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
    if isinstance(view, np.ndarray):
        if view.shape != shape or view.dtype != dtype:
            raise ValueError(f"frame of {view.shape} {view.dtype}, expected {shape} {dtype}")
        return view
    if view.nbytes != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"frame of {view.nbytes} bytes, expected {shape} {dtype}")
    return np.frombuffer(view, dtype).reshape(shape)
