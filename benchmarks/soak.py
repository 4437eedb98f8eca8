"""Whether a station stays as it is: memory, threads, files and latency over many parts at the highest speed.

    python benchmarks/soak.py [--minutes 20 | --parts 1000000] [--folder DIR] [--json FILE] [--plot FILE.svg]

The verdict core with a fake camera and a null model: trigger, frame, prepare, decode, judge, flight record, ledger. A
part is triggered as soon as the one before has its verdict. The book keeps its newest 50 MB. A row is a window of the
run; the slopes are least squares over all windows but the first tenth, which is warm-up. The interval of a slope is
95 %, by blocks of a tenth of the run, because windows follow each other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
import cv2
import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "station")]  # the fakes are those of the tests

from core_station import DrivingLink  # noqa: E402
from station_rig import Rig  # noqa: E402

from edge_inspector import log  # noqa: E402
from edge_inspector.control import Control  # noqa: E402
from edge_inspector.station import daemon  # noqa: E402
from edge_inspector.store.books import read_books  # noqa: E402
from edge_inspector.store.ledger import Ledger  # noqa: E402
from edge_inspector.store.settings import LedgerSettings  # noqa: E402

WINDOWS = 120
BOOK_MB = 50


@dataclass(frozen=True)
class Window:
    """One stretch of the run; latencies are from one verdict to the next, ms."""

    parts: int
    seconds: float
    rss_mb: float
    threads: int
    files: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


class Watch:
    """Counts verdicts and looks at the process once a window."""

    def __init__(self, window_s: float | None, window_parts: int | None) -> None:
        self.windows: list[Window] = []
        self.parts = 0
        self._limit_s, self._limit_parts = window_s, window_parts
        self._begun = self._last = time.monotonic()
        self._spent_ms: list[float] = []

    def saw(self, what: str, number: int, text: str) -> None:
        if what != "result":
            return
        now = time.monotonic()
        self._spent_ms.append((now - self._last) * 1e3)
        self._last = now
        self.parts += 1
        enough = len(self._spent_ms) >= self._limit_parts if self._limit_parts else now - self._begun >= self._limit_s
        if enough:
            self._close(now)

    def _close(self, now: float) -> None:
        p50, p99 = np.percentile(self._spent_ms, (50, 99))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        window = Window(
            parts=self.parts,
            seconds=round(now - self._begun, 3),
            rss_mb=round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2),
            threads=threading.active_count(),
            files=len(os.listdir("/proc/self/fd")),
            p50_ms=round(float(p50), 3),
            p99_ms=round(float(p99), 3),
            worst_ms=round(max(self._spent_ms), 1),
        )
        self.windows.append(window)
        if len(self.windows) % 10 == 0 or len(self.windows) == 1:
            print(
                f"{window.parts:9} parts  {window.rss_mb:7.1f} MB  {window.threads:3} threads  {window.files:3} files"
                f"  p50 {window.p50_ms:6.2f} ms  p99 {window.p99_ms:6.2f} ms  worst {window.worst_ms:7.1f} ms",
                flush=True,
            )
        self._begun, self._spent_ms = now, []


@dataclass(frozen=True)
class Slope:
    """Per million parts, with its 95 % interval."""

    value: float
    low: float
    high: float


def slope(parts: np.ndarray, values: np.ndarray, seed: int = 1) -> Slope:
    """Least squares, its interval by a moving-block bootstrap of the residuals (Kuensch 1989)."""
    x = parts / 1e6
    fit = np.polyfit(x, values, 1)
    residuals = values - np.polyval(fit, x)
    block = max(1, len(x) // 10)
    random = np.random.default_rng(seed)
    found = []
    for _ in range(2000):
        starts = random.integers(0, len(x) - block + 1, -(-len(x) // block))
        drawn = np.concatenate([residuals[s : s + block] for s in starts])[: len(x)]
        found.append(np.polyfit(x, np.polyval(fit, x) + drawn, 1)[0])
    low, high = np.percentile(found, (2.5, 97.5))
    return Slope(*(round(float(one), 3) for one in (fit[0], low, high)))


async def run(folder: Path, watch: Watch, minutes: float, parts: int | None) -> None:
    rig = Rig(folder)
    rig.link = DrivingLink(rig, 1, watch.saw)
    rig.recipe("r", deadline_ms=5000.0)
    object.__setattr__(rig.backend, "runs", deque(maxlen=1))  # the fake's own record would grow by 8 bytes a part
    made = rig.parts()
    settings = LedgerSettings(max_mb=BOOK_MB)
    object.__setattr__(made, "ledger", Ledger(rig.ledger, [], on_booked=made.flight.free, settings=settings))
    control = Control(folder / "c.sock")
    loop = asyncio.get_running_loop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon.run, made, control)
        end = loop.time() + minutes * 60
        while watch.parts < parts if parts else loop.time() < end:  # noqa: ASYNC110 - a look now and then is enough
            await anyio.sleep(0.25)
        control.stop()


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--minutes", type=float, default=20.0)
    asked.add_argument("--parts", type=int)
    asked.add_argument("--folder", type=Path)
    asked.add_argument("--json", type=Path)
    asked.add_argument("--plot", type=Path)
    arguments = asked.parse_args()
    log.configure("error", None)
    cv2.setNumThreads(1)
    parts = arguments.parts
    watch = Watch(None if parts else arguments.minutes * 60 / WINDOWS, parts // WINDOWS if parts else None)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        begun = time.monotonic()
        anyio.run(run, Path(folder), watch, arguments.minutes, parts)
        seconds = time.monotonic() - begun
        books = read_books(Path(folder) / "ledger.sqlite")
    kept = watch.windows[len(watch.windows) // 10 :]
    at = np.array([one.parts for one in kept], float)
    found = {
        "parts": watch.parts,
        "seconds": round(seconds, 1),
        "parts_per_s": round(watch.parts / seconds, 1),
        "balanced": books.balanced and books.results == books.accepted,
        "rss_mb": [kept[0].rss_mb, kept[-1].rss_mb],
        "threads": sorted({one.threads for one in kept}),
        "files": sorted({one.files for one in kept}),
        "rss_mb_per_million": asdict(slope(at, np.array([one.rss_mb for one in kept]))),
        "p99_ms_per_million": asdict(slope(at, np.array([one.p99_ms for one in kept]))),
        "p99_ms": [min(one.p99_ms for one in kept), max(one.p99_ms for one in kept)],
    }
    for name, value in found.items():
        print(f"{name:20} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps({**found, "windows": [asdict(one) for one in watch.windows]}, indent=1))
    if arguments.plot:
        plot(watch.windows, arguments.plot)


def plot(windows: list[Window], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, (memory, latency) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 5))
    thousands = [one.parts / 1000 for one in windows]
    memory.plot(thousands, [one.rss_mb for one in windows])
    memory.set(ylabel="memory, MB", ylim=(0, None), title="A station at the highest speed, null model")
    for name in ("p50_ms", "p99_ms"):
        latency.plot(thousands, [getattr(one, name) for one in windows], label=name.removesuffix("_ms"))
    latency.set(ylabel="verdict to verdict, ms", xlabel="thousand parts", ylim=(0, None))
    latency.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
