"""What the service answers: results and pictures as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from edge_inspector.datatypes import Defect, Evaluation, ImageKind, Mode
from edge_inspector.store.reading import StoredImage, StoredResult

EvaluationName = Literal["UNDEFINED", "OK", "NOT_OK", "NOT_DECIDABLE"]
ModeName = Literal["PRODUCTION", "GOLDEN", "SIMULATION", "SETUP", "MANUAL"]
EVALUATIONS: dict[EvaluationName, Evaluation] = {
    "UNDEFINED": Evaluation.UNDEFINED,
    "OK": Evaluation.OK,
    "NOT_OK": Evaluation.NOT_OK,
    "NOT_DECIDABLE": Evaluation.NOT_DECIDABLE,
}
_EVALUATION_NAMES: dict[Evaluation, EvaluationName] = {value: name for name, value in EVALUATIONS.items()}
_MODE_NAMES: dict[Mode, ModeName] = {
    Mode.PRODUCTION: "PRODUCTION",
    Mode.GOLDEN: "GOLDEN",
    Mode.SIMULATION: "SIMULATION",
    Mode.SETUP: "SETUP",
    Mode.MANUAL: "MANUAL",
}


class Done(BaseModel):
    """The station has done it."""

    done: bool = True


class FoundDefect(BaseModel):
    """One finding that counted."""

    class_name: str
    class_id: int
    score: float | None
    box: tuple[float | None, float | None, float | None, float | None] = Field(
        description="x, y, width, height in undistorted full-image pixels."
    )
    camera: str
    size_mm: tuple[float, float] | None = Field(description="Width and height on the inspection plane, if it is known.")

    @staticmethod
    def of(defect: Defect) -> FoundDefect:
        return FoundDefect(
            class_name=defect.class_name,
            class_id=defect.class_id,
            score=defect.score,
            box=defect.box,
            camera=defect.camera,
            size_mm=defect.size_mm,
        )


class KeptPicture(BaseModel):
    """One picture of a part that was kept."""

    id: int
    result_id: str
    camera: str
    kind: ImageKind = Field(description="original: the camera's own pixels; overlay: drawn for people.")
    why: tuple[str, ...] = Field(description="The policies that kept it.")
    url: str
    sha256: str = Field(description="Of the file's bytes.")
    size_bytes: int
    lossless: bool
    pixel_format: str
    width: int
    height: int
    ts: str = Field(description="RFC 3339, UTC.")
    removed_utc: str | None = Field(description="Since when the file is gone; null: it is there.")

    @staticmethod
    def of(image: StoredImage) -> KeptPicture:
        return KeptPicture(
            id=image.id,
            result_id=image.result_id,
            camera=image.camera,
            kind=image.kind,
            why=image.why,
            url=f"/v1/images/{image.id}",
            sha256=image.sha256,
            size_bytes=image.size_bytes,
            lossless=image.lossless,
            pixel_format=image.pixel_format,
            width=image.image_hw[1],
            height=image.image_hw[0],
            ts=image.wall_utc,
            removed_utc=image.removed_utc,
        )


class Result(BaseModel):
    """One verdict on one part, as it stands in the ledger."""

    result_id: str
    seq: int = Field(description="The ledger's own number; results are ordered by it, never by a clock.")
    ts: str = Field(description="When the part was accepted: RFC 3339, UTC, by the station's clock.")
    clock_synced: bool
    part_id: str = Field(description="Text of the PLC or the scanner; it may repeat (see attempt) and is not trusted.")
    attempt: int
    trigger_seq: int
    mode: ModeName
    recipe: str
    recipe_no: int
    evaluation: EvaluationName
    ok: bool
    reason: str
    reason_no: int
    reason_text: str
    defects: tuple[FoundDefect, ...]
    views: tuple[str, ...]
    views_judged: int
    frame_ids: tuple[int, ...]
    rule: str = Field(description="Name of the rule that decided; empty: none of the recipe's rules.")
    margin: float | None = Field(description="Smallest distance of a score from its threshold; null: no score.")
    cycle_ms: float
    stage_ms: dict[str, float]
    model: str = Field(description="SHA-256 of the network.")
    thresholds: tuple[float, ...]
    policy: str = Field(description="Which threshold policy made them.")
    peaks: tuple[float, ...] = Field(description="Highest score of each class, by class number; empty: not booked.")
    told: bool | None = Field(description="Whether the PLC could read it; null: nobody knows.")
    acknowledged_utc: str | None
    replayed: bool
    boot_id: int
    images: tuple[KeptPicture, ...]

    @staticmethod
    def of(stored: StoredResult) -> Result:
        return Result(
            result_id=stored.result_id,
            seq=stored.seq,
            ts=stored.wall_utc,
            clock_synced=stored.clock_synced,
            part_id=stored.part_id,
            attempt=stored.attempt,
            trigger_seq=stored.trigger_seq,
            mode=_MODE_NAMES[stored.mode],
            recipe=stored.recipe,
            recipe_no=stored.recipe_no,
            evaluation=_EVALUATION_NAMES[stored.evaluation],
            ok=stored.evaluation is Evaluation.OK,
            reason=stored.reason.name.lower(),
            reason_no=stored.reason_no,
            reason_text=stored.reason_text,
            defects=tuple(FoundDefect.of(defect) for defect in stored.defects),
            views=stored.views,
            views_judged=stored.views_judged,
            frame_ids=stored.frame_ids,
            rule=stored.rule,
            margin=stored.margin,
            cycle_ms=stored.cycle_ms,
            stage_ms={name: ns / 1e6 for name, ns in stored.stage_ns.items()},
            model=stored.model_hash,
            thresholds=stored.thresholds,
            policy=stored.policy,
            peaks=stored.peaks,
            told=stored.told,
            acknowledged_utc=stored.acknowledged_utc,
            replayed=stored.replayed,
            boot_id=stored.boot_id,
            images=tuple(KeptPicture.of(image) for image in stored.images),
        )


class Results(BaseModel):
    """A page of results; `next` is the query of the page after it, null: there is none."""

    results: tuple[Result, ...]
    next: str | None = Field(description="For example before_seq=1042: add it to the same query.")
