"""What people say of pictures and parts, read from the files of the usual labelling tools."""

from __future__ import annotations

from pathlib import Path

from edge_inspector.engine.truth.coco import read_coco
from edge_inspector.engine.truth.folders import read_folders
from edge_inspector.engine.truth.problems import pictures_below
from edge_inspector.engine.truth.records import (
    Format,
    LabelledPicture,
    Polygon,
    Thing,
    Truth,
    class_names,
    is_bad,
    says_good,
)
from edge_inspector.engine.truth.tables import PartVerdicts, read_part_verdicts, read_table, with_parts
from edge_inspector.engine.truth.voc import read_voc
from edge_inspector.engine.truth.yolo import read_yolo
from edge_inspector.errors import ConfigError

__all__ = [
    "Format",
    "LabelledPicture",
    "PartVerdicts",
    "Polygon",
    "Thing",
    "Truth",
    "class_names",
    "is_bad",
    "read_part_verdicts",
    "read_truth",
    "says_good",
]


def read_truth(
    source: Path, images: Path | None = None, *, format: Format | None = None, parts: Path | None = None
) -> Truth:
    """Read a COCO or CSV file, a folder of VOC or YOLO labels, or a folder with one folder for each class.

    `images` is the folder of the pictures; without it that of the source. `parts` is a CSV file that says which
    pictures show one part. ConfigError with all that is wrong.
    """
    kind = format or _format_of(source)
    beside = source if source.is_dir() else source.parent
    folder = beside if images is None else images
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; give the folder of the pictures")
    if kind in ("voc", "yolo", "folders") and not source.is_dir():
        raise ConfigError(f"{source} is not a folder, expected one of {kind.upper()} labels; give the folder")
    if kind == "coco":
        truth = read_coco(source, folder)
    elif kind == "csv":
        truth = read_table(source, folder)
    elif kind == "voc":
        truth = read_voc(source, folder)
    elif kind == "yolo":
        truth = read_yolo(source, folder)
    else:
        truth = read_folders(source)
    return truth if parts is None else with_parts(truth, parts)


def _format_of(source: Path) -> Format:
    """ConfigError: it cannot be told."""
    if not source.exists():
        raise ConfigError(f"{source} is not there; give a COCO or CSV file, or a folder of labels")
    if source.is_file():
        by_suffix: dict[str, Format] = {".json": "coco", ".csv": "csv"}
        if source.suffix.lower() in by_suffix:
            return by_suffix[source.suffix.lower()]
        raise ConfigError(f"{source} is neither .json (COCO) nor .csv; VOC and YOLO labels are given as their folder")
    suffixes = {path.suffix.lower() for path in source.iterdir()}
    kinds: list[Format] = []
    if ".xml" in suffixes:
        kinds.append("voc")
    if any(source.rglob("*.txt")):
        kinds.append("yolo")
    if not kinds and pictures_below(source):
        kinds.append("folders")
    if len(kinds) == 1:
        return kinds[0]
    words = "both VOC (.xml) and YOLO (.txt) labels" if kinds else "no VOC (.xml) and no YOLO (.txt) labels, no picture"
    raise ConfigError(f"{source} holds {words}; give the folder of the labels, or say which with --format")
