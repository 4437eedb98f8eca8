"""Rendered views of each board, and where the real ones lie."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from board_renderer import poses, project, render
from lenses import Views

from edge_inspector.calibration.boards import object_points, parse_board
from edge_inspector.calibration.detect import find_board
from edge_inspector.calibration.records import Sighting
from edge_inspector.datatypes import Calibration

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "calib"
VIEWS = 18


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"the real pictures are not here ({REAL})")
    return REAL


@pytest.fixture(scope="session")
def rendered_views() -> Views:
    """Sightings of a board in rendered pictures with a little noise; every session renders each set once."""

    @cache
    def views(text: str, calibration: Calibration) -> tuple[Sighting, ...]:
        board = parse_board(text)
        found = [
            find_board(render(board, calibration, pose, noise=1.0, seed=n), board, f"view{n:02}.png")
            for n, pose in enumerate(poses(board, calibration, VIEWS))
        ]
        assert all(found), f"{text}: the board is not found in every rendered picture"
        return tuple(s for s in found if s)

    return views


@pytest.fixture(scope="session")
def exact_views() -> Callable[..., list[Sighting]]:
    """Sightings without a picture: projected points with a little noise."""

    def views(
        calibration: Calibration,
        count: int = 12,
        noise_px: float = 0.05,
        seed: int = 0,
        text: str = "chessboard:9x6:25mm",
    ) -> list[Sighting]:
        board, random = parse_board(text), np.random.default_rng(seed)
        points = object_points(board)
        ids = np.arange(len(points), dtype=np.int64)
        return [
            Sighting(
                f"view{n:02}.png",
                calibration.image_hw,
                ids,
                (project(points, calibration, pose) + random.normal(0, noise_px, (len(points), 2))).astype(np.float32),
            )
            for n, pose in enumerate(poses(board, calibration, count))
        ]

    return views
