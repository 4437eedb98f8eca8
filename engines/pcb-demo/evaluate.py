"""Measure model.onnx: COCO average precision, and what a line would feel at the shipped thresholds."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import tomllib
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

BUNDLE = Path(__file__).resolve().parent
sys.path.insert(0, str(BUNDLE.parents[1]))

from edge_inspector.demo.boards import draw_board, write_pictures  # noqa: E402

MATCH_IOU = 0.5  # COCO's AP50 and our box recall
GOLDEN, GOLDEN_SEED = 24, 2  # so many good and so many bad pictures
HELD_OUT, HELD_OUT_SEED = 150, 3
CALIBRATION, CALIBRATION_SEED = 600, 4
WRONG_OK_COST = 5  # false rejects
GRID = np.arange(0.3, 0.8, 0.05)  # thresholds tried


@dataclass(frozen=True)
class Found:
    """Detections of one picture: xyxy (n, 4) px, confidence (n,), class_id (n,), best first."""

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]


class Model:
    """model.onnx with the decoding that model.toml asks for."""

    def __init__(self, path: Path) -> None:
        self.card = tomllib.loads((BUNDLE / "model.toml").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def find(self, picture: NDArray[np.uint8]) -> Found:
        image = picture[None, None].astype(np.float32) * np.float32(self.card["input"]["scale"])
        (columns,) = self._session.run(None, {"images": image})[0]
        scores = columns[4:]
        class_id, cell = np.nonzero(scores > self.card["score_floor"])
        confidence, (cx, cy, w, h) = scores[class_id, cell], columns[:4, cell]
        xywh = np.stack([cx - w / 2, cy - h / 2, w, h], 1)
        kept = cv2.dnn.NMSBoxesBatched(
            xywh.tolist(), confidence.tolist(), class_id.tolist(), self.card["score_floor"], self.card["nms_iou"]
        )
        best = np.asarray(kept, np.int64).reshape(-1)
        best = best[np.argsort(-confidence[best], kind="stable")]
        xyxy = np.concatenate([xywh[best, :2], xywh[best, :2] + xywh[best, 2:]], 1)
        return Found(xyxy.astype(np.float32), confidence[best], class_id[best].astype(np.int64))


def measure(model: Model, coco_json: Path, images: Path) -> dict[str, object]:
    """AP by COCOeval, recall and precision of boxes at the thresholds, and which pictures would be rejected."""
    truth = _silently(COCO, str(coco_json))
    names = model.card["classes"]
    limit = np.array([model.card["thresholds"][name] for name in names])
    results: list[dict[str, object]] = []
    counts = np.zeros((len(names), 3), np.int64)  # found, drawn, matched
    verdicts = {True: [0, 0], False: [0, 0]}  # defective? -> pictures, rejected
    for image in truth.dataset["images"]:
        found = model.find(cv2.imread(str(images / image["file_name"]), cv2.IMREAD_GRAYSCALE))
        for (x0, y0, x1, y1), score, class_id in zip(found.xyxy, found.confidence, found.class_id, strict=True):
            xywh = [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]
            row = {"image_id": image["id"], "category_id": int(class_id) + 1, "bbox": xywh, "score": float(score)}
            results.append(row)
        drawn = truth.imgToAnns[image["id"]]
        loud = found.confidence >= limit[found.class_id]
        counts += _matched(found, loud, drawn, len(names))
        verdicts[bool(drawn)][0] += 1
        verdicts[bool(drawn)][1] += int(loud.any())
    report: dict[str, object] = {
        "pictures": len(truth.dataset["images"]),
        "good_rejected": f"{verdicts[False][1]} of {verdicts[False][0]}",
        "bad_passed": f"{verdicts[True][0] - verdicts[True][1]} of {verdicts[True][0]}",
        "box_recall": round(float(counts[:, 2].sum() / max(counts[:, 1].sum(), 1)), 3),
        "box_precision": round(float(counts[:, 2].sum() / max(counts[:, 0].sum(), 1)), 3),
    }
    evaluation = _silently(_accumulated, truth, results)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall step, class
    report["map50"] = round(float(precision[0].mean()), 3)
    report["map50_95"] = round(float(precision.mean()), 3)
    for nth, name in enumerate(names):
        found, drawn, matched = (int(v) for v in counts[nth])
        report[name] = {
            "ap50": round(float(precision[0, :, nth].mean()), 3),
            "recall": round(matched / max(drawn, 1), 3),
            "precision": round(matched / max(found, 1), 3),
        }
    return report


def rejected(model: Model, folder: Path) -> tuple[int, int]:
    """Of the pictures in `folder`, all good: how many would be rejected, and how many there are."""
    limit = np.array([model.card["thresholds"][name] for name in model.card["classes"]])
    paths = sorted(folder.iterdir())
    found = [model.find(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) for path in paths]
    return sum(bool((f.confidence >= limit[f.class_id]).any()) for f in found), len(paths)


def _matched(found: Found, loud: NDArray[np.bool_], drawn: list[dict[str, object]], classes: int) -> NDArray[np.int64]:
    """(classes, 3): boxes found above threshold, boxes drawn by the annotator, pairs of the same class."""
    counts = np.zeros((classes, 3), np.int64)
    truth = np.array([box["bbox"] for box in drawn], np.float32).reshape(-1, 4)
    truth[:, 2:] += truth[:, :2]
    labels = np.array([box["category_id"] for box in drawn], np.int64) - 1
    np.add.at(counts[:, 1], labels, 1)
    free = np.ones(len(truth), np.bool_)
    for box, class_id in zip(found.xyxy[loud], found.class_id[loud], strict=True):
        counts[class_id, 0] += 1
        iou = _iou(box, truth) * (free & (labels == class_id))
        if len(iou) and iou.max() >= MATCH_IOU:
            free[iou.argmax()] = False
            counts[class_id, 2] += 1
    return counts


def _iou(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(0).prod(1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    return np.asarray(shared / area, np.float32)


def _accumulated(truth: COCO, results: list[dict[str, object]]) -> COCOeval:
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _silently(call, *arguments):  # type: ignore[no-untyped-def]
    """pycocotools prints its progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*arguments)


