"""The metrics of node and device: names, types, and where their values come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from edge_inspector.datatypes import Identity
from edge_inspector.outputs.payloads import EventPayload, ResultPayload
from edge_inspector.outputs.sparkplug.payload import DataType, Metric, Value

BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"


@dataclass(frozen=True)
class _Field:
    datatype: DataType
    of: Callable[[ResultPayload], Value | None]


RESULT: Mapping[str, _Field] = {
    "Result/ResultId": _Field(DataType.STRING, lambda r: r.result_id),
    "Result/Seq": _Field(DataType.INT64, lambda r: r.seq),
    "Result/PartId": _Field(DataType.STRING, lambda r: r.part_id),
    "Result/Attempt": _Field(DataType.INT32, lambda r: r.attempt),
    "Result/Mode": _Field(DataType.STRING, lambda r: r.mode),
    "Result/Recipe": _Field(DataType.STRING, lambda r: r.recipe),
    "Result/RecipeNo": _Field(DataType.INT32, lambda r: r.recipe_no),
    "Result/Model": _Field(DataType.STRING, lambda r: r.model),
    "Result/Evaluation": _Field(DataType.STRING, lambda r: r.evaluation),
    "Result/OK": _Field(DataType.BOOLEAN, lambda r: bool(r.ok)),
    "Result/Reason": _Field(DataType.STRING, lambda r: r.reason),
    "Result/DefectCount": _Field(DataType.INT32, lambda r: r.defect_count),
    "Result/MaxScore": _Field(DataType.DOUBLE, lambda r: r.max_score),
    "Result/Rule": _Field(DataType.STRING, lambda r: r.rule),
    "Result/Margin": _Field(DataType.DOUBLE, lambda r: r.margin),
    "Result/CycleMs": _Field(DataType.DOUBLE, lambda r: r.cycle_ms),
    "Result/AcquireMs": _Field(DataType.DOUBLE, lambda r: r.acq_ms),
    "Result/InferMs": _Field(DataType.DOUBLE, lambda r: r.infer_ms),
    "Result/Replayed": _Field(DataType.BOOLEAN, lambda r: bool(r.replayed)),
    "Result/ClockSynced": _Field(DataType.BOOLEAN, lambda r: r.clock_synced),
    "Result/BootId": _Field(DataType.INT64, lambda r: r.boot_id),
}
EVENT: Mapping[str, Callable[[EventPayload], str]] = {
    "Event/Severity": lambda e: e.severity,
    "Event/Code": lambda e: e.code,
    "Event/Text": lambda e: e.text,
}


def of_result(result: ResultPayload | None, now_ms: int, *, historical: bool = False) -> list[Metric]:
    """All of them on the time of the capture; null when there is none yet."""
    at_ms = now_ms if result is None else milliseconds(result.ts)
    return [
        Metric(name, field.datatype, None if result is None else field.of(result), at_ms, historical)
        for name, field in RESULT.items()
    ]


def of_event(event: EventPayload | None, now_ms: int, *, historical: bool = False) -> list[Metric]:
    at_ms = now_ms if event is None else milliseconds(event.ts)
    return [
        Metric(name, DataType.STRING, None if event is None else text(event), at_ms, historical)
        for name, text in EVENT.items()
    ]


def of_state(state: str, state_no: int, recipe: str, now_ms: int) -> list[Metric]:
    return [
        Metric("Station/State", DataType.STRING, state, now_ms),
        Metric("Station/StateNo", DataType.INT32, state_no, now_ms),
        Metric("Station/Recipe", DataType.STRING, recipe, now_ms),
    ]


def of_node(identity: Identity, bd_seq: int, now_ms: int) -> list[Metric]:
    return [
        bd_seq_metric(bd_seq, now_ms),
        Metric(REBIRTH, DataType.BOOLEAN, False, now_ms),
        Metric("Properties/Software", DataType.STRING, "edge-inspector", now_ms),
        Metric("Properties/Version", DataType.STRING, identity.software_version, now_ms),
        Metric("Properties/BootId", DataType.INT64, identity.boot_id, now_ms),
    ]


def bd_seq_metric(bd_seq: int, now_ms: int) -> Metric:
    return Metric(BD_SEQ, DataType.INT64, bd_seq, now_ms)


def milliseconds(ts: str) -> int:
    """UTC since 1970 of an RFC 3339 time; never less than 0, which a clock that was never set may give."""
    return max(0, round(datetime.fromisoformat(ts.replace("Z", "+00:00")).timestamp() * 1000))
