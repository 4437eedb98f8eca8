"""Bare boards before the demo's model: real templates as good parts, real defect pictures as bad ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from threshold_drift import Pixels, Strength, turned
from threshold_streams import TURNS, Role, role_of

from edge_inspector import pipeline
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Batch, Detections, Frame, MeasuredView, PreparePlan, ThresholdState
from edge_inspector.engine.bundle import find_bundle, load_bundle, reading_of
from edge_inspector.engine.differences import iou
from edge_inspector.stages.rules import judge

RUN_TIMEOUT_S = 60.0
AT_ITS_PLACE = 0.2  # IoU from which a detection is taken to be of a labelled defect
BOARDS = Strength(
    gain=0.4,
    shade=0.4,
    noise=8.0,
    quiet_noise=3.0,
    specks=8,
    dust=3.0,
    radius_px=(2.0, 5.0),
    depth=(0.3, 0.45),
    blur_px=2.2,
    exposure=3.0,
    ramp=0.2,
)


@dataclass(frozen=True)
class Labelled:
    """A bad board: its defects' boxes (n,4) xyxy and classes (n,)."""

    picture: Pixels
    defects: Detections


class Boards:
    """The product: pictures of one role, and the station's own way from a picture to the scores of its classes."""

    name = "boards"
    strength = BOARDS

    def __init__(self, data: Path, role: Role) -> None:
        self._bundle = load_bundle(find_bundle(Path("pcb-demo"), Path.cwd()))
        self._plan = PreparePlan(self._bundle.spec)
        backend = OnnxRuntimeBackend(Config.model_validate({"type": "onnxruntime", "threads": 1}))
        self._model = backend.load(self._bundle.model_file(), self._plan, 1)
        self._reading = reading_of(self._bundle)
        self.classes, self.base = self._bundle.classes, self._bundle.default_thresholds
        self.identity = self._bundle.model_hash
        self._bads = _bads(data / "pcb", self.classes, role)
        self.bad = [board.picture for board in self._bads]
        self.good = self._commissioned(_templates(data / "pcb", role))

    def peaks(self, picture: Pixels) -> tuple[float, ...]:
        """The highest score of each class, as a result's `peaks` has it."""
        batch, found = self._seen(picture)
        view = MeasuredView("bench", found, batch.bounds)
        return judge(["bench"], self._bundle.criteria, ThresholdState(self.base), [view]).peaks

    def defects(self, nth: int) -> tuple[int, ...]:
        return tuple(self._bads[nth].defects.class_id.tolist())

    def at_defects(self, nth: int, picture: Pixels) -> list[tuple[float, ...]]:
        """The highest score of each class at the place of each defect of bad board `nth`, not turned."""
        _, found = self._seen(picture)
        near = iou(self._bads[nth].defects.xyxy, found.xyxy) >= AT_ITS_PLACE
        return [_highest(found.pick(row), len(self.classes)) for row in near]

    def _seen(self, picture: Pixels) -> tuple[Batch, Detections]:
        batch = pipeline.prepare(Frame("bench", 0, 0, 0, picture, "Mono8"), self._plan)
        tensors = self._model.collect(self._model.submit(batch, 0), RUN_TIMEOUT_S)
        found = pipeline.finish(tensors, batch, self._reading)
        if not isinstance(found, Detections):
            raise TypeError(f"the demo's model gives {type(found).__name__}, expected boxes")
        return batch, found

    def _commissioned(self, templates: list[Pixels]) -> list[Pixels]:
        """Those templates, in those directions, that the recipe accepts on the day it is made.

        The others have a design that the model takes for a fault: an engineer gives them a zone or a recipe of their
        own, and no threshold would help.
        """
        views = [turned(template, turn) for template in templates for turn in range(TURNS)]
        base = np.array(self.base)
        return [view for view in views if (np.array(self.peaks(view)) < base).all()]


def _highest(found: Detections, classes: int) -> tuple[float, ...]:
    peaks = np.zeros(classes)
    np.maximum.at(peaks, found.class_id, found.confidence)
    return tuple(round(float(peak), 4) for peak in peaks)


def _templates(pcb: Path, role: Role) -> list[Pixels]:
    paths = sorted((pcb / "test" / "templates").glob("*_temp.jpg"))
    return [_read(path) for path in paths if role_of(path.name.split("_")[0]) == role]


def _bads(pcb: Path, classes: tuple[str, ...], role: Role) -> list[Labelled]:
    found = []
    for part in ("trainval", "test"):
        coco = json.loads((pcb / part / "annotations_coco.json").read_text())
        names = {category["id"]: category["name"] for category in coco["categories"]}
        boxes: dict[int, list[tuple[list[float], int]]] = {image["id"]: [] for image in coco["images"]}
        for label in coco["annotations"]:
            boxes[label["image_id"]].append((label["bbox"], classes.index(names[label["category_id"]])))
        for image in sorted(coco["images"], key=lambda one: str(one["file_name"])):
            if boxes[image["id"]] and role_of(image["file_name"].split("_")[0]) == role:
                picture = _read(pcb / part / "images" / image["file_name"])
                found.append(Labelled(picture, _defects(boxes[image["id"]])))
    return found


def _defects(boxes: list[tuple[list[float], int]]) -> Detections:
    xywh = np.array([box for box, _ in boxes], np.float32)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return Detections(xyxy, np.ones(len(boxes), np.float32), np.array([c for _, c in boxes], np.int64))


def _read(path: Path) -> Pixels:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise FileNotFoundError(f"{path} is no picture; --data names the folder that holds pcb/ and steel/")
    return np.asarray(picture, np.uint8)
