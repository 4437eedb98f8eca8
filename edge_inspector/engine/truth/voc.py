"""Pascal VOC: a folder with one XML file a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # documents with a DTD are refused before: no entities are expanded
from pathlib import Path

from edge_inspector.engine.truth.problems import box_problem, inside, picture_problems, refuse, text_of
from edge_inspector.engine.truth.records import SUFFIXES, LabelledPicture, Thing, Truth
from edge_inspector.errors import ConfigError


def read_voc(source: Path, images: Path) -> Truth:
    """The pictures of which the folder's XML files speak. ConfigError with all that is wrong.

    VOC counts pixels from 1 and the last one belongs to the box: xmin 1, xmax 200 is the whole of a 200 px picture.
    A difficult object is an object: a line that cannot tell must not pass it.
    """
    problems, pictures = [], []
    for path in sorted(source.glob("*.xml")):
        try:
            pictures.append(_picture(path, images))
        except (ConfigError, ValueError) as exc:
            problems.append(f"{path.name}: {exc}")
    refuse(source, problems)
    refuse(source, picture_problems(pictures))
    names = dict.fromkeys(thing.class_name for picture in pictures for thing in picture.things or ())
    return Truth(source, "voc", tuple(sorted(names)), tuple(pictures))


def _picture(path: Path, images: Path) -> LabelledPicture:
    """ValueError: what is wrong."""
    text = text_of(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("has a document type declaration, which no labelling tool writes; remove it")
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError, RecursionError) as exc:
        raise ValueError(f"is not XML ({exc})") from exc
    if root.tag != "annotation":
        raise ValueError(f"has <{root.tag}>, expected <annotation>")
    name = (root.findtext("filename") or "").strip()
    if not name:
        raise ValueError("has no <filename>")
    file = _file(images, name)
    hw = None
    if root.find("size") is not None:
        hw = (_whole(root, "size/height"), _whole(root, "size/width"))
    things = tuple(_thing(one, hw) for one in root.iter("object"))
    return LabelledPicture(file, name, name, "", None if hw == (0, 0) else hw, things)


def _file(images: Path, name: str) -> Path:
    """The picture; some tools leave its suffix out."""
    file = inside(images, name)
    if file is None:
        raise ValueError(f"filename {name!r} leads out of the images folder")
    if file.is_file():
        return file
    return next((found for s in SUFFIXES if (found := file.with_name(file.name + s)).is_file()), file)


def _whole(root: ET.Element, path: str) -> int:
    text = (root.findtext(path) or "").strip()
    if not text.isdecimal() or len(text) > 6:
        raise ValueError(f"<{path}> is {text!r}, expected a whole number of pixels")
    return int(text)


def _thing(one: ET.Element, hw: tuple[int, int] | None) -> Thing:
    name = (one.findtext("name") or "").strip()
    if not name:
        raise ValueError("has an <object> without <name>")
    corners = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = (one.findtext(f"bndbox/{corner}") or "").strip()
        try:
            corners.append(float(text))
        except ValueError:
            raise ValueError(f"{name}: <{corner}> is {text!r}, expected a number") from None
    xyxy = (corners[0] - 1, corners[1] - 1, corners[2], corners[3])
    problem = box_problem(xyxy, None if hw == (0, 0) else hw)
    if problem:
        raise ValueError(f"{name}: {problem}")
    return Thing(name, xyxy)