def report(onnx_path: Path, real: Path | None) -> None:
    """Print the figures of the golden pictures, of held-out generated ones and, if given, of real boards."""
    model = Model(onnx_path)
    golden = BUNDLE / "golden" / "annotations_coco.json"
    print("golden", json.dumps(measure(model, golden, golden.parent), indent=1))
    with tempfile.TemporaryDirectory() as folder:
        drawn = write_pictures(Path(folder), HELD_OUT, HELD_OUT, HELD_OUT_SEED)
        print("held out", json.dumps(measure(model, drawn, drawn.parent), indent=1))
    if real is not None:
        print("real", json.dumps(measure(model, real / golden.name, real / "images"), indent=1))
        print("real templates rejected: {} of {}".format(*rejected(model, real / "templates")))


def thresholds(onnx_path: Path) -> None:
    """Print the thresholds that cost least on generated boards which neither training nor any figure uses."""
    model = Model(onnx_path)
    rng = np.random.default_rng(CALIBRATION_SEED)
    good = np.stack([_loudest(model, draw_board(rng, defects=0).picture) for _ in range(CALIBRATION)])
    drawn = [draw_board(rng) for _ in range(CALIBRATION)]
    bad = np.stack([_loudest(model, board.picture) for board in drawn if len(board.class_id)])
    names = model.card["classes"]
    limits = np.full(len(names), 0.5)

    def cost(tried: NDArray[np.float64]) -> int:
        return int((good >= tried).any(1).sum() + WRONG_OK_COST * (bad < tried).all(1).sum())

    for _ in range(3):  # one class after the other, until none moves any more
        for nth in range(len(names)):
            choices = np.repeat(limits[None], len(GRID), axis=0)
            choices[:, nth] = GRID
            limits = min(choices, key=cost)
    rejects, passes = (good >= limits).any(1).sum(), (bad < limits).all(1).sum()
    print(f"of {len(good)} good {rejects} rejected, of {len(bad)} bad {passes} passed")
    for name, limit in zip(names, limits, strict=True):
        print(f"{name} = {limit:.2f}")


def _loudest(model: Model, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The highest confidence of each class in a picture, 0 where there is none."""
    found = model.find(picture)
    peak = np.zeros(len(model.card["classes"]))
    np.maximum.at(peak, found.class_id, found.confidence)
    return peak
