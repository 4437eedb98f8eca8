"""What a bench found, with the machine on which it did."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cv2
import numpy as np

from edge_inspector.backends.batches import cpu_name

LATENCY_TARGET_PERCENT = 20.0
THROUGHPUT_TARGET_PERCENT = 10.0


@dataclass(frozen=True)
class Spread:
    """Durations in milliseconds."""

    median_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Round:
    """One block of each kind, run after each other: the two medians, and runs or parts a second."""

    bare_ms: float
    serial_ms: float
    bare_per_s: float
    pipelined_per_s: float


@dataclass(frozen=True)
class BenchReport:
    """`bare` are calls of the network alone, `serial` is from a part's trigger to its verdict at the PLC.

    `stages` are those of the serial parts, in the order of a part's way. The percentages compare medians of the whole
    run; those by round are the median of what each round says for itself. On a calm machine the two agree.
    """

    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    frames: int
    detections_a_part: float
    bare: Spread
    serial: Spread
    stages: Mapping[str, Spread]
    rounds: tuple[Round, ...]
    added_latency_percent: float = field(init=False)
    lost_throughput_percent: float = field(init=False)
    added_latency_percent_by_round: float = field(init=False)
    lost_throughput_percent_by_round: float = field(init=False)

    def __post_init__(self) -> None:
        derived = {
            "added_latency_percent": self.serial.median_ms / self.bare.median_ms - 1,
            "lost_throughput_percent": 1 - self.pipelined_per_s / self.bare_per_s,
            "added_latency_percent_by_round": np.median([r.serial_ms / r.bare_ms - 1 for r in self.rounds]),
            "lost_throughput_percent_by_round": np.median([1 - r.pipelined_per_s / r.bare_per_s for r in self.rounds]),
        }
        for name, share in derived.items():
            object.__setattr__(self, name, round(100 * float(share), 2))

    @property
    def bare_per_s(self) -> float:
        """Runs a second, the median of the rounds."""
        return float(np.median([one.bare_per_s for one in self.rounds]))

    @property
    def pipelined_per_s(self) -> float:
        """Parts a second, the median of the rounds."""
        return float(np.median([one.pipelined_per_s for one in self.rounds]))

    def to_json(self) -> str:
        targets = {
            "added_latency_percent": LATENCY_TARGET_PERCENT,
            "lost_throughput_percent": THROUGHPUT_TARGET_PERCENT,
        }
        return json.dumps({"schema": 1, **asdict(self), "targets": targets}, indent=1)


def spread(durations_ns: Sequence[int]) -> Spread:
    median, p99, longest = (round(float(ns) / 1e6, 4) for ns in np.percentile(durations_ns, (50, 99, 100)))
    return Spread(median, p99, longest)


def machine() -> dict[str, Any]:
    """What a reader must know to compare: processor, versions, and how busy the machine is now."""
    versions = {"python": platform.python_version(), "opencv": cv2.__version__, "numpy": np.__version__}
    for package in ("onnxruntime", "uvloop"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "versions": versions,
        "opencv_threads": cv2.getNumThreads(),
        "load_average_1min": round(os.getloadavg()[0], 2),
    }
