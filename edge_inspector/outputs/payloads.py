"""The JSON that a broker's subscribers see: one model a schema, flat numbers, version in the payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from edge_inspector.datatypes import Evaluation, Event, Identity, ImageKind, InspectionResult, SavedImage
from edge_inspector.interfaces import OrderAnswer

ACQUIRE = "acquire"  # the keys of InspectionResult.stage_ns that have their own field
INFER = "infer"
_NS_PER_MS = 1e6
_JSON_NAMES = {"schema_": "schema", "class_name": "class"}  # fields whose JSON name Python does not allow

EvaluationName = Literal["UNDEFINED", "OK", "NOT_OK", "NOT_DECIDABLE"]
_EVALUATION_NAMES: Mapping[Evaluation, EvaluationName] = {
    Evaluation.UNDEFINED: "UNDEFINED",
    Evaluation.OK: "OK",
    Evaluation.NOT_OK: "NOT_OK",
    Evaluation.NOT_DECIDABLE: "NOT_DECIDABLE",
}


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


Text = Annotated[str, BeforeValidator(_without_surrogates)]
"""Untrusted text: lone surrogates, which JSON cannot carry, become "?"."""


class Payload(BaseModel):
    """One message body. A schema /1 may gain fields; removal or a change of meaning is /2."""

    model_config = ConfigDict(
        frozen=True, populate_by_name=True, alias_generator=lambda name: _JSON_NAMES.get(name, name)
    )

    def to_json(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class StatusPayload(Payload):
    """What the station is, retained; `online` false is the last will."""

    schema_: Literal["vision.status/1"] = "vision.status/1"
    ts: str
    online: bool
    state: str
    state_no: int
    boot_id: int
    version: str
    recipe: str


class ResultPayload(Payload):
    """One part. `ts` is when it was in front of the cameras; `replayed` is 1 when an earlier start saw it."""

    schema_: Literal["vision.result/1"] = "vision.result/1"
    ts: str
    result_id: str
    seq: int
    station: str
    part_id: Text
    recipe: str
    model: str
    evaluation: EvaluationName
    ok: Literal[0, 1]
    reason: str
    defect_count: int
    max_score: float
    cycle_ms: float
    acq_ms: float
    infer_ms: float
    replayed: Literal[0, 1]
    boot_id: int
    mode: str
    recipe_no: int
    attempt: int
    clock_synced: bool
    margin: float | None = None
    rule: str | None = None
    policy: str | None = None


class DefectItem(Payload):
    """One finding: `bbox` is x, y, width, height in undistorted full-image pixels.

    `size_mm` is its width and height on the inspection plane, left out where the camera's calibration has no plane.
    """

    class_name: Text
    class_id: int
    score: float
    bbox: tuple[float, float, float, float]
    camera: str
    size_mm: tuple[float, float] | None = None


class DefectsPayload(Payload):
    """The findings of one result."""

    schema_: Literal["vision.defects/1"] = "vision.defects/1"
    result_id: str
    defects: tuple[DefectItem, ...]


class ImagePayload(Payload):
    """One picture of a part on the station's disk. Never pixels: they are fetched by REST or copied from the disk."""

    schema_: Literal["vision.image/1"] = "vision.image/1"
    ts: str
    result_id: str
    camera: str
    kind: ImageKind
    path: str
    sha256: str
    size_bytes: int
    lossless: bool
    why: str


class ReplyPayload(Payload):
    """The answer to an order, on the response topic of an MQTT 5 message."""

    schema_: Literal["vision.reply/1"] = "vision.reply/1"
    ts: str
    command: str
    done: bool
    text: Text


class MetricsPayload(Payload):
    """Counters, percentiles and temperatures, each a field of its own so that collectors need no code."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    schema_: Literal["vision.metrics/1"] = "vision.metrics/1"
    ts: str


class EventPayload(Payload):
    """Something a person should know."""

    schema_: Literal["vision.event/1"] = "vision.event/1"
    ts: str
    severity: Literal["info", "warning", "alarm"]
    code: str
    text: Text
    parts: tuple[str, ...] | None = None


def result_payload(result: InspectionResult, identity: Identity) -> ResultPayload:
    """The flat record of one part; times to a microsecond, scores to four digits."""
    trigger = result.trigger
    return ResultPayload(
        ts=trigger.wall_utc,
        result_id=trigger.result_id,
        seq=trigger.seq,
        station=identity.station,
        part_id=trigger.part_id,
        recipe=trigger.recipe,
        model=result.model_hash,
        evaluation=_EVALUATION_NAMES[result.evaluation],
        ok=1 if result.evaluation is Evaluation.OK else 0,
        reason=result.reason.name.lower(),
        defect_count=len(result.defects),
        max_score=round(result.max_score, 4),
        cycle_ms=round(result.cycle_ms, 3),
        acq_ms=round(result.stage_ns.get(ACQUIRE, 0) / _NS_PER_MS, 3),
        infer_ms=round(result.stage_ns.get(INFER, 0) / _NS_PER_MS, 3),
        replayed=0 if trigger.boot_id == identity.boot_id else 1,
        boot_id=trigger.boot_id,
        mode=trigger.mode.name,
        recipe_no=trigger.recipe_no,
        attempt=trigger.attempt,
        clock_synced=trigger.clock_synced,
        margin=None if result.margin is None else round(result.margin, 4),
        rule=result.rule or None,
        policy=result.policy,
    )


def defects_payload(result: InspectionResult) -> DefectsPayload:
    """Boxes to a tenth of a pixel, scores to four digits."""
    items = (
        DefectItem(
            class_name=d.class_name,
            class_id=d.class_id,
            score=round(d.score, 4),
            bbox=(round(d.box[0], 1), round(d.box[1], 1), round(d.box[2], 1), round(d.box[3], 1)),
            camera=d.camera,
            size_mm=d.size_mm,
        )
        for d in result.defects
    )
    return DefectsPayload(result_id=result.result_id, defects=tuple(items))


def image_payload(image: SavedImage) -> ImagePayload:
    """`ts` is that of the part."""
    return ImagePayload(
        ts=image.wall_utc,
        result_id=image.result_id,
        camera=image.camera,
        kind=image.kind,
        path=image.path,
        sha256=image.sha256,
        size_bytes=image.size_bytes,
        lossless=image.lossless,
        why=",".join(image.why),
    )


def reply_payload(command: str, answer: OrderAnswer, utc: str) -> ReplyPayload:
    return ReplyPayload(ts=utc, command=command, done=answer.done, text=answer.text)


def event_payload(event: Event) -> EventPayload:
    return EventPayload(
        ts=event.wall_utc, severity=event.severity, code=event.code, text=event.text, parts=event.parts or None
    )
