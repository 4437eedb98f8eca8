"""Choose the thresholds of model.toml on generated boards which neither training nor any published figure uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_inspector import pipeline, plugins
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Frame, PreparePlan
from edge_inspector.demo.boards import draw_board
from edge_inspector.engine.bundle import load_bundle

BUNDLE = Path(__file__).resolve().parent
BOARDS, SEED = 600, 4  # so many good and so many bad ones
WRONG_OK_COST = 5  # false rejects
GRID = np.arange(0.3, 0.8, 0.05)  # thresholds tried


class Loudest:
    """The shipped model's highest confidence of each class in a picture, 0 where there is none."""

    def __init__(self) -> None:
        self.bundle = load_bundle(BUNDLE)
        decoder = plugins.load("decoder", self.bundle.decoder)()
        self._plan = PreparePlan(self.bundle.spec)
        self._model = OnnxRuntimeBackend(Config(type="onnxruntime")).load(self.bundle.model_file(), self._plan, 1)
        classes = len(self.bundle.classes)
        self._reading = pipeline.Reading(decoder, classes, self.bundle.score_floor, self.bundle.nms_iou)

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        batch = pipeline.prepare(Frame("drawn", 0, 0, 0, picture, "Mono8"), self._plan)
        found = pipeline.finish(self._model.collect(self._model.submit(batch, 0), 10.0), batch, self._reading)
        peak = np.zeros(len(self.bundle.classes))
        np.maximum.at(peak, found.class_id, found.confidence)
        return peak


def choose() -> None:
    """Print the thresholds that cost least."""
    loudest = Loudest()
    rng = np.random.default_rng(SEED)
    good = np.stack([loudest(draw_board(rng, defects=0).picture) for _ in range(BOARDS)])
    drawn = [draw_board(rng) for _ in range(BOARDS)]
    bad = np.stack([loudest(board.picture) for board in drawn if len(board.class_id)])
    limits = np.full(len(loudest.bundle.classes), 0.5)

    def cost(tried: NDArray[np.float64]) -> int:
        return int((good >= tried).any(1).sum() + WRONG_OK_COST * (bad < tried).all(1).sum())

    for _ in range(3):  # one class after the other, until none moves any more
        for nth in range(len(limits)):
            choices = np.repeat(limits[None], len(GRID), axis=0)
            choices[:, nth] = GRID
            limits = min(choices, key=cost)
    rejects, passes = (good >= limits).any(1).sum(), (bad < limits).all(1).sum()
    print(f"of {len(good)} good {rejects} rejected, of {len(bad)} bad {passes} passed")
    for name, limit in zip(loudest.bundle.classes, limits, strict=True):
        print(f"{name} = {limit:.2f}")


if __name__ == "__main__":
    choose()
