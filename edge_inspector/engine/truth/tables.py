"""CSV files: labels of pictures, which pictures show one part, and what a person said of parts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edge_inspector.engine.truth.problems import box_problem, inside, picture_problems, refuse, text_of
from edge_inspector.engine.truth.records import LabelledPicture, Thing, Truth
from edge_inspector.errors import ConfigError

BOX = ("x", "y", "width", "height")
VALUE = "value."
_YES = {"yes": True, "true": True, "1": True, "good": True, "ok": True}
_NO = {"no": False, "false": False, "0": False, "bad": False, "nok": False, "not_ok": False}
_SAYS: Mapping[str, bool] = {**_YES, **_NO}


@dataclass(frozen=True)
class PartVerdicts:
    """What a person says of each part: whether it is good, by its part_id or result_id."""

    key: Literal["part_id", "result_id"]
    good: Mapping[str, bool]


def read_table(source: Path, images: Path) -> Truth:
    """A row a thing, or a picture without one. Columns: file, and any of class, x y width height, good, part, camera.

    A measured value has a column named value. and its name. A class without a box is said of the whole picture.
    ConfigError with all that is wrong.
    """
    header, rows = _rows(source)
    known = {"file", "class", *BOX, "good", "part", "camera"}
    values = [name for name in header if name.startswith(VALUE) and len(name) > len(VALUE)]
    problems = list(_header_problems(header, {"file"}, known | set(values)))
    boxes = [name for name in BOX if name in header]
    if boxes and (len(boxes) < 4 or "class" not in header):
        problems.append(f"it has {', '.join(boxes)}, expected class and all of {', '.join(BOX)} for boxes")
    if not values and not {"class", "good"} & set(header):
        problems.append(f"it says nothing of the pictures; expected class, good or {VALUE}NAME")
    refuse(source, problems)
    pictures: dict[str, LabelledPicture] = {}
    for line, row in rows:
        try:
            one = _picture(row, images, values, bool(boxes))
            pictures[one.name] = _joined(pictures[one.name], one) if one.name in pictures else one
        except ValueError as exc:
            problems.append(f"line {line}: {exc}")
    refuse(source, problems)
    refuse(source, picture_problems(list(pictures.values())))
    classes = {name for p in pictures.values() for name in (*p.classes, *(t.class_name for t in p.things or ()))}
    return Truth(source, "csv", tuple(sorted(classes)), tuple(pictures.values()))


def with_parts(truth: Truth, parts: Path) -> Truth:
    """The same, with each picture's part and camera from a CSV file with the columns file, part and, if so, camera.

    ConfigError: a picture is missing there, or one is listed that the truth does not know.
    """
    header, rows = _rows(parts)
    refuse(parts, _header_problems(header, {"file", "part"}, {"file", "part", "camera"}))
    listed: dict[str, tuple[str, str]] = {}
    problems = []
    for line, row in rows:
        if not row["file"] or not row["part"]:
            problems.append(f"line {line}: file or part is empty")
        elif row["file"] in listed:
            problems.append(f"line {line}: {row['file']} is listed twice")
        else:
            listed[row["file"]] = (row["part"], row.get("camera", ""))
    names = {picture.name for picture in truth.pictures}
    problems += [f"{name} is no picture of {truth.source}" for name in listed if name not in names]
    problems += [f"{name} of {truth.source} is missing here" for name in sorted(names - listed.keys())]
    refuse(parts, problems)
    pictures = [replace(p, part=listed[p.name][0], camera=listed[p.name][1] or p.camera) for p in truth.pictures]
    refuse(parts, picture_problems(pictures))
    return replace(truth, pictures=tuple(pictures))


def read_part_verdicts(source: Path) -> PartVerdicts:
    """A CSV file with the columns part_id or result_id, and good (yes or no). ConfigError with all that is wrong."""
    header, rows = _rows(source)
    keys: list[Literal["part_id", "result_id"]] = [key for key in ("part_id", "result_id") if key in header]
    problems = list(_header_problems(header, {"good"}, None))
    if len(keys) != 1:
        problems.append("expected one of the columns part_id and result_id")
    refuse(source, problems)
    said: dict[str, bool] = {}
    for line, row in rows:
        part = row[keys[0]]
        good = _SAYS.get(row["good"].casefold())
        if not part or good is None:
            problems.append(f"line {line}: {keys[0]} {part!r}, good {row['good']!r}; expected a name, and yes or no")
        elif said.setdefault(part, good) is not good:
            problems.append(f"line {line}: {part} is said to be good and bad")
    if not said and not problems:
        problems.append("it has no row")
    refuse(source, problems)
    return PartVerdicts(keys[0], said)


def _rows(source: Path) -> tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
    """The header, and each row by it, cells stripped, with its line. ConfigError: it is no such table."""
    text = text_of(source)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = tuple(cell.strip() for cell in next(reader, []))
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise ConfigError(
                    f"{source}: line {reader.line_num} has {len(cells)} cells, expected {len(header)} as the header has"
                )
            rows.append((reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))))
    except csv.Error as exc:
        raise ConfigError(f"{source}: line {reader.line_num} is not CSV ({exc}); correct it there") from exc
    return header, rows


def _header_problems(header: tuple[str, ...], needed: set[str], known: set[str] | None) -> Iterator[str]:
    shown = ", ".join(header)[:200]
    for name in sorted(needed - set(header)):
        yield f"column {name} is missing; the header has {shown or 'nothing'}"
    for name in header:
        if known is not None and name not in known:
            yield f"column {name!r} is known to nobody, expected {', '.join(sorted(known))}; correct or remove it"
    if len(set(header)) < len(header):
        yield f"a column is there twice; the header has {shown}"


def _picture(row: Mapping[str, str], images: Path, values: Collection[str], boxes: bool) -> LabelledPicture:
    """What one row says. ValueError: what is wrong."""
    name = row["file"]
    path = inside(images, name)
    if path is None:
        raise ValueError(f"file {name!r} is empty or leads out of the images folder")
    class_name, said = row.get("class", ""), row.get("good", "")
    good = _SAYS.get(said.casefold())
    if said and good is None:
        raise ValueError(f"good is {said!r}, expected yes or no")
    cells = [row[side] for side in BOX] if boxes else []
    things: tuple[Thing, ...] | None = () if boxes else None
    if any(cells):
        if not class_name:
            raise ValueError("a box without a class")
        x, y, width, height = (_number(side, cell) for side, cell in zip(BOX, cells, strict=True))
        xyxy = (x, y, x + width, y + height)
        problem = box_problem(xyxy, None)
        if problem:
            raise ValueError(problem)
        things = (Thing(class_name, xyxy),)
    elif boxes and class_name:
        things = None  # somebody says that it is there, and not where
    return LabelledPicture(
        path,
        name,
        row.get("part", "") or name,
        row.get("camera", ""),
        things=things,
        classes=(class_name,) if class_name and not things else (),
        values={c[len(VALUE) :]: _number(c, row[c]) for c in values if row[c]},
        good=good,
    )


def _number(name: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        raise ValueError(f"{name} is {cell!r}, expected a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} is {cell!r}, expected a finite number")
    return number


def _joined(a: LabelledPicture, b: LabelledPicture) -> LabelledPicture:
    """Two rows of one picture. ValueError: they contradict one another."""
    for what, one, other in (
        ("part", a.part, b.part),
        ("camera", a.camera, b.camera),
        ("good", a.good, b.good),
        ("values", a.values, b.values),
    ):
        if one != other:
            raise ValueError(f"{a.name} has another {what} than in a line before")
    things = None if a.things is None or b.things is None else (*a.things, *b.things)
    classes = dict.fromkeys(
        (*a.classes, *b.classes, *(t.class_name for t in (*(a.things or ()), *(b.things or ())) if things is None))
    )
    return replace(a, things=things, classes=tuple(classes))
