"""What the parts of a verdict's path cost, each in a loop of its own: a table, and `--json FILE`.

python benchmarks/costs.py --json costs.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge_inspector.datatypes import (
    Calibration,
    Defect,
    Evaluation,
    Identity,
    InputSpec,
    InspectionResult,
    Mode,
    PreparePlan,
    Reason,
    Tensors,
    Trigger,
)
from edge_inspector.decoders.yolo import Yolo
from edge_inspector.outputs.mqtt import Config, MqttPublisher
from edge_inspector.pipeline import Reading, finish
from edge_inspector.stages.prepare import prepare, prepare_plain
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.ledger import BookResult, BookTrigger, Ledger

SPEC = InputSpec(640, 640, "gray", 1 / 255, (0.0,), (1.0,), 114)
LENS = Calibration((1200, 1920), (1500.0, 1500.0, 960.0, 600.0), (-0.2, 0.05, 0.0, 0.0, 0.0))
CANDIDATES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = {**picture_costs(), **record_costs(Path(folder)), **ledger_costs(Path(folder))}
    for name, (median, high) in figures.items():
        print(f"{name:58} {median:9.4f} {high:9.4f}  ms, median and p99")
    if arguments.json is not None:
        rows = {name: {"median_ms": median, "p99_ms": high} for name, (median, high) in figures.items()}
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def picture_costs() -> dict[str, tuple[float, float]]:
    """Fused and textbook preparation in turn; decode, undo and NMS of a busy picture."""
    frame = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (1200, 1920), np.uint8), (0, 0), 3)
    plan = PreparePlan(SPEC, None, LENS)
    batch = prepare(frame, "Mono8", plan)
    fused, plain = in_turn(lambda: prepare(frame, "Mono8", plan), lambda: prepare_plain(frame, "Mono8", plan), 60)
    rng = np.random.default_rng(1)
    output = np.zeros((1, 10, 6400), np.float32)
    output[0, :4, :CANDIDATES] = rng.uniform(20, 600, (4, CANDIDATES))
    output[0, 4, :CANDIDATES] = rng.uniform(0.1, 1, CANDIDATES)
    reading, tensors = Reading(Yolo(), 6, 0.05, 0.5), Tensors({"output0": output})
    return {
        "prepare, 1920x1200 mono, undistorted, one remap": spread(fused),
        "prepare, the same as undistort + resize + border + divide": spread(plain),
        f"finish, {CANDIDATES} candidates": spread(timed(lambda: finish(tensors, batch, reading), 300)),
    }


def record_costs(folder: Path) -> dict[str, tuple[float, float]]:
    """The flight record's share of a part, and the rendering of its messages."""
    triggers: list[float] = []
    verdicts: list[float] = []
    with FlightRecord(folder / "flight.bin") as flight:
        for seq in range(1, 3001):
            part = a_result(seq)
            begun = time.perf_counter()
            slot = flight.trigger(part.trigger)
            between = time.perf_counter()
            flight.verdict(slot, part)
            verdicts.append(time.perf_counter() - between)
            triggers.append(between - begun)
            flight.free(slot)
    publisher = MqttPublisher("broker", Config(type="mqtt"), Identity("station", 1, "0"))
    return {
        "flight record, trigger": spread(triggers),
        "flight record, verdict with 2 defects": spread(verdicts),
        "MQTT messages of one result": spread(timed(lambda: publisher.render(a_result(1)), 1000)),
    }


def ledger_costs(folder: Path) -> dict[str, tuple[float, float]]:
    """SQLite, WAL, synchronous=FULL: each part waited for, and 2000 parts at once (mean)."""
    with Ledger(folder / "ledger.sqlite", []) as ledger:
        booking = threading.Thread(target=ledger.run, name="ledger")
        booking.start()
        single = [book(ledger, range(seq, seq + 1)) for seq in range(1, 301)]
        grouped = book(ledger, range(1000, 3000)) / 2000
        ledger.close()
        booking.join()
    return {
        "ledger, one part, waited for": spread(single),
        "ledger, a part among 2000 (mean)": (grouped * 1e3, grouped * 1e3),
    }


def book(ledger: Ledger, numbers: range) -> float:
    """Seconds until all of these parts are on the disk."""
    begun = time.perf_counter()
    for seq in numbers:
        part = a_result(seq)
        ledger.submit(BookTrigger(None, part.trigger))
        ledger.submit(BookResult(None, part, told=True))
    while ledger.waiting:
        time.sleep(0.00002)
    return time.perf_counter() - begun


def a_result(seq: int) -> InspectionResult:
    trigger = Trigger(
        seq, f"station.0a.{seq}", seq, f"part-{seq}", 1, Mode.PRODUCTION, "recipe", 1, 7, 9, 0, 10**9,
        "2026-11-22T00:00:00.000Z", True,
    )  # fmt: skip
    defect = Defect("open", 0, 0.75, (1.0, 2.0, 3.0, 4.0), "top")
    defects = (defect, replace(defect, score=0.6))
    return InspectionResult(
        trigger, Evaluation.NOT_OK, Reason.DEFECT, "open 0.75 in top", defects, ("top",), 1, (0.5,), "ab" * 32, 10**6,
        {"infer": 10**6},
    )  # fmt: skip


def timed(work: Callable[[], object], times: int) -> list[float]:
    spent = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun)
    return spent


def in_turn(one: Callable[[], object], other: Callable[[], object], times: int) -> tuple[list[float], list[float]]:
    """A B A B ...: noise of the machine meets both alike."""
    pairs = [(timed(one, 1)[0], timed(other, 1)[0]) for _ in range(times)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def spread(seconds: list[float]) -> tuple[float, float]:
    """Median and p99 in milliseconds."""
    median, high = np.percentile(seconds, [50, 99]) * 1e3
    return float(median), float(high)


if __name__ == "__main__":
    main()
