"""What was asked a moment ago and need not be asked again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Asks at most once in `for_s` seconds, however many want to know. Any thread."""

    def __init__(self, ask: Callable[[], T], for_s: float, monotonic_s: Callable[[], float]) -> None:
        self._ask, self._for_s, self._monotonic_s = ask, for_s, monotonic_s
        self._lock = threading.Lock()
        self._known: tuple[T, float] | None = None

    def get(self) -> T:
        """Raises what `ask` raises; that is not remembered."""
        with self._lock:
            if self._known is None or self._monotonic_s() - self._known[1] >= self._for_s:
                answer = self._ask()
                self._known = (answer, self._monotonic_s())
            return self._known[0]
