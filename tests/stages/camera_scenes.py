"""Real pictures as a camera of a line would give them: with noise, flicker, parts that move a little, and faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.stages.camera_reference import Gray

DATA = Path(__file__).parents[3] / "shared" / "data"
PICTURES = {
    "board": ("pcb/test/templates", 1),
    "ball screw": ("ballscrew/images", 50),
    "chessboard": ("calib/checkerboard_9x6", 1),
}
"""Folder, and which of its pictures by name."""
MARGIN = 16
Scene = npt.NDArray[np.float32]


def scene(name: str, side: int | None = None) -> Scene:
    """A real picture in gray; `side` cuts a square out of its middle."""
    folder, number = PICTURES[name]
    path = sorted((DATA / folder).iterdir())[number]
    picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.float32)
    if side is not None:
        top, left = (max(0, (length - side) // 2) for length in picture.shape)
        picture = picture[top : top + side, left : left + side]
    return picture


@dataclass
class Station:
    """A camera over one scene. `noise` is a standard deviation in gray values, `flicker` one of the light, a share.

    `moves`: each part lies up to half a pixel off its place, as a real sensor would see it: the scene is shifted by
    whole pixels and halved. `defects` are as many spots a part, each somewhere else.
    """

    scene: Scene
    noise: float = 4.0
    flicker: float = 0.007
    moves: bool = False
    defects: int = 0
    seed: int = 1
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def picture(self, shift: tuple[int, int] = (0, 0), light: float = 1.0, spot: tuple[int, int, float] | None = None,
                scene: Scene | None = None) -> Gray:  # fmt: skip
        """`shift` is x, y in px of the picture, `spot` x, y and gray value of a speck of 10 px."""
        x, y = shift
        seen = self.scene if scene is None else scene
        if self.moves:
            off_x, off_y = self.rng.integers(-1, 2, 2)
            seen = np.roll(seen, (2 * y + off_y, 2 * x + off_x), (0, 1))[MARGIN:-MARGIN, MARGIN:-MARGIN]
            seen = np.asarray(cv2.resize(seen, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
        else:
            seen = np.roll(seen, (y, x), (0, 1))[MARGIN:-MARGIN, MARGIN:-MARGIN]
        seen = seen.copy()
        for _ in range(self.defects):
            where = tuple(int(self.rng.integers(0, length)) for length in seen.shape[::-1])
            cv2.circle(seen, where, int(self.rng.integers(2, 7)), float(self.rng.choice([10.0, 240.0])), -1)
        if spot is not None:
            speck(seen, *spot)
        bright = seen * np.float32(light * (1 + self.rng.normal(0, self.flicker)))
        noisy = bright + self.rng.standard_normal(seen.shape, dtype=np.float32) * np.float32(self.noise)
        return np.asarray(noisy.clip(0, 255).round(), np.uint8)


def speck(picture: Scene, x: int, y: int, gray: float, diameter: float = 10.0) -> None:
    """Paint a round speck with a soft edge that hides nine tenths of what is behind it."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    hides = np.clip(diameter / 2 + 0.5 - np.hypot(columns - x, rows - y), 0, 1).astype(np.float32) * np.float32(0.9)
    picture[:] = picture * (1 - hides) + np.float32(gray) * hides


def out_of_focus(picture: Scene, loss: float) -> Scene:
    """Blurred by as much as costs this share of the variance of the Laplacian."""
    sharp = cv2.Laplacian(picture, cv2.CV_32F).var()
    low, high = 0.05, 6.0
    for _ in range(24):
        sigma = (low + high) / 2
        still_sharp = cv2.Laplacian(cv2.GaussianBlur(picture, (0, 0), sigma), cv2.CV_32F).var() > sharp * (1 - loss)
        low, high = (sigma, high) if still_sharp else (low, sigma)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
