"""Whether a shift has begun since a check was passed, also where nobody knows what time it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

from edge_inspector.store.periods import parsed, shift_of

AHEAD = timedelta(minutes=1)
"""A check that was passed later than now, by more than clocks are corrected by, was dated by a wrong clock."""


def shift_has_begun(passed: datetime, now: datetime, starts: Sequence[str], zone: tzinfo | None = None) -> bool:
    """Whether the shift of `now` began after a check of `passed`; `starts` as in `LedgerSettings.shifts`."""
    since = shift_of(now, starts, zone).since
    return passed > now + AHEAD or (since is not None and passed < parsed(since))


def longest_shift_s(starts: Sequence[str]) -> float:
    """Seconds, of a day without a change of the clock."""
    minutes = sorted(int(start[:2]) * 60 + int(start[3:]) for start in starts)
    gaps = [(after - before) % 1440 or 1440 for before, after in zip(minutes, [*minutes[1:], minutes[0]], strict=True)]
    return max(gaps) * 60.0
