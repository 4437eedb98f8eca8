"""Emulated cameras for the whole process, and folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

os.environ.setdefault("PYLON_CAMEMU", "8")
cv2.setNumThreads(1)

Pictures = dict[str, npt.NDArray[Any]]
WriteFolder = Callable[[Pictures], Path]


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Writes pictures under their names into a new folder."""

    def write(pictures: Pictures) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        for name, picture in pictures.items():
            assert cv2.imwrite(str(folder / name), picture)
        return folder

    return write


@pytest.fixture
def noise() -> Callable[..., npt.NDArray[np.uint8]]:
    """A picture in which no two pixels are alike by design: a shift, crop or scale is seen."""
    rng = np.random.default_rng(20261122)

    def make(*shape: int) -> npt.NDArray[np.uint8]:
        return rng.integers(0, 256, shape, np.uint8)

    return make
