"""How long a model takes for one picture, and in which power mode that was."""

from __future__ import annotations

import shutil
import subprocess
import time

import numpy as np

from edge_inspector.datatypes import Batch, RawView
from edge_inspector.engine.passport import Latency
from edge_inspector.interfaces import Model

RUNS = 50
RUN_TIMEOUT_S = 60.0
_QUERY_TIMEOUT_S = 5.0


def latency(model: Model, batch: Batch | RawView) -> Latency:
    """Of `RUNS` runs, one after the other. InferenceError when one fails."""
    spent_ms = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        model.collect(model.submit(batch, 0), RUN_TIMEOUT_S)
        spent_ms.append(1000 * (time.perf_counter() - begun))
    median, p99 = (float(value) for value in np.percentile(spent_ms, (50, 99)))
    return Latency(median_ms=round(median, 3), p99_ms=round(p99, 3), runs=RUNS)


def power_mode() -> str:
    """A Jetson's own name for it, such as "MAXN" or "15W"; "default" on other machines, "unknown" when it is silent."""
    nvpmodel = shutil.which("nvpmodel")
    if nvpmodel is None:
        return "default"
    try:
        said = subprocess.run([nvpmodel, "-q"], capture_output=True, text=True, timeout=_QUERY_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    modes = [line.partition(":")[2].strip() for line in said.stdout.splitlines() if line.startswith("NV Power Mode")]
    return modes[0] if modes and modes[0] else "unknown"
