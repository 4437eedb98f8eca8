"""Pictures of a board from files: which ones a pattern means, how they are read, and where the board is in them."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_inspector.calibration.boards import board_text
from edge_inspector.calibration.detect import Gray, find_board
from edge_inspector.calibration.records import Board, Dropped, Sighting
from edge_inspector.errors import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_12_BIT = 4095


def picture_files(patterns: Sequence[str]) -> list[Path]:
    """The files that names, folders and patterns such as 'dir/*.jpg' mean: each once, img2 before img10.

    ConfigError: one of them means no file.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            files = [inside for inside in path.iterdir() if inside.suffix.lower() in SUFFIXES]
        elif path.is_file():
            files = [path]
        else:
            files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
        if not files:
            raise ConfigError(
                f"--images {pattern!r}: no picture is there; expected files, a folder or a quoted pattern"
            )
        found |= dict.fromkeys(sorted(files, key=_natural))
    return list(found)


def read_gray(path: Path) -> Gray:
    """A picture file as the camera's gray pixels, HxW uint8: colour and 16 bits are reduced, EXIF does not turn it.

    ConfigError: it cannot be read.
    """
    try:
        picture: Any = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except cv2.error as exc:
        raise ConfigError(f"{path}: is empty or not a picture; expected one of {', '.join(SUFFIXES)}") from exc
    if picture is None:
        raise ConfigError(f"{path}: is not a picture that OpenCV can read; expected one of {', '.join(SUFFIXES)}")
    if picture.dtype == np.uint16:  # a 12-bit camera's values or all 16 bits
        picture = (picture >> (4 if picture.max() <= MAX_12_BIT else 8)).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise ConfigError(f"{path}: has {picture.dtype} pixels, expected 8 or 16 bits; convert it to png")
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGRA2GRAY if picture.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    return np.asarray(picture, np.uint8)


def seen_in(
    files: Sequence[Path], board: Board, progress: Callable[[str, int, int], None]
) -> tuple[list[Sighting], list[Dropped]]:
    """The board in each picture; those that cannot be read, do not show it or come twice are named with the reason."""
    sightings, dropped = [], []
    first: dict[bytes, str] = {}
    for done, (name, path) in enumerate(named(files).items()):
        progress("finding the board", done, len(files))
        try:
            gray = read_gray(path)
            same = first.setdefault(hashlib.sha256(gray.tobytes()).digest(), name)
            if same != name:
                dropped.append(Dropped(name, f"is the same picture as {same}"))
                continue
            sighting = find_board(gray, board, name)
        except ConfigError as exc:
            dropped.append(Dropped(name, str(exc)))
            continue
        if sighting is None:
            dropped.append(Dropped(name, f"no {board_text(board)} found in it"))
        else:
            sightings.append(sighting)
    progress("finding the board", len(files), len(files))
    return sightings, dropped


def named(files: Sequence[Path]) -> dict[str, Path]:
    """Short names, or whole paths where two files have the same name; bytes that are no UTF-8 are escaped."""
    names = [path.name for path in files]
    shown = (path.name if names.count(path.name) == 1 else str(path) for path in files)
    text = (os.fsencode(name).decode("utf-8", "backslashreplace") for name in shown)
    return dict(zip(text, files, strict=True))


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], str(path)
