"""What follows for a camera from its last pictures: nothing, a warning or an alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edge_inspector.settings.golden import HealthSettings
from edge_inspector.stages.camera_dirt import Spot
from edge_inspector.stages.camera_health import BLOCKS, Measured
from edge_inspector.stages.camera_reference import Reference, Spread

Kind: TypeAlias = Literal["position", "focus", "brightness", "uniformity", "dirt"]
Level: TypeAlias = Literal["warning", "alarm"]
SURE = 5.0
"""Standard deviations of the median beyond which chance is not believed: one in a million and a half, of one side."""
MEDIAN = 1.2533
"""Standard deviation of a median of n values, times the square root of n, against that of one value."""
STAYS = 0.8
"""What was told is told until it is below this share of its limit, so that it does not come and go."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was."""

    kind: Kind
    level: Level
    text: str


def findings(
    settings: HealthSettings,
    spread: Spread,
    window: Sequence[Measured],
    spots: Sequence[Spot],
    before: Mapping[Kind, Level],
) -> tuple[Finding, ...]:
    """By the newest `settings.pictures` pictures, all of them; `spots` are what was odd in each. `before` was told.

    A scene that has moved changes its blocks and leaves odd edges: then these are not looked at.
    """
    judge = _Judge(settings, spread, len(window), before)
    moved = judge.position(window)
    rest = [] if moved else [judge.uniformity(window), judge.dirt(spots)]
    return tuple(one for one in (moved, judge.focus(window), judge.brightness(window), *rest) if one is not None)


def least_px(settings: HealthSettings) -> float:
    """The smallest dirt that is worth a look."""
    return settings.dirt_px[0] * STAYS


def unseen(settings: HealthSettings, reference: Reference) -> tuple[str, ...]:
    """What these reference pictures do not let anybody see, in words for people; none = everything."""
    spread = reference.spread
    judge = _Judge(settings, spread, settings.pictures, {})
    most = {"a change of position": min(reference.median.shape) / 2, "a loss of focus": 1.0}  # more there cannot be
    found = []
    for name, limits, sigma, form in (
        ("a change of position", settings.shift_px, spread.shift_px, "{:.1f} px"),
        ("a change of brightness", settings.brightness, spread.brightness, "{:.0%}"),
        ("a loss of focus", settings.focus_loss, spread.focus, "{:.0%}"),
        ("uneven light", settings.uniformity, max(spread.blocks), "{:.0%}"),
    ):
        least = judge.by_chance(sigma)
        if least >= most.get(name, math.inf):
            found.append(f"{name}, because the parts differ by as much")
        elif least > limits[1]:
            found.append(f"{name} of less than {form.format(least)}, because the parts differ by as much")
    if not reference.focus:
        found.append("a loss of focus, because there are too few edges")
    return tuple(found)


class _Judge:
    def __init__(self, settings: HealthSettings, spread: Spread, pictures: int, before: Mapping[Kind, Level]) -> None:
        self._settings = settings
        self._spread = spread
        self._root = math.sqrt(pictures)
        self._before = before

    def by_chance(self, sigma: float) -> float:
        """How far the median of the window may be off although nothing has changed."""
        return SURE * MEDIAN * sigma / self._root

    def position(self, window: Sequence[Measured]) -> Finding | None:
        x, y = np.median([one.shift_px for one in window], axis=0)
        far = math.hypot(x, y)
        where = f"{abs(x):.1f} px {'right' if x > 0 else 'left'}, {abs(y):.1f} px {'down' if y > 0 else 'up'}"
        text = f"the scene is {far:.1f} px from where it was ({where})"
        return self._finding("position", far, self._settings.shift_px, self._spread.shift_px, text)

    def focus(self, window: Sequence[Measured]) -> Finding | None:
        seen = [one.focus for one in window if one.focus is not None]
        if not seen:
            return None
        loss = 1.0 - float(np.median(seen))
        text = f"the edges have lost {loss:.0%} of their sharpness: focus, dirt or condensation on the lens?"
        return self._finding("focus", loss, self._settings.focus_loss, self._spread.focus, text)

    def brightness(self, window: Sequence[Measured]) -> Finding | None:
        change = float(np.median([one.brightness for one in window])) - 1.0
        text = f"the picture is {abs(change):.0%} {'brighter' if change > 0 else 'darker'} than it was"
        return self._finding("brightness", abs(change), self._settings.brightness, self._spread.brightness, text)

    def uniformity(self, window: Sequence[Measured]) -> Finding | None:
        blocks = np.stack([one.blocks for one in window])
        lit = ~np.isnan(blocks).any(axis=0)
        off = np.where(lit, np.abs(np.median(np.where(lit, blocks, 1.0), axis=0) - 1.0), 0.0)
        by_chance = np.array([self.by_chance(sigma) for sigma in self._spread.blocks])
        off[off <= by_chance] = 0.0
        worst = int(np.argmax(off))
        row, column = divmod(worst, BLOCKS)
        text = f"the light is uneven: {off[worst]:.0%} off in row {row + 1}, column {column + 1} of {BLOCKS}x{BLOCKS}"
        return self._finding("uniformity", float(off[worst]), self._settings.uniformity, 0.0, text)

    def dirt(self, spots: Sequence[Spot]) -> Finding | None:
        if not spots:
            return None
        largest = spots[0]
        more = f", and {len(spots) - 1} more" if len(spots) > 1 else ""
        what = "bright" if largest.brighter else "dark"
        text = f"a {what} spot of {largest.diameter_px:.0f} px stays at {largest.x:.0f},{largest.y:.0f}{more}: dirt?"
        return self._finding("dirt", largest.diameter_px, self._settings.dirt_px, 0.0, text)

    def _finding(
        self, kind: Kind, value: float, limits: tuple[float, float], sigma: float, text: str
    ) -> Finding | None:
        told, by_chance = self._before.get(kind), self.by_chance(sigma)
        warning, alarm = limits
        if value > max(alarm * (STAYS if told == "alarm" else 1.0), by_chance):
            return Finding(kind, "alarm", f"{text} (alarm from {alarm:g})")
        if value > max(warning * (STAYS if told else 1.0), by_chance):
            return Finding(kind, "warning", f"{text} (warning from {warning:g}, alarm from {alarm:g})")
        return None
