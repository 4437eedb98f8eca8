"""How good a bundle is on labelled pictures: COCO's average precision, and what a line would feel."""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector import pipeline
from edge_inspector.datatypes import Batch, Calibration, Criteria, Detections, PixelFormat, PreparePlan, Roi, Tiling
from edge_inspector.engine.bundle import Bundle, reading_of
from edge_inspector.engine.differences import iou as iou_of
from edge_inspector.errors import ConfigError, FrameError
from edge_inspector.interfaces import Backend, Model
from edge_inspector.stages.prepare import prepare, prepare_plain

Chain = Literal["fused", "plain"]
_Preparation: TypeAlias = Callable[[npt.NDArray[Any], PixelFormat, PreparePlan], Batch]
_CHAINS: Mapping[Chain, _Preparation] = {"fused": prepare, "plain": prepare_plain}
COCO_DETECTIONS = 100  # a picture; COCO's own limit
IOUS = (0.5, 0.3)  # COCO's easiest, and one for small defects whose edges nobody can draw exactly
RUN_TIMEOUT_S = 60.0
Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with the Wilson interval that holds the true share in 95 of 100 such evaluations."""

    count: int
    total: int
    low: float
    high: float


@dataclass(frozen=True)
class BoxFigures:
    """Labelled boxes against detections at the thresholds; None where there is nothing to divide by."""

    labelled: int
    detected: int
    matched: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class ClassFigures:
    """One class: `ap50` and `max_recall50` from the score floor up, `boxes` by IoU at the threshold."""

    name: str
    threshold: float
    ap50: float | None
    max_recall50: float | None
    boxes: Mapping[str, BoxFigures]


@dataclass(frozen=True)
class EvaluationReport:
    """`escapes`: defective pictures with no defect at its threshold. `overkill`: good pictures with one.

    A class that the bundle calls good is no defect, neither found nor labelled.
    """

    bundle: str
    version: str
    model_hash: str
    pictures: int
    map50: float | None
    map50_95: float | None
    boxes: Mapping[str, BoxFigures]
    classes: tuple[ClassFigures, ...]
    escapes: Share
    overkill: Share
    ms_per_picture: float
    ms_by_stage: Mapping[str, float]

    def to_json(self) -> str:
        """The report as one JSON object; what does not exist is null."""
        return json.dumps(asdict(self), indent=2, allow_nan=False)


@dataclass(frozen=True)
class _Picture:
    """One picture to look at: its number in the COCO file, what is labelled on it, and the size it was labelled at."""

    image_id: int
    path: Path
    truth: Detections
    labelled_hw: tuple[int, int] | None


@dataclass(frozen=True)
class _Seen:
    picture: _Picture
    found: Detections
    hw: tuple[int, int]
    stage_ms: Mapping[str, float]


def evaluate(
    bundle: Bundle,
    backend: Backend,
    coco_json: Path,
    images: Path,
    extra_good: Sequence[Path] = (),
    *,
    calibration: Calibration | None = None,
    roi: Roi | None = None,
    tiling: Tiling | None = None,
    chain: Chain = "fused",
) -> EvaluationReport:
    """Look at every picture of the COCO file, and at `extra_good`, which have no defect.

    With a calibration, pictures are the camera's and labels lie in undistorted pixels. With `tiling` each is
    looked at in tiles. "fused" prepares a picture as
    the station does, "plain" in textbook steps. ConfigError: pycocotools missing, classes, pictures, calibration or ROI
    that do not fit. BundleError: the model is not the bundle's.
    """
    coco_api = _pycocotools()
    pictures = _pictures(bundle, coco_json, images, extra_good)
    plan = PreparePlan(bundle.spec, roi, calibration, tiling)
    reading = reading_of(bundle)
    model = backend.load(bundle.model_file(), plan, 1)
    try:
        seen = _look(model, plan, _CHAINS[chain], reading, pictures)
    finally:
        model.close()
    return _report(bundle, seen, *coco_api)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share. Wilson, JASA 22 (1927) 209-212; Newcombe, Stat. Med. 17 (1998), method 3."""
    if n == 0:
        return (0.0, 1.0)
    share, z2 = successes / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (max(0.0, middle - half), min(1.0, middle + half))


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as exc:
        raise ConfigError('evaluation needs pycocotools: pip install "edge-inspector[evaluate]"') from exc
    return COCO, COCOeval


