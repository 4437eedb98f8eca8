"""Setting GenICam features: each is checked, written, read back, and can be put back."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from edge_inspector.cameras.basler.buffers import PACKED
from edge_inspector.cameras.basler.nodes import Feature, Kind, Nodes
from edge_inspector.datatypes import FeatureValue
from edge_inspector.errors import FeatureError

ACE_CLASSIC = {
    "ExposureTime": "ExposureTimeAbs",
    "AcquisitionFrameRate": "AcquisitionFrameRateAbs",
    "TriggerDelay": "TriggerDelayAbs",
}
"""What GigE cameras from before SFNC 2 call them; microseconds and hertz, too."""
AUTOMATIC = {
    "ExposureTime": "ExposureAuto",
    "ExposureTimeAbs": "ExposureAuto",
    "ExposureTimeRaw": "ExposureAuto",
    "Gain": "GainAuto",
    "GainRaw": "GainAuto",
}
"""What would change a feature behind our back, and is switched off when it is set."""
FLOAT_TOLERANCE = 0.001
"""A float may come back rounded to the camera's steps: by its increment or by this part of the value."""
_EXPECTED: Mapping[Kind, tuple[type | tuple[type, ...], str]] = {
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "enumeration": (str, "a text"),
    "string": (str, "a text"),
}

Journal = list[tuple[str, FeatureValue]]
"""Nodes and what they were, in the order in which they were written."""


class Features:
    """Writes a camera's features and says in words what it refuses. `camera` is its name in messages.

    `genicam` is pypylon's module: what it raises while a feature is set is a FeatureError.
    """

    def __init__(self, camera: str, nodes: Nodes, genicam: Any) -> None:
        self._camera = camera
        self._nodes = nodes
        self._genicam = genicam

    def write(self, name: str, value: FeatureValue, journal: Journal | None = None) -> None:
        """Set one feature and read it back; nothing is clipped.

        FeatureError: not of this camera, wrong type, out of range, or taken as something else.
        `journal` gains what was there before, also when the write is refused halfway.
        """
        journal = [] if journal is None else journal
        feature = self._known(name)
        wanted = self._checked(feature, value)
        try:
            automatic = AUTOMATIC.get(feature.name, "")
            if self._nodes.value(automatic) not in (None, "Off") and self._nodes.writable(automatic):
                self._put(automatic, "Off", journal)
                feature = self._known(name)
            self._check_allowed(feature, wanted)
            self._put(feature.name, wanted, journal)
            got = self._nodes.value(feature.name)
        except self._genicam.GenericException as exc:
            raise FeatureError(f"{self._asked(feature, value)} was refused: {exc}") from exc
        if not _same(feature, wanted, got):
            taken = f"{_shown(got)}{_unit(feature)}"
            raise FeatureError(
                f"{self._asked(feature, value)} was taken as {taken}; write {_shown(got)} if that will do"
            )

    def undo(self, journal: Journal) -> None:
        """Put back what `write` has changed, last change first, and empty the journal. FeatureError: not possible."""
        while journal:
            name, value = journal[-1]
            try:
                self._nodes.put(name, value)
                journal.pop()
            except self._genicam.GenericException as exc:
                raise FeatureError(
                    f"camera {self._camera}: {name} cannot be put back to {_shown(value)}: {exc}"
                ) from exc

    def locked(self, name: str) -> bool:
        """Whether this camera has the feature but does not let it be written now, though no automatic holds it."""
        node = _spelled(self._nodes, name)
        if self._nodes.find(node) is None or self._nodes.writable(node):
            return False
        return self._nodes.value(AUTOMATIC.get(node, "")) in (None, "Off")

    def _known(self, name: str) -> Feature:
        feature = self._nodes.feature(_spelled(self._nodes, name))
        if feature is not None:
            return feature
        if name == "Gain" and (raw := self._nodes.feature("GainRaw")) is not None:
            raise FeatureError(
                f"camera {self._camera}: it has no Gain in dB, only GainRaw, "
                f"{_shown(raw.minimum)} to {_shown(raw.maximum)} (its manual tells the dB of a step); set GainRaw"
            )
        if self._nodes.find(name) is not None:
            raise FeatureError(f"camera {self._camera}: {name} is a command or a category, expected a setting")
        by_lower = {known.lower(): known for known in self._nodes.names()}
        close = [by_lower[lower] for lower in difflib.get_close_matches(name.lower(), by_lower)]
        closest = f"closest are {', '.join(close)}" if close else "edge-inspector camera show lists all"
        raise FeatureError(f"camera {self._camera}: {name} is not a feature of this camera; {closest}")

    def _checked(self, feature: Feature, value: FeatureValue) -> FeatureValue:
        """The value as the camera takes it. FeatureError when it is of the wrong type."""
        kind, words = _EXPECTED[feature.kind]
        if not isinstance(value, kind) or (isinstance(value, bool) and feature.kind != "boolean"):
            range_text = f", {_allowed(feature)}" if feature.choices or feature.minimum is not None else ""
            raise FeatureError(
                f"camera {self._camera}: {feature.name} = {value!r} is of the wrong type, expected {words}{range_text}"
            )
        if feature.kind == "enumeration" and value not in feature.choices:
            return next((name for name in feature.choices if PACKED.get(name) == value), value)
        return float(value) if feature.kind == "float" else value

    def _check_allowed(self, feature: Feature, value: FeatureValue) -> None:
        outside = feature.choices and value not in feature.choices
        if isinstance(value, (int, float)) and feature.minimum is not None and feature.maximum is not None:
            outside = not feature.minimum <= value <= feature.maximum or (
                feature.kind == "integer" and (value - feature.minimum) % (feature.increment or 1) != 0
            )
        if outside:
            raise FeatureError(f"{self._asked(feature, value)}, expected {_allowed(feature)}")
        if not feature.writable:
            raise FeatureError(
                f"{self._asked(feature, value)} cannot be written now: it is read-only, or another feature locks it"
            )
        if feature.value is None:
            raise FeatureError(f"{self._asked(feature, value)} cannot be checked: this camera does not let it be read")

    def _put(self, node: str, value: FeatureValue, journal: Journal) -> None:
        before = self._nodes.value(node)
        if before is not None:
            journal.append((node, before))
        self._nodes.put(node, value)

    def _asked(self, feature: Feature, value: FeatureValue) -> str:
        return f"camera {self._camera}: {feature.name} = {_shown(value)}{_unit(feature)}"


