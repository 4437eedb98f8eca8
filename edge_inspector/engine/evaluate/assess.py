"""From what was seen to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge_inspector.datatypes import Classification, Detections, Evaluation, Judgement
from edge_inspector.engine.evaluate import masks
from edge_inspector.engine.evaluate.coco import CocoFigures, coco_figures, mean
from edge_inspector.engine.evaluate.curves import auroc, average_precision, curve
from edge_inspector.engine.evaluate.labels import boxes_of, whole_class
from edge_inspector.engine.evaluate.looking import Seen
from edge_inspector.engine.evaluate.matching import box_figures, confusion, matches
from edge_inspector.engine.evaluate.parts import Part, defect_classes, highest, parts_of
from edge_inspector.engine.evaluate.records import (
    BoxFigures,
    ClassFigures,
    Confusion,
    EvaluationReport,
    MaskFigures,
    PartOutcome,
)
from edge_inspector.engine.evaluate.shares import share
from edge_inspector.engine.evaluate.subject import Subject
from edge_inspector.engine.evaluate.wanted import wanted
from edge_inspector.engine.evaluate.whole import value_figures, whole_figures
from edge_inspector.engine.truth import Truth, class_names

IOUS = (0.5, 0.3)  # COCO's easiest, and one for small defects whose edges nobody can draw exactly


@dataclass(frozen=True)
class Evaluated:
    """The report, and the parts and verdicts from which it was made: for pictures and plots."""

    report: EvaluationReport
    subject: Subject
    parts: tuple[Part, ...]
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True)
class _Boxes:
    """All that comes of labelled boxes."""

    map50: float | None
    map50_95: float | None
    by_iou: dict[str, BoxFigures]
    by_class: tuple[dict[str, BoxFigures], ...]
    coco: CocoFigures
    confusion: Confusion


_NO_BOXES: dict[str, BoxFigures] = {}


def assess(seen: Sequence[Seen], truth: Truth, subject: Subject, wanted_escapes: float | None = None) -> Evaluated:
    """ConfigError: pycocotools is missing, or the wanted escapes make no sense."""
    bundle, parts = subject.bundle, parts_of(seen, subject)
    judged = [part.judged(subject) for part in parts]
    boxes = _boxes(seen, subject)
    mask, ious, mask_ap = _masks(seen, subject)
    whole = whole_figures(seen, bundle)
    scores, bad = highest(parts, subject), np.array([part.bad for part in parts])
    passed = [one.evaluation is Evaluation.OK for one in judged]
    has_scores = bundle.task != "measure"
    report = EvaluationReport(
        bundle=bundle.name,
        version=bundle.version,
        model_hash=bundle.model_hash,
        task=bundle.task,
        recipe=subject.recipe,
        judged_by=subject.words,
        truth=str(truth.source),
        truth_format=truth.format,
        pictures=len(seen),
        parts=len(parts),
        bad_parts=int(bad.sum()),
        thresholds=dict(zip(bundle.classes, subject.thresholds.by_class, strict=True)) if has_scores else {},
        escapes=share(sum(ok for ok, is_bad in zip(passed, bad, strict=True) if is_bad), int(bad.sum())),
        overkill=share(sum(not ok for ok, is_bad in zip(passed, bad, strict=True) if not is_bad), int((~bad).sum())),
        verdicts=dict(Counter(one.evaluation.name for one in judged)),
        unanswered=tuple(f"{one.picture.name}: {one.failure}" for one in seen if one.failure),
        auroc=auroc(scores, bad) if has_scores else None,
        average_precision=average_precision(scores, bad) if has_scores else None,
        map50=boxes.map50 if boxes else None,
        map50_95=boxes.map50_95 if boxes else None,
        boxes=boxes.by_iou if boxes else _NO_BOXES,
        classes=tuple(_classes(parts, passed, subject, boxes, ious, mask_ap)) if has_scores else (),
        masks=mask,
        whole=whole[0] if whole else None,
        values=value_figures(seen, bundle),
        confusion=boxes.confusion if boxes else whole[1] if whole else None,
        wanted=None if wanted_escapes is None else wanted(parts, subject, wanted_escapes),
        wrong=tuple(_wrong(parts, judged, scores.tolist())),
        notes=tuple(_notes(seen, truth, subject, parts, boxes is not None)),
        ms_per_picture=float(np.median([sum(s.stage_ms.values()) for s in seen])),
        ms_by_stage={stage: float(np.median([s.stage_ms[stage] for s in seen])) for stage in seen[0].stage_ms},
    )
    return Evaluated(report, subject, tuple(parts), tuple(judged))


def _loud(seen: Sequence[Seen], subject: Subject) -> list[Detections]:
    """What reaches its class's threshold on each picture, in float32, as confidences are: 0.35 reaches 0.35."""
    limit = np.array(subject.thresholds.by_class, np.float32)
    found = [one.findings if isinstance(one.findings, Detections) else Detections.none() for one in seen]
    return [f.pick(f.confidence >= limit[f.class_id]) for f in found]


