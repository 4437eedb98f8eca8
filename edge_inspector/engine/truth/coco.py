"""COCO detection and segmentation files; `part_id` and `camera` of an image are ours."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_inspector.engine.truth.problems import box_problem, inside, picture_problems, refuse, text_of
from edge_inspector.engine.truth.records import LabelledPicture, Polygon, Thing, Truth
from edge_inspector.errors import ConfigError

Number = Annotated[float, Field(allow_inf_nan=False)]
Id = int | str
FARTHEST_PX = 1e6
"""A corner farther away is a mistake."""


class _Tolerant(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Image(_Tolerant):
    id: Id
    file_name: str
    width: int | None = Field(None, gt=0)
    height: int | None = Field(None, gt=0)
    part_id: Id | None = None
    camera: str = ""


class _Category(_Tolerant):
    id: Id
    name: str = Field(min_length=1)


class _Annotation(_Tolerant):
    id: Id | None = None
    image_id: Id
    category_id: Id
    bbox: tuple[Number, Number, Number, Number] | None = None
    segmentation: Any = None
    iscrowd: int = 0


class _File(_Tolerant):
    images: tuple[_Image, ...]
    categories: tuple[_Category, ...]
    annotations: tuple[_Annotation, ...]


def read_coco(source: Path, images: Path) -> Truth:
    """The pictures that a COCO file lists. ConfigError with all that is wrong."""
    try:
        file = _File.model_validate(json.loads(text_of(source)))
    except ValidationError as exc:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors(include_url=False)]
        lines.insert(
            0, "not a COCO detection file; expected images, categories and annotations that refer to one another"
        )
        refuse(source, lines)
        raise AssertionError from exc  # `refuse` has raised
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{source} is not a COCO detection file: it is not JSON ({exc}); correct it there") from exc
    refuse(source, _reference_problems(file))
    problems: list[str] = []
    names = {category.id: category.name for category in file.categories}
    sizes = {image.id: _hw(image) for image in file.images}
    things: dict[Id, list[Thing]] = defaultdict(list)
    for i, label in enumerate(file.annotations):
        try:
            things[label.image_id].append(_thing(label, names[label.category_id], sizes[label.image_id]))
        except ValueError as exc:
            problems.append(f"annotations.{i} (image {label.image_id}): {exc}")
    pictures = []
    for image in file.images:
        path = inside(images, image.file_name)
        if path is None:
            problems.append(f"image {image.id}: file_name {image.file_name!r} leads out of the images folder")
            continue
        part = image.file_name if image.part_id is None else str(image.part_id)
        boxes = tuple(things[image.id])
        pictures.append(LabelledPicture(path, image.file_name, part, image.camera, _hw(image), boxes))
    refuse(source, problems)
    refuse(source, picture_problems(pictures))
    return Truth(source, "coco", tuple(names.values()), tuple(pictures))


def _hw(image: _Image) -> tuple[int, int] | None:
    return None if image.height is None or image.width is None else (image.height, image.width)


def _reference_problems(file: _File) -> Iterator[str]:
    listed, known = [image.id for image in file.images], [category.id for category in file.categories]
    for what, ids in (("image", listed), ("category", known)):
        seen: set[Id] = set()
        for one in ids:
            if one in seen:
                yield f"{what} {one} is listed twice; give each its own id"
            seen.add(one)
    names = [category.name for category in file.categories]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"category {name!r} has two ids; list each name once"
    images, categories = set(listed), set(known)
    for i, label in enumerate(file.annotations):
        if label.image_id not in images:
            yield f"annotations.{i}: image {label.image_id} is not listed"
        if label.category_id not in categories:
            yield f"annotations.{i}: category {label.category_id} is not listed"


def _thing(label: _Annotation, name: str, hw: tuple[int, int] | None) -> Thing:
    """ValueError: what is wrong."""
    if label.iscrowd:
        raise ValueError("is a crowd; label each defect with its own box")
    encoded = isinstance(label.segmentation, dict)  # run-length encoded: its box is of use all the same
    if encoded and label.bbox is None:
        raise ValueError("segmentation is run-length encoded, and there is no bbox; export polygons, or boxes too")
    polygons = () if encoded else tuple(_polygons(label.segmentation))
    if label.bbox is not None:
        x, y, width, height = label.bbox
        xyxy = (x, y, x + width, y + height)
    elif polygons:
        xs, ys = zip(*(point for polygon in polygons for point in polygon), strict=True)
        xyxy = (min(xs), min(ys), max(xs), max(ys))
    else:
        raise ValueError("has neither bbox nor segmentation; give one of them")
    problem = box_problem(xyxy, hw)
    if problem:
        raise ValueError(problem)
    return Thing(name, xyxy, polygons)


def _polygons(segmentation: Any) -> Iterator[Polygon]:
    if segmentation in (None, []):
        return
    for flat in segmentation if isinstance(segmentation, list) else [segmentation]:
        numbers = flat if isinstance(flat, list) else []
        if len(numbers) < 6 or len(numbers) % 2 or not all(map(_is_number, numbers)):
            raise ValueError("segmentation is not a list of polygons [x1, y1, x2, y2, x3, y3, ...]")
        yield tuple((float(x), float(y)) for x, y in zip(numbers[::2], numbers[1::2], strict=True))


def _is_number(value: Any) -> bool:
    """A coordinate: JSON as Python reads it knows NaN, infinity and whole numbers that no float can hold."""
    return type(value) in (int, float) and abs(value) < FARTHEST_PX
