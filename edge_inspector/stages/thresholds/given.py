"""The thresholds that a recipe and its bundle give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_inspector.datatypes import ThresholdState


def fixed(classes: Sequence[str], defaults: Sequence[float], wanted: Mapping[str, float]) -> ThresholdState:
    """The recipe's threshold where it names the class, else the bundle's."""
    return ThresholdState(tuple(wanted.get(name, default) for name, default in zip(classes, defaults, strict=True)))
