"""Dirt: what is odd at the same place in one picture after the other, whatever the part."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge_inspector.stages.camera_health import Odd
from edge_inspector.stages.camera_reference import Gray

LONGEST = 255


@dataclass(frozen=True)
class Streak:
    """In how many pictures up to the newest each pixel was odd without a break: (h,w) uint8, 255 = or more."""

    darker: Gray
    brighter: Gray


@dataclass(frozen=True)
class Spot:
    """Something that stays: its middle and its diameter (of the circle of its area), px of the camera's picture."""

    x: float
    y: float
    diameter_px: float
    brighter: bool


def begin(odd: Odd) -> Streak:
    """The first picture."""
    return Streak(odd.darker.copy(), odd.brighter.copy())


def goes_on(streak: Streak, odd: Odd) -> Streak:
    """One picture more: what is not odd in it begins anew."""
    return Streak(_longer(streak.darker, odd.darker), _longer(streak.brighter, odd.brighter))


def spots(streak: Streak, pictures: int, least_px: float) -> tuple[Spot, ...]:
    """What was odd in so many pictures in a row and is not smaller than `least_px`, the largest first."""
    found = [
        *_spots(streak.darker, pictures, least_px, brighter=False),
        *_spots(streak.brighter, pictures, least_px, brighter=True),
    ]
    return tuple(sorted(found, key=lambda spot: -spot.diameter_px))


def _longer(before: Gray, odd: Gray) -> Gray:
    return np.asarray(cv2.multiply(cv2.add(before, odd), odd), np.uint8)


def _spots(counts: Gray, pictures: int, least_px: float, *, brighter: bool) -> list[Spot]:
    """Lines of one or two pixels are no dirt: edges of something that has moved a little."""
    lasting = (counts >= pictures).view(np.uint8)
    if not lasting.any():
        return []
    around = np.ones((3, 3), np.uint8)
    solid = cv2.morphologyEx(cv2.morphologyEx(lasting, cv2.MORPH_CLOSE, around), cv2.MORPH_OPEN, around)
    _, _, rows, middles = cv2.connectedComponentsWithStats(solid, connectivity=8)
    areas = rows[1:, cv2.CC_STAT_AREA]
    diameters = np.sqrt(4 * areas / math.pi)
    return [
        Spot(float(x), float(y), float(diameter), brighter)
        for (x, y), diameter in zip(middles[1:], diameters, strict=True)
        if diameter >= least_px
    ]
