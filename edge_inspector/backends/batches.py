"""What backends that take prepared pictures have in common: two slots, several runs for many tiles, checked outputs."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Batch, Floats, InputSpec, PreparePlan, RawView, Tensors
from edge_inspector.errors import BundleError, InferenceError
from edge_inspector.interfaces import ModelFile, Ticket

SLOTS = 2
Outputs: TypeAlias = Mapping[str, npt.NDArray[Any]]


class Run(Protocol):
    """One run of a network that has been started."""

    def outputs(self, timeout_s: float) -> Outputs:
        """Wait; the arrays are the caller's. InferenceError when it fails or takes too long."""
        ...

    def cancel(self) -> None:
        """Nobody wants the outputs any more; called once, and not after they were given."""
        ...


@dataclass(frozen=True)
class NetworkInput:
    """A network's one input: `chw` of a picture, and how many of them are given to one run at the most."""

    name: str
    chw: tuple[int, int, int]
    tiles_per_run: int


class BatchModel:
    """A network of which `start` starts one run; the pixels given to it stay as they are until the run's end."""

    def __init__(
        self, given: NetworkInput, start: Callable[[Floats], Run], memory_bytes: int, close: Callable[[], None]
    ) -> None:
        self.memory_bytes = memory_bytes
        self.output_shapes: Mapping[str, tuple[int, ...]] = {}
        self._input = given
        self._start = start
        self._close = close
        self._waiting: dict[int, tuple[int, tuple[Run, ...], int]] = {}
        self._submitted = 0

    def warm_up(self, runs: int, timeout_s: float) -> None:
        """Run on blank pictures, which also shows the outputs' real shapes. InferenceError as `collect`."""
        most = self._input.tiles_per_run
        for tiles in (*range(1, most), *[most] * runs):  # each size once: a runtime prepares itself for each
            outputs = self._run_blank(tiles, timeout_s)
        self.output_shapes = {name: array.shape for name, array in outputs.items()}

    def submit(self, batch: Batch | RawView, slot: int) -> Ticket:
        """Start its runs. InferenceError when it does not fit the model."""
        if slot not in range(SLOTS) or slot in self._waiting:
            raise ValueError(f"slot {slot} is not free; slots 0..{SLOTS - 1}, occupied {sorted(self._waiting)}")
        if isinstance(batch, RawView):
            raise TypeError("this backend takes prepared pictures: prepares_on_device is False")
        tiles, *chw = batch.pixels.shape
        if tiles == 0 or tuple(chw) != self._input.chw or batch.pixels.dtype != np.float32:
            raise InferenceError(
                f"the batch is {batch.pixels.dtype} {batch.pixels.shape}, the model was loaded for float32 tiles of "
                f"{self._input.chw} (channels, height, width); load it with this plan"
            )
        runs: list[Run] = []
        try:
            for first in range(0, tiles, self._input.tiles_per_run):
                runs.append(self._start(batch.pixels[first : first + self._input.tiles_per_run]))  # noqa: PERF401
        except InferenceError:
            _cancel(runs)
            raise
        self._submitted += 1
        self._waiting[slot] = (self._submitted, tuple(runs), tiles)
        return Ticket(slot, self._submitted)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        """Wait for all of them. InferenceError when one fails, takes too long, or an output is not finite."""
        number, runs, tiles = self._waiting.get(ticket.slot, (0, (), 0))
        if number != ticket.number:
            raise ValueError(f"{ticket} is not waiting: collected before, or of another model")
        del self._waiting[ticket.slot]
        deadline = time.monotonic() + timeout_s
        parts: list[Outputs] = []
        try:
            for run in runs:
                parts.append(run.outputs(max(0.0, deadline - time.monotonic())))  # noqa: PERF401 - known on a failure
        except InferenceError:
            _cancel(runs[len(parts) :])
            raise
        return Tensors(_checked(parts, tiles))

    def rehearse(self, plan: PreparePlan) -> None:
        """Nothing: views come prepared, and the network ran when it was loaded."""

    def keep_warm(self) -> None:
        """Nothing: a processor's clock rises within the run itself, and a server has others to serve."""

    def close(self) -> None:
        """Free the network; submitting afterwards is a bug."""
        for _, runs, _ in self._waiting.values():
            _cancel(runs)
        self._waiting.clear()
        self._close()

    def _run_blank(self, tiles: int, timeout_s: float) -> Outputs:
        run = self._start(np.zeros((tiles, *self._input.chw), np.float32))
        try:
            outputs = run.outputs(timeout_s)
        except InferenceError:
            run.cancel()
            raise
        return _checked([outputs], tiles)


