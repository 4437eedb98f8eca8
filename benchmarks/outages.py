"""Whether the PLC waits longer while the broker or the web service suffers: alternating blocks, Markdown.

The real station at 50 parts a second, its PLC over Modbus TCP, Debian's Mosquitto with TLS behind a proxy that can
fail. Two times of each part: the PLC's, from its TriggerSeq to the result (it scans every 4 ms), and the station's own,
from the trigger to the verdict. After a block in which all is well comes one in which it is not, then one in which the
broker gets its backlog or the web service starts again. What counts is the median, over all such blocks, of what p95 is
in it to the mean of p95 in the well blocks before and behind it.

python benchmarks/outages.py broker --parts 250 --json outages.json
python benchmarks/outages.py web --parts 150
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the site is that of the tests

from outage_kinds import OUTAGES
from outage_rig import Site, site

from edge_inspector.plc_sim.log import read_plc_log
from edge_inspector.store.books import verdicts

DRAINED = 30  # messages that wait although the broker is there: a few parts' worth
WEB_PAIRS = 6  # of each kind
FLOOD = ("requests=5", "connects=5", "streams=5", "slow=5")


@dataclass(frozen=True)
class Block:
    """`phase` is well, ill or after, in this order, and a well block at the end; times in ms."""

    kind: str
    phase: str
    part_ids: tuple[str, ...]
    round_trips: tuple[float, ...]


@dataclass(frozen=True)
class Figures:
    """Of one block: p50, p95 and the longest, as the PLC saw it and as the station measured it, ms."""

    kind: str
    phase: str
    parts: int
    plc_p50: float
    plc_p95: float
    plc_max: float
    station_p50: float
    station_p95: float
    station_max: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("broker", "web"))
    parser.add_argument("--parts", type=int, default=250, help="of each block")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as made:
        made.start_plc()
        blocks = [*(of_the_broker if arguments.what == "broker" else of_the_web)(made, arguments.parts)]
        made.drain()
        assert made.station.stop() == 0, made.station.said[-3000:]
        rows = {row.part_id: row for row in verdicts(made.ledger).values()}
        undefined = made.books.undefined
    figures = [figures_of(one, [rows[part_id].cycle_ms for part_id in one.part_ids]) for one in blocks]
    kinds = [*dict.fromkeys(one.kind for one in figures if one.kind)]
    groups = {"broker": kinds} if arguments.what == "broker" else {kind: [kind] for kind in kinds}
    found = {name: ratios(figures, kinds) for name, kinds in groups.items()}
    print(table(figures, found))
    print(f"\n{len(rows)} parts, {undefined} of them UNDEFINED")
    if arguments.json is not None:
        told = {"blocks": [asdict(one) for one in figures], "ratios": found, "undefined": undefined}
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


def of_the_broker(made: Site, parts: int) -> Iterator[Block]:
    """Three blocks of each kind of outage, one after the other on the same station."""
    made.more_parts(parts)  # warm
    for kind, outage in OUTAGES.items():
        made.wait("the backlog has gone out", lambda: made.books.outbox_pending < DRAINED)
        yield block(made, kind, "well", parts)
        outage.begin(made)
        yield block(made, kind, "ill", parts)
        outage.end(made)
        yield block(made, kind, "after", parts)
    made.wait("the backlog has gone out", lambda: made.books.outbox_pending < DRAINED)
    yield block(made, "", "well", parts)


def of_the_web(made: Site, parts: int) -> Iterator[Block]:
    """The web service is killed and started again, then flooded, in turns."""
    made.start_web()
    made.more_parts(parts)  # warm
    for _ in range(WEB_PAIRS):
        yield block(made, "web killed", "well", parts)
        made.kill_web()
        yield block(made, "web killed", "ill", parts)
        made.start_web()
        yield block(made, "web killed", "after", parts)
        yield block(made, "web flooded", "well", parts)
        with flooding(made.web_port):
            yield block(made, "web flooded", "ill", parts)
        yield block(made, "web flooded", "after", parts)
    yield block(made, "", "well", parts)


@contextlib.contextmanager
def flooding(port: int) -> Iterator[None]:
    command = [sys.executable, str(Path(__file__).with_name("web_flood.py")), str(port), *FLOOD]
    flood = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(flood.pid, signal.SIGKILL)
        flood.wait()


def block(made: Site, kind: str, phase: str, parts: int) -> Block:
    begin = made.plc_log.stat().st_size
    made.more_parts(parts)
    told = read_plc_log(made.plc_log, begin).results
    trips = tuple(one.round_trip_ms for one in told if one.round_trip_ms is not None)
    return Block(kind, phase, tuple(one.part_id for one in told), trips)


def figures_of(one: Block, cycles_ms: Sequence[float]) -> Figures:
    plc, own = sorted(one.round_trips), sorted(cycles_ms)
    return Figures(one.kind, one.phase, len(plc), p(plc, 50), p(plc, 95), plc[-1], p(own, 50), p(own, 95), own[-1])


def p(ordered: Sequence[float], percent: int) -> float:
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)


def ratios(figures: Sequence[Figures], kinds: Sequence[str]) -> dict[str, float]:
    """The medians over all ill blocks, and those after them, of these kinds; see above."""
    well = [at for at, one in enumerate(figures) if one.phase == "well"]
    rounds = [(figures[at], figures[at + 1], figures[at + 2], figures[at + 3]) for at in well[:-1]]
    mine = [one for one in rounds if one[0].kind in kinds]
    found: dict[str, float] = {"pairs": len(mine)}
    for name, place in (("ill", 1), ("after", 2)):
        for field in ("plc", "station"):
            p95 = [[float(getattr(block, f"{field}_p95")) for block in one] for one in mine]
            found[f"{field}_{name}"] = round(statistics.median(2 * r[place] / (r[0] + r[3]) for r in p95), 3)
    return found


def table(figures: Sequence[Figures], found: Mapping[str, Mapping[str, float]]) -> str:
    """One row a block, then the ratios."""
    lines = ["| what | block | parts | PLC p50 / p95 / max, ms | station p50 / p95 / max, ms |", "|---" * 5 + "|"]
    lines += [
        f"| {one.kind} | {one.phase} | {one.parts} | {one.plc_p50:.1f} / {one.plc_p95:.1f} / {one.plc_max:.1f} | "
        f"{one.station_p50:.1f} / {one.station_p95:.1f} / {one.station_max:.1f} |"
        for one in figures
    ]
    lines += ["", "| what | pairs | ill: PLC, station | after: PLC, station |", "|---" * 4 + "|"]
    lines += [
        f"| {what} | {one['pairs']} | {one['plc_ill']:.2f}, {one['station_ill']:.2f} | "
        f"{one['plc_after']:.2f}, {one['station_after']:.2f} |"
        for what, one in found.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
