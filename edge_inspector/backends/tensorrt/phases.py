"""How far a build is: TensorRT tells of nested phases and their steps, a person wants one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Passes on 0..1, never backwards, and the innermost phase's name. May be called from any of the builder's threads.

    What `progress` raises must not cross the library: it ends the build, and is kept in `failure` for the caller.
    """

    def __init__(self, progress: Callable[[float, str], None]) -> None:
        self.failure: Exception | None = None
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._told = -1.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self._phases[name] = _Phase(parent if parent in self._phases else None, max(steps, 1))
        self._tell(name)

    def step(self, name: str, step: int) -> bool:
        """`step` of the phase, counted from 0, is done. False = end the build."""
        if name in self._phases:
            self._phases[name].done = step + 1
            self._tell(name)
        return self.failure is None

    def finish(self, name: str) -> None:
        self._phases.pop(name, None)

    def _tell(self, name: str) -> None:
        part = self._reached(name)
        if part - self._told < 0.01 or self.failure is not None:  # 100 lines for a build, not 10 000
            return
        self._told = part
        try:
            self._progress(part, name)
        except Exception as exc:  # noqa: BLE001  # raised again by `build`, on the caller's side of the library
            self.failure = exc

    def _reached(self, name: str) -> float:
        """Part of the outermost phase that is done, counting the done part of each phase within it."""
        phase = self._phases[name]
        part = min(phase.done / phase.steps, 1.0)
        while phase.parent is not None and phase.parent in self._phases:
            phase = self._phases[phase.parent]
            part = min((phase.done + part) / phase.steps, 1.0)
        return part
