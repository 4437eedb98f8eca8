"""What keeping pictures costs: on the verdict's path, per picture, and other threads.

    python benchmarks/images.py [--folder DIR] [--parts 400] [--json FILE]

path: what a part costs the camera thread (`offer`) and the line loop (`belongs`, `settled`), in microseconds of the
thread's own CPU time and of the wall clock, while the writer stores rejects of 5 megapixels as fast as it can.
picture: CPU milliseconds of the image thread and bytes of a file, by pixel format; the picture is soft noise with a
sensor's grain. delay: how much later than asked a thread wakes from sleeps of 1 ms, beside nothing and beside the image
thread at work.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import (
    Defect,
    Evaluation,
    Frame,
    InspectionResult,
    Mode,
    Picture,
    PixelFormat,
    Reason,
    Trigger,
)
from edge_inspector.health.clock import SystemClock
from edge_inspector.station.daemon import SWITCH_INTERVAL_S
from edge_inspector.store import schema
from edge_inspector.store.images.darkroom import Darkroom
from edge_inspector.store.images.keeper import ImageStore
from edge_inspector.store.images.policy import Wanted
from edge_inspector.store.images.settings import ImageSettings
from edge_inspector.store.images.waiting import Task

HW = (2048, 2448)
FORMATS: tuple[PixelFormat, ...] = ("Mono8", "BayerRG8", "Mono12", "BGR8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where pictures are written; default: a temporary folder")
    parser.add_argument("--parts", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        idle = delays(options.parts * 5)
        path, busy, stored = on_the_path(Path(folder), options.parts)
    report = {
        "picture": [per_picture(pixel_format, kind) for pixel_format in FORMATS for kind in ("original", "overlay")],
        "webp": lossless_webp(),
        "path_us": path,
        "stored_meanwhile": stored,
        "delay_ms": {"idle": idle, "storing": busy},
    }
    print(text(report))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def photograph(pixel_format: PixelFormat) -> np.ndarray:
    rng = np.random.default_rng(1)
    deep = pixel_format.endswith("12")
    shape = (*HW, 3) if pixel_format == "BGR8" else HW
    soft = cv2.GaussianBlur(rng.uniform(0, 255, shape).astype(np.float32), (0, 0), 6)
    soft = (soft - soft.min()) / (soft.max() - soft.min()) * 200 + 20
    grained = soft + rng.normal(0, 2, shape)
    return (grained * 16).astype(np.uint16) if deep else grained.astype(np.uint8)


def verdict(seq: int, *, good: bool) -> InspectionResult:
    trigger = Trigger(
        seq,
        f"bench.00000000.{seq}",
        seq,
        f"P{seq}",
        1,
        Mode.PRODUCTION,
        "r",
        1,
        1,
        1,
        0,
        10**9,
        SystemClock().utc(),
        True,
    )
    defects = () if good else (Defect("spur", 0, 0.9, (1000.0, 800.0, 120.0, 90.0), "top"),)
    evaluation, reason = (Evaluation.OK, Reason.NONE) if good else (Evaluation.NOT_OK, Reason.DEFECT)
    return InspectionResult(trigger, evaluation, reason, "", defects, ("top",), 1, (0.5,), "", 0, {}, (seq,))


def per_picture(pixel_format: PixelFormat, kind: str) -> dict[str, object]:
    """Median of 9 files."""
    room = Darkroom(ImageSettings.model_validate({}), {"top": None})
    taken = Frame("top", 1, 0, 0, photograph(pixel_format), pixel_format)
    spent, size = [], 0
    for _ in range(9):
        before = time.thread_time()
        ((image, _),) = room.prints(Task(verdict(1, good=False), (Wanted(kind, ("rejects",), 1),), taken, 1))  # type: ignore[arg-type]
        spent.append((time.thread_time() - before) * 1e3)
        size = image.size_bytes
    return {
        "format": pixel_format,
        "kind": kind,
        "cpu_ms": round(float(np.median(spent)), 1),
        "kb": round(size / 1e3),
        "of_raw": round(size / taken.pixels.nbytes, 2),
    }


def lossless_webp() -> dict[str, float]:
    """What WebP would be in the place of the PNG of a colour picture: times the time, times the size."""
    picture, found = photograph("BGR8"), []
    for suffix, options in ((".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]), (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101])):
        before = time.thread_time()
        content = cv2.imencode(suffix, picture, options)[1]
        found.append((time.thread_time() - before, len(content)))
    return {"time": round(found[1][0] / found[0][0], 1), "size": round(found[1][1] / found[0][1], 2)}


def on_the_path(folder: Path, parts: int) -> tuple[dict[str, dict[str, float]], dict[str, float], int]:
    """Parts come every 10 ms, every second one a reject; the writer cannot keep up and never rests."""
    settings = ImageSettings.model_validate({"min_free_pct": 0, "max_gb": 2, "queue_mb": 128})
    book = folder / "ledger.sqlite"
    with closing(sqlite3.connect(book, isolation_level=None)) as connection:
        schema.prepare(connection, book)
    store = ImageStore(settings, folder / "images", {"top": None}, SystemClock(), book)
    ring, pixels = FrameRing(8), photograph("Mono8")
    threads = [threading.Thread(target=store.run, args=(_ignore, _ignore, _ignore, _ignore_two))]
    late: list[float] = []
    threads.append(threading.Thread(target=lambda: late.extend(_delays(parts * 5))))
    for thread in threads:
        thread.start()
    spent: dict[str, list[tuple[float, float]]] = {"offer": [], "belongs": [], "settled OK": [], "settled reject": []}
    for seq in range(1, parts + 1):
        held = ring.copy_in(pixels, pixels.shape, pixels.dtype)
        if held is not None:
            picture, good = Picture("top", seq), seq % 2 == 0
            taken, result = Frame("top", seq, 0, 0, held[0], "Mono8", held[1]), verdict(seq, good=good)
            spent["belongs"].append(_us(lambda: store.belongs(picture, seq)))  # noqa: B023 - called at once
            spent["offer"].append(_us(lambda: store.offer(picture, taken)))  # noqa: B023
            taken.release()
            spent["settled OK" if good else "settled reject"].append(_us(lambda: store.settled(result)))  # noqa: B023
        time.sleep(0.01)
    stored = int(store.counters()["images_stored"])
    store.stop()
    for thread in threads:
        thread.join()
    path = {
        f"{name}, {clock}": _percentiles([value[i] for value in values])
        for name, values in spent.items()
        for i, clock in enumerate(("CPU", "wall"))
    }
    return path, _percentiles(late), stored


def delays(turns: int) -> dict[str, float]:
    return _percentiles(_delays(turns))


def _delays(turns: int) -> list[float]:
    found = []
    for _ in range(turns):
        before = time.perf_counter()
        time.sleep(0.001)
        found.append((time.perf_counter() - before - 0.001) * 1e3)
    return found


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(float(np.median(values)), 2),
        "p99": round(float(np.percentile(values, 99)), 2),
        "max": round(float(np.max(values)), 2),
    }


def _us(call: Callable[[], None]) -> tuple[float, float]:
    """CPU time of this thread and time of the wall clock."""
    began, before = time.perf_counter_ns(), time.thread_time_ns()
    call()
    spent = time.thread_time_ns() - before
    return spent / 1e3, (time.perf_counter_ns() - began) / 1e3


def _ignore(_told: object) -> None: ...


def _ignore_two(_code: str, _text: str) -> None: ...


def text(report: dict[str, object]) -> str:
    lines = [
        f"{name}: {row}" for name, value in report.items() for row in (value if isinstance(value, list) else [value])
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
