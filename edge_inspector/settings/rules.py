"""Rules that turn what a model saw into a verdict, and the zones that they speak of."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from edge_inspector.settings.base import Confidence, Name, Settings

MOST_POINTS = 1000
"""Corners of all polygons of a zone together: more is a drawing, and judging would take longer."""
FARTHEST_PX = 65_536.0
"""No picture is larger; a corner may lie a picture's width outside of it."""

Coordinate = Annotated[float, Field(ge=-FARTHEST_PX, le=2 * FARTHEST_PX)]
Point = tuple[Coordinate, Coordinate]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=MOST_POINTS)]
Size = Annotated[float, Field(gt=0, le=1e9)]


class _Numbers(Settings):
    model_config = ConfigDict(allow_inf_nan=False)


class Zone(_Numbers):
    """A part of one camera's picture: inside any of `include` and outside all of `exclude`."""

    camera: Name = Field(description="A camera of the recipe.")
    include: tuple[Polygon, ...] = Field(
        (),
        max_length=64,
        description="Polygons of [x, y] in undistorted full-image pixels, whose edges are whole numbers (the middle of"
        " the first pixel is 0.5, 0.5); none: the whole picture.",
    )
    exclude: tuple[Polygon, ...] = Field((), max_length=64, description="Polygons that do not belong to it.")

    @model_validator(mode="after")
    def _bounded(self) -> Zone:
        points = sum(map(len, (*self.include, *self.exclude)))
        if points > MOST_POINTS:
            raise ValueError(f"has polygons of {points} corners together, expected at most {MOST_POINTS}")
        if not points:
            raise ValueError("has neither include nor exclude; for a whole picture give the rule cameras = [...]")
        return self


class _Rule(_Numbers):
    name: Name = Field(description="By which the verdict names the rule.")
    cameras: tuple[Name, ...] = Field(
        (), max_length=16, description="On whose pictures it looks; none: on all of the recipe, or on those of `zones`."
    )


class _PlacedRule(_Rule):
    zones: tuple[Name, ...] = Field((), max_length=64, description="It looks only there; none: at the whole pictures.")

    @model_validator(mode="after")
    def _one_place(self) -> _PlacedRule:
        if self.zones and self.cameras:
            raise ValueError("has zones and cameras; a zone has its camera: remove one of the two")
        return self


class DefectRule(_PlacedRule):
    """Findings that make a part bad. All that is given must be true of a finding; each limit itself is still good.

    A finding is in a zone when any of it is. Its sizes are those of its outline: the sides of the smallest rectangle
    around it, and its area. Where the model draws none, they are the largest that its box can hold: the diagonal, the
    shorter side and the whole area.
    """

    kind: Literal["defect"]
    classes: tuple[str, ...] = Field(
        (), max_length=1000, description="Of which it speaks; none: every class that is a defect."
    )
    longer_than_px: Size | None = Field(None, description="Length above, px.")
    longer_than_mm: Size | None = Field(None, description="Length above, mm on the camera's inspection plane.")
    wider_than_px: Size | None = Field(None, description="Width above, px: the shorter of the two sides.")
    wider_than_mm: Size | None = Field(None, description="Width above, mm.")
    larger_than_px2: Size | None = Field(None, description="Area above, square px.")
    larger_than_mm2: Size | None = Field(None, description="Area above, square mm.")
    total_larger_than_px2: Size | None = Field(None, description="Area of all such findings together above, square px.")
    total_larger_than_mm2: Size | None = Field(None, description="Area of all such findings together above, square mm.")
    at_least: int = Field(1, ge=1, le=10_000, description="So many such findings; fewer are no defect.")
    together: bool = Field(
        default=False, description="Count them, and add their areas, over all pictures of the part; else in each alone."
    )
    in_views: int = Field(1, ge=1, le=16, description="In how many pictures of the part it must be so.")
    grey_score: Confidence = Field(
        0.0, description="Findings that miss their threshold by no more than this are in doubt: NOT_DECIDABLE."
    )
    grey_size: float = Field(
        0.0, ge=0, lt=1, description="Sizes up to this part below their limit are in doubt: NOT_DECIDABLE. 0.1 = 10 %."
    )

    @property
    def sizes(self) -> tuple[float | None, ...]:
        """Every limit of a size, those in mm and square mm last."""
        return (
            self.longer_than_px,
            self.wider_than_px,
            self.larger_than_px2,
            self.total_larger_than_px2,
            *self.sizes_mm,
        )

    @property
    def sizes_mm(self) -> tuple[float | None, ...]:
        """Those for which a camera needs an inspection plane."""
        return (self.longer_than_mm, self.wider_than_mm, self.larger_than_mm2, self.total_larger_than_mm2)

    @model_validator(mode="after")
    def _sensible(self) -> DefectRule:
        if self.together and self.in_views > 1:
            raise ValueError("has together and in_views; what is counted over all pictures is not counted in each")
        if self.grey_size and all(size is None for size in self.sizes):
            raise ValueError("has grey_size, and no size; give one, such as longer_than_px, or remove grey_size")
        return self


