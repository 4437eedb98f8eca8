"""What tiling finds in frames larger than the model's input: real boards side by side, seen whole and in tiles.

cd ../shared/data/pcb/test && python .../benchmarks/tiles.py --truth annotations_coco.json --good templates
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector import pipeline
from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Batch, Detections, InputSpec, PreparePlan, Roi, Tensors, Tiling
from edge_inspector.engine.bundle import find_bundle, load_bundle, reading_of
from edge_inspector.engine.evaluate import matches
from edge_inspector.interfaces import Model
from edge_inspector.stages.nms import nms
from edge_inspector.stages.prepare import prepare

IOU = 0.5
GAP_PX = 64  # between boards: where one's tracks end at another's, there is a short that nobody labelled
EDGE_PX = 40  # nothing counts that is nearer to a board's edge: there its pictured tracks end, which looks like an open
RUN_TIMEOUT_S = 60.0
Pixels = npt.NDArray[np.uint8]
Seconds: TypeAlias = tuple[float, float, float]
"""Of prepare, model and finish."""


@dataclass(frozen=True)
class Way:
    """How a frame is looked at: tiles of the input's size that share `overlap_px`, 0 = it is not cut.

    `alone`: board by board, as pictures of their own, which the model was made for. `nms_only`: what is left to do
    when nobody knows of seams.
    """

    name: str
    overlap_px: int = 0
    alone: bool = False
    nms_only: bool = False


WAYS = (
    Way("each board alone", alone=True),
    Way("whole frame"),
    Way("tiles, NMS only", 96, nms_only=True),
    Way("tiles", 96),
    Way("tiles, 240 px shared", 240),
)


@dataclass(frozen=True)
class Frame:
    """Boards side by side, and what is labelled on them in the frame's pixels."""

    pixels: Pixels
    truth: Detections
    boards: tuple[Roi, ...]


@dataclass(frozen=True)
class Row:
    """One way to look at the frames; boxes at the bundle's thresholds, IoU 0.5 and the right class.

    `twice` are detections of a label that has one already. Times are medians of a frame.
    """

    way: str
    tiles: int
    labelled: int
    recall: float
    precision: float
    twice: int
    good_boards: int
    good_rejected: int
    prepare_ms: float
    model_ms: float
    finish_ms: float


@dataclass(frozen=True)
class Eye:
    """The model and how its outputs are read; `limits` are the thresholds of its classes."""

    model: Model
    reading: pipeline.Reading
    spec: InputSpec
    limits: npt.NDArray[np.float32]

    def looks(self, pixels: Pixels, way: Way) -> tuple[Detections, Seconds, int]:
        """What counts, the seconds of prepare, model and finish, and the number of tiles."""
        spec = self.spec
        tiling = Tiling(spec.width_px, spec.height_px, way.overlap_px) if way.overlap_px else None
        begun = time.perf_counter()
        batch = prepare(pixels, "Mono8", PreparePlan(spec, tiling=tiling))
        prepared = time.perf_counter()
        tensors = self.model.collect(self.model.submit(batch, 0), RUN_TIMEOUT_S)
        inferred = time.perf_counter()
        found = self.only_nms(tensors, batch) if way.nms_only else self.finished(tensors, batch)
        finished = time.perf_counter()
        loud = found.pick(found.confidence >= self.limits[found.class_id])
        return loud, (prepared - begun, inferred - prepared, finished - inferred), len(batch.tiles)

    def finished(self, tensors: Tensors, batch: Batch) -> Detections:
        found = pipeline.finish(tensors, batch, self.reading)
        if not isinstance(found, Detections):
            sys.exit("the bundle does not detect")
        return found

    def only_nms(self, tensors: Tensors, batch: Batch) -> Detections:
        """Each tile as a picture of its own, then NMS over all of them."""
        tiles = []
        for i, (letterbox, window) in enumerate(zip(batch.tiles, batch.windows, strict=True)):
            own = Tensors({name: array[i : i + 1] for name, array in tensors.by_name.items()})
            tiles.append(self.finished(own, Batch(batch.pixels[i : i + 1], (letterbox,), window, (window,))))
        return nms(together(tiles), self.reading.nms_iou)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, help="COCO file of the boards; their pictures in images/")
    parser.add_argument("--good", type=Path, required=True, help="folder of boards without a defect")
    parser.add_argument("--bundle", type=Path, default=Path("pcb-demo"), help="folder or name (pcb-demo)")
    parser.add_argument("--a-side", type=int, default=3, help="boards across and down a frame (3)")
    parser.add_argument("--first", type=int, help="only so many frames")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = load_bundle(find_bundle(arguments.bundle, Path.cwd()))
    backend = OnnxRuntimeBackend(Config(threads=1, warm_up_runs=3, max_batch=1))
    eye = Eye(
        backend.load(bundle.model_file(), PreparePlan(bundle.spec), 1),
        reading_of(bundle),
        bundle.spec,
        np.array(bundle.default_thresholds, np.float32),
    )
    bad = list(frames(labelled(arguments.truth), arguments.a_side, bundle.spec.pad_value))[: arguments.first]
    templates = [(gray(path), Detections.none()) for path in sorted(arguments.good.iterdir())]
    good = list(frames(templates, arguments.a_side, bundle.spec.pad_value))[: arguments.first]
    if not bad or not good:
        sys.exit(f"fewer than {arguments.a_side**2} boards, which a frame needs; give more, or a smaller --a-side")
    rows = []
    print(f"{len(bad)} frames of {bad[0].pixels.shape[1]}x{bad[0].pixels.shape[0]}, {len(good)} of good boards")
    print(f"{'way':20} tiles  recall precision twice  good rejected  prepare    model  finish (ms a frame)")
    for way in WAYS:
        row = measured(eye, way, bad, good)
        rows.append(row)
        print(
            f"{row.way:20} {row.tiles:5} {row.recall:7.3f} {row.precision:9.3f} {row.twice:5} "
            f"{f'{row.good_rejected} of {row.good_boards}':>14} "
            f"{row.prepare_ms:8.2f} {row.model_ms:8.1f} {row.finish_ms:7.2f}"
        )
    eye.model.close()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def labelled(truth: Path) -> list[tuple[Pixels, Detections]]:
    """The boards of a COCO file; the category is the class, in the order of their ids."""
    coco = json.loads(truth.read_text())
    index = {category["id"]: i for i, category in enumerate(sorted(coco["categories"], key=lambda c: c["id"]))}
    boards = []
    for image in coco["images"]:
        labels = [label for label in coco["annotations"] if label["image_id"] == image["id"]]
        xywh = np.array([label["bbox"] for label in labels], np.float32).reshape(-1, 4)
        classes = np.array([index[label["category_id"]] for label in labels], np.int64)
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        boards.append(
            (
                gray(truth.parent / "images" / image["file_name"]),
                Detections(xyxy, np.ones(len(labels), np.float32), classes),
            )
        )
    return boards


