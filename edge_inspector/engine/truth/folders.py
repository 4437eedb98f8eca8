"""A folder for each class, with its pictures in it: classification and anomaly sets."""

from __future__ import annotations

from pathlib import Path

from edge_inspector.engine.truth.problems import picture_problems, pictures_below, refuse
from edge_inspector.engine.truth.records import LabelledPicture, Truth


def read_folders(source: Path) -> Truth:
    """Each picture is of the class that its folder is named after. ConfigError with all that is wrong."""
    pictures, problems = [], []
    for path in pictures_below(source):
        name = path.relative_to(source)
        if len(name.parts) == 1:
            problems.append(f"{name} lies beside the folders of the classes; move it into one of them")
            continue
        pictures.append(LabelledPicture(path, name.as_posix(), name.as_posix(), classes=(name.parts[0],)))
    folders = sorted(f.name for f in source.iterdir() if f.is_dir() and not f.name.startswith("."))
    filled = {picture.classes[0] for picture in pictures}
    problems += [f"folder {name} holds no picture; fill or remove it" for name in folders if name not in filled]
    refuse(source, problems)
    refuse(source, picture_problems(pictures))
    return Truth(source, "folders", tuple(folders), tuple(pictures))
