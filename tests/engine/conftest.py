"""Pictures for networks of tests/networks.py to be scaled by."""

from __future__ import annotations

from pathlib import Path

import cv2
import networks
import numpy as np
import pytest

SIDE = 64
PICTURES = 20


@pytest.fixture(scope="session")
def calibration_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures, every second one with a bright or a dark spot."""
    folder = tmp_path_factory.mktemp("calibration")
    rng = np.random.default_rng(7)
    for number in range(PICTURES):
        pixels, _ = networks.picture(rng, SIDE, 1, (None, 250, None, 6)[number % 4])
        cv2.imwrite(str(folder / f"{number:02}.png"), pixels)
    return folder