def network_input(
    source: str, inputs: Sequence[tuple[str, str, Sequence[object]]], spec: InputSpec, max_batch: int
) -> NetworkInput:
    """The one of `inputs` (name, type, shape) that takes the plan's pictures, `max_batch` at once unless it is fixed.

    A dimension that is no number is free. BundleError: there are more, or it takes something else.
    """
    if len(inputs) != 1:
        names = ", ".join(name for name, _, _ in inputs)
        raise BundleError(f"{source} has {len(inputs)} inputs ({names}), expected one picture; export it again")
    ((name, kind, shape),) = inputs
    chw = (spec.channels, spec.height_px, spec.width_px)
    wanted = (1, *chw)
    fits = len(shape) == 4 and all(
        not isinstance(have, int) or have == want for have, want in zip(shape, wanted, strict=True)
    )
    if not fits or kind != "float32":
        raise BundleError(
            f"{source}: input {name} is {kind} {tuple(shape)}, model.toml's [input] asks for float32 {wanted} (tiles, "
            "channels, height, width; a free first dimension is good too); correct [input] or export it again"
        )
    return NetworkInput(name, chw, 1 if isinstance(shape[0], int) else max_batch)


def network_bytes(model: ModelFile) -> bytes:
    """The ONNX file. BundleError: it cannot be read, or is not that of `model.sha256` any more, where there is one.

    A model is also loaded hours after its bundle was: what lies there by then is not what was proven.
    """
    try:
        content = Path(model.onnx_path).read_bytes()
    except OSError as exc:
        raise BundleError(f"{model.onnx_path} cannot be read: {exc.strerror}; copy the bundle again") from exc
    found = hashlib.sha256(content).hexdigest()
    if model.sha256 not in ("", found):
        raise BundleError(
            f"{model.onnx_path} has SHA-256 {found[:12]}..., expected {model.sha256[:12]}... as when its bundle was "
            "read; it was replaced meanwhile: start again"
        )
    return content


def cpu_name() -> str:
    """What computes here; which instructions it has decides the last digits of a result."""
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cancel(runs: Sequence[Run]) -> None:
    for run in runs:
        run.cancel()


def _checked(parts: Sequence[Outputs], tiles: int) -> dict[str, npt.NDArray[Any]]:
    """The runs' outputs, joined along the tiles."""
    joined = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        for array in arrays:
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
                raise InferenceError(f"output {name} is no tensor of numbers; export the model without it")
            if not np.isfinite(array).all():  # measured 0.007 ms for (1,10,8400), 0.11 ms for (1,84,8400)
                raise InferenceError(
                    f"output {name} holds NaN or infinity, expected numbers; the model overflows on this picture: "
                    "keep the picture and check the export's precision with it"
                )
        joined[name] = arrays[0] if tiles == 1 else _by_tile(name, arrays, tiles)
    return joined


def _by_tile(name: str, arrays: Sequence[npt.NDArray[Any]], tiles: int) -> npt.NDArray[Any]:
    shapes = [array.shape for array in arrays]
    same = all(shape[1:] == shapes[0][1:] for shape in shapes)
    if not all(shapes) or not same or sum(shape[0] for shape in shapes) != tiles:
        raise InferenceError(
            f"output {name} has the shapes {', '.join(map(str, shapes))} for {tiles} tiles, expected each tile's rows "
            "along the first axis; export the model with a batch axis, or inspect without tiles"
        )
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
