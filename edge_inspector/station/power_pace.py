"""How long the parts take against what they may, by power mode: what the takt policy goes by."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from edge_inspector.interfaces import Clock, PowerMode
from edge_inspector.stages.power_policy import Pace
from edge_inspector.station.parts import LoadedRecipe

WINDOW = 200
"""Parts of which the p99 is taken."""
FEWEST = 100
"""A p99 of fewer parts is the slowest of them, and says little."""
LONGEST_HOLD_S = 86_400.0
GOOD_AGAIN = 4
"""A mode that was too slow is forgiven when it has done well for so many times as long as it was left alone."""


class PaceBook:
    """On the event loop. A mode that missed a deadline is left alone for `hold_s`, and twice as long each time."""

    def __init__(self, clock: Clock, hold_s: float) -> None:
        self._clock = clock
        self._hold_s = hold_s
        self._cycles_ms: deque[float] = deque(maxlen=WINDOW)
        self._since_ns = clock.monotonic_ns()
        self._late = False
        self._held: dict[tuple[str, int], tuple[int, float]] = {}

    def begin(self) -> None:
        """Another mode, another recipe or another temper of the board: what was measured is not the same any more."""
        self._cycles_ms.clear()
        self._since_ns = self._clock.monotonic_ns()
        self._late = False

    def part(self, cycle_ms: float) -> None:
        """A part of the active recipe in the mode of now was settled in time."""
        self._cycles_ms.append(cycle_ms)

    def late(self, recipe: str, mode: PowerMode | None, *, blame: bool) -> None:
        """A part missed its deadline; `blame`: the mode is too slow for it, and not, say, the heat."""
        self._since_ns = self._clock.monotonic_ns()
        if mode is not None and blame:
            self.hold(recipe, mode)
        self._late = True

    def hold(self, recipe: str, mode: PowerMode) -> None:
        """The mode has turned out to be too slow for the recipe."""
        key = (recipe, mode.number)
        _, hold_s = self._held.get(key, (0, self._hold_s / 2))
        if not self._late:
            hold_s = min(2 * hold_s, LONGEST_HOLD_S)
        self._held[key] = (self._clock.monotonic_ns() + round(hold_s * 1e9), hold_s)

    def pace(self, recipe: LoadedRecipe, mode: PowerMode | None, p99_ms: Mapping[str, float], *, fresh: bool) -> Pace:
        now, settings = self._clock.monotonic_ns(), recipe.settings
        calm_s = (now - self._since_ns) / 1e9
        key = None if mode is None else (recipe.name, mode.number)
        if key in self._held and calm_s > GOOD_AGAIN * self._held[key][1]:
            del self._held[key]
        return Pace(
            budget_ms=settings.deadline_ms - settings.output_margin_ms,
            p99_ms=p99_ms,
            live_p99_ms=self._live_p99_ms(),
            calm_s=calm_s,
            late=self._late,
            too_slow={
                number for (name, number), (until, _) in self._held.items() if name == recipe.name and now < until
            },
            fresh=fresh,
        )

    def _live_p99_ms(self) -> float | None:
        if len(self._cycles_ms) < FEWEST:
            return None
        return sorted(self._cycles_ms)[math.ceil(0.99 * len(self._cycles_ms)) - 1]
