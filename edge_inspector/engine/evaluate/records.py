"""What an evaluation finds: the report, field by field as its JSON has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from edge_inspector.engine.evaluate.shares import Share


@dataclass(frozen=True)
class BoxFigures:
    """Labelled boxes against detections at the thresholds; None where there is nothing to divide by."""

    labelled: int
    detected: int
    matched: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Curve:
    """Precision, recall and F1 of one class, from its highest confidence down: one point for each of `confidence`.

    A detection is right at IoU 0.5. Long curves are thinned out to 200 points.
    """

    confidence: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]


@dataclass(frozen=True)
class ClassFigures:
    """One class: `ap50` and `max_recall50` from the score floor up, `boxes` by IoU at the threshold.

    `parts_found`: of the parts with a label of the class, those that show it at the threshold; `escapes`: those that
    are judged OK. `auroc` tells parts with the class from good parts by the highest score of the class.
    `best_f1_at` is the confidence with the best F1 on boxes. `mask_ap50` is `ap50` with outlines in place of boxes,
    `mask_iou` pixels at the threshold.
    """

    name: str
    threshold: float
    ap50: float | None
    max_recall50: float | None
    boxes: Mapping[str, BoxFigures]
    best_f1: float | None
    best_f1_at: float | None
    mask_ap50: float | None
    mask_iou: float | None
    parts_found: Share
    escapes: Share
    auroc: float | None
    curve: Curve | None


@dataclass(frozen=True)
class MaskFigures:
    """Outlines against labelled ones: average precision as COCO's "segm", and pixels at the thresholds.

    `mean_iou` and `mean_dice` are means over the classes that are labelled or found.
    """

    map50: float | None
    map50_95: float | None
    mean_iou: float | None
    mean_dice: float | None


@dataclass(frozen=True)
class WholeClass:
    """One class of whole pictures, by the best score of each; None where there is nothing to divide by."""

    name: str
    labelled: int
    precision: float | None
    recall: float | None
    f1: float | None
    auroc: float | None


@dataclass(frozen=True)
class WholeFigures:
    """Pictures that were classified as a whole; `top_k` by k.

    `balanced_accuracy` is the mean recall of classes that are labelled, `macro_f1` the mean F1 of those that are
    labelled or seen.
    """

    pictures: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    top_k: Mapping[str, float]
    classes: tuple[WholeClass, ...]


@dataclass(frozen=True)
class ValueFigures:
    """One measured value against the labelled ones. `bias` is the mean of measured - labelled.

    `r2` is the share of the labelled values' variance that the measured ones explain; None without any variance.
    """

    name: str
    unit: str
    pictures: int
    mae: float
    rmse: float
    bias: float
    worst: float
    r2: float | None


@dataclass(frozen=True)
class Confusion:
    """How often what is labelled (row) was seen as what (column); the last name may be "nothing".

    For boxes: at the thresholds and IoU 0.5, the most confident first, whatever the classes.
    """

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Reached:
    """What a threshold costs. `threshold` None: the wanted escape rate cannot be reached by any threshold.

    Then the figures are those at the lowest one. `proven`: even the upper end of the interval of the escapes is not
    above what is wanted.
    """

    name: str
    threshold: float | None
    escapes: Share
    overkill: Share
    proven: bool


@dataclass(frozen=True)
class Wanted:
    """The thresholds that reach a wanted share of escapes at the least overkill.

    `common` is one for all classes of defects. `classes` is each class by itself, as if the others never rejected:
    escapes of parts with its label. `together` is all parts judged with those of `classes`; a class that cannot reach
    it stands at the lowest. `parts_to_prove`: with so many bad parts and no escape the share would be proven.
    """

    escapes: float
    common: Reached
    classes: tuple[Reached, ...]
    together: Reached
    parts_to_prove: int


@dataclass(frozen=True)
class PartOutcome:
    """One part that was judged wrongly, and why; `score` is the highest of a class that is a defect."""

    part: str
    pictures: tuple[str, ...]
    kind: str
    evaluation: str
    text: str
    labelled: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class EvaluationReport:
    """`escapes`: bad parts that were judged OK. `overkill`: good parts that were not.

    A part is one picture, or all those of which the truth says that they show one part. It is bad when one of its
    pictures has a label of a class that is no good one, a value outside its limits, or is said to be bad; by a recipe
    with rules, when these reject what is labelled. `judged_by` has the recipe's rules in words.
    `auroc` and `average_precision` tell bad parts from good ones by the highest score of a class that is a defect.
    """

    bundle: str
    version: str
    model_hash: str
    task: str
    recipe: str
    judged_by: tuple[str, ...]
    truth: str
    truth_format: str
    pictures: int
    parts: int
    bad_parts: int
    thresholds: Mapping[str, float]
    escapes: Share
    overkill: Share
    verdicts: Mapping[str, int]
    unanswered: tuple[str, ...]
    auroc: float | None
    average_precision: float | None
    map50: float | None
    map50_95: float | None
    boxes: Mapping[str, BoxFigures]
    classes: tuple[ClassFigures, ...]
    masks: MaskFigures | None
    whole: WholeFigures | None
    values: tuple[ValueFigures, ...]
    confusion: Confusion | None
    wanted: Wanted | None
    wrong: tuple[PartOutcome, ...]
    notes: tuple[str, ...]
    ms_per_picture: float
    ms_by_stage: Mapping[str, float]

    def to_json(self) -> str:
        """The report as one JSON object; what does not exist is null."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)
