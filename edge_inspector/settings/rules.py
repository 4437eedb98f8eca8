"""Rules that turn what a model saw into a verdict, and the zones that they speak of."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from edge_inspector.settings.base import Name, Settings

Point = tuple[float, float]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=1000)]


class Zone(Settings):
    """A part of one camera's picture: inside any of `include` and outside all of `exclude`."""

    camera: Name = Field(description="A camera of the recipe.")
    include: tuple[Polygon, ...] = Field(
        (), description="Polygons of [x, y] in undistorted full-image pixels; none: the whole picture."
    )
    exclude: tuple[Polygon, ...] = Field((), description="Polygons that do not belong to it.")


class DefectRule(Settings):
    """Findings that make a part bad."""

    kind: Literal["defect"]
    name: Name = Field(description="By which the verdict names the rule.")
    classes: tuple[str, ...] = Field((), description="Of which it speaks; none: every class that is a defect.")
    zone: Name | None = Field(None, description="Only what touches this zone counts; None: everywhere.")


AnyRule: TypeAlias = Annotated[DefectRule, Field(discriminator="kind")]
