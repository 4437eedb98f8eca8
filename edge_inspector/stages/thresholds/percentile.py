"""The plain rolling rule: one threshold for all classes, from the highest scores of the last parts judged OK.

It learns from what it lets through, defects among it, and has no limit but 0.9: for comparison, not for production.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PARTS = 100
LEAST = 10
START = 0.5
PERCENTILE = 90
ABOVE = 0.1
HIGHEST = 0.9


def rolling(scores: Sequence[float]) -> float:
    """The threshold after normal parts with these highest scores, of which the last `PARTS` count."""
    if len(scores) < LEAST:
        return START
    return min(HIGHEST, float(np.percentile(scores[-PARTS:], PERCENTILE)) + ABOVE)
