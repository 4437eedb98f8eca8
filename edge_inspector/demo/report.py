"""What the demo proves: the station's ledger, the PLC's own log and an independent subscriber, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from edge_inspector.datatypes import Defect, Detections, Evaluation
from edge_inspector.demo.boards import CLASSES
from edge_inspector.demo.filming import Filmed
from edge_inspector.engine.evaluate import Share, matches, share
from edge_inspector.plc_sim.log import PlcBook, read_plc_log
from edge_inspector.store.books import VerdictRow, read_books, verdicts


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds; nearest-rank."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True)
class Truth:
    """`escapes`: defective parts judged OK. `overkill`: good parts not judged OK. Boxes match at IoU 0.5 and class."""

    judged: int
    escapes: Share
    overkill: Share
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class DemoReport:
    """out.json; `disagreements` lists every verdict that PLC, ledger or broker tell differently.

    `parts.triggered` and `plc` are the PLC's own count, the rest of `parts` and `ledger` the station's, `mqtt.received`
    the witness's: none is computed from another.
    """

    parts: Mapping[str, int]
    plc: Mapping[str, int]
    mqtt: Mapping[str, int]
    ledger: Mapping[str, int]
    lost: int
    duplicated: int
    restarts: int
    latency_ms: Mapping[str, object]
    truth: Truth
    disagreements: tuple[str, ...] = field(default=())

    @property
    def balanced(self) -> bool:
        """Nothing lost, nothing doubled, nobody contradicts anybody."""
        p, plc, mqtt = self.parts, self.plc, self.mqtt
        return (
            self.lost == self.duplicated == plc["wrong_part_id"] == 0
            and not self.disagreements
            # A trigger that nobody answered was written to a station that was dead, or that died before it answered.
            and 0 <= p["triggered"] - p["accepted"] - p["refused"] <= plc["unanswered"]
            and p["accepted"] == p["settled"] == mqtt["published"] == mqtt["received"]
            and self.ledger["outbox_pending"] == 0
        )

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "balanced": self.balanced}


def make_report(
    ledger: Path, plc_log: Path, received: Mapping[str, int], filmed: Sequence[Filmed], restarts: int
) -> DemoReport:
    """Add everything up after the station has stopped. `received`: result_id -> how often the subscriber saw it."""
    books = read_books(ledger)
    rows = verdicts(ledger)
    plc = read_plc_log(plc_log)
    read_twice = sum(n - 1 for n in Counter(r.result_id for r in plc.results).values())
    cycles = [row.stage_ns["tell"] / 1e6 + row.cycle_ms for row in rows.values() if "tell" in row.stage_ns]
    return DemoReport(
        parts={
            "triggered": len(plc.triggered),
            "accepted": books.accepted,
            "refused": books.refused,
            "settled": books.results,
            "ok": books.ok,
            "not_ok": books.not_ok,
            "not_decidable": books.not_decidable,
            "undefined": books.undefined,
        },
        plc={
            "accepted": len(plc.accepted),
            "refused": len(plc.refused),
            "unanswered": len(plc.unanswered),
            "results_read": len(plc.results),
            "acknowledged": len(plc.acknowledged),
            "without_result": len(plc.without_result),
            "wrong_part_id": sum(r.wrong_part_id for r in plc.results),
            "passed": len(plc.passed),
        },
        mqtt={
            "published": books.results - books.unpublished,
            "received": sum(1 for result_id in rows if result_id in received),
            "duplicates": sum(n - 1 for n in received.values()),
        },
        ledger={"triggers": books.triggers, "results": books.results, "outbox_pending": books.outbox_pending},
        lost=books.accepted - books.results + len(set(rows) - set(received)),
        duplicated=read_twice,
        restarts=restarts,
        latency_ms={
            "trigger_to_plc": asdict(_percentiles(cycles)),
            "plc_round_trip": asdict(
                _percentiles([r.round_trip_ms for r in plc.results if r.round_trip_ms is not None])
            ),
            "stages": {name: asdict(_percentiles(times)) for name, times in _stages(rows).items()},
        },
        truth=_truth(rows, filmed),
        disagreements=tuple(_disagreements(rows, plc)),
    )


def _disagreements(rows: Mapping[str, VerdictRow], plc: PlcBook) -> list[str]:
    """What the PLC's own log says against the ledger, part by part."""
    found = []
    for told in plc.results:
        row = rows.get(told.result_id)
        if row is None:
            found.append(f"the PLC read {told.result_id}, which the ledger does not know")
        elif row.evaluation != told.evaluation or row.part_id != told.part_id:
            found.append(
                f"{told.result_id}: PLC read {Evaluation(told.evaluation).name} for {told.part_id!r},"
                f" ledger has {row.evaluation.name} for {row.part_id!r}"
            )
    booked = {row.part_id for row in rows.values()}
    missing = [part for seq in plc.accepted if (part := plc.part_ids[seq]) not in booked]
    found += [f"the PLC saw {part!r} accepted, which the ledger does not know" for part in missing]
    # A restart, or a PLC that was away, may leave a told result unread; an OK that was never read passed no part.
    read = {told.result_id for told in plc.results}
    answered = {told.part_id for told in plc.results}
    for result_id, row in rows.items():
        if result_id not in read and row.part_id not in answered and row.told and row.boot_id == _last_boot(rows):
            found.append(f"{result_id}: told to the PLC, which never read it")
    return found


def _last_boot(rows: Mapping[str, VerdictRow]) -> int:
    return next(reversed(list(rows.values()))).boot_id


def _stages(rows: Mapping[str, VerdictRow]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    for row in rows.values():
        for stage, spent in row.stage_ns.items():
            times.setdefault(stage, []).append(spent / 1e6)
    return times


def _percentiles(values: Sequence[float]) -> Percentiles:
    if not values:
        return Percentiles(0.0, 0.0, 0.0)
    low, high = np.percentile(values, [50, 99], method="nearest").tolist()
    return Percentiles(round(low, 2), round(high, 2), round(max(values), 2))


def _truth(rows: Mapping[str, VerdictRow], filmed: Sequence[Filmed]) -> Truth:
    """Verdicts against what was on the pictures; parts that were never pictured are left out."""
    escaped, defective, rejected, good = 0, 0, 0, 0
    labelled = detected = matched = 0
    for row in rows.values():
        if not row.frame_ids or min(row.frame_ids) < 0:
            continue
        shown = [filmed[frame_id % len(filmed)] for frame_id in row.frame_ids]
        if all(picture.good for picture in shown):
            good += 1
            rejected += row.evaluation is not Evaluation.OK
        else:
            defective += 1
            escaped += row.evaluation is Evaluation.OK
        for camera, picture in zip(row.views, shown, strict=True):
            found = [d for d in row.defects if d.camera == camera]
            truth = Detections(picture.xyxy, np.ones(len(picture.class_id), np.float32), picture.class_id)
            counts = matches([truth], [_detections(found)], 0.5, len(CLASSES)).sum(axis=0)
            labelled, detected, matched = (np.array([labelled, detected, matched]) + counts).tolist()
    return Truth(
        judged=good + defective,
        escapes=share(escaped, defective),
        overkill=share(rejected, good),
        recall=matched / labelled if labelled else None,
        precision=matched / detected if detected else None,
    )


def _detections(defects: Sequence[Defect]) -> Detections:
    xywh = np.array([d.box for d in defects], np.float32).reshape(-1, 4)
    return Detections(
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        np.array([d.score for d in defects], np.float32),
        np.array([d.class_id for d in defects], np.int64),
    )
