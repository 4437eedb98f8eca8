"""The progress book: each loop of the verdict path signs it; heartbeat and watchdog read it."""

from __future__ import annotations

from edge_inspector.interfaces import Clock


class ProgressBook:
    """When each loop last showed progress, on the monotonic clock. Two dict steps a signature: safe on any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._signed_ns: dict[str, int] = {}
        self._resting_ns: dict[str, int] = {}

    def sign(self, loop: str) -> None:
        self._signed_ns[loop] = self._clock.monotonic_ns()
        self._resting_ns.pop(loop, None)

    def rest(self, loop: str) -> None:
        """Expect nothing of the loop until it signs again."""
        self._resting_ns[loop] = self._clock.monotonic_ns()
        self._signed_ns.pop(loop, None)

    def stale(self, within_s: float) -> list[str]:
        """The loops that have not signed for longer than that."""
        return self._older(self._signed_ns, within_s)

    def resting(self, within_s: float) -> list[str]:
        """The loops that have rested for longer than that."""
        return self._older(self._resting_ns, within_s)

    def ages_s(self) -> dict[str, float]:
        """How long ago each loop has shown progress, without those that rest."""
        now = self._clock.monotonic_ns()
        return {name: (now - at) / 1e9 for name, at in sorted(self._signed_ns.copy().items())}

    def _older(self, moments: dict[str, int], within_s: float) -> list[str]:
        oldest = self._clock.monotonic_ns() - int(within_s * 1e9)
        return sorted(name for name, at in list(moments.items()) if at < oldest)
