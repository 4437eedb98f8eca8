"""What the fused preparation costs in accuracy: real boards filmed through a lens, evaluated both ways in one run.

python benchmarks/parity.py --truth ../shared/data/pcb/test/annotations_coco.json --json parity.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_inspector.backends.onnxruntime import Config, OnnxRuntimeBackend
from edge_inspector.datatypes import Calibration, Roi
from edge_inspector.demo.filming import BENCH_GRAY, LENS
from edge_inspector.engine.bundle import Bundle, find_bundle, load_bundle
from edge_inspector.engine.evaluate import evaluate

LIMIT = 0.005  # issue 3: mAP50 may differ by half a point
# 1: a board pixel is an input pixel, only the lens is undone. 2 and 3: the camera has more pixels than the model, so
# that the two ways also scale differently.
MAGNIFICATIONS = (1, 2, 3)
Coco = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One camera, `magnification` times the demo's 960x800; `difference` is the fused mAP50 minus the plain, 0..1."""

    magnification: int
    pictures: int
    fused_map50: float
    plain_map50: float
    difference: float
    fused_map50_95: float
    plain_map50_95: float
    fused_escapes: int
    plain_escapes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, help="COCO file of the boards; their pictures in images/")
    parser.add_argument("--bundle", type=Path, default=Path("pcb-demo"), help="folder or name (pcb-demo)")
    parser.add_argument("--first", type=int, help="only so many pictures")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = load_bundle(find_bundle(arguments.bundle, Path.cwd()))
    coco = json.loads(arguments.truth.read_text())
    coco["images"] = coco["images"][: arguments.first]
    kept = {image["id"] for image in coco["images"]}
    coco["annotations"] = [label for label in coco["annotations"] if label["image_id"] in kept]
    rows = []
    print(f"{'camera':>10}  mAP50 fused   plain  difference  mAP50-95 fused   plain  escapes fused  plain")
    for times in MAGNIFICATIONS:
        row = compared(bundle, coco, arguments.truth.parent / "images", times)
        rows.append(row)
        print(
            f"{f'{LENS.image_hw[1] * times}x{LENS.image_hw[0] * times}':>10}  {row.fused_map50:11.4f} "
            f"{row.plain_map50:7.4f} {row.difference:+11.4f} {row.fused_map50_95:15.4f} {row.plain_map50_95:7.4f} "
            f"{row.fused_escapes:14} {row.plain_escapes:6}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if any(abs(row.difference) > LIMIT for row in rows):
        sys.exit(f"mAP50 differs by more than {LIMIT}")


def compared(bundle: Bundle, coco: Coco, images: Path, times: int) -> Row:
    """Film each board, `times` as large, and look at the same frames both ways."""
    lens = enlarged(LENS, times)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roi = film(coco, images, folder, lens, times)
        truth = folder / "truth.json"
        truth.write_text(json.dumps(filmed_truth(coco, lens, roi, times)))
        backend = OnnxRuntimeBackend(Config(threads=1, warm_up_runs=3))
        fused = evaluate(bundle, backend, truth, folder, calibration=lens, roi=roi, chain="fused")
        plain = evaluate(bundle, backend, truth, folder, calibration=lens, roi=roi, chain="plain")
    return Row(
        magnification=times,
        pictures=fused.pictures,
        fused_map50=figure(fused.map50),
        plain_map50=figure(plain.map50),
        difference=figure(fused.map50) - figure(plain.map50),
        fused_map50_95=figure(fused.map50_95),
        plain_map50_95=figure(plain.map50_95),
        fused_escapes=fused.escapes.count,
        plain_escapes=plain.escapes.count,
    )


def enlarged(lens: Calibration, times: int) -> Calibration:
    """The same lens before a sensor with `times` the pixels a side; the first pixel's centre is half a pixel inside."""
    (height, width), (fx, fy, cx, cy) = lens.image_hw, lens.matrix
    matrix = (fx * times, fy * times, (cx + 0.5) * times - 0.5, (cy + 0.5) * times - 0.5)
    return replace(lens, image_hw=(height * times, width * times), matrix=matrix)


def film(coco: Coco, images: Path, folder: Path, lens: Calibration, times: int) -> Roi:
    """Write what the lens shows of each board, lying in the middle of a bench; returns where that is, undistorted."""
    (rows, columns), (fx, fy, cx, cy) = lens.image_hw, lens.matrix
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=2).reshape(-1, 1, 2).astype(np.float64)
    enough = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9)
    straight = cv2.undistortPoints(grid, matrix, np.array(lens.distortion), P=matrix, criteria=enough)
    across, down = cv2.split(((straight.reshape(rows, columns, 2) + 0.5) / times - 0.5).astype(np.float32))
    height, width = coco["images"][0]["height"], coco["images"][0]["width"]
    y, x = (LENS.image_hw[0] - height) // 2, (LENS.image_hw[1] - width) // 2
    for image in coco["images"]:
        board = cv2.imread(str(images / image["file_name"]), cv2.IMREAD_GRAYSCALE)
        if board is None or board.shape != (height, width):
            sys.exit(f"{images / image['file_name']} is not a picture of {width}x{height}, as the first one is")
        bench = np.full(LENS.image_hw, BENCH_GRAY, np.uint8)
        bench[y : y + height, x : x + width] = board
        frame = cv2.remap(bench, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        cv2.imwrite(str(folder / f"{image['id']}.png"), frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return Roi(x * times, y * times, width * times, height * times)


def filmed_truth(coco: Coco, lens: Calibration, roi: Roi, times: int) -> Coco:
    """The COCO file of the filmed pictures: labels in undistorted pixels."""
    height, width = lens.image_hw
    images = [{"id": i["id"], "file_name": f"{i['id']}.png", "height": height, "width": width} for i in coco["images"]]
    labels = []
    for label in coco["annotations"]:
        x, y, box_width, box_height = (side * times for side in label["bbox"])
        labels.append(label | {"bbox": [x + roi.x, y + roi.y, box_width, box_height]})
    return coco | {"images": images, "annotations": labels}


def figure(value: float | None) -> float:
    """NaN where there is nothing labelled."""
    return float("nan") if value is None else value


if __name__ == "__main__":
    main()
