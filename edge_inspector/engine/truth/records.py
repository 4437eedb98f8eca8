"""What people say of pictures: the same records, whatever file they wrote it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from edge_inspector.datatypes import Criteria

Format: TypeAlias = Literal["coco", "voc", "yolo", "folders", "csv"]
Polygon: TypeAlias = tuple[tuple[float, float], ...]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""What is a picture in a folder."""
GOOD_WORDS = ("good", "ok")
"""Class names that mean "no defect", in any case, where a bundle has no class of that name."""


@dataclass(frozen=True)
class Thing:
    """One labelled object: `xyxy` around it in undistorted full-image pixels; `polygons` where somebody drew it.

    Several polygons are the pieces of one object.
    """

    class_name: str
    xyxy: tuple[float, float, float, float]
    polygons: tuple[Polygon, ...] = ()


@dataclass(frozen=True)
class LabelledPicture:
    """One picture and all that is said of it; `name` is how the truth names it.

    `part` is the part that it shows, the picture itself where the truth names none; `camera` the view, empty = not
    told. `hw` is the size it was labelled at, None = not told. `things` None = nobody drew boxes, empty = there is
    nothing to draw. `classes` are said of the whole picture. `good` None = it follows from the rest: see `is_bad`.
    """

    path: Path
    name: str
    part: str
    camera: str = ""
    hw: tuple[int, int] | None = None
    things: tuple[Thing, ...] | None = None
    classes: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    good: bool | None = None


@dataclass(frozen=True)
class Truth:
    """The pictures of one source, in its order; `classes` are all the names that it declares or uses."""

    source: Path
    format: Format
    classes: tuple[str, ...]
    pictures: tuple[LabelledPicture, ...]


def class_names(picture: LabelledPicture) -> frozenset[str]:
    """All classes that are said of the picture, or of a thing on it."""
    return frozenset((*picture.classes, *(thing.class_name for thing in picture.things or ())))


def says_good(name: str, criteria: Criteria) -> bool:
    """Whether a class name means that there is no defect."""
    if name in criteria.classes:
        return criteria.classes.index(name) in criteria.good
    return name.casefold() in GOOD_WORDS


def is_bad(picture: LabelledPicture, criteria: Criteria) -> bool:
    """Whether a person would reject the part for this picture.

    What `good` says; else a value outside its limits, or a class that is not good.
    """
    if picture.good is not None:
        return not picture.good
    limits = dict(zip(criteria.classes, criteria.limits, strict=False))
    outside = any(
        not limits[name].low <= v <= limits[name].high for name, v in picture.values.items() if name in limits
    )
    return outside or any(not says_good(name, criteria) for name in class_names(picture))
