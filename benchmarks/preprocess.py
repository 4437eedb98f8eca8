"""Preparing a picture for a 640x640 model, ours against the usual chain, in turn: a table of ratios, and `--json FILE`.

python benchmarks/preprocess.py --json preprocess.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Calibration, InputSpec, PixelFormat, PreparePlan
from edge_inspector.stages.prepare import fitted, prepare

Picture = npt.NDArray[Any]
GRAY = InputSpec(640, 640, "gray", 1 / 255, (0.45,), (0.22,), 114)
RGB = InputSpec(640, 640, "rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 114)
SIZES_WH = ((1920, 1200), (2448, 2048))
FORMATS: tuple[PixelFormat, ...] = ("BGR8", "BayerRG8", "Mono8")
THREADS = (1, 2)
# Times in one round of each: the undistortion that a first version of every station has, the same with its map kept
# (what an engineer does next), and none.
VARIANTS = ("undistort each frame", "full remap", "no lens")
TARGET = {"BGR8": 4.0, "Mono8": 8.0}  # issue 3: with undistortion, against cv2.undistort each frame


@dataclass(frozen=True)
class Row:
    """Medians of one round-robin, in milliseconds; `ratio` is the median over the rounds of naive / ours."""

    width_px: int
    height_px: int
    pixel_format: str
    threads: int
    variant: str
    naive_ms: float
    ours_ms: float
    ratio: float
    target: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=40, help="rounds of each row (40)")
    parser.add_argument("--quick", action="store_true", help="5 rounds of the smaller size, one thread")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    arguments = parser.parse_args()
    repeat, sizes, threads = (
        (5, SIZES_WH[:1], THREADS[:1]) if arguments.quick else (arguments.repeat, SIZES_WH, THREADS)
    )
    rows = []
    print(f"{'picture':21} {'threads':>7}  {'naive with':20} {'naive':>8} {'ours':>8} {'ratio':>7}  target")
    for row in measured(sizes, threads, repeat):
        rows.append(row)
        target = "" if row.target is None else f"{row.target:g}x {'met' if row.ratio >= row.target else 'MISSED'}"
        print(
            f"{f'{row.width_px}x{row.height_px} {row.pixel_format}':21} {row.threads:7}  {row.variant:20} "
            f"{row.naive_ms:8.2f} {row.ours_ms:8.2f} {row.ratio:6.1f}x  {target}"
        )
    if arguments.json is not None:
        facts = {"opencv": cv2.__version__, "repeat": repeat, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


def measured(sizes_wh: tuple[tuple[int, int], ...], threads: tuple[int, ...], repeat: int) -> Iterator[Row]:
    """One row for each size, format, number of threads and variant."""
    for width, height in sizes_wh:
        focal = 0.8 * width
        lens = Calibration((height, width), (focal, focal, width / 2, height / 2), (-0.2, 0.05, 0.0, 0.0, 0.0))
        for pixel_format in FORMATS:
            picture = a_picture((height, width), pixel_format)
            for count in threads:
                cv2.setNumThreads(count)
                times = in_turn(ways(picture, pixel_format, lens), repeat)
                for variant in VARIANTS:
                    naive, ours = times[variant], times["ours, no lens" if variant == "no lens" else "ours"]
                    yield Row(
                        width_px=width,
                        height_px=height,
                        pixel_format=pixel_format,
                        threads=count,
                        variant=variant,
                        naive_ms=float(np.median(naive)) * 1e3,
                        ours_ms=float(np.median(ours)) * 1e3,
                        ratio=float(np.median(naive / ours)),
                        target=TARGET.get(pixel_format) if variant == VARIANTS[0] else None,
                    )


def a_picture(hw: tuple[int, int], pixel_format: PixelFormat) -> Picture:
    """Noise with some structure; what the arithmetic costs does not depend on it."""
    shape = (*hw, 3) if pixel_format == "BGR8" else hw
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, shape, np.uint8), (0, 0), 2)


def ways(picture: Picture, pixel_format: PixelFormat, lens: Calibration) -> dict[str, Callable[[], object]]:
    """What takes its turn, by name. Maps are made before: at a station that happens at its start."""
    spec = GRAY if pixel_format == "Mono8" else RGB
    bent, straight = PreparePlan(spec, None, lens), PreparePlan(spec)
    fx, fy, cx, cy = lens.matrix
    matrix, distortion = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(lens.distortion)
    maps = cv2.initUndistortRectifyMap(matrix, distortion, None, matrix, lens.image_hw[::-1], cv2.CV_16SC2)
    content = fitted(straight, lens.image_hw).content

    def naive(undistorted: Callable[[Picture], Picture]) -> Picture:
        seen = cv2.cvtColor(picture, cv2.COLOR_BayerRGGB2BGR) if pixel_format == "BayerRG8" else picture
        return textbook(undistorted(seen), (content.width, content.height), spec)

    return {
        "undistort each frame": lambda: naive(lambda seen: cv2.undistort(seen, matrix, distortion)),
        "full remap": lambda: naive(lambda seen: cv2.remap(seen, *maps, cv2.INTER_LINEAR)),
        "no lens": lambda: naive(lambda seen: seen),
        "ours": lambda: prepare(picture, pixel_format, bent),
        "ours, no lens": lambda: prepare(picture, pixel_format, straight),
    }


def textbook(picture: Picture, wh: tuple[int, int], spec: InputSpec) -> Picture:
    """Letterbox and normalise, as the examples of most detectors do: float32 (1,C,H,W)."""
    picture = cv2.resize(picture, wh, interpolation=cv2.INTER_LINEAR)
    left, top = (spec.width_px - wh[0]) // 2, (spec.height_px - wh[1]) // 2
    right, bottom = spec.width_px - wh[0] - left, spec.height_px - wh[1] - top
    border = (spec.pad_value,) * 3
    picture = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=border)
    if spec.color == "rgb":
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    tensor: Picture = np.ascontiguousarray(np.atleast_3d(picture).transpose(2, 0, 1)).astype(np.float32)
    tensor /= np.float32(255)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        tensor[channel] = (tensor[channel] - np.float32(mean)) / np.float32(std)
    return tensor.reshape(1, *tensor.shape)


def in_turn(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, npt.NDArray[np.float64]]:
    """A B C A B C ...: noise of the machine meets all alike. Seconds, a round each, after one that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            spent[name].append(time.perf_counter() - begun)
    return {name: np.array(seconds[1:]) for name, seconds in spent.items()}


if __name__ == "__main__":
    main()
