"""The preparation kernel on a real GPU: equal to `stages.prepare`, and how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_results import Results

from edge_inspector.backends.tensorrt import cubin, prepare_kernel
from edge_inspector.backends.tensorrt.gpu import Gpu
from edge_inspector.backends.tensorrt.preparation import Preparation
from edge_inspector.datatypes import Calibration, Frame, InputSpec, PixelFormat, PreparePlan, RawView, Roi, Tiling
from edge_inspector.stages.prepare import prepare, raw_view

RGB = InputSpec(640, 640, "rgb", 1 / 255, (0.0,) * 3, (1.0,) * 3, 114)
GRAY = InputSpec(640, 640, "gray", 1 / 255, (0.0,), (1.0,), 114)
LENS = Calibration((1200, 1920), (1700.0, 1700.0, 955.0, 610.0), (-0.2, 0.05, 0.001, -0.0005, 0.0))
SOURCE = Path(prepare_kernel.__file__).with_name("prepare.cu")
RUNS = 200
SLOWEST = 20  # times a plain copy: it samples up to nine pixels for one; more would be a broken memory pattern
STEP = 1 / 255  # one step of an 8-bit pixel


@pytest.fixture(scope="module")
def kernel(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Path:
    major, minor = gpu.driver.Device(0).compute_capability()
    return cubin.compile_cubin(SOURCE, f"{major}.{minor}", tmp_path_factory.mktemp("kernel"))


def frame(pixel_format: PixelFormat, hw: tuple[int, int], rng: np.random.Generator) -> Frame:
    """Slow waves with a little noise, as a camera's picture: not noise alone, in which no two neighbours agree."""
    y, x = np.mgrid[: hw[0], : hw[1]]
    gray = 120 + 60 * np.sin(x / 37) + 50 * np.cos(y / 29) + rng.normal(0, 3, hw)
    pixels: Any = gray.clip(0, 255)
    if pixel_format in ("BGR8", "RGB8"):
        pixels = np.stack([pixels, pixels[::-1], pixels[:, ::-1]], axis=2)
    if pixel_format.endswith("12"):
        return Frame("cam", 1, 0, 0, (pixels * 16).astype(np.uint16), pixel_format)
    return Frame("cam", 1, 0, 0, pixels.astype(np.uint8), pixel_format)


def on_the_gpu(gpu: Gpu, kernel: Path, view: RawView, element: Any = "float32") -> tuple[np.ndarray[Any, Any], float]:
    """What the kernel makes of the view, and the median of its time in ms."""
    spec = view.plan.input
    shape = (len(view.tiles), spec.channels, spec.height_px, spec.width_px)
    with gpu.current("preparing"):
        preparation = Preparation(gpu, kernel, element, spec)
        launches = preparation.launches(view)
        back = gpu.pinned(shape, element)
        picture, output = gpu.uploaded(view.frame.pixels), gpu.memory(back.nbytes)
        faults = gpu.uploaded(np.zeros(1, np.uint32))
        begin, end = gpu.driver.Event(), gpu.driver.Event()
        times = []
        for _ in range(RUNS):
            begin.record(gpu.stream)
            preparation.queue(launches, range(len(launches)), int(picture), int(output), int(faults))
            end.record(gpu.stream)
            end.synchronize()
            times.append(end.time_since(begin))
        gpu.driver.memcpy_dtoh_async(back, output, gpu.stream)
        gpu.stream.synchronize()
    return back.copy(), float(np.median(times))


@pytest.mark.parametrize("plan", [PreparePlan(RGB), PreparePlan(RGB, calibration=LENS)], ids=["plain", "undistorted"])
@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono12", "BGR8", "RGB8", "BayerRG8", "BayerGB8", "BayerBG12"])
def test_the_gpu_prepares_what_the_cpu_prepares(
    gpu: Gpu, kernel: Path, rng: np.random.Generator, pixel_format: PixelFormat, plan: PreparePlan
) -> None:
    taken = frame(pixel_format, (1200, 1920), rng)
    wanted = prepare(taken.pixels, pixel_format, plan).pixels
    given, _ = on_the_gpu(gpu, kernel, raw_view(taken, plan))
    assert np.percentile(np.abs(given - wanted), 99.9) <= STEP * 1.001


@pytest.mark.parametrize(
    "plan",
    [
        PreparePlan(GRAY, roi=Roi(100, 50, 801, 633)),
        PreparePlan(GRAY, calibration=LENS, tiling=Tiling(700, 500, 60)),
        PreparePlan(GRAY, tiling=Tiling(640, 640, 64)),
    ],
    ids=["roi", "undistorted-tiles", "tiles"],
)
def test_every_tile_lands_in_its_place(gpu: Gpu, kernel: Path, rng: np.random.Generator, plan: PreparePlan) -> None:
    taken = frame("BayerRG8", (1200, 1920), rng)
    wanted = prepare(taken.pixels, "BayerRG8", plan).pixels
    given, _ = on_the_gpu(gpu, kernel, raw_view(taken, plan))
    assert given.shape == wanted.shape
    assert np.percentile(np.abs(given - wanted), 99.9) <= STEP * 1.001


def test_half_precision_is_the_same_rounded(gpu: Gpu, kernel: Path, rng: np.random.Generator) -> None:
    view = raw_view(frame("BayerRG8", (1200, 1920), rng), PreparePlan(RGB))
    whole, _ = on_the_gpu(gpu, kernel, view)
    half, _ = on_the_gpu(gpu, kernel, view, "float16")
    np.testing.assert_array_equal(half, whole.astype(np.float16))


@pytest.mark.parametrize("plan", [PreparePlan(RGB), PreparePlan(RGB, calibration=LENS)], ids=["plain", "undistorted"])
@pytest.mark.parametrize("pixel_format", ["BayerRG8", "BGR8"])
def test_its_time_beside_the_time_that_its_bytes_need(
    gpu: Gpu, kernel: Path, rng: np.random.Generator, results: Results, pixel_format: PixelFormat, plan: PreparePlan
) -> None:
    view = raw_view(frame(pixel_format, (1200, 1920), rng), plan)
    _, median_ms = on_the_gpu(gpu, kernel, view)
    (launch,) = prepare_kernel.launches(view, "float32")
    moved = prepare_kernel.bytes_moved(launch)
    copy_ms = copied_ms(gpu, moved)
    way = "undistorted" if plan.calibration else "plain"
    results.add(
        "Preparation kernel, 1920x1200 to 640x640 float32",
        f"{pixel_format}, {way}",
        f"{median_ms * 1000:.1f} us for {moved / 1e6:.2f} MB; a plain copy on the GPU that moves as many: "
        f"{copy_ms * 1000:.1f} us",
    )
    assert median_ms <= SLOWEST * copy_ms


def copied_ms(gpu: Gpu, moved: int) -> float:
    """The median time of a copy within the GPU's memory that reads and writes so many bytes together."""
    with gpu.current("copying"):
        source, target = gpu.memory(moved // 2), gpu.memory(moved // 2)
        begin, end = gpu.driver.Event(), gpu.driver.Event()
        times = []
        for _ in range(RUNS):
            begin.record(gpu.stream)
            gpu.driver.memcpy_dtod_async(target, source, moved // 2, gpu.stream)
            end.record(gpu.stream)
            end.synchronize()
            times.append(end.time_since(begin))
    return float(np.median(times))