def _pictures(bundle: Bundle, coco_json: Path, images: Path, extra_good: Sequence[Path]) -> list[_Picture]:
    """What the COCO file lists, then `extra_good`. ConfigError when classes or files do not fit."""
    try:
        coco = json.loads(coco_json.read_text())
        names = {category["id"]: category["name"] for category in coco["categories"]}
        if sorted(names.values()) != sorted(bundle.classes):
            raise ConfigError(
                f"{coco_json} has the categories {', '.join(sorted(names.values()))}, bundle {bundle.name} the classes "
                f"{', '.join(sorted(bundle.classes))}; evaluate with pictures that are labelled for this bundle"
            )
        boxes: dict[int, list[tuple[list[float], int]]] = {image["id"]: [] for image in coco["images"]}
        for label in coco["annotations"]:
            if label.get("iscrowd"):
                raise ConfigError(
                    f"{coco_json}: annotation {label['id']} is a crowd; label each defect with its own box"
                )
            boxes[label["image_id"]].append((label["bbox"], bundle.classes.index(names[label["category_id"]])))
        pictures = [
            _Picture(
                image["id"],
                images / image["file_name"],
                _truth(boxes[image["id"]]),
                (image["height"], image["width"]) if "height" in image and "width" in image else None,
            )
            for image in coco["images"]
        ]
    except OSError as exc:
        raise ConfigError(f"{coco_json} cannot be read: {exc}; give the path of a COCO annotation file") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(
            f"{coco_json} is not a COCO detection file ({type(exc).__name__}: {exc}); expected images, categories and "
            "annotations that refer to one another"
        ) from exc
    listed = {picture.path.resolve() for picture in pictures}
    twice = [str(path) for path in extra_good if path.resolve() in listed]
    if twice:
        raise ConfigError(f"pictures are in {coco_json} and in extra_good: {', '.join(twice)}; name them in one")
    first_free = max((picture.image_id for picture in pictures), default=0) + 1
    pictures += [
        _Picture(first_free + i, path, Detections.none(), None) for i, path in enumerate(dict.fromkeys(extra_good))
    ]
    missing = [str(picture.path) for picture in pictures if not picture.path.is_file()]
    if missing:
        raise ConfigError(f"pictures are missing: {', '.join(missing)}; correct the images folder or the COCO file")
    if not pictures:
        raise ConfigError(f"{coco_json} lists no picture; give one with pictures to evaluate on")
    return pictures


def _truth(boxes: Sequence[tuple[Sequence[float], int]]) -> Detections:
    xywh = np.array([box for box, _ in boxes], np.float32).reshape(-1, 4)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return Detections(xyxy, np.ones(len(boxes), np.float32), np.array([c for _, c in boxes], np.int64))


def _look(
    model: Model,
    plan: PreparePlan,
    prepared_by: _Preparation,
    reading: pipeline.Reading,
    pictures: Sequence[_Picture],
) -> list[_Seen]:
    seen: list[_Seen] = []
    unusable: list[str] = []
    for picture in pictures:
        try:
            pixels, pixel_format = _read(picture)
            start = time.perf_counter()
            batch = prepared_by(pixels, pixel_format, plan)
        except FrameError as exc:
            unusable.append(f"{picture.path} ({exc})")
            continue
        prepared = time.perf_counter()
        tensors = model.collect(model.submit(batch, 0), RUN_TIMEOUT_S)
        inferred = time.perf_counter()
        if not seen:
            shapes = {name: array.shape for name, array in tensors.by_name.items()}
            reading.decoder.check(shapes, reading.classes)
        found = pipeline.finish(tensors, batch, reading)
        if not isinstance(found, Detections):
            raise ConfigError(f"the model gives a {type(found).__name__.lower()}, expected boxes to evaluate")
        finished = time.perf_counter()
        times = {"prepare": prepared - start, "model": inferred - prepared, "finish": finished - inferred}
        seen.append(_Seen(picture, found, pixels.shape[:2], {stage: 1000 * s for stage, s in times.items()}))
    if unusable:
        raise ConfigError(f"pictures cannot be evaluated: {', '.join(unusable)}; replace or remove them")
    return seen


