"""One region out of the parts of a thing that several tiles show."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_inspector.datatypes import Region

CANVAS_PX = 1024
"""Longest side on which parts are drawn; larger things are drawn smaller: their outline is as exact as that."""
FINE = 2
"""Points drawn a pixel: those on whole numbers are its edges, between them lies its middle."""


def united(regions: Sequence[Region]) -> Region:
    """The region that all of them show together; what several of them show counts once.

    Parts have no outline beside their largest and none around holes, so the area that all share is taken in proportion
    to what their outlines share.
    """
    if len(regions) == 1:
        return regions[0]
    low = np.floor(np.min([r.outline.min(axis=0) for r in regions], axis=0))
    high = np.ceil(np.max([r.outline.max(axis=0) for r in regions], axis=0))
    scale = FINE * min(1.0, CANVAS_PX / max(1.0, float((high - low).max())))
    drawings = [np.round((r.outline - low) * scale).astype(np.int32) for r in regions]
    right, bottom = np.max([drawing.max(axis=0) for drawing in drawings], axis=0).tolist()
    together, drawn_px = np.zeros((bottom + 1, right + 1), np.uint8), 0
    for drawing in drawings:
        (left, top), (right, bottom) = drawing.min(axis=0) // FINE * FINE, drawing.max(axis=0)
        drawn = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
        cv2.fillPoly(drawn, [drawing - np.array([left, top], np.int32)], 1)
        drawn_px += cv2.countNonZero(drawn[1::FINE, 1::FINE])
        together[top : bottom + 1, left : right + 1] |= drawn
    once = cv2.countNonZero(together[1::FINE, 1::FINE]) / drawn_px if drawn_px else 1.0
    contours, _ = cv2.findContours(together, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)[:, 0] / scale + low
    if len(outline) < 3:  # thinner than can be drawn
        outline = max(regions, key=lambda r: r.area_px).outline
    return Region(outline.astype(np.float32), once * sum(r.area_px for r in regions))
