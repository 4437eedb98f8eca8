"""Pictures of bare circuit boards, good ones and ones with defects whose place and class are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_inspector.demo.elements import Mask
from edge_inspector.demo.layout import draw_copper

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")

BOX_MARGIN_PX = (8, 11)  # DeepPCB's annotators left about this much around what had changed
APART_PX = 6  # between the boxes of two defects
TRIES = 12  # places tried for one defect before the board goes without it
REACH_PX = 110  # the longest crack or bridge
BINARISED_SHARE = 0.6  # the others are gray, as a camera sees them
SMALLEST_PX = 160


@dataclass(frozen=True)
class Board:
    """A picture and its defects.

    picture: (H, W) uint8, copper dark. xyxy: (n, 4) float32 in pixels. class_id: (n,) int64 into CLASSES.
    """

    picture: NDArray[np.uint8]
    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.class_id)
        if self.picture.ndim != 2 or self.xyxy.shape != (count, 4) or self.class_id.ndim != 1:
            raise ValueError(
                f"Board wants picture (H, W), xyxy (n, 4), class_id (n,); got {self.picture.shape}, "
                f"{self.xyxy.shape}, {self.class_id.shape}"
            )


def draw_board(rng: np.random.Generator, size_px: int = 640, defects: int | None = None) -> Board:
    """Draw one board; `defects=0` is a good one, None draws between 1 and 10."""
    if size_px < SMALLEST_PX:
        raise ValueError(f"size_px is {size_px}: a board needs at least {SMALLEST_PX} px to show anything")
    copper = draw_copper(rng, size_px)
    wanted = int(rng.integers(1, 11)) if defects is None else defects
    xyxy, class_id = _damage(rng, copper, wanted)
    render = _binarised if rng.random() < BINARISED_SHARE else _photographed
    return Board(render(rng, copper), xyxy, class_id)


def write_pictures(folder: Path, good: int, bad: int, seed: int) -> Path:
    """Write good_*.png, bad_*.png and their COCO file into `folder`; returns the COCO file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for nth in range(good + bad):
        kind, number = ("good", nth) if nth < good else ("bad", nth - good)
        board = draw_board(rng, defects=0 if kind == "good" else None)
        while kind == "bad" and not len(board.class_id):  # a blank sheet has no place for a defect
            board = draw_board(rng)
        name = f"{kind}_{number:03d}.png"
        _write_png(folder / name, board.picture)
        height, width = board.picture.shape
        images.append({"id": nth + 1, "file_name": name, "width": width, "height": height})
        for (x0, y0, x1, y1), class_id in zip(board.xyxy.tolist(), board.class_id.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": nth + 1,
                    "category_id": class_id + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": nth + 1, "name": name} for nth, name in enumerate(CLASSES)]
    path = folder / "annotations_coco.json"
    coco = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(coco, indent=1) + "\n", encoding="utf-8")
    return path


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    encoded, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not encoded:
        raise OSError(f"{path}: OpenCV could not encode a {picture.shape} picture as PNG")
    path.write_bytes(data.tobytes())


