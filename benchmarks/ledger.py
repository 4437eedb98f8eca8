"""What the ledger costs: bytes written per part (the wear of an SD card), CPU per part, results per second.

    python benchmarks/ledger.py [--folder DIR] [--parts 2000] [--rates 1,5,50] [--json FILE]

Each row is a process of its own: results with two defects and two messages for a broker that acknowledges each of them
some time later, booked at a steady rate or as fast as it goes (rate 0). Bytes are the kernel's count of what the
process sends to the disk (`write_bytes` of /proc/self/io), with every checkpoint up to the clean end; a folder on a
tmpfs has none. The disk's own block size and wear levelling come on top.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_inspector.datatypes import Defect, Evaluation, InspectionResult, Mode, OutboxMessage, Reason, Trigger
from edge_inspector.store.ledger import BookResult, BookTold, BookTrigger, Ledger
from edge_inspector.store.settings import LedgerSettings

BROKER_BATCH = 20


@dataclass(frozen=True)
class Cost:
    """Of one run; per part unless the name says otherwise."""

    synchronous: str
    rate_per_s: float
    parts: int
    results_per_s: float
    written_bytes: float
    growth_bytes: float
    cpu_ms: float
    behind_max: int


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        synchronous, rate = arguments.one.split(",")
        print(json.dumps(asdict(measure(Path(arguments.folder), synchronous, float(rate), arguments.parts))))
        return
    costs = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for synchronous in ("full", "normal"):
            for rate in [*(float(rate) for rate in arguments.rates.split(",")), 0.0]:
                parts = arguments.parts if not rate else min(arguments.parts, int(rate * arguments.seconds))
                run = Path(folder) / f"{synchronous}-{rate:g}"
                run.mkdir()
                command = [sys.executable, __file__, "--folder", str(run), "--parts", str(parts)]
                output = subprocess.run(
                    [*command, "--one", f"{synchronous},{rate}"], check=True, capture_output=True, text=True
                )
                costs.append(Cost(**json.loads(output.stdout)))
                print(_row(costs[-1]) if len(costs) > 1 else f"{_HEAD}\n{_row(costs[-1])}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")


def measure(folder: Path, synchronous: str, rate_per_s: float, parts: int) -> Cost:
    """Book so many parts at this rate, 0 = as fast as it goes."""
    settings = LedgerSettings.model_validate({"synchronous": synchronous})
    path = folder / "ledger.sqlite"
    behind, cpu_s = 0, _Cpu()
    with Ledger(path, ["mqtt"], settings=settings) as ledger:
        size_before, written_before = path.stat().st_size, _written()
        writer = threading.Thread(target=cpu_s.run, args=(ledger.run,), name="ledger")
        broker = threading.Thread(target=_deliver, args=(ledger, 2 * parts), name="broker")
        begun_s = time.monotonic()
        writer.start()
        broker.start()
        for seq in range(1, parts + 1):
            trigger = _trigger(seq)
            result = _result(trigger)
            ledger.submit(BookTrigger(None, trigger))
            ledger.submit(BookResult(None, result, told=None, messages=_messages(result)))
            ledger.submit(BookTold(result.result_id))
            behind = max(behind, ledger.waiting)
            if rate_per_s:
                time.sleep(max(0.0, begun_s + seq / rate_per_s - time.monotonic()))
        while ledger.waiting:
            time.sleep(0.002)
        took_s = time.monotonic() - begun_s
        broker.join()
        ledger.close()
        writer.join()
    grown = path.stat().st_size - size_before
    written = _written() - written_before
    return Cost(
        synchronous, rate_per_s, parts, parts / took_s, written / parts, grown / parts, 1000 * cpu_s.s / parts, behind
    )


class _Cpu:
    """CPU time of one thread."""

    s = 0.0

    def run(self, work: object) -> None:
        work()  # type: ignore[operator]
        self.s = time.thread_time()


def _deliver(ledger: Ledger, messages: int) -> None:
    """A broker that acknowledges batches."""
    while messages:
        batch = ledger.pending("mqtt", BROKER_BATCH)
        ledger.delivered("mqtt", [message.row for message in batch])
        messages -= len(batch)
        time.sleep(0.02)


def _written() -> int:
    """Bytes that this process has sent to the disk."""
    os.sync()
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def _trigger(seq: int) -> Trigger:
    now_ns = time.monotonic_ns()
    return Trigger(
        seq=seq,
        result_id=f"line1.0a1b2c3d.{seq}",
        trigger_seq=seq,
        part_id=f"PCB-2026-{seq:09d}",
        attempt=1,
        mode=Mode.PRODUCTION,
        recipe="pcb-main",
        recipe_no=7,
        boot_id=4711,
        plc_boot_id=815,
        accepted_ns=now_ns,
        deadline_ns=now_ns + 500_000_000,
        wall_utc="2026-11-22T12:00:00.000Z",
        clock_synced=True,
    )


def _result(trigger: Trigger) -> InspectionResult:
    box = (812.25, 604.5, 31.0, 22.75)
    stages = ("acquire", "prepare", "queue", "infer", "finish", "judge")
    return InspectionResult(
        trigger=trigger,
        evaluation=Evaluation.NOT_OK,
        reason=Reason.DEFECT,
        reason_text="spur",
        defects=(Defect("spur", 3, 0.8725, box, "top"), Defect("short", 1, 0.6125, box, "top", (0.31, 0.22))),
        views=("top",),
        views_judged=1,
        thresholds=(0.25, 0.5, 0.5, 0.35, 0.4, 0.5),
        model_hash="ab" * 32,
        settled_ns=trigger.accepted_ns + 42_500_000,
        stage_ns=dict.fromkeys(stages, 3456789),
        frame_ids=(trigger.seq,),
        margin=0.1125,
    )


def _messages(result: InspectionResult) -> tuple[OutboxMessage, ...]:
    """As long as those of outputs/payloads.py."""
    seq, topic = result.trigger.seq, "acme/plant-1/hall-2/line-3/cell-4/vision/line1"
    return (
        OutboxMessage("mqtt", f"{topic}/result", "vision.result/1", b'{"x":"' + b"r" * 520 + b'"}', seq),
        OutboxMessage("mqtt", f"{topic}/defects", "vision.defects/1", b'{"x":"' + b"d" * 380 + b'"}', seq),
    )


_HEAD = "synchronous    rate/s   results/s   written/part   growth/part   CPU/part   most behind"


def _row(cost: Cost) -> str:
    rate = f"{cost.rate_per_s:g}" if cost.rate_per_s else "fastest"
    return (
        f"{cost.synchronous:<11} {rate:>9} {cost.results_per_s:>11.1f} {cost.written_bytes / 1000:>11.1f} kB "
        f"{cost.growth_bytes:>11.0f} B {cost.cpu_ms:>7.2f} ms {cost.behind_max:>13}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", default=".", help="on the disk that is to be measured")
    parser.add_argument("--parts", type=int, default=2000, help="of each run, at the most")
    parser.add_argument("--rates", default="1,5,50", help="parts per second, besides as fast as it goes")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run at a rate, at the most")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
