"""Reference pictures on the disk: a picture file and its facts for each camera of a recipe."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import TypeAdapter, ValidationError

from edge_inspector.datatypes import FeatureValue
from edge_inspector.engine.files import sync
from edge_inspector.errors import StorageError
from edge_inspector.stages.camera_reference import Reference, Spread

FOLDER = "references"
"""In the state folder: RECIPE/CAMERA.png and RECIPE/CAMERA.json."""
AGAIN = "take it again: `edge-inspector reference take`"


@dataclass(frozen=True)
class Facts:
    """What belongs to a reference picture. `sha256` is that of the picture file and of all other facts."""

    taken_utc: str
    who: str
    pictures: int
    features: Mapping[str, FeatureValue]
    focus: tuple[float, ...]
    spread: Spread
    sha256: str = ""


_FACTS = TypeAdapter(Facts)


def write_reference(folder: Path, recipe: str, camera: str, reference: Reference, facts: Facts) -> str:
    """Write both files; returns the sha256. The picture's three channels are the lowest, middle and highest values.

    The new picture waits beside the old one until its facts are there: whenever the power goes, the old pair is there
    or the new one. StorageError: they cannot be written; what was there is there still.
    """
    stacked = np.dstack([reference.low, reference.median, reference.high])
    content = cv2.imencode(".png", stacked, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    sha256 = _sum(content, facts)
    facts = replace(facts, sha256=sha256)
    path = folder / FOLDER / recipe / f"{camera}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _settle(path)
        _put(_waiting(path), content)
        _put(path.with_suffix(".json"), json.dumps(asdict(facts), indent=1).encode())
        _settle(path)
    except OSError as exc:
        raise StorageError(
            f"reference {path} cannot be written: {exc.strerror}; free space, or let this user write there"
        ) from exc
    return sha256


def read_reference(folder: Path, recipe: str, camera: str) -> tuple[Reference, Facts] | None:
    """None = there is none. StorageError: it is damaged or was changed, and has to be taken again."""
    path = folder / FOLDER / recipe / f"{camera}.png"
    try:
        path, content, facts = _pair(path)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"reference {path} cannot be read: {exc.strerror}; {AGAIN}") from exc
    except ValidationError as exc:
        raise StorageError(f"{path.with_suffix('.json')} are no facts of a reference picture; {AGAIN}") from exc
    if _sum(content, facts) != facts.sha256:
        raise StorageError(f"reference {path} is not what was taken: its sha256 is another; {AGAIN}")
    stacked = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if stacked is None:
        raise StorageError(f"reference {path} is no picture; {AGAIN}")
    low, median, high = (np.ascontiguousarray(stacked[:, :, i], np.uint8) for i in range(3))
    return Reference(low, median, high, facts.focus, facts.spread), facts


def _waiting(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _pair(path: Path) -> tuple[Path, bytes, Facts]:
    """The picture that the facts are of, or else the one that bears the name. OSError, ValidationError."""
    facts = _FACTS.validate_json(path.with_suffix(".json").read_bytes())
    waiting = _waiting(path)
    if waiting.exists() and _sum(content := waiting.read_bytes(), facts) == facts.sha256:
        return waiting, content, facts
    return path, path.read_bytes(), facts


def _settle(path: Path) -> None:
    """Give the picture that the facts are of its name. OSError."""
    try:
        found = _pair(path)[0]
    except (FileNotFoundError, ValidationError):
        return
    if found != path:
        found.replace(path)
        sync(path.parent)


def _put(path: Path, content: bytes) -> None:
    """All of it or nothing, also after a power cut, and on the disk when it returns."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def _sum(content: bytes, facts: Facts) -> str:
    said: dict[str, Any] = {**asdict(facts), "sha256": ""}
    return hashlib.sha256(content + json.dumps(said, sort_keys=True).encode()).hexdigest()
