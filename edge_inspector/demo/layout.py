"""Copper of a bare circuit board as its designer meant it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edge_inspector.demo.elements import (
    Mask,
    Sheet,
    bundle,
    discs,
    land,
    lead,
    marking,
    meander,
    pad_grid,
    pad_row,
    pour,
    vias,
    without_slivers,
)

ISLAND_PX2 = 195  # smaller copper is what a clearance or the panel's end left of something: no designer drew it
VOID_PX2 = 45  # the same for holes; the smallest drill here is 5 px in radius


@dataclass(frozen=True)
class Style:
    """What one family of boards looks like. Ranges are inclusive, in pixels of a 640 px picture."""

    trace_px: tuple[int, int]
    gap_px: tuple[int, int]
    pours: int  # at most
    elements: int  # placements tried
    inverted: bool = False  # copper everywhere, the drawing is what was etched away


STYLES = (
    Style(trace_px=(5, 10), gap_px=(8, 22), pours=1, elements=34),
    Style(trace_px=(5, 8), gap_px=(6, 12), pours=2, elements=28),
    Style(trace_px=(8, 20), gap_px=(12, 36), pours=3, elements=24),
    Style(trace_px=(20, 50), gap_px=(16, 60), pours=3, elements=14),
    Style(trace_px=(8, 16), gap_px=(16, 90), pours=0, elements=10, inverted=True),
)
STYLE_SHARE = (0.26, 0.12, 0.26, 0.22, 0.14)

Element = Callable[[np.random.Generator, Sheet, int], None]

ELEMENTS: dict[Element, float] = {  # what is drawn, and how often
    bundle: 0.23,
    lead: 0.23,
    pad_row: 0.14,
    pad_grid: 0.09,
    vias: 0.08,
    meander: 0.06,
    discs: 0.06,
    land: 0.09,
    marking: 0.02,
}
ETCHED_ELEMENTS: dict[Element, float] = {bundle: 0.35, lead: 0.3, meander: 0.25, discs: 0.1}


def draw_copper(rng: np.random.Generator, size_px: int) -> Mask:
    """One board without any defect. Its elements keep their size whatever the size of the picture."""
    style = STYLES[rng.choice(len(STYLES), p=STYLE_SHARE)]
    sheet = Sheet(size_px, int(rng.integers(style.gap_px[0], style.gap_px[1] + 1)))
    for _ in range(rng.integers(style.pours + 1)):
        pour(rng, sheet)
    elements = ETCHED_ELEMENTS if style.inverted else ELEMENTS
    kinds = list(elements)
    share = np.array(list(elements.values()))
    for _ in range(rng.integers(style.elements // 2, style.elements + 1)):
        trace_px = int(rng.integers(style.trace_px[0], style.trace_px[1] + 1))
        kinds[int(rng.choice(len(kinds), p=share / share.sum()))](rng, sheet, trace_px)
    if style.inverted:
        sheet.drilled[:] = 0  # a drill through what was etched away leaves no trace
    joined = rng.random() < 0.2  # the wires belong to the pours' net
    copper = sheet.merged(clearance_px=0 if joined else int(rng.integers(8, 26)))
    if style.inverted:
        copper = without_slivers(~copper)
    if rng.random() < 0.15:  # the panel ends inside the picture
        copper[:, int(rng.integers(size_px // 5, size_px)) :] = 0
    _clear_crumbs(copper)
    if rng.random() < 0.5:
        copper = np.ascontiguousarray(copper.T)
    return np.ascontiguousarray(np.rot90(copper, int(rng.integers(4))))


def _clear_crumbs(copper: Mask) -> None:
    """Remove islands and fill voids that are too small to be anybody's intent."""
    for body, smallest, becomes in ((copper, ISLAND_PX2, 0), (~copper, VOID_PX2, 255)):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(body, connectivity=4)
        crumbs = stats[:, cv2.CC_STAT_AREA] < smallest
        crumbs[0] = False
        if crumbs.any():
            copper[crumbs[labels]] = becomes