def _boxed(seen: Sequence[Seen], subject: Subject) -> list[Seen]:
    """The pictures on which somebody drew boxes, where the model draws some too."""
    if subject.bundle.task not in ("detect", "segment"):
        return []
    return [one for one in seen if one.picture.things is not None]


def _boxes(seen: Sequence[Seen], subject: Subject) -> _Boxes | None:
    boxed, bundle = _boxed(seen, subject), subject.bundle
    if not boxed:
        return None
    coco = coco_figures(boxed, bundle, "bbox")
    loud, truths = _loud(boxed, subject), [boxes_of(one.picture, bundle) for one in boxed]
    by_iou = {f"{iou:g}": matches(truths, loud, iou, len(bundle.classes)) for iou in IOUS}
    return _Boxes(
        map50=mean(coco.precision[0]),
        map50_95=mean(coco.precision),
        by_iou={iou: box_figures(counts.sum(axis=0)) for iou, counts in by_iou.items()},
        by_class=tuple(
            {iou: box_figures(counts[c]) for iou, counts in by_iou.items()} for c in range(len(bundle.classes))
        ),
        coco=coco,
        confusion=confusion(truths, loud, bundle.classes, IOUS[0]),
    )


def _masks(seen: Sequence[Seen], subject: Subject) -> tuple[MaskFigures | None, list[float | None], list[float | None]]:
    """All figures, and of each class pixel IoU and average precision at 0.5; none where outlines are missing."""
    boxed, bundle = _boxed(seen, subject), subject.bundle
    nothing: list[float | None] = [None] * len(bundle.classes)
    if bundle.task != "segment" or not boxed or not masks.drawn(boxed, bundle):
        return None, nothing, nothing
    coco = coco_figures(boxed, bundle, "segm")
    pairs = [masks.iou_and_dice(row) for row in masks.pixel_counts(boxed, _loud(boxed, subject), bundle)]
    known = [(iou, dice) for iou, dice in pairs if iou is not None and dice is not None]
    mean_iou, mean_dice = np.mean(known, axis=0).tolist() if known else (None, None)
    made = MaskFigures(mean(coco.precision[0]), mean(coco.precision), mean_iou, mean_dice)
    return made, [iou for iou, _ in pairs], [mean(coco.precision[0, :, c]) for c in range(len(bundle.classes))]


