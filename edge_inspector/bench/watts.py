"""What a board needs while something runs."""

from __future__ import annotations

import threading
from types import TracebackType

from edge_inspector.errors import PowerError
from edge_inspector.interfaces import PowerControl

EVERY_S = 0.2
ANSWER_S = 10.0
"""A board that takes longer to say what it needs hangs."""


class WattMeter:
    """Asks the board again and again while the block runs, on a thread of its own; nobody else may ask it meanwhile."""

    def __init__(self, control: PowerControl, every_s: float = EVERY_S) -> None:
        self._control = control
        self._every_s = every_s
        self._seen: list[float] = []
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def mean_w(self) -> float | None:
        """Of the whole board over all blocks; None = it does not say."""
        return sum(self._seen) / len(self._seen) if self._seen else None

    def __enter__(self) -> WattMeter:
        self._end.clear()
        self._thread = threading.Thread(target=self._run, name="watts", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """PowerError: the board does not answer any more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(ANSWER_S)
            if self._thread.is_alive() and error is None:
                raise PowerError(f"the board has not said its power within {ANSWER_S:g} s; try again, or restart jtop")

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            watts = self._control.state().total_w
            if watts is not None:
                self._seen.append(watts)
