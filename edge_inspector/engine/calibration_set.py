"""The pictures by which a network is scaled to 8 bits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from edge_inspector.datatypes import Frame, PixelFormat
from edge_inspector.errors import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS: dict[tuple[int, ...], PixelFormat] = {(): "Mono8", (3,): "BGR8"}


def pictures(folder: Path) -> list[Path]:
    """The PNG and JPEG files of a folder, in the order of their content: names do not change what is made of them.

    ConfigError: there is no such folder, or no picture in it.
    """
    return [path for _, path in _by_content(folder)]


def calibration_hash(folder: Path) -> str:
    """SHA-256 over the content of the pictures; their names, times and order in the folder do not matter."""
    return hashlib.sha256("\n".join(digest for digest, _ in _by_content(folder)).encode()).hexdigest()


def read_frame(path: Path) -> Frame:
    """A picture file as a camera would have delivered it. ConfigError: not a picture of 8-bit gray or colour."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ConfigError(f"{path} is not a picture; remove it, or save it again as PNG")
    pixel_format = _FORMATS.get(pixels.shape[2:])
    if pixel_format is None or pixels.dtype != np.uint8:
        raise ConfigError(f"{path} is {pixels.dtype} {pixels.shape}, expected 8-bit gray or colour; save it so")
    return Frame("calibration", 0, 0, 0, pixels, pixel_format)


def _by_content(folder: Path) -> list[tuple[str, Path]]:
    """(SHA-256, path), sorted."""
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
        found = sorted((hashlib.sha256(path.read_bytes()).hexdigest(), path) for path in files)
    except OSError as exc:
        raise ConfigError(
            f"calibration pictures in {folder} cannot be read: {exc.strerror}; give a folder of pictures"
        ) from exc
    if not found:
        raise ConfigError(f"{folder} holds no picture ({', '.join(SUFFIXES)}); give a folder of pictures to calibrate")
    return found
