"""The time of the week on the machine's own clock."""

from __future__ import annotations

from datetime import tzinfo

from edge_inspector.interfaces import Clock
from edge_inspector.settings.power import DAY_MINUTES
from edge_inspector.store.periods import parsed


class Week:
    """A clock that was right once is near enough for shifts, also when its time server has been away for days since."""

    def __init__(self, clock: Clock, zone: tzinfo | None = None) -> None:
        """`zone` None = the machine's own."""
        self._clock = clock
        self._zone = zone
        self._set = False

    def minute(self) -> int | None:
        """Minutes since Monday 00:00; None = the clock has not been set yet."""
        self._set = self._set or self._clock.synced()
        if not self._set:
            return None
        local = parsed(self._clock.utc()).astimezone(self._zone)
        return local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
