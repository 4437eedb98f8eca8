"""A board that is held down by heat or over-current: from when it counts, and whether parts are still in time."""

from __future__ import annotations

from collections import deque

from edge_inspector.interfaces import Clock

BEGIN_S = 4.0
"""Over-current flickers: what is gone after this was nothing."""
COOL_S = 30.0
"""What comes back within this was never gone."""
WATCHED = 20
"""Parts that are looked at on a throttled board."""
TOO_MANY = 3
"""So many of them late: the deadline cannot be kept."""


class Heat:
    """On the event loop; told what each reading says, and of each part."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first_ns: int | None = None
        self._last_ns = 0
        self._late: deque[bool] = deque(maxlen=WATCHED)
        self.text = ""
        """Why the board is throttled, empty = it is not."""

    @property
    def too_slow(self) -> bool:
        """Whether the throttled board keeps missing the deadline."""
        return sum(self._late) >= TOO_MANY

    @property
    def suspected(self) -> bool:
        """Whether it was throttled when it was read last, or has been lately."""
        return self._first_ns is not None

    def read(self, throttled: str) -> str | None:
        """What began or ended with this reading, in words; None = nothing did."""
        now = self._clock.monotonic_ns()
        if throttled:
            self._first_ns = now if self._first_ns is None else self._first_ns
            self._last_ns = now
            if not self.text and now - self._first_ns >= BEGIN_S * 1e9:
                self.text = throttled
                return f"the board is throttled: {throttled}"
            return None
        if not self.text:
            self._first_ns = None
        elif now - self._last_ns >= COOL_S * 1e9:
            over_s = (self._last_ns - (self._first_ns or self._last_ns)) / 1e9
            self._first_ns, self.text = None, ""
            self._late.clear()
            return f"the board is not throttled any more, after {over_s:.0f} s"
        return None

    def part(self, *, late: bool) -> None:
        """A part was settled."""
        if self.text:
            self._late.append(late)

    def cooler(self) -> None:
        """The board is in another mode: what is late from now on counts anew."""
        self._late.clear()