def _classes(
    parts: Sequence[Part],
    passed: Sequence[bool],
    subject: Subject,
    boxes: _Boxes | None,
    ious: Sequence[float | None],
    mask_ap: Sequence[float | None],
) -> Iterator[ClassFigures]:
    for c, name in enumerate(subject.bundle.classes):
        threshold = subject.thresholds.by_class[c]
        with_it = [(part, ok) for part, ok in zip(parts, passed, strict=True) if c in part.labelled]
        shown = [bool(part.scores[c] >= np.float32(threshold)) for part, _ in with_it]
        others = [part for part in parts if not part.bad or c in part.labelled]
        drawn = curve(boxes.coco.scores[c], boxes.coco.right[c], boxes.coco.labelled[c]) if boxes else None
        yield ClassFigures(
            name=name,
            threshold=threshold,
            ap50=mean(boxes.coco.precision[0, :, c]) if boxes else None,
            max_recall50=mean(boxes.coco.recall[0, c]) if boxes else None,
            boxes=boxes.by_class[c] if boxes else _NO_BOXES,
            best_f1=drawn[1] if drawn else None,
            best_f1_at=drawn[2] if drawn else None,
            mask_ap50=mask_ap[c],
            mask_iou=ious[c],
            parts_found=share(sum(shown), len(shown)),
            escapes=share(sum(ok for _, ok in with_it), len(with_it)),
            auroc=auroc(np.array([p.scores[c] for p in others]), np.array([c in p.labelled for p in others], np.bool_)),
            curve=drawn[0] if drawn else None,
        )


def _wrong(parts: Sequence[Part], judged: Sequence[Judgement], scores: Sequence[float]) -> Iterator[PartOutcome]:
    """Escapes, what the model saw least of first; then overkill, what it was surest of first."""
    found = []
    for part, word, score in zip(parts, judged, scores, strict=True):
        passed = word.evaluation is Evaluation.OK
        if passed is not part.bad:
            continue
        found.append(
            PartOutcome(
                part=part.name,
                pictures=tuple(one.picture.name for one in part.seen),
                kind="escape" if part.bad else "overkill",
                evaluation=word.evaluation.name,
                text=word.reason_text,
                labelled=tuple(sorted({name for one in part.seen for name in class_names(one.picture)})),
                score=round(score, 4),
            )
        )
    yield from sorted((one for one in found if one.kind == "escape"), key=lambda one: one.score)
    yield from sorted((one for one in found if one.kind == "overkill"), key=lambda one: -one.score)


def _notes(seen: Sequence[Seen], truth: Truth, subject: Subject, parts: Sequence[Part], boxes: bool) -> Iterator[str]:
    """What a reader must know to take the figures for what they are."""
    bad = sum(part.bad for part in parts)
    if not bad:
        yield "No part is bad: nothing can be said of escapes."
    if bad == len(parts):
        yield "No part is good: nothing can be said of overkill."
    if boxes and (without := sum(1 for one in seen if one.picture.things is None)):
        yield f"{without} of {len(seen)} pictures have no boxes in the truth: box figures leave them out."
    if boxes and subject.bundle.task == "segment" and not masks.drawn(_boxed(seen, subject), subject.bundle):
        yield "Not every label is drawn as a polygon: there are no figures for outlines."
    whole = [whole_class(one.picture, subject.bundle) for one in seen if isinstance(one.findings, Classification)]
    if None in whole:
        yield f"{whole.count(None)} of {len(whole)} pictures do not have one class: class figures leave them out."
    if subject.criteria.rules:
        yield "The recipe's rules judged the labels, too: a part is bad when they reject what is labelled on it."
    if len(parts) < len(seen):
        yield f"{len(seen)} pictures show {len(parts)} parts."
    if subject.bundle.task in ("detect", "segment", "anomaly"):
        yield (
            f"Below the bundle's score floor of {subject.bundle.score_floor:g} nothing is seen: a part on which "
            "nothing reaches it has the score 0."
        )
    unseen = [subject.bundle.classes[c] for c in defect_classes(subject) if not any(c in p.labelled for p in parts)]
    if unseen and subject.bundle.task != "measure":
        yield f"No part has a label of {', '.join(unseen)}: nothing is known of these classes."
    if any(one.failure for one in seen):
        yield "Pictures to which the model gave no answer are UNDEFINED, as in the station: their parts are rejected."