def _read(picture: _Picture) -> tuple[npt.NDArray[Any], PixelFormat]:
    """FrameError: not a picture, or not as it was labelled."""
    pixels = cv2.imread(str(picture.path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise FrameError("not a picture")
    formats: dict[tuple[int, ...], PixelFormat] = {(): "Mono8", (3,): "BGR8"}
    pixel_format = formats.get(pixels.shape[2:])
    if pixel_format is None or pixels.dtype != np.uint8:
        raise FrameError(f"{pixels.dtype} {pixels.shape}, expected 8-bit gray or colour")
    if picture.labelled_hw not in {None, pixels.shape[:2]}:
        raise FrameError(f"{pixels.shape[:2]} pixels high and wide, but labelled at {picture.labelled_hw}")
    return pixels, pixel_format


def _report(bundle: Bundle, seen: Sequence[_Seen], coco_class: Any, coco_eval_class: Any) -> EvaluationReport:
    precision, recall = _coco_curves(len(bundle.classes), seen, coco_class, coco_eval_class)
    limit = np.array(bundle.default_thresholds, np.float32)  # as confidences are: 0.35 reaches 0.35
    loud = [s.found.pick(s.found.confidence >= limit[s.found.class_id]) for s in seen]
    truths = [s.picture.truth for s in seen]
    by_iou = {f"{iou:g}": matches(truths, loud, iou, len(bundle.classes)) for iou in IOUS}
    rejected = [_has_defect(found, bundle.criteria) for found in loud]
    bad = [_has_defect(truth, bundle.criteria) for truth in truths]
    defective = [one for one, is_bad in zip(rejected, bad, strict=True) if is_bad]
    good = [one for one, is_bad in zip(rejected, bad, strict=True) if not is_bad]
    return EvaluationReport(
        bundle=bundle.name,
        version=bundle.version,
        model_hash=bundle.model_hash,
        pictures=len(seen),
        map50=_mean(precision[0]),
        map50_95=_mean(precision),
        boxes={iou: _box_figures(counts.sum(axis=0)) for iou, counts in by_iou.items()},
        classes=tuple(
            ClassFigures(
                name=name,
                threshold=bundle.default_thresholds[c],
                ap50=_mean(precision[0, :, c]),
                max_recall50=_mean(recall[0, c]),
                boxes={iou: _box_figures(counts[c]) for iou, counts in by_iou.items()},
            )
            for c, name in enumerate(bundle.classes)
        ),
        escapes=share(defective.count(False), len(defective)),
        overkill=share(good.count(True), len(good)),
        ms_per_picture=float(np.median([sum(s.stage_ms.values()) for s in seen])),
        ms_by_stage={stage: float(np.median([s.stage_ms[stage] for s in seen])) for stage in seen[0].stage_ms},
    )


def _has_defect(boxes: Detections, criteria: Criteria) -> bool:
    """Whether one of them is of a class that is not good."""
    return any(class_id not in criteria.good for class_id in boxes.class_id.tolist())


def _coco_curves(
    classes: int, seen: Sequence[_Seen], coco_class: Any, coco_eval_class: Any
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision (IoU, recall, class) and recall (IoU, class) of COCOeval, all areas; -1 where a class has no label."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = _coco(coco_class, classes, seen, [s.picture.truth for s in seen])
        found = _coco(coco_class, classes, seen, [s.found for s in seen])
        run = coco_eval_class(truth, found, "bbox")
        run.params.maxDets = [COCO_DETECTIONS]
        run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], run.params.areaRngLbl[:1]
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][:, :, :, 0, 0], run.eval["recall"][:, :, 0, 0]


def _coco(coco_class: Any, classes: int, seen: Sequence[_Seen], boxes: Sequence[Detections]) -> Any:
    coco = coco_class()
    coco.dataset = {
        "images": [{"id": s.picture.image_id, "height": s.hw[0], "width": s.hw[1]} for s in seen],
        "categories": [{"id": c} for c in range(classes)],
        "annotations": [
            {"id": number, **row}
            for number, row in enumerate(
                (row for s, b in zip(seen, boxes, strict=True) for row in _coco_rows(s.picture.image_id, b)), start=1
            )  # from 1: pycocotools takes a match with number 0 for none
        ],
    }
    coco.createIndex()
    return coco


def _coco_rows(image_id: int, boxes: Detections) -> Iterator[dict[str, Any]]:
    for (x1, y1, x2, y2), score, class_id in zip(
        boxes.xyxy.tolist(), boxes.confidence.tolist(), boxes.class_id.tolist(), strict=True
    ):
        xywh = [x1, y1, x2 - x1, y2 - y1]
        yield {
            "image_id": image_id,
            "category_id": class_id,
            "bbox": xywh,
            "area": xywh[2] * xywh[3],
            "score": score,
            "iscrowd": 0,
        }


def matches(
    truths: Sequence[Detections], founds: Sequence[Detections], iou: float, classes: int
) -> npt.NDArray[np.int64]:
    """(class, 3): labelled, detected, matched. The most confident chooses first, the label of its class it fits."""
    counts = np.zeros((classes, 3), np.int64)
    for truth, found in zip(truths, founds, strict=True):
        counts[:, 0] += np.bincount(truth.class_id, minlength=classes)
        counts[:, 1] += np.bincount(found.class_id, minlength=classes)
        overlap = iou_of(found.xyxy, truth.xyxy)
        overlap[found.class_id[:, None] != truth.class_id[None]] = 0
        for row in np.argsort(-found.confidence, kind="stable"):
            if len(truth) and overlap[row].max() >= iou:
                counts[found.class_id[row], 2] += 1
                overlap[:, overlap[row].argmax()] = 0
    return counts


def _box_figures(counts: npt.NDArray[np.int64]) -> BoxFigures:
    labelled, detected, matched = (int(n) for n in counts)
    return BoxFigures(
        labelled=labelled,
        detected=detected,
        matched=matched,
        recall=matched / labelled if labelled else None,
        precision=matched / detected if detected else None,
    )


def share(count: int, total: int) -> Share:
    low, high = wilson(count, total)
    return Share(count, total, round(low, 4), round(high, 4))


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """COCO's mean: -1 stands for "no label of this class"."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None
