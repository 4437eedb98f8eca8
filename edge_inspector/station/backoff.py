"""How long to wait before trying again."""

from __future__ import annotations


class Backoff:
    """Doubles from `first_s` to `last_s`; `reset` after a success."""

    def __init__(self, first_s: float = 0.5, last_s: float = 15.0) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self.wait_s = first_s

    def next_s(self) -> float:
        """The wait that is due now; the next one is twice as long."""
        due, self.wait_s = self.wait_s, min(self.wait_s * 2, self._last_s)
        return due

    def reset(self) -> None:
        self.wait_s = self._first_s
