"""Scores of golden parts, from which limits are made: pictures that are used neither for tuning nor for the claim."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threshold_drift import Optics
from threshold_scores import Arrays, Product, cached, key
from threshold_streams import SEEDS, Kind, Shot

Condition = tuple[Kind, float]
CLEAN: Condition = ("quiet", 0.0)
WITHIN_HEALTH: tuple[Condition, ...] = (CLEAN, ("light", 0.25), ("defocus", 0.3))
"""As far as camera health lets a station go on: 15 % of the light lost, and a little of the sharpness."""
CONDITIONS: tuple[Condition, ...] = (
    *WITHIN_HEALTH,
    *(("light", 0.5), ("light", 1.0), ("dirt", 1.0), ("defocus", 1.0), ("ramp", 1.0)),
)
"""Under which each golden part is looked at."""


@dataclass(frozen=True)
class Golden:
    """What golden parts look like; peaks and scores are by class.

    Of each defect: its class, which part has it, and `scores` (conditions, defects, classes) at its place. `parts`
    (conditions, parts, classes): peaks of those parts with all their defects. `good` (parts, classes): of good parts.
    """

    classes: npt.NDArray[np.int64]
    part: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    parts: npt.NDArray[np.float64]
    good: npt.NDArray[np.float64]


def golden(product: Product, cache: Path | None) -> Golden:
    """The scores of all golden parts, from the cache where it has them."""
    kept = cached(cache, f"{product.name}-golden-{key(product, CONDITIONS)}", lambda: _look(product))
    return Golden(**kept)


def _look(product: Product) -> Arrays:
    (seed,) = SEEDS["ceilings"]
    numbers = range(len(product.bad))
    scores, parts = [], []
    for kind, level in CONDITIONS:
        optics = Optics(kind, seed, product.strength)
        seen = [optics.taken(product.bad[nth], Shot(True, nth, 0, level, seed + nth)) for nth in numbers]
        scores.append([row for nth in numbers for row in product.at_defects(nth, seen[nth])])
        parts.append([product.peaks(picture) for picture in seen])
    quiet = Optics(CLEAN[0], seed, product.strength)
    good = [
        product.peaks(quiet.taken(picture, Shot(False, nth, 0, 0.0, seed + nth)))
        for nth, picture in enumerate(product.good)
    ]
    return {
        "classes": np.array([c for nth in numbers for c in product.defects(nth)]),
        "part": np.array([nth for nth in numbers for _ in product.defects(nth)]),
        "scores": np.array(scores),
        "parts": np.array(parts),
        "good": np.array(good),
    }
