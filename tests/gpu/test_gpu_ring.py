"""PyCUDA on a real GPU: the context, pinned memory, and errors that end the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from edge_inspector.backends.tensorrt.cubin import nvcc
from edge_inspector.backends.tensorrt.gpu import Gpu, waited
from edge_inspector.errors import InferenceError

FATAL_KERNEL = 'extern "C" __global__ void touch(int* nowhere) { *nowhere = 1; }'
FATAL_PROGRAM = """
import os
import sys
import threading
from edge_inspector.backends.tensorrt.gpu import Gpu, waited
from edge_inspector.errors import DeviceLostError

def run():
    gpu = Gpu(0)
    with gpu.current("loading"):
        kernel = gpu.driver.module_from_buffer(open(sys.argv[1], "rb").read()).get_function("touch").prepare("P")
        ended = gpu.event()
    for attempt in ("first", "second"):
        try:
            with gpu.current("waiting"):
                kernel.prepared_async_call((1, 1, 1), (1, 1, 1), gpu.stream, 8)
                ended.record(gpu.stream)
                waited(ended.query, 10)
            print(attempt, "nothing happened", flush=True)
        except DeviceLostError as exc:
            print(attempt, "lost:", exc, flush=True)

thread = threading.Thread(target=run)
thread.start()
thread.join()
print("the others: go on", flush=True)  # PyCUDA aborts the process when a thread ends with a context on its stack
os._exit(0)  # the context is dead: PyCUDA's own clean-up would only complain
"""


def test_what_goes_up_comes_down_through_pinned_memory(gpu: Gpu, rng: np.random.Generator) -> None:
    sent = rng.integers(0, 256, 5_000_000, np.uint8)
    with gpu.current("copying"):
        staged, back = gpu.pinned(sent.shape, np.uint8), gpu.pinned(sent.shape, np.uint8)
        there = gpu.memory(sent.nbytes)
        ended = gpu.event()
        np.copyto(staged, sent)
        back[:] = 0
        gpu.driver.memcpy_htod_async(there, staged, gpu.stream)
        gpu.driver.memcpy_dtoh_async(back, there, gpu.stream)
        ended.record(gpu.stream)
        assert waited(ended.query, 10)
    np.testing.assert_array_equal(back, sent)


def test_an_integrated_gpu_reads_pinned_memory_where_it_lies(gpu: Gpu, rng: np.random.Generator) -> None:
    if not gpu.integrated:
        pytest.skip("this GPU has memory of its own, pictures are copied to it")
    with gpu.current("copying"):
        staged = gpu.pinned((1000,), np.uint8)
        np.copyto(staged, rng.integers(0, 256, 1000, np.uint8))
        back = np.empty(1000, np.uint8)
        gpu.driver.memcpy_dtoh(back, gpu.mapped_address(staged))
    np.testing.assert_array_equal(back, staged)


def test_an_upload_is_there_before_our_stream_goes_on(gpu: Gpu, rng: np.random.Generator) -> None:
    sent = rng.random(3_000_000, np.float32)
    with gpu.current("copying"):
        there = gpu.uploaded(sent)
        back = gpu.pinned(sent.shape, np.float32)
        gpu.driver.memcpy_dtoh_async(back, there, gpu.stream)
        gpu.stream.synchronize()
    np.testing.assert_array_equal(back, sent)


def test_an_error_that_passes_is_one_parts_and_the_context_is_popped(gpu: Gpu) -> None:
    with pytest.raises(InferenceError, match="allocating failed"), gpu.current("allocating"):
        gpu.memory(1 << 50)
    with gpu.current("asking"):
        assert gpu.answers()
    assert gpu.driver.Context.get_current() is None


def test_an_illegal_address_is_a_lost_device_now_and_at_every_later_call(gpu: Gpu, tmp_path: Path) -> None:
    major, minor = gpu.driver.Device(0).compute_capability()
    (tmp_path / "fatal.cu").write_text(FATAL_KERNEL)
    command = [nvcc(), "--cubin", f"--gpu-architecture=sm_{major}{minor}", "-o", "fatal.cubin", "fatal.cu"]
    subprocess.run(command, cwd=tmp_path, check=True)
    program = [sys.executable, "-c", textwrap.dedent(FATAL_PROGRAM), str(tmp_path / "fatal.cubin")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["first lost", "second lost", "the others"], done.stderr
    assert "illegal memory access" in lines[0]
