"""What the real-time settings are worth on a busy machine: each of them off and on in turn, Markdown.

The real station, its PLC over Modbus TCP (at a priority of its own, so that it is not what waits), and stress-ng as a
noisy neighbour: processor, memory and files. A round starts the station anew for each variant, in an order that turns
from round to round. Of each part two times: the PLC's, from its TriggerSeq to the result (it scans every 4 ms), and the
station's own, from the trigger to the verdict. What counts is the median, over the rounds, of a variant's p99 to the
p99 of `off` in the same round. Needs root, or the drop-in's rights.

python benchmarks/latency_tail.py --rounds 3 --parts 300 --json latency_tail.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the station is that of the tests

import timed_plc
from real_station import RealStation, free_port

from edge_inspector.plc_sim.log import read_plc_log
from edge_inspector.store.books import verdicts

PLC_PRIORITY = 80
IDLE = "idle machine"
VARIANTS: Mapping[str, str] = {
    "off": "",
    "priority": "priority = 40",
    "cores": "cores = [{last}]",
    "priority, cores": "priority = 40, cores = [{last}]",
}
STRESS = ("--cpu", "0", "--vm", "1", "--vm-bytes", "20%", "--hdd", "1", "--hdd-bytes", "64m", "--quiet")


@dataclass(frozen=True)
class Figures:
    """Of one run: times in ms; `refused` are the settings that the kernel did not grant."""

    variant: str
    parts: int
    plc_p50: float
    plc_p99: float
    plc_max: float
    station_p50: float
    station_p99: float
    station_max: float
    refused: int


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--parts", type=int, default=300, help="of each run; the first 20 are not counted")
    asked.add_argument("--rate", type=float, default=20.0, help="parts a second")
    asked.add_argument("--only", nargs="*", default=list(VARIANTS), help="variants, off among them")
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    rounds = []
    for number in range(given.rounds):
        turned = given.only[number % len(given.only) :] + given.only[: number % len(given.only)]
        runs = [run(IDLE, "", given.parts, given.rate)]
        with stress():
            runs += [run(name, VARIANTS[name], given.parts, given.rate) for name in turned]
        rounds.append({one.variant: one for one in runs})
        print(f"round {number + 1} of {given.rounds} is over", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps([[asdict(one) for one in runs.values()] for runs in rounds], indent=1))
    print(table(rounds))


def run(name: str, settings: str, parts: int, rate: float) -> Figures:
    """One life of the station."""
    last = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        station = RealStation(Path(folder), f'[plc.line]\ntype = "modbus_server"\nport = {port}\n')
        told = f"real_time = {{ {settings.format(last=last)} }}\n" if settings else ""
        text = station.file.read_text()
        station.file.write_text(text.replace('state_dir = "state"\n', f'state_dir = "state"\n{told}'))
        with living(station), plc(port, Path(folder) / "plc.jsonl", rate):
            station.wait_until_listening(port)
            log, ledger = Path(folder) / "plc.jsonl", Path(folder) / "state" / "ledger.sqlite"
            station.wait(
                "parts", lambda: log.exists() and len(read_plc_log(log).results) >= parts, 60 + 4 * parts / rate
            )
            trips = [one.round_trip_ms for one in read_plc_log(log).results[20:] if one.round_trip_ms is not None]
        own = [row.cycle_ms for row in list(verdicts(ledger).values())[20:]]
        refused = station.said.count('"real_time_refused"')
    return Figures(name, len(trips), *shape(trips), *shape(own), refused)


@contextlib.contextmanager
def living(station: RealStation) -> Iterator[None]:
    station.start()
    try:
        yield
    finally:
        station.stop()


@contextlib.contextmanager
def plc(port: int, log: Path, rate: float) -> Iterator[None]:
    command = [
        "chrt",
        "-f",
        str(PLC_PRIORITY),
        sys.executable,
        timed_plc.__file__,
        f"127.0.0.1:{port}",
        str(log),
        str(rate),
    ]
    with (log.with_suffix(".out")).open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def stress() -> Iterator[None]:
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(["stress-ng", *STRESS, "--temp-path", folder]) as process,
    ):
        time.sleep(1.0)  # its children are there
        try:
            yield
        finally:
            process.terminate()


def shape(times: Sequence[float]) -> tuple[float, float, float]:
    """p50, p99 and the longest."""
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[math.ceil(0.99 * len(ordered)) - 1], ordered[-1]


def table(rounds: Sequence[Mapping[str, Figures]]) -> str:
    """The median of the rounds, and of the ratio of p99 to that of `off` in the same round."""
    lines = [
        "| real_time | PLC p50 / p99 / max, ms | station p50 / p99 / max, ms | PLC p99 to off | station p99 to off |",
        "|---|---|---|---|---|",
    ]
    for name in rounds[0]:
        runs = [one[name] for one in rounds]
        cells = [
            " / ".join(
                f"{statistics.median(getattr(one, f'{who}_{what}') for one in runs):.1f}"
                for what in ("p50", "p99", "max")
            )
            for who in ("plc", "station")
        ]
        ratios = [
            statistics.median(getattr(one[name], key) / getattr(one["off"], key) for one in rounds)
            for key in ("plc_p99", "station_p99")
        ]
        refused = " (refused)" if any(one.refused for one in runs) else ""
        lines.append(f"| {name}{refused} | {cells[0]} | {cells[1]} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
