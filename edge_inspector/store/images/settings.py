"""Which pictures are kept, how, and for how long."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from edge_inspector.settings import LocalPath, Name, Settings

Point = tuple[float, float]
FARTHEST_PX = 100_000.0
MOST_CORNERS = 100


class KindSettings(Settings):
    """What holds for originals and for overlays, each by itself."""

    rejects: bool = Field(True, description="Keep every part that is not OK.")
    near_margin: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Keep parts of which a score was as near as this to its threshold, whatever their verdict.",
    )
    every_nth: int | None = Field(
        None, ge=1, description="Keep one of so many OK parts, for statistics and for training."
    )
    golden: bool = Field(True, description="Keep the parts of golden runs.")
    min_days: int = Field(
        7,
        ge=0,
        le=36500,
        description="Not removed sooner, unless max_gb is reached and nothing older is left: then an event tells.",
    )
    max_days: int | None = Field(
        None, ge=1, le=36500, description="Removed when older, once the clock is set. None: as long as there is room."
    )

    @model_validator(mode="after")
    def _days_in_order(self) -> KindSettings:
        if self.max_days is not None and self.max_days < self.min_days:
            raise ValueError(f"max_days = {self.max_days} is less than min_days = {self.min_days}")
        return self


class OriginalSettings(KindSettings):
    """The camera's own pixels."""

    format: Literal["png", "jpeg"] = Field(
        "png", description="png: bit by bit, 12-bit and raw Bayer pixels too, for replay; jpeg: small, for people."
    )
    quality: int = Field(90, ge=1, le=100, description="Of jpeg.")


class OverlaySettings(KindSettings):
    """The undistorted picture with the defects drawn in, for people."""

    format: Literal["jpeg", "png"] = Field("jpeg", description="File format.")
    quality: int = Field(85, ge=1, le=100, description="Of jpeg.")
    max_side_px: int = Field(1600, ge=64, le=65535, description="Larger pictures are shrunk to this width or height.")


def _apart(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """A polygon that crosses itself has holes where nobody expects them."""
    if len(points) > MOST_CORNERS:
        raise ValueError(f"{len(points)} corners, expected at most {MOST_CORNERS}; make two polygons of it")
    if any(not math.isfinite(value) or abs(value) > FARTHEST_PX for point in points for value in point):
        raise ValueError(f"expected coordinates within {FARTHEST_PX:.0f} px")
    if len(set(points)) != len(points):
        raise ValueError("a corner is there twice")
    sides = list(zip(points, (*points[1:], points[0]), strict=True))
    for (i, one), (j, other) in combinations(enumerate(sides), 2):
        if 1 < j - i < len(sides) - 1 and _cross(one, other):
            raise ValueError(f"sides {i + 1} and {j + 1} cross; give the corners in their order, or two polygons")
    return points


def _cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Whether two line segments touch."""
    (a, b), (c, d) = one, other
    turns = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    return any(
        turn == 0 and _between(p, q, r)
        for turn, (p, q, r) in zip(turns, ((a, b, c), (a, b, d), (c, d, a), (c, d, b)), strict=True)
    )


def _turn(a: Point, b: Point, c: Point) -> float:
    return math.copysign(1, t) if (t := (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) else 0.0


def _between(a: Point, b: Point, c: Point) -> bool:
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


class MaskSettings(Settings):
    """What nobody may see later, such as a person or another's product: black in every stored picture."""

    camera: Name = Field(description="A camera of a recipe.")
    polygon: Annotated[tuple[Point, ...], Field(min_length=3), AfterValidator(_apart)] = Field(
        description="The corners [x, y] in their order, undistorted full-image px; they may lie outside the picture."
    )


class ImageSettings(Settings):
    """Pictures of parts; without this table none is kept."""

    folder: LocalPath | None = Field(None, description="Where they go; default: images/ inside state_dir.")
    max_gb: float = Field(20.0, gt=0, le=1_000_000, description="Most that they may take, in GB of 10^9 bytes.")
    min_free_pct: float = Field(
        5.0,
        ge=0,
        lt=100,
        description="How much of the disk stays free, for the ledger above all; percent. Pictures stop before.",
    )
    queue_mb: int = Field(
        256, ge=1, le=65536, description="Memory for pictures that wait for their verdict or to be written, MB."
    )
    originals: OriginalSettings = Field(default_factory=lambda: OriginalSettings.model_validate({}))
    overlays: OverlaySettings = Field(default_factory=lambda: OverlaySettings.model_validate({}))
    masks: tuple[MaskSettings, ...] = Field(
        (), max_length=1000, description="Filled with black before anything is stored; the model sees the whole."
    )

    def of_kind(self, kind: Literal["original", "overlay"]) -> KindSettings:
        return self.originals if kind == "original" else self.overlays
