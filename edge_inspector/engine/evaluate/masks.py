"""Pixels of labelled outlines against pixels of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Detections
from edge_inspector.engine.bundle import Bundle
from edge_inspector.engine.evaluate.labels import things_of
from edge_inspector.engine.evaluate.looking import Seen


def drawn(seen: Sequence[Seen], bundle: Bundle) -> bool:
    """Whether every label and every finding has an outline."""
    labels = [thing for one in seen for thing, _ in things_of(one.picture, bundle)]
    found = [one.findings for one in seen if isinstance(one.findings, Detections) and len(one.findings)]
    return bool(labels) and all(thing.polygons for thing in labels) and all(f.regions is not None for f in found)


def pixel_counts(seen: Sequence[Seen], loud: Sequence[Detections], bundle: Bundle) -> npt.NDArray[np.int64]:
    """(class, 3): pixels that are labelled, found, and both, of all pictures; `loud` is what reached its threshold.

    Outlines are filled, counted and cut with one another by pycocotools.
    """
    from pycocotools import mask

    counts = np.zeros((len(bundle.classes), 3), np.int64)
    for one, found in zip(seen, loud, strict=True):
        things = things_of(one.picture, bundle)
        regions = found.regions or ()
        for c in {*(c for _, c in things), *found.class_id.tolist()}:
            labelled = _filled([p for thing, own in things if own == c for p in thing.polygons], one.hw)
            outlines = [r.outline.tolist() for r, own in zip(regions, found.class_id.tolist(), strict=True) if own == c]
            seen_there = _filled(outlines, one.hw)
            both = mask.merge([labelled, seen_there], intersect=True)
            counts[c] += np.array([mask.area(rle) for rle in (labelled, seen_there, both)], np.int64)
    return counts


def iou_and_dice(counts: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Of one row of `pixel_counts`; None: the class is neither labelled nor found."""
    labelled, found, both = (int(n) for n in counts)
    if not labelled + found:
        return None, None
    return both / (labelled + found - both), 2 * both / (labelled + found)


def _filled(polygons: Sequence[Any], hw: tuple[int, int]) -> Any:
    """What is inside any of the polygons, run-length encoded as pycocotools has it."""
    from pycocotools import mask

    height, width = hw
    if not polygons:
        return mask.encode(np.zeros((height, width), np.uint8, order="F"))
    flat = [[float(v) for point in polygon for v in point] for polygon in polygons]
    return mask.merge(mask.frPyObjects(flat, height, width))
