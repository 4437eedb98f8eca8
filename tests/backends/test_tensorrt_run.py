"""TensorRT's run half without a GPU: slots, failures, the graph's proof, waiting."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_inspector.backends.tensorrt import graphs
from edge_inspector.backends.tensorrt.buffers import Buffers
from edge_inspector.backends.tensorrt.failures import STICKY, is_sticky, translated
from edge_inspector.backends.tensorrt.gpu import waited
from edge_inspector.backends.tensorrt.model import black_view
from edge_inspector.backends.tensorrt.slots import Slots, runs
from edge_inspector.datatypes import Calibration, InputSpec, PreparePlan, Roi, Tiling
from edge_inspector.errors import DeviceLostError, InferenceError
from edge_inspector.interfaces import Ticket


def test_two_batches_wait_and_come_back_in_any_order() -> None:
    slots = Slots()
    first, second = slots.take(0), slots.take(1)
    assert (first, second) == (Ticket(0, 1), Ticket(1, 2))
    slots.give_back(second)
    slots.give_back(first)
    assert slots.idle
    assert slots.take(0) == Ticket(0, 3)


@pytest.mark.parametrize("slot", [0, 2, -1])
def test_a_slot_that_is_taken_or_does_not_exist_is_refused(slot: int) -> None:
    slots = Slots()
    slots.take(0)
    with pytest.raises(ValueError, match=rf"slot {slot} is not free; slots 0\.\.1, occupied \[0\]"):
        slots.take(slot)
    assert not slots.idle


@pytest.mark.parametrize("wrong", [Ticket(0, 2), Ticket(1, 1)])
def test_a_ticket_of_another_batch_does_not_free_the_slot(wrong: Ticket) -> None:
    slots = Slots()
    ticket = slots.take(0)
    with pytest.raises(ValueError, match="not waiting"):
        slots.give_back(wrong)
    slots.give_back(ticket)
    with pytest.raises(ValueError, match="not waiting"):
        slots.give_back(ticket)


@pytest.mark.parametrize(
    ("tiles", "most", "lengths"),
    [
        (1, 1, [1]),
        (1, 4, [1]),
        (4, 4, [4]),
        (5, 4, [2, 3]),  # not 4 and 1: a run of one costs nearly as much as a full one
        (12, 5, [4, 4, 4]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_tiles_are_cut_into_even_runs(tiles: int, most: int, lengths: list[int]) -> None:
    cut = runs(tiles, most)
    assert [len(part) for part in cut] == lengths
    assert [tile for part in cut for tile in part] == list(range(tiles))


@pytest.mark.parametrize(("tiles", "most"), [(0, 4), (4, 0)])
def test_a_view_without_tiles_is_a_bug(tiles: int, most: int) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        runs(tiles, most)


@pytest.mark.parametrize(
    "text",
    [
        "cuStreamQuery failed: an illegal memory access was encountered",
        "cuMemcpyHtoDAsync failed: unspecified launch failure",
        "cuGraphLaunch failed: CUDA_ERROR_ECC_UNCORRECTABLE",
        "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (an illegal memory access was encountered)",
    ],
)
def test_an_error_after_which_the_context_is_dead_ends_the_process(text: str) -> None:
    assert isinstance(translated("waiting", text, answers=True), DeviceLostError)


@pytest.mark.parametrize(
    "text",
    ["cuMemAlloc failed: out of memory", "cuLaunchKernel failed: invalid argument", "Error Code 3: API Usage Error"],
)
def test_an_error_that_passes_costs_one_part_only(text: str) -> None:
    error = translated("submitting a view", text, answers=True)
    assert isinstance(error, InferenceError)
    assert not isinstance(error, DeviceLostError)
    assert str(error) == f"submitting a view failed: {text}"


def test_a_stream_that_answers_nothing_is_lost_whatever_the_error_said() -> None:
    assert isinstance(translated("waiting", "cuEventQuery failed: some new error", answers=False), DeviceLostError)


def test_the_texts_of_dead_contexts_are_nvidias_own() -> None:
    nvcc = shutil.which("nvcc")
    roots = [*Path("/usr/local").glob("cuda*"), *([Path(nvcc).resolve().parents[1]] if nvcc else [])]
    found = [
        path for root in roots for path in (*root.glob("lib*/libcudart.so"), *root.glob("targets/*/lib/libcudart.so"))
    ]
    if not found or importlib.util.find_spec("cuda") is None:
        pytest.skip("needs the CUDA toolkit's libcudart.so and cuda-bindings, which are not on this machine")
    from cuda.bindings import driver

    runtime = ctypes.CDLL(str(found[0]))
    runtime.cudaGetErrorString.restype = ctypes.c_char_p
    codes = {name: int(getattr(driver.CUresult, name)) for name in STICKY if hasattr(driver.CUresult, name)}
    assert len(codes) >= 15
    assert {name: runtime.cudaGetErrorString(code).decode() for name, code in codes.items()} == {
        name: STICKY[name] for name in codes
    }


def test_a_message_is_not_taken_for_a_dead_context_by_a_common_word() -> None:
    assert not is_sticky("cuMemAlloc failed: out of memory")
    assert not is_sticky("invalid device context")


def outputs(value: float, dtype: type = np.float32) -> dict[str, np.ndarray[Any, Any]]:
    return {"boxes": np.full((1, 6), value, dtype), "scores": np.arange(4).astype(dtype) * value}


def test_a_replay_that_gives_the_plain_runs_outputs_is_trusted() -> None:
    assert graphs.doubt(outputs(2), outputs(2), before=outputs(1)) == ""


def test_a_replay_may_differ_by_the_order_of_its_sums() -> None:
    assert graphs.doubt(outputs(2), outputs(2.0005), before=outputs(1)) == ""


def test_an_empty_graph_that_leaves_the_old_outputs_standing_is_found() -> None:
    assert "differs from that of a plain run by up to 1" in graphs.doubt(outputs(2), outputs(1), before=outputs(1))


def test_a_replay_that_writes_only_a_part_is_found() -> None:
    replayed = outputs(2)
    replayed["boxes"][0, 4] = np.nan
    assert graphs.doubt(outputs(2), replayed, before=outputs(1)) == "output boxes was not written whole"


def test_inputs_that_make_no_difference_prove_nothing() -> None:
    assert "could not be told" in graphs.doubt(outputs(2), outputs(2), before=outputs(2))


def test_whole_numbers_must_be_equal() -> None:
    plain, off = outputs(2, np.int64), outputs(2, np.int64)
    off["scores"][3] += 1
    assert graphs.doubt(plain, outputs(2, np.int64), before=outputs(1, np.int64)) == ""
    assert "output scores differs" in graphs.doubt(plain, off, before=outputs(1, np.int64))


def test_other_outputs_or_shapes_are_found() -> None:
    fewer = {"boxes": outputs(2)["boxes"]}
    assert "outputs ['boxes'] instead of" in graphs.doubt(outputs(2), fewer, before=outputs(1))
    half = {**outputs(2), "boxes": outputs(2)["boxes"].astype(np.float16)}
    assert "float16 (1, 6) instead of float32 (1, 6)" in graphs.doubt(outputs(2), half, before=outputs(1))


def test_waiting_ends_when_it_is_done_or_when_the_time_is_over() -> None:
    asked = iter([False, False, True])
    assert waited(lambda: next(asked), timeout_s=60)
    assert not waited(lambda: False, timeout_s=0)


GRAY = InputSpec(64, 96, "gray", 1 / 255, (0.0,), (1.0,), 0)
LENS = Calibration((120, 160), (150.0, 150.0, 80.0, 60.0), (-0.2, 0.05, 0.0, 0.0))


@pytest.mark.parametrize(
    ("plan", "hw", "tiles"),
    [
        (PreparePlan(GRAY), (64, 96), 1),
        (PreparePlan(GRAY, tiling=Tiling(640, 640, 32)), (64, 96), 1),
        (PreparePlan(GRAY, Roi(10, 20, 70, 50)), (70, 80), 1),
        (PreparePlan(GRAY, Roi(0, 0, 160, 120), LENS, Tiling(100, 100, 40)), (120, 160), 4),
    ],
    ids=["plain", "size-unknown", "roi", "calibrated-tiles"],
)
def test_before_the_first_picture_a_black_one_of_its_plan_is_taken(
    plan: PreparePlan, hw: tuple[int, int], tiles: int
) -> None:
    view = black_view(plan)
    assert (view.frame.hw, len(view.tiles)) == (hw, tiles)
    assert not view.frame.pixels.any()
    assert view.plan.calibration == plan.calibration
    assert view.plan.roi == plan.roi


class SmallGpu:
    """Device memory for `free` bytes at a time; notes how much is copied into how much."""

    integrated = False
    stream = None

    def __init__(self, free: int) -> None:
        self.free = free
        self.copied: list[tuple[int, int]] = []
        self.driver = self

    def event(self) -> None: ...

    def memory(self, size: int) -> int:
        if size > self.free:
            raise InferenceError("out of memory")
        return size  # its address tells how large it is

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    def memcpy_htod_async(self, there: int, pixels: Any, _stream: None) -> None:
        self.copied.append((there, pixels.nbytes))


def test_a_picture_for_which_there_was_no_memory_is_never_copied_into_less() -> None:
    engine: Any = SimpleNamespace(
        input=SimpleNamespace(tile_bytes=100, name="in", dtype=np.dtype(np.uint8)), outputs=()
    )
    gpu: Any = SmallGpu(free=1000)
    buffers = Buffers(gpu, engine, most=1)
    for _ in range(2):
        with pytest.raises(InferenceError, match="out of memory"):
            buffers.stage_picture(np.zeros((100, 100), np.uint8))
    buffers.stage_picture(np.zeros((30, 30), np.uint8))
    assert gpu.copied == [(900, 900)]