class PresenceRule(_PlacedRule):
    """Things that must be there, so many in each picture; any other count makes the part bad.

    A thing is in a zone when the middle of its box is.
    """

    kind: Literal["presence"]
    classes: tuple[str, ...] = Field(min_length=1, max_length=1000, description="What is counted, all of it together.")
    exactly: int | None = Field(None, ge=0, le=10_000, description="This count alone is good.")
    at_least: int | None = Field(None, ge=1, le=10_000, description="The lowest good count.")
    at_most: int | None = Field(None, ge=0, le=10_000, description="The highest good count.")
    grey_score: Confidence = Field(
        0.0,
        description="Things that miss their threshold by no more than this may be there or not: NOT_DECIDABLE when the"
        " count hangs on them.",
    )

    @model_validator(mode="after")
    def _sensible(self) -> PresenceRule:
        given = [count is not None for count in (self.exactly, self.at_least, self.at_most)]
        if not any(given) or (given[0] and any(given[1:])):
            raise ValueError("expected exactly = N, or one or both of at_least and at_most")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least = {self.at_least} is above at_most = {self.at_most}: no count is good")
        return self


class MeasureRule(_Rule):
    """The limits of one measured value, in place of the bundle's."""

    kind: Literal["measure"]
    value: str = Field(description="Which, as the bundle's classes name it.")
    low: float | None = Field(None, description="The lowest good value; None: the bundle's.")
    high: float | None = Field(None, description="The highest good value; None: the bundle's.")
    grey: float = Field(
        0.0, ge=0, description="Good values nearer to a limit than this are in doubt: NOT_DECIDABLE. In its unit."
    )

    @model_validator(mode="after")
    def _sensible(self) -> MeasureRule:
        if self.low is None and self.high is None and not self.grey:
            raise ValueError("expected at least one of low, high and grey")
        return self


class ClassifyRule(_Rule):
    """What a classified view must show."""

    kind: Literal["classify"]
    good: tuple[str, ...] = Field(
        (), max_length=1000, description="The classes that are good here, in place of the bundle's; none: the bundle's."
    )
    margin: Confidence = Field(
        0.0, description="By how much the best good class must lead every other one; a smaller lead is NOT_DECIDABLE."
    )

    @model_validator(mode="after")
    def _sensible(self) -> ClassifyRule:
        if not self.good and not self.margin:
            raise ValueError("expected at least one of good and margin")
        return self


class TolerateRule(_PlacedRule):
    """What is no defect here. In a zone only what lies in it wholly is tolerated."""

    kind: Literal["tolerate"]
    classes: tuple[str, ...] = Field(min_length=1, max_length=1000, description="Which.")


AnyRule: TypeAlias = Annotated[
    DefectRule | PresenceRule | MeasureRule | ClassifyRule | TolerateRule, Field(discriminator="kind")
]
