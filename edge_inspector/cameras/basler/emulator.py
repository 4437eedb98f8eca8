"""pylon's own camera emulator, playing a folder of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2

from edge_inspector.errors import CameraError


def emulated_order(folder: Path) -> list[Path]:
    """What the emulator plays: picture n after opening (`frame_id` n) is entry n modulo the length. OSError as iterdir.

    Tried with pypylon 4.1 and 26.9: every entry takes its turn, by the bytes of its name (C before a, img10 before
    img2), hidden files and sub-folders too; what it cannot read (in 4.1 all but png and tif) comes as a failed buffer.
    New files are not seen until reopening.
    """
    return sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))


def play(name: str, device: Any, folder: Path) -> tuple[int, int]:
    """Make an emulated camera play a folder; height and width of its first picture.

    The emulator crops a larger one to Width x Height without a word. So both are one more than the picture: a larger
    one then comes in a wrong size, and the driver refuses it. A smaller one comes in its own size.
    """
    height, width = _first_picture_hw(name, folder)
    device.WidthMax.Value = max(width + 1, device.WidthMax.Value)
    device.HeightMax.Value = max(height + 1, device.HeightMax.Value)
    device.Width.Value, device.Height.Value = width + 1, height + 1
    device.TestImageSelector.Value = "Off"
    device.ImageFileMode.Value = "On"
    device.ImageFilename.Value = str(folder.resolve())
    return height, width


def _first_picture_hw(name: str, folder: Path) -> tuple[int, int]:
    try:
        files = [path for path in emulated_order(folder) if path.is_file()]
    except OSError as exc:
        raise CameraError(f"camera {name}: emulate_folder {folder} cannot be read: {exc}") from exc
    for path in files:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is not None:
            return (int(picture.shape[0]), int(picture.shape[1]))
    raise CameraError(f"camera {name}: emulate_folder {folder} has no picture; expected png, bmp, tif or jpg files")