def _damage(rng: np.random.Generator, copper: Mask, wanted: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Damage `copper` in place. Each fault of copper is, seen from the free area, another one."""
    kinds: tuple[tuple[Callable[[np.random.Generator, Mask], Mask | None], bool], ...] = (
        (_cut, True),  # open
        (_cut, False),  # short
        (_bite, True),  # mousebite
        (_bite, False),  # spur
        (_hole, False),  # copper
        (_hole, True),  # pin-hole
    )
    boxes: list[tuple[float, float, float, float]] = []
    class_ids: list[int] = []
    for _ in range(wanted):
        class_id = int(rng.integers(len(kinds)))
        draw, in_copper = kinds[class_id]
        for _ in range(TRIES):
            changed = draw(rng, copper if in_copper else ~copper)
            if changed is None:
                continue
            box = _box(rng, changed)
            if box is None or any(_close(box, other) for other in boxes):
                continue
            copper ^= changed
            boxes.append(box)
            class_ids.append(class_id)
            break
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(class_ids, np.int64)


def _hole(rng: np.random.Generator, body: Mask) -> Mask | None:
    """A ragged hole inside `body` that touches no edge."""
    depth = cv2.distanceTransform(body, cv2.DIST_L2, 3)
    at = _pick(rng, depth > 7)
    if at is None or _extent_px(body, at) < 28:  # a hole in a dot is a drilled via, by design
        return None
    room = float(depth[at[1], at[0]])
    changed = np.zeros_like(body)
    if rng.random() < 0.35:
        for _ in range(rng.integers(2, 5)):  # several, for what is round is a via or a drill hole
            reach = int(rng.integers(2, int(np.clip(room / 2, 2, 8)) + 1))
            x, y = (int(v) for v in np.array(at) + rng.integers(-5, 6, 2))
            cv2.ellipse(changed, (x, y), (reach, max(2, reach // 2)), int(rng.integers(180)), 0, 360, 255, -1)
    else:
        length = float(rng.uniform(12, 48) if rng.random() < 0.35 else rng.uniform(5, 18))
        angle = float(rng.uniform(0, 2 * np.pi))
        _scribble(rng, changed, at, angle=angle, length=length, brush=int(rng.integers(3, 11)))
    _roughen(rng, changed)
    changed[depth < 3.0] = 0
    return changed if cv2.countNonZero(changed) >= 12 else None


def _bite(rng: np.random.Generator, body: Mask) -> Mask | None:
    """A ragged stroke from outside into the edge of `body` that does not come out on the other side."""
    inner = cv2.erode(body, np.ones((3, 3), np.uint8), borderValue=255)
    at = _pick(rng, (body > 0) & (inner == 0))
    if at is None:
        return None
    x, y = at
    window = body[max(y - 7, 0) : y + 8, max(x - 7, 0) : x + 8]
    rows, columns = np.nonzero(window)
    inward = np.array([columns.mean() - min(x, 7), rows.mean() - min(y, 7)])
    if np.hypot(*inward) < 0.8:
        return None
    angle = float(np.arctan2(inward[1], inward[0]) + rng.normal(0, 0.35))
    thickness = _run(body, at, angle, 40)
    depth = min(float(rng.uniform(5, 17) if rng.random() < 0.75 else rng.uniform(12, 28)), 0.7 * thickness)
    if depth < 3:
        return None
    brush = int(rng.integers(3, int(np.clip(depth, 4, 10)) + 1))
    changed = np.zeros_like(body)
    start = (int(x - 2 * np.cos(angle)), int(y - 2 * np.sin(angle)))
    _scribble(rng, changed, start, angle=angle, length=max(depth + 2 - brush / 2, 2.0), brush=brush)
    if rng.random() < 0.55:  # wider along the edge than deep
        length = float(rng.uniform(4, 15))
        _scribble(rng, changed, at, angle=angle + np.pi / 2, length=length, brush=max(2, brush - 2))
    _roughen(rng, changed)
    changed &= body
    if cv2.countNonZero(changed) < 9 or _pieces(body & ~changed, changed, 5) != _pieces(body, changed, 5):
        return None
    return changed


def _cut(rng: np.random.Generator, body: Mask) -> Mask | None:
    """A crack across `body` where it is narrow: afterwards its two sides are apart."""
    depth = cv2.distanceTransform(body, cv2.DIST_L2, 3)
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)) - 0.01) & (depth > 2) & (depth < REACH_PX / 2)
    at = min(
        (p for p in (_pick(rng, ridge) for _ in range(int(rng.integers(1, 4)))) if p is not None),
        key=lambda p: float(depth[p[1], p[0]]),
        default=None,
    )
    if at is None or _extent_px(body, at) < 45:  # to halve a dot is no electrical fault
        return None
    angles = np.arange(12) * np.pi / 12
    spans = [_run(body, at, a, REACH_PX) + _run(body, at, a + np.pi, REACH_PX) for a in angles]
    angle = float(angles[int(np.argmin(spans))])
    if rng.random() < 0.5:
        angle += float(rng.normal(0, 0.5))
    ahead, behind = _run(body, at, angle, REACH_PX), _run(body, at, angle + np.pi, REACH_PX)
    if ahead + behind > REACH_PX:
        return None
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    steps = np.linspace(-behind - 2, ahead + 2, int(rng.integers(2, 7)))
    waves = rng.normal(0, float(rng.uniform(0, 0.06 * (ahead + behind) + 0.8)), len(steps))
    points = np.array(at) + steps[:, None] * along + waves[:, None] * across
    brush = int(rng.integers(3, 9)) if rng.random() < 0.75 else int(rng.integers(6, 19))
    changed = np.zeros_like(body)
    cv2.polylines(changed, [np.rint(points).astype(np.int32)], False, 255, brush)
    if rng.random() < 0.25:  # a second crack beside the first
        points += rng.uniform(-12, 12, points.shape)
        cv2.polylines(changed, [np.rint(points).astype(np.int32)], False, 255, max(brush // 2, 2))
    _roughen(rng, changed)
    changed &= body
    if _pieces(body & ~changed, changed, 3) <= _pieces(body, changed, 3):
        return None
    return changed


def _scribble(
    rng: np.random.Generator, mask: Mask, at: tuple[int, int], *, angle: float, length: float, brush: int
) -> None:
    """A stroke of an unsteady hand."""
    steps = max(int(length / 3), 1)
    tip = brush * float(rng.choice([1.0, 1.0, 0.4, 1.6]))
    bend = float(rng.normal(0, 0.12))
    kink = int(rng.integers(steps)) if rng.random() < 0.3 else -1
    x, y = float(at[0]), float(at[1])
    for step in range(steps):
        if step == kink:
            angle += float(rng.choice([-1, 1]) * rng.uniform(0.8, 2.2))
        width = max(round(brush + (tip - brush) * step / steps), 2)
        ahead = x + 3 * np.cos(angle), y + 3 * np.sin(angle)
        cv2.line(mask, (round(x), round(y)), (round(ahead[0]), round(ahead[1])), 255, width)
        x, y = ahead
        angle += bend + float(rng.normal(0, 0.2))


def _roughen(rng: np.random.Generator, changed: Mask) -> None:
    """Make the outline ragged; now and then leave crumbs standing."""
    x, y, width, height = cv2.boundingRect(changed)
    part = changed[y : y + height, x : x + width]
    coarse = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 0.9)
    grain = float(rng.uniform(20, 60) if rng.random() < 0.85 else rng.uniform(90, 150))
    part[coarse + rng.normal(0, grain, part.shape).astype(np.float32) < 110] = 0


def _pick(rng: np.random.Generator, allowed: NDArray[np.bool_]) -> tuple[int, int] | None:
    """One allowed pixel as (x, y), away from the border."""
    where = np.flatnonzero(allowed[6:-6, 6:-6])
    if not len(where):
        return None
    row, column = divmod(int(where[rng.integers(len(where))]), allowed.shape[1] - 12)
    return column + 6, row + 6


def _run(body: Mask, at: tuple[int, int], angle: float, limit: int) -> int:
    """Pixels from `at` along `angle` until `body` ends; `limit` if it does not."""
    steps = np.arange(1, limit + 1)
    columns = np.rint(at[0] + steps * np.cos(angle)).astype(np.int64)
    rows = np.rint(at[1] + steps * np.sin(angle)).astype(np.int64)
    height, width = body.shape
    inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    solid = np.zeros(limit, np.bool_)
    solid[inside] = body[rows[inside], columns[inside]] > 0
    return limit if solid.all() else int(np.argmin(solid))


def _extent_px(body: Mask, at: tuple[int, int]) -> int:
    """The longer side of the piece of `body` around `at`, as far as a 121 px window shows it."""
    x, y = at
    window = np.ascontiguousarray(body[max(y - 60, 0) : y + 61, max(x - 60, 0) : x + 61])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(window, connectivity=8)
    piece = stats[labels[min(y, 60), min(x, 60)]]
    return int(max(piece[cv2.CC_STAT_WIDTH], piece[cv2.CC_STAT_HEIGHT]))


def _pieces(body: Mask, changed: Mask, margin_px: int) -> int:
    """Pieces of `body` near `changed`, crumbs not counted."""
    x, y, width, height = cv2.boundingRect(changed)
    window = body[max(y - margin_px, 0) : y + height + margin_px, max(x - margin_px, 0) : x + width + margin_px]
    stats = cv2.connectedComponentsWithStats(np.ascontiguousarray(window), connectivity=4)[2]
    return int((stats[1:, cv2.CC_STAT_AREA] >= 10).sum())


def _box(rng: np.random.Generator, changed: Mask) -> tuple[float, float, float, float] | None:
    x, y, width, height = cv2.boundingRect(changed)
    if not width:
        return None
    left, top, right, bottom = rng.integers(BOX_MARGIN_PX[0], BOX_MARGIN_PX[1] + 1, 4)
    rows, columns = changed.shape
    return (
        float(max(x - left, 0)),
        float(max(y - top, 0)),
        float(min(x + width + right, columns)),
        float(min(y + height + bottom, rows)),
    )


def _close(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] + APART_PX and b[0] < a[2] + APART_PX and a[1] < b[3] + APART_PX and b[1] < a[3] + APART_PX


def _etched(rng: np.random.Generator, copper: Mask) -> NDArray[np.float32]:
    """Copper as 0..255 with the ragged edge that etching and a line camera leave."""
    shape = copper.shape
    field = cv2.GaussianBlur(copper, (0, 0), float(rng.uniform(0.6, 1.5))).astype(np.float32)
    grain = rng.standard_normal(shape, np.float32)
    field += cv2.GaussianBlur(grain, (0, 0), 0.7) * float(rng.uniform(5, 70))
    etched: NDArray[np.float32] = np.where(field > 127, 255, 0).astype(np.float32)
    if rng.random() < 0.5:
        shift = np.floor(rng.uniform(0, rng.uniform(0.6, 2.2), (shape[0], 1))).astype(np.int64)
        columns = (np.arange(shape[1]) + shift).clip(0, shape[1] - 1)
        etched = np.take_along_axis(etched, columns, axis=1)
    return etched


def _binarised(rng: np.random.Generator, copper: Mask) -> NDArray[np.uint8]:
    """Thresholded to black and white, now and then specks and JPEG traces."""
    picture = (255 - _etched(rng, copper)).astype(np.uint8)
    if rng.random() < 0.3:
        for x, y in rng.integers(0, picture.shape[0], (int(rng.integers(1, 12)), 2)):
            picture[y : y + 2, x : x + int(rng.integers(1, 3))] ^= 255
    if rng.random() < 0.2:
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 98))])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return picture


def _photographed(rng: np.random.Generator, copper: Mask) -> NDArray[np.uint8]:
    """Gray: uneven light, any contrast, a little blur and noise."""
    size = copper.shape[0]
    soft = cv2.GaussianBlur(_etched(rng, copper), (0, 0), float(rng.uniform(0.5, 1.6))) / 255
    dark, light = float(rng.uniform(5, 80)), float(rng.uniform(150, 250))
    slope_x, slope_y = rng.uniform(-0.25, 0.25, 2)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    lamp = 1 + np.float32(slope_x) * ramp[None, :] + np.float32(slope_y) * ramp[:, None]
    noise = rng.standard_normal(copper.shape, np.float32) * float(rng.uniform(0.5, 2.5))
    return np.asarray(((light + (dark - light) * soft) * lamp + noise).clip(0, 255).astype(np.uint8))
