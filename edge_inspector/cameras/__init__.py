"""Camera drivers, and what they count."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statistics:
    """What one camera has delivered since it was opened; replaced whole, so any thread may read it."""

    frames: int = 0
    failed_buffers: int = 0
    dropped_no_slot: int = 0
    discarded_late: int = 0
