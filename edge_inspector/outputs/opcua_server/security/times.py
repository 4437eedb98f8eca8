"""The wall clock as a value to reckon with."""

from __future__ import annotations

from datetime import datetime

from edge_inspector.interfaces import Clock


def utc(clock: Clock) -> datetime:
    return datetime.fromisoformat(clock.utc().replace("Z", "+00:00"))
