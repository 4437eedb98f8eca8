"""The demo's pictures as the demo's camera sees them: on a bench, through a lens that bends straight lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_inspector.datatypes import Calibration, Floats, Roi
from edge_inspector.demo.boards import CLASSES, write_pictures
from edge_inspector.errors import ConfigError

FRAME_HW = (800, 960)
BENCH_GRAY = 96
# A 6 mm lens on a 1/1.8" sensor has about this much barrel distortion.
LENS = Calibration(FRAME_HW, (900.0, 900.0, 483.2, 397.6), (-0.18, 0.05, 0.0006, -0.0004, 0.0))
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class DemoPicture:
    """A picture whose truth is known: `xyxy` (n,4) in its own pixels, empty for a good part."""

    path: Path
    xyxy: Floats
    class_id: NDArray[np.int64]

    @property
    def good(self) -> bool:
        return len(self.class_id) == 0


@dataclass(frozen=True)
class Filmed:
    """One frame of the camera and the truth in undistorted full-image pixels."""

    frame: Path
    xyxy: Floats
    class_id: NDArray[np.int64]

    @property
    def good(self) -> bool:
        return len(self.class_id) == 0


def generated(folder: Path, parts: int, seed: int) -> list[DemoPicture]:
    """Boards of our own, two of five with defects, in an order that the seed decides."""
    bad = parts * 2 // 5
    truth = write_pictures(folder, parts - bad, bad, seed)
    pictures = from_coco([folder], truth)
    order = np.random.default_rng(seed).permutation(len(pictures))
    return [pictures[i] for i in order]


def from_coco(folders: Sequence[Path], truth: Path) -> list[DemoPicture]:
    """Every picture of the folders, in order of name; one that the COCO file does not know is good.

    ConfigError: no such folder, no picture, or classes that are not the demo model's.
    """
    try:
        coco = json.loads(truth.read_text(encoding="utf-8"))
        names = {c["id"]: c["name"] for c in coco["categories"]}
        image_ids = {image["file_name"]: image["id"] for image in coco["images"]}
        boxes: dict[int, list[tuple[list[float], int]]] = {}
        for row in coco["annotations"]:
            boxes.setdefault(row["image_id"], []).append((row["bbox"], CLASSES.index(names[row["category_id"]])))
    except OSError as exc:
        raise ConfigError(f"truth {truth} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        expected = f"a COCO detection file with the classes {', '.join(CLASSES)}"
        raise ConfigError(f"truth {truth} is not usable ({exc!r}); expected {expected}") from exc
    pictures = []
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"pictures {folder} is not a folder")
        for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES):
            known = boxes.get(image_ids.get(path.name, -1), [])
            xywh = np.array([box for box, _ in known], np.float32).reshape(-1, 4)
            xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
            pictures.append(DemoPicture(path, xyxy, np.array([c for _, c in known], np.int64)))
    if not pictures:
        raise ConfigError(f"no picture in {', '.join(map(str, folders))}; expected {', '.join(sorted(_SUFFIXES))}")
    return pictures


def film(pictures: Sequence[DemoPicture], folder: Path) -> tuple[list[Filmed], Roi]:
    """Write what the camera would see of each picture; returns the frames in order and the rectangle of the part.

    Each undistorted frame holds the picture, unscaled, at the same place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bend = _bend()
    filmed = []
    roi: Roi | None = None
    for number, picture in enumerate(pictures):
        pixels = cv2.imread(str(picture.path), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise ConfigError(f"picture {picture.path} cannot be read; expected an image file")
        height, width = pixels.shape
        here = Roi((FRAME_HW[1] - width) // 2, (FRAME_HW[0] - height) // 2, width, height)
        if here.x < 0 or here.y < 0 or (roi is not None and here != roi):
            size = f"{width}x{height}"
            first = f"at most {FRAME_HW[1]}x{FRAME_HW[0]}" if roi is None else f"{roi.width}x{roi.height} as the first"
            raise ConfigError(f"picture {picture.path} is {size}; the demo expects {first}")
        roi = here
        bench = np.full(FRAME_HW, BENCH_GRAY, np.uint8)
        bench[roi.y : roi.y + height, roi.x : roi.x + width] = pixels
        # Cubic: a lens in focus does not blur as bilinear interpolation does, and the station resamples once more.
        frame = cv2.remap(bench, *bend, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=BENCH_GRAY)
        path = folder / f"{number:05d}.png"
        cv2.imwrite(str(path), frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        shift = np.array([roi.x, roi.y, roi.x, roi.y], np.float32)
        filmed.append(Filmed(path, picture.xyxy + shift, picture.class_id))
    if roi is None:
        raise ConfigError("the demo needs at least one picture")
    return filmed, roi


def _bend() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For each distorted pixel, the undistorted one that it shows: the inverse of what the station does."""
    fx, fy, cx, cy = LENS.matrix
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    ys, xs = np.mgrid[0 : FRAME_HW[0], 0 : FRAME_HW[1]].astype(np.float32)
    grid = np.stack([xs.ravel(), ys.ravel()], axis=1)[:, None, :]
    straight = cv2.undistortPoints(grid, matrix, np.array(LENS.distortion), P=matrix).reshape(*FRAME_HW, 2)
    return np.ascontiguousarray(straight[..., 0], np.float32), np.ascontiguousarray(straight[..., 1], np.float32)
