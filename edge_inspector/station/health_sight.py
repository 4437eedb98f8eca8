"""One camera as one recipe's reference shows it: its last pictures, and what was found in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_inspector.datatypes import FeatureValue
from edge_inspector.settings.golden import HealthSettings
from edge_inspector.stages import camera_dirt
from edge_inspector.stages.camera_findings import Finding, findings, least_px
from edge_inspector.stages.camera_health import Eye, Measured
from edge_inspector.stages.camera_reference import Gray


@dataclass(frozen=True)
class Told:
    """What people should know; all three as in `Event`."""

    severity: Literal["info", "warning", "alarm"]
    code: str
    text: str


class Sight:
    """`missing` says why there is nothing to compare the camera with, empty = there is; `found` is what stands."""

    def __init__(
        self, recipe: str, camera: str, settings: HealthSettings, features: Mapping[str, FeatureValue]
    ) -> None:
        self.recipe = recipe
        self.camera = camera
        self.settings = settings
        self.features = dict(features)
        self.missing = ""
        self.found: tuple[Finding, ...] = ()
        self.looked_ns: int | None = None
        self.eye: Eye | None = None
        self._window: deque[Measured] = deque(maxlen=settings.pictures)
        self._streak: camera_dirt.Streak | None = None

    @property
    def full(self) -> bool:
        """Whether as many pictures are known as a finding needs."""
        return len(self._window) == self.settings.pictures

    @property
    def alarms(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.found if one.level == "alarm")

    def due(self, now_ns: int) -> bool:
        """Whether another picture is wanted: each, until as many are known as needed, and then one now and then."""
        if self.missing:
            return False
        looked_ns = self.looked_ns
        return not self.full or looked_ns is None or now_ns - looked_ns >= self.settings.every_s * 1e9

    def anew(self) -> None:
        """Forget the pictures: the next ones tell."""
        self._window.clear()
        self._streak = None

    def rest(self) -> None:
        """Another recipe has the camera: what takes memory goes."""
        self.eye = None
        self.anew()

    def see(self, eye: Eye, picture: Gray) -> None:
        """One picture more, of the reference's size."""
        self.eye = eye
        measured = eye.measure(picture)
        odd = eye.odd(picture, measured)
        self._window.append(measured)
        self._streak = camera_dirt.begin(odd) if self._streak is None else camera_dirt.goes_on(self._streak, odd)

    def judge(self) -> tuple[Told, ...]:
        """What has changed by the last picture. An alarm that stops the station stays until somebody has seen it."""
        if not self.full or self._streak is None or self.eye is None:
            return ()
        before = {one.kind: one for one in self.found}
        spots = camera_dirt.spots(self._streak, self.settings.pictures, least_px(self.settings))
        levels = {kind: one.level for kind, one in before.items()}
        seen = findings(self.settings, self.eye.reference.spread, self._window, spots, levels)
        now = {one.kind: one for one in seen}
        if self.settings.stops:
            now |= {one.kind: one for one in self.alarms}
        where = f"recipe {self.recipe}, camera {self.camera}"
        told = [
            Told(one.level, f"camera_{kind}", f"{where}: {one.text}")
            for kind, one in now.items()
            if one.level != levels.get(kind)
        ]
        gone = [kind for kind in before if kind not in now]
        if gone:
            told.append(Told("info", "camera_well", f"{where}: {', '.join(gone)} as it was again"))
        self.found = tuple(now.values())
        return tuple(told)
