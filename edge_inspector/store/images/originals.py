"""Stored originals read again, as the camera had delivered them."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import cv2
import numpy as np

from edge_inspector.datatypes import Frame
from edge_inspector.errors import FrameError
from edge_inspector.store.images.encode import NotAPicture, check
from edge_inspector.store.reading import StoredImage


def read_original(folder: Path, image: StoredImage) -> Frame:
    """The frame of an original in the image folder; of a lossless one every pixel is the camera's.

    FrameError: the file is gone, is not the one that was stored, or is not a picture of the booked format.
    """
    content = _content(folder, image)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise FrameError(f"{image.path} cannot be unpacked as a picture")
    if image.pixel_format == "RGB8":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    try:
        check(pixels, image.pixel_format)
    except NotAPicture as exc:
        raise FrameError(f"{image.path} is {exc}") from exc
    if pixels.shape[:2] != image.image_hw:
        raise FrameError(f"{image.path} is {pixels.shape[:2]} pixels high and wide, booked as {image.image_hw}")
    return Frame(image.camera, image.frame_id, 0, 0, pixels, image.pixel_format)


def _content(folder: Path, image: StoredImage) -> bytes:
    path = (folder / image.path).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise FrameError(f"{image.path} lies outside of the image folder {folder}: the ledger was tampered with")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(image.size_bytes + 1) if regular else b""
    except FileNotFoundError as exc:
        raise FrameError(f"{image.path} is not in {folder}; was it deleted, or not copied?") from exc
    except OSError as exc:
        raise FrameError(f"{image.path} cannot be read: {exc.strerror}") from exc
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise FrameError(f"{image.path} is not the file that was stored; somebody has changed it")
    return content
