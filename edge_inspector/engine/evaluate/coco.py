"""Average precision and curves as pycocotools' COCOeval makes them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Detections
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.evaluate.labels import things_of
from edge_inspector.engine.evaluate.looking import Seen
from edge_inspector.errors import ConfigError

COCO_DETECTIONS = 100  # a picture and class; COCO's own limit
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CocoFigures:
    """Precision (IoU, recall, class) and recall (IoU, class), all areas; -1 where a class has no label.

    `scores` and `right` are, for each class, the detections of all pictures and whether they match at IoU 0.5;
    `labelled` (classes,) counts labels.
    """

    precision: Doubles
    recall: Doubles
    scores: tuple[Doubles, ...]
    right: tuple[npt.NDArray[np.bool_], ...]
    labelled: tuple[int, ...]


def pycocotools() -> tuple[Any, Any]:
    """Its COCO and COCOeval. ConfigError: it is not installed."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as exc:
        raise ConfigError('evaluation needs pycocotools: pip install "edge-inspector[evaluate]"') from exc
    return COCO, COCOeval


def coco_figures(seen: Sequence[Seen], bundle: Bundle, kind: Literal["bbox", "segm"]) -> CocoFigures:
    """Of boxes, or of outlines."""
    coco_class, coco_eval_class = pycocotools()
    classes = len(bundle.classes)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = _coco(coco_class, classes, seen, [list(_labelled(one, bundle)) for one in seen])
        found = _coco(coco_class, classes, seen, [list(_found(one)) for one in seen])
        run = coco_eval_class(truth, found, kind)
        run.params.maxDets = [COCO_DETECTIONS]
        run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], run.params.areaRngLbl[:1]
        run.evaluate()
        run.accumulate()
    by_class = [[one for one in run.evalImgs[c * len(seen) : (c + 1) * len(seen)] if one] for c in range(classes)]
    return CocoFigures(
        precision=run.eval["precision"][:, :, :, 0, 0],
        recall=run.eval["recall"][:, :, 0, 0],
        scores=tuple(_together([one["dtScores"] for one in images], np.float64) for images in by_class),
        right=tuple(_together([one["dtMatches"][0] > 0 for one in images], np.bool_) for images in by_class),
        labelled=tuple(sum(len(one["gtIds"]) for one in images) for images in by_class),
    )


def mean(values: Doubles) -> float | None:
    """COCO's mean: -1 stands for "no label of this class"."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _together(rows: Sequence[Any], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(row, dtype) for row in rows)])


def _coco(coco_class: Any, classes: int, seen: Sequence[Seen], rows: Sequence[Sequence[dict[str, Any]]]) -> Any:
    coco = coco_class()
    flat = [{**row, "image_id": image} for image, of_one in enumerate(rows, start=1) for row in of_one]
    coco.dataset = {
        "images": [{"id": i, "height": one.hw[0], "width": one.hw[1]} for i, one in enumerate(seen, start=1)],
        "categories": [{"id": c} for c in range(classes)],
        # from 1: pycocotools takes a match with number 0 for none
        "annotations": [{**row, "id": number} for number, row in enumerate(flat, start=1)],
    }
    coco.createIndex()
    return coco


def _labelled(one: Seen, bundle: Bundle) -> Iterator[dict[str, Any]]:
    for thing, class_id in things_of(one.picture, bundle):
        outline = [[v for point in polygon for v in point] for polygon in thing.polygons]
        yield _row(class_id, thing.xyxy, 1.0, outline)


def _found(one: Seen) -> Iterator[dict[str, Any]]:
    found = one.findings
    if not isinstance(found, Detections):
        return
    for i, ((x1, y1, x2, y2), score, class_id) in enumerate(
        zip(found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist(), strict=True)
    ):
        outline = [] if found.regions is None else [found.regions[i].outline.ravel().tolist()]
        yield _row(class_id, (x1, y1, x2, y2), score, outline)


def _row(
    class_id: int, xyxy: tuple[float, float, float, float], score: float, outline: list[list[float]]
) -> dict[str, Any]:
    x1, y1, x2, y2 = xyxy
    row = {
        "category_id": class_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "score": score,
        "iscrowd": 0,
    }
    return {**row, "segmentation": outline} if outline else row
