"""Little networks with the outputs of every decoder family, and whole bundles of them that judge pictures rightly."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import network_heads
import numpy as np
import onnx
from network_graph import Graph, pyramid

TASKS = {"segmentation": "segment", "yolo_seg": "segment", "anomaly": "anomaly", "classifier": "classify"}
WITH_A_GOOD_CLASS = ("segmentation", "classifier")
RELU = ("segmentation", "anomaly", "classifier", "regression")
FAMILIES: tuple[str, ...] = tuple(network_heads.HEADS)

BINS = network_heads.BINS


def write(
    family: str,
    path: Path,
    *,
    size: int = 64,
    classes: int = 3,
    channels: int = 1,
    batch: int | str = "n",
    seed: int = 0,
) -> None:
    """A network of the family at `path`: input "images" (batch, channels, size, size) in 0..1, `size` a multiple of 32.

    The first two classes that are no background are what is brighter and darker than its surroundings; an anomaly has
    none.
    """
    graph = Graph(seed, "relu" if family in RELU else "silu")
    levels = pyramid(graph, channels)
    outputs = network_heads.HEADS[family](graph, levels, size, classes)
    onnx.save(graph.model(channels, size, batch, outputs), path)


def bundle(
    family: str,
    folder: Path,
    *,
    size: int = 64,
    classes: int = 3,
    channels: int = 1,
    batch: int | str = "n",
    seed: int = 0,
    golden: int = 0,
) -> Path:
    """A whole valid bundle in `folder`, which is made; with `golden` good and as many bad pictures, judged rightly."""
    folder.mkdir(parents=True)
    write(family, folder / "model.onnx", size=size, classes=classes, channels=channels, batch=batch, seed=seed)
    names = class_names(family, classes)
    (folder / "model.toml").write_text(_toml(family, folder, names, size, channels, golden > 0))
    if golden:
        _golden(folder / "golden", names, size, channels, golden, family in WITH_A_GOOD_CLASS)
    return folder


def class_names(family: str, classes: int) -> list[str]:
    if family == "anomaly":
        return ["anomaly"]
    first = ["good"] if family in WITH_A_GOOD_CLASS else []
    return [*first, "bright", "dark", *(f"spare{i}" for i in range(classes))][:classes]


def picture(rng: np.random.Generator, size: int, channels: int, spot: int | None) -> tuple[np.ndarray, list[float]]:
    """A noisy gray surface, `size` high and half as wide again, with a round spot of that 8-bit value; and its xywh."""
    pixels = rng.normal(128, 6, (size, size * 3 // 2, channels))
    radius = int(size * rng.uniform(0.18, 0.24))
    x, y = (int(rng.integers(radius, side - radius)) for side in (size * 3 // 2, size))
    if spot is not None:
        inside = np.hypot(*(np.indices(pixels.shape[:2]) - np.array([y, x])[:, None, None])) <= radius
        pixels[inside] = spot + rng.normal(0, 3, (int(inside.sum()), channels))
    return pixels.clip(0, 255).astype(np.uint8).squeeze(), [x - radius, y - radius, 2 * radius, 2 * radius]


def _toml(family: str, folder: Path, names: list[str], size: int, channels: int, golden: bool) -> str:
    task = "measure" if family == "regression" else TASKS.get(family, "detect")
    listed = {key: ", ".join([number] * channels) for key, number in (("mean", "0.0"), ("std", "1.0"))}
    lines = [
        "schema = 1",
        f'name = "little-{family.replace("_", "-")}"',
        'version = "1.0.0"',
        f'task = "{task}"',
        f'decoder = "{family}"',
        f"classes = {json.dumps(names)}",
        *(['good = ["good"]'] if family in WITH_A_GOOD_CLASS else []),
        "score_floor = 0.05",
        "nms_iou = 0.5",
        'licence = "Apache-2.0"',
        f'sha256 = "{hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()}"',
        'description = "Spots that are brighter or darker than their surroundings."',
        *_options(family, size),
        "[input]",
        f"width_px = {size}",
        f"height_px = {size}",
        f'color = "{"gray" if channels == 1 else "rgb"}"',
        f"scale = {1 / 255!r}",
        f"mean = [{listed['mean']}]",
        f"std = [{listed['std']}]",
        "pad_value = 128",
    ]
    if task == "measure":
        lines += ["[limits]", *(f"{name} = {{ low = -5.0, high = 5.0 }}" for name in names)]
    else:
        lines += ["[thresholds]", *(f"{name} = 0.5" for name in names)]
    if golden:
        lines += ["[golden]", 'images = "golden"', 'coco = "golden/annotations_coco.json"']
    return "\n".join(lines) + "\n"


def _options(family: str, size: int) -> list[str]:
    return ["[decoder_options]", f"input_px = [{size}, {size}]"] if family in ("rtdetr", "yolox") else []


def _golden(folder: Path, names: list[str], size: int, channels: int, count: int, with_good: bool) -> None:
    """`count` pictures without a spot and as many with one, bright and dark in turn as far as there are classes."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    spots = dict(zip(names[int(with_good) :], (250, 6), strict=False))
    images, annotations = [], []
    for i in range(2 * count):
        name = list(spots)[i % len(spots)] if i >= count else None
        pixels, xywh = picture(rng, size, channels, None if name is None else spots[name])
        file_name = f"{'good' if name is None else 'bad'}_{i % count:03d}.png"
        cv2.imwrite(str(folder / file_name), pixels)
        images.append({"id": i + 1, "file_name": file_name, "height": size, "width": size * 3 // 2})
        if name is not None:
            annotations.append(
                {
                    "id": i + 1,
                    "image_id": i + 1,
                    "category_id": names.index(name) + 1,
                    "bbox": xywh,
                    "area": xywh[2] * xywh[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations_coco.json").write_text(json.dumps(coco))
