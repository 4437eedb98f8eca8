"""YOLO text files: a folder with one .txt a picture, a line a thing, in shares of the picture's size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import yaml

from edge_inspector.engine.truth.problems import (
    box_problem,
    named,
    picture_problems,
    pictures_below,
    refuse,
    text_of,
)
from edge_inspector.engine.truth.records import LabelledPicture, Polygon, Thing, Truth
from edge_inspector.errors import ConfigError

NAMES_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names")


def read_yolo(source: Path, images: Path) -> Truth:
    """The pictures of `images` with the labels of the folder `source`, below both by the same name.

    A picture without a label file shows nothing, as YOLO has it; a label file without a picture is refused.
    Five numbers are class and box (middle, width, height), more are class and outline. Class names come from
    data.yaml or classes.txt there or in the folder above. ConfigError with all that is wrong.
    """
    names = _names(source)
    files = {p.relative_to(source).with_suffix("").as_posix(): p for p in sorted(source.rglob("*.txt"))}
    files = {stem: path for stem, path in files.items() if path.name not in NAMES_FILES}
    pictures: list[LabelledPicture] = []
    problems: list[str] = []
    used: set[str] = set()
    for path in pictures_below(images):
        name = path.relative_to(images).as_posix()
        stem = Path(name).with_suffix("").as_posix()
        label = files.get(stem)
        if stem in used:
            problems.append(f"{name}: two pictures have the labels {stem}.txt")
        used.add(stem)
        try:
            hw, things = _labels(path, None if label is None else text_of(label), names)
            pictures.append(LabelledPicture(path, name, name, "", hw, things))
        except (ConfigError, ValueError) as exc:
            problems.append(f"{name if label is None else label.name}: {exc}")
    lonely = sorted(f"{stem}.txt" for stem in files.keys() - used)
    if lonely:
        problems.append(f"labels without a picture in {images}: {named(lonely)}; correct the images folder")
    refuse(source, problems)
    refuse(source, picture_problems(pictures))
    return Truth(source, "yolo", tuple(names), tuple(pictures))


def _labels(path: Path, text: str | None, names: tuple[str, ...]) -> tuple[tuple[int, int] | None, tuple[Thing, ...]]:
    """The picture's size, where it has labels, and what is on it. ValueError: what is wrong."""
    if text is None or not text.strip():
        return None, ()
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError(f"{path} is not a picture, and its size is needed; replace or remove it")
    hw = (int(pixels.shape[0]), int(pixels.shape[1]))
    lines = [line for line in text.splitlines() if line.strip()]
    return hw, tuple(_thing(i, line, names, hw) for i, line in enumerate(lines, start=1))


def _thing(number: int, line: str, names: tuple[str, ...], hw: tuple[int, int]) -> Thing:
    height, width = hw
    try:
        first, *rest = (float(word) for word in line.split())
    except ValueError:
        raise ValueError(f"line {number}: {line[:60]!r} is not numbers") from None
    if not all(math.isfinite(v) for v in (first, *rest)) or first != int(first) or not 0 <= first < len(names):
        raise ValueError(f"line {number}: class {first:g}, expected 0 to {len(names) - 1}")
    if len(rest) != 4 and (len(rest) < 6 or len(rest) % 2):
        raise ValueError(f"line {number}: {1 + len(rest)} numbers, expected 5 (a box) or 7, 9, ... (an outline)")
    if any(not -0.01 <= v <= 1.01 for v in rest):
        raise ValueError(f"line {number}: a number is not 0 to 1; expected shares of the picture's size, not pixels")
    name = names[int(first)]
    if len(rest) == 4:
        x, y, w, h = rest
        xyxy = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        polygons: tuple[Polygon, ...] = ()
    else:
        points = tuple((x * width, y * height) for x, y in zip(rest[::2], rest[1::2], strict=True))
        xs, ys = zip(*points, strict=True)
        xyxy, polygons = (min(xs), min(ys), max(xs), max(ys)), (points,)
    problem = box_problem(xyxy, hw)
    if problem:
        raise ValueError(f"line {number}: {problem}")
    return Thing(name, xyxy, polygons)


def _names(source: Path) -> tuple[str, ...]:
    """ConfigError: there is no list of class names, or it is none."""
    for folder in (source, source.parent, source.parent.parent):
        for file in NAMES_FILES:
            if (folder / file).is_file():
                return _yaml_names(folder / file) if file.endswith(".yaml") else _listed(folder / file)
    raise ConfigError(f"{source}: the class names are missing; put classes.txt there, a name a line, or data.yaml")


def _listed(path: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in text_of(path).splitlines() if line.strip())
    return _checked(path, list(names))


def _yaml_names(path: Path) -> tuple[str, ...]:
    try:
        document: Any = yaml.safe_load(text_of(path))
    except (yaml.YAMLError, RecursionError) as exc:
        raise ConfigError(f"{path} is not YAML ({exc}); correct it there") from exc
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(str(i) for i in range(len(names))):
        by_number = {int(key): name for key, name in names.items()}
        names = [by_number[i] for i in range(len(names))]
    return _checked(path, names)


def _checked(path: Path, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int | float) for name in names):
        raise ConfigError(f"{path} has no list of class names (names: [...], or a name a line); correct it there")
    told = tuple(str(name) for name in names)
    if len(set(told)) < len(told):
        raise ConfigError(f"{path} names a class twice: {', '.join(told)}; name each once")
    return told