class Overrides:
    """A recipe's features over those of the camera; the next recipe begins again at the camera's own."""

    def __init__(self, features: Features) -> None:
        self.current: Mapping[str, FeatureValue] = {}
        self._features = features
        self._journal: Journal = []

    def locked(self, following: Mapping[str, FeatureValue]) -> bool:
        """Whether a change to those needs grabbing to be stopped."""
        return any(self._features.locked(name) for name in (*following, *(node for node, _ in self._journal)))

    def replace(self, following: Mapping[str, FeatureValue]) -> None:
        """The camera's own features, then `following` in its order. FeatureError leaves it between the two."""
        self._features.undo(self._journal)
        self.current = {}
        for name, value in following.items():
            self._features.write(name, value, self._journal)
        self.current = dict(following)


def _spelled(nodes: Nodes, name: str) -> str:
    """The name that this camera has for it."""
    old = ACE_CLASSIC.get(name)
    return old if old is not None and nodes.find(name) is None and nodes.find(old) is not None else name


def _same(feature: Feature, wanted: FeatureValue, got: FeatureValue | None) -> bool:
    if feature.kind == "float" and isinstance(got, (int, float)) and isinstance(wanted, (int, float)):
        return abs(got - wanted) <= max(feature.increment or 0.0, FLOAT_TOLERANCE * abs(wanted))
    return wanted == got


def _allowed(feature: Feature) -> str:
    if feature.choices:
        return f"one of {', '.join(feature.choices)}"
    steps = (
        "" if feature.increment is None or (feature.kind, feature.increment) == ("integer", 1) else feature.increment
    )
    return f"{_shown(feature.minimum)} to {_shown(feature.maximum)}{_unit(feature)}" + (
        f" in steps of {_shown(steps)}" if steps else ""
    )


def _unit(feature: Feature) -> str:
    return f" {feature.unit}" if feature.unit else ""


def _shown(value: FeatureValue | None) -> str:
    return f"{round(value, 6):.12g}" if isinstance(value, float) else str(value)