def gray(path: Path) -> Pixels:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        sys.exit(f"{path} is not a picture")
    return np.asarray(pixels, np.uint8)


def frames(boards: Sequence[tuple[Pixels, Detections]], side: int, around: int) -> Iterator[Frame]:
    """As many full frames as the boards give; `around` is the gray between them."""
    height, width = boards[0][0].shape
    for start in range(0, len(boards) - side * side + 1, side * side):
        sides = ((height + GAP_PX) * side - GAP_PX, (width + GAP_PX) * side - GAP_PX)
        pixels = np.full(sides, around, np.uint8)
        places, truths = [], []
        for i, (board, truth) in enumerate(boards[start : start + side * side]):
            place = Roi(i % side * (width + GAP_PX), i // side * (height + GAP_PX), width, height)
            pixels[place.y : place.y + height, place.x : place.x + width] = board
            places.append(place)
            truths.append(moved(truth, place))
        yield Frame(pixels, together(truths), tuple(places))


def measured(eye: Eye, way: Way, bad: Sequence[Frame], good: Sequence[Frame]) -> Row:
    """Look at all frames."""
    found, seconds, tiles = zip(*(look(eye, frame, way) for frame in bad), strict=True)
    seen = [amid(one, frame.boards) for one, frame in zip(found, bad, strict=True)]
    truths = [amid(frame.truth, frame.boards) for frame in bad]
    counts = matches(truths, seen, IOU, len(eye.limits)).sum(axis=0)
    on_good = [(look(eye, frame, way)[0], frame.boards) for frame in good]
    rejected = [bool(len(amid(found, [board]))) for found, boards in on_good for board in boards]
    prepare_ms, model_ms, finish_ms = np.median(np.array(seconds), axis=0) * 1e3
    return Row(
        way=way.name,
        tiles=tiles[0],
        labelled=int(counts[0]),
        recall=float(counts[2] / counts[0]),
        precision=float(counts[2] / max(counts[1], 1)),
        twice=sum(doubles(truth, found) for truth, found in zip(truths, seen, strict=True)),
        good_boards=len(rejected),
        good_rejected=sum(rejected),
        prepare_ms=float(prepare_ms),
        model_ms=float(model_ms),
        finish_ms=float(finish_ms),
    )


def look(eye: Eye, frame: Frame, way: Way) -> tuple[Detections, Seconds, int]:
    """As `Eye.looks`, of a frame."""
    if not way.alone:
        return eye.looks(frame.pixels, way)
    seen = [(eye.looks(cut(frame.pixels, board), way), board) for board in frame.boards]
    prepare_s, model_s, finish_s = np.sum([seconds for (_, seconds, _), _ in seen], axis=0).tolist()
    everything = together([moved(found, board) for (found, _, _), board in seen])
    return everything, (prepare_s, model_s, finish_s), len(seen)


def cut(pixels: Pixels, board: Roi) -> Pixels:
    return np.ascontiguousarray(pixels[board.y : board.y + board.height, board.x : board.x + board.width])


def moved(found: Detections, to: Roi) -> Detections:
    return replace(found, xyxy=found.xyxy + np.array([to.x, to.y] * 2, np.float32))


def together(parts: Sequence[Detections]) -> Detections:
    return Detections(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.class_id for part in parts]),
    )


def amid(found: Detections, boards: Sequence[Roi]) -> Detections:
    """Those whose middle lies on a board, not at its edge."""
    x, y = (found.xyxy[:, 0] + found.xyxy[:, 2]) / 2, (found.xyxy[:, 1] + found.xyxy[:, 3]) / 2
    on_one = np.zeros(len(found), bool)
    for board in boards:
        beside = np.maximum(
            abs(x - board.x - board.width / 2) - board.width / 2, abs(y - board.y - board.height / 2) - board.height / 2
        )
        on_one |= beside <= -EDGE_PX
    return found.pick(on_one)


def doubles(truth: Detections, found: Detections) -> int:
    """Detections whose middle lies in a label of their class that holds another one's already."""
    middle = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2
    in_label = ((middle[:, None] >= truth.xyxy[None, :, :2]) & (middle[:, None] < truth.xyxy[None, :, 2:])).all(axis=2)
    held = (in_label & (found.class_id[:, None] == truth.class_id)).sum(axis=0)
    return int((held - 1).clip(0).sum())


if __name__ == "__main__":
    main()
