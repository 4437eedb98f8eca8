"""What each model family's raw outputs mean: one file a family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edge_inspector.datatypes import Detections, Tensors


class Decoder(Protocol):
    """Reads detections out of raw outputs. Named by the bundle, never guessed from shapes."""

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError when outputs of these shapes are not this family's for that many classes."""
        ...

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Detections:
        """Candidates of one tile, boxes in model-input pixels, before NMS. InferenceError for impossible values."""
        ...
