"""Cameras whose lens is known: what the rendered boards are filmed through."""

from __future__ import annotations

from collections.abc import Callable

from edge_inspector.calibration.records import Sighting
from edge_inspector.datatypes import Calibration

BARREL = Calibration((600, 800), (700.0, 702.0, 405.3, 296.8), (-0.2, 0.06, 0.0008, -0.0005, 0.01))
RATIONAL = Calibration((600, 800), (560.0, 561.0, 396.2, 304.1), (0.9, 0.12, 0.0005, -0.0004, 0.004, 1.25, 0.3, 0.02))
FISHEYE = Calibration((600, 800), (300.0, 301.0, 405.3, 296.8), (0.02, -0.005, 0.002, -0.001), "fisheye")

Views = Callable[[str, Calibration], tuple[Sighting, ...]]
