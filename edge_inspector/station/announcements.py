"""The cameras' matchers together: which announced part each picture of a recipe with trigger = announced is of."""

from __future__ import annotations

from collections.abc import Iterable

from edge_inspector.matching import Doubt, Match, Matcher, Outcome, Seen, Window
from edge_inspector.settings import Recipe

GRACE_NS = 20_000_000
"""A picture that arrived in time may need this long from its camera's thread to the line loop."""
EMPTY_IN_A_ROW = 3
"""After so many announced parts without a picture the camera is opened again."""


class Announcements:
    """Decides, and does nothing. All methods run on the event loop; times are CLOCK_MONOTONIC ns."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self._matchers = {camera: Matcher(camera) for camera in cameras}
        self._empty = dict.fromkeys(self._matchers, 0)

    def announce(self, recipe: Recipe, seq: int | None, at_ns: int) -> dict[str, int]:
        """Open the windows of a part, `seq` None = it was refused; gives when each camera's has to be closed."""
        closing = {}
        for camera, (earliest_ms, latest_ms) in windows(recipe).items():
            before = self._matchers[camera]
            window = Window(seq, at_ns + round(earliest_ms * 1e6), at_ns + round(latest_ms * 1e6))
            self._matchers[camera] = before.announced(window)
            if self._matchers[camera].window is window:
                closing[camera] = window.closes_ns + GRACE_NS
        return closing

    def seen(self, camera: str, picture: Seen) -> Outcome:
        """Whose picture this is."""
        self._matchers[camera], outcome = self._matchers[camera].seen(picture)
        return outcome

    def closed(self, camera: str, seq: int | None, now_ns: int) -> Match | Doubt | None:
        """The window of a part is over; see `Matcher.closed`."""
        self._matchers[camera], outcome = self._matchers[camera].closed(seq, now_ns)
        if isinstance(outcome, Match):
            self._empty[camera] = 0
        elif isinstance(outcome, Doubt):
            self._empty[camera] += 1
        return outcome

    def reopened(self, camera: str, now_ns: int) -> None:
        """The camera counts anew."""
        self._matchers[camera] = self._matchers[camera].reopened(now_ns)
        self._empty[camera] = 0

    def skipped(self, recipe: Recipe, now_ns: int) -> None:
        """The PLC has skipped numbers: parts that it never announced may pass."""
        for camera in windows(recipe):
            self._matchers[camera] = self._matchers[camera].skipped(now_ns)

    def tick(self, recipe: Recipe, now_ns: int) -> None:
        """Time has passed: a camera that was quiet for as long as a picture may take is in step again."""
        for camera, (_, latest_ms) in windows(recipe).items():
            self._matchers[camera] = self._matchers[camera].ticked(now_ns, round(latest_ms * 1e6))

    def waiting(self, cameras: Iterable[str]) -> bool:
        """Whether any of them may still bring a picture of an announced part."""
        return any(self._matchers[camera].window is not None for camera in cameras)

    def doubt(self, cameras: Iterable[str]) -> str:
        """The first of them that is out of step, and why; empty = none."""
        doubts = (f"camera {camera}: {doubt}" for camera in cameras if (doubt := self._matchers[camera].doubt))
        return next(doubts, "")

    def silent(self, camera: str) -> bool:
        """Whether so many parts in a row brought no picture that the camera itself must be doubted."""
        return self._empty[camera] >= EMPTY_IN_A_ROW


def windows(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Earliest and latest arrival after the announcement, ms, by camera; empty when nothing is announced."""
    if recipe.trigger != "announced":
        return {}
    found = {view.camera: view.window_ms or recipe.window_ms for view in recipe.views}
    return {camera: window for camera, window in found.items() if window is not None}
