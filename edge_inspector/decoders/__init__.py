"""What each model family's raw outputs mean: one file a family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from edge_inspector.datatypes import Detections, Findings, Tensors


class Decoder(Protocol):
    """Reads findings out of raw outputs. Named by the bundle, never guessed from shapes."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """What bundles of this family may call their task."""
        ...

    def check(self, shapes: Mapping[str, tuple[int, ...]], classes: int) -> None:
        """BundleError when outputs of these shapes are not this family's for that many classes."""
        ...

    def decode(self, tensors: Tensors, tile: int, score_floor: float, classes: int) -> Findings:
        """What one tile shows: candidates in model-input pixels before NMS. InferenceError for impossible values."""
        ...


@runtime_checkable
class DrawsRegions(Protocol):
    """A family whose regions are dear: they are drawn for what NMS has left."""

    def draw(self, tensors: Tensors, tile: int, kept: Detections) -> Detections:
        """`kept` with `regions`, all in model-input pixels; `kept.candidate` is what `decode` gave it."""
        ...
