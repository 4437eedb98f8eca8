"""The time of the week on the machine's own clock."""

from __future__ import annotations

from datetime import tzinfo

from edge_inspector.interfaces import Clock
from edge_inspector.settings.power import DAY_MINUTES
from edge_inspector.store.periods import parsed


def minute_of_week(clock: Clock, zone: tzinfo | None = None) -> int | None:
    """Minutes since Monday 00:00 in `zone`, None = the machine's own; None = the clock is not set."""
    if not clock.synced():
        return None
    local = parsed(clock.utc()).astimezone(zone)
    return local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
