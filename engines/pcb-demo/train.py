"""Train and export the pcb-demo detector on one CPU thread. Learns from generated boards only.

    python engines/pcb-demo/train.py

Needs torch and onnx besides edge-inspector: a development tool, not part of the product.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_inspector.demo.boards import CLASSES, Board, draw_board, write_pictures

BUNDLE = Path(__file__).resolve().parent
GOLDEN, GOLDEN_SEED = 24, 2  # so many good and so many bad pictures
INPUT_PX = 640
STRIDE_PX = 8
CELLS = (INPUT_PX // STRIDE_PX) ** 2
FARTHEST = 3.5  # a side lies at most 8 exp(3.5) = 265 px from the middle of its cell
CROP_PX = 320  # the network is fully convolutional: what it learns on crops holds for the picture
FAR_X = np.array([CROP_PX, 0, CROP_PX, 0], np.float32)  # what mirrored box sides are counted from
FAR_Y = np.array([0, CROP_PX, 0, CROP_PX], np.float32)
BATCH = 16
PEAK_LR = 2.5e-3
WARM_UP_STEPS = 150
EMA_DECAY = 0.998
DEFECTS = 14  # a training board carries more than a real one: more to learn from each picture
GOOD_SHARE = 0.2
CANDIDATES = 9  # cells that one defect may claim
IGNORED = -1  # a defect whose middle the crop has lost: neither right nor wrong
OPSET = 17


class Conv(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1):
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation, bias=False),
            nn.BatchNorm2d(channels_out, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.body = nn.Sequential(Conv(channels, channels // 2), Conv(channels // 2, channels, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Detector(nn.Module):
    """Anchor-free, one scale: every 8 px cell says class probabilities and distances to the four sides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(4, 24, stride=2), Residual(24))
        self.fine = nn.Sequential(Conv(24, 64, stride=2), Residual(64), Residual(64))
        self.coarse = nn.Sequential(Conv(64, 96, stride=2), Residual(96), Residual(96, 2), Conv(96, 64, 1))
        self.fuse = nn.Sequential(Conv(128, 64, 1), Residual(64), Residual(64))
        self.classify = nn.Sequential(Conv(64, 48), nn.Conv2d(48, len(CLASSES), 1))
        self.measure = nn.Sequential(Conv(64, 32), nn.Conv2d(32, 4, 1))
        nn.init.constant_(self.classify[-1].bias, -math.log(99))  # starts at 1 %: most cells are empty
        nn.init.constant_(self.measure[-1].bias, 0.7)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes, h, w) and logarithms of the distances to left, top, right, bottom (B, 4, h, w)."""
        fine = self.fine(self.stem(F.pixel_unshuffle(images, 2)))
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        joined = self.fuse(torch.cat([fine, coarse], 1))
        return self.classify(joined), self.measure(joined)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, N, classes) and boxes (B, N, 4) as x0 y0 x1 y1 in pixels, both float32."""
        logits, sides = (each.flatten(2).transpose(1, 2).float() for each in self.maps(images))
        centres, sides = cell_centres(images.shape[2], images.shape[3]), in_pixels(sides)
        return logits, torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], -1)


class Exported(nn.Module):
    """The detector in YOLOv8's output layout: (1, 4 + classes, N), boxes as cx cy w h. Every shape is a constant."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("centres", cell_centres(INPUT_PX, INPUT_PX).T[None])

    def forward(self, images: Tensor) -> Tensor:
        logits, sides = self.detector.maps(images)
        scores = logits.sigmoid().reshape(1, len(CLASSES), CELLS)
        near, far = in_pixels(sides).reshape(1, 4, CELLS).split(2, dim=1)
        return torch.cat([self.centres + (far - near) / 2, near + far, scores], 1)


def in_pixels(sides: Tensor) -> Tensor:
    return sides.clamp(max=FARTHEST).exp() * STRIDE_PX


def cell_centres(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height // STRIDE_PX), torch.arange(width // STRIDE_PX), indexing="ij")
    return (torch.stack([x.flatten(), y.flatten()], 1).float() + 0.5) * STRIDE_PX


def crops(boards: list[Board], rng: np.random.Generator) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """One batch of crops, each turned and mirrored at random: images, boxes, class ids."""
    images, boxes, class_ids = [], [], []
    for nth in rng.integers(len(boards), size=BATCH):
        board = boards[nth]
        x, y = rng.integers(0, INPUT_PX - CROP_PX + 1, 2)
        image = board.picture[y : y + CROP_PX, x : x + CROP_PX]
        whole = board.xyxy - np.array([x, y, x, y], np.float32)
        middle = (whole[:, :2] + whole[:, 2:]) / 2
        seen = ((whole[:, 2:] > 2) & (whole[:, :2] < CROP_PX - 2)).all(1)
        kept = ((middle > 0) & (middle < CROP_PX)).all(1)
        class_id = np.where(kept, board.class_id, IGNORED)[seen]
        xyxy = whole.clip(0, CROP_PX)[seen]
        if rng.random() < 0.5:
            image, xyxy = image.T, xyxy[:, [1, 0, 3, 2]]
        if rng.random() < 0.5:
            image, xyxy = image[:, ::-1], np.abs(xyxy[:, [2, 1, 0, 3]] - FAR_X)
        if rng.random() < 0.5:
            image, xyxy = image[::-1], np.abs(xyxy[:, [0, 3, 2, 1]] - FAR_Y)
        images.append(torch.from_numpy(np.ascontiguousarray(image)))
        boxes.append(torch.from_numpy(np.ascontiguousarray(xyxy)))
        class_ids.append(torch.from_numpy(class_id))
    return torch.stack(images)[:, None].float() / 255, boxes, class_ids


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes that broadcast against one another."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area_a, area_b = (a[..., 2:] - a[..., :2]).prod(-1), (b[..., 2:] - b[..., :2]).prod(-1)
    return shared / (area_a + area_b - shared).clamp(min=1e-6)


def loss_of_picture(logits: Tensor, xyxy: Tensor, boxes: Tensor, class_id: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class loss, box loss and the weight both are divided by. Task-aligned assignment, Feng et al. 2021."""
    target = torch.zeros_like(logits)
    counted = torch.ones(len(logits), 1)
    centres = cell_centres(CROP_PX, CROP_PX)
    inside = ((centres[None] > boxes[:, None, :2]) & (centres[None] < boxes[:, None, 2:])).all(-1)
    counted[inside[class_id == IGNORED].any(0)] = 0
    real = class_id != IGNORED
    boxes, class_id, inside = boxes[real], class_id[real], inside[real]
    box_loss = xyxy.sum() * 0
    if len(boxes):
        with torch.no_grad():
            iou = overlap(boxes[:, None], xyxy[None])
            aligned = logits.sigmoid().T[class_id].sqrt() * iou.pow(6) * inside
            nth_best = aligned.topk(CANDIDATES, dim=1).values[:, -1:]
            aligned = torch.where(aligned >= nth_best, aligned, 0) * inside
            owner = torch.where(aligned > 0, iou, -1.0).argmax(0)
            taken = aligned.any(0).nonzero()[:, 0]
            owner = owner[taken]
            strength = aligned[owner, taken]
            peak = aligned.amax(1)[owner].clamp(min=1e-12)
            score = strength / peak * (iou * (aligned > 0)).amax(1)[owner]
            target[taken, class_id[owner]] = score
            counted[taken] = 1
        box_loss = ((1 - complete_iou(xyxy[taken], boxes[owner])) * score).sum()
    class_loss = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * counted).sum()
    return class_loss, box_loss, target.sum()


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the distance of the centres (DIoU, Zheng et al. 2020)."""
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    apart = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    return overlap(a, b) - apart.square().sum(1) / hull.square().sum(1).clamp(min=1e-6)


def train(pool: int, minutes: float, seed: int) -> Detector:
    """Draw `pool` boards, learn from them for `minutes` (drawing counts), return the averaged network."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    started_s = time.monotonic()
    boards = [draw_board(rng, INPUT_PX, 0 if rng.random() < GOOD_SHARE else DEFECTS) for _ in range(pool)]
    drawn_s = time.monotonic() - started_s
    print(f"{pool} boards drawn in {drawn_s:.0f} s", flush=True)
    budget_s = minutes * 60 - drawn_s
    detector = Detector().to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(detector).eval()
    optimiser = torch.optim.AdamW(detector.parameters(), lr=PEAK_LR, weight_decay=0.02)
    learning_s, step, shown = time.monotonic(), 0, [0.0, 0.0]
    while (spent := (time.monotonic() - learning_s) / budget_s) < 1:
        rate = PEAK_LR * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.01 + 0.99 * (1 + math.cos(math.pi * spent)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, boxes, class_ids = crops(boards, rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits, xyxy = detector(images.to(memory_format=torch.channels_last))
        parts = [loss_of_picture(*each) for each in zip(logits, xyxy, boxes, class_ids, strict=True)]
        class_loss, box_loss, weight = (sum(column) for column in zip(*parts, strict=True))
        loss = (class_loss + 2.5 * box_loss) / max(float(weight), 1.0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimiser.step()
        step += 1
        follow(averaged, detector, min(EMA_DECAY, step / (step + 20)))
        parts_shown = [float(part.detach()) / max(float(weight), 1.0) for part in (class_loss, box_loss)]
        shown = [total + part for total, part in zip(shown, parts_shown, strict=True)]
        if step % 200 == 0:
            print(f"{spent:4.0%} step {step} class {shown[0] / 200:.3f} box {shown[1] / 200:.3f}", flush=True)
            shown = [0.0, 0.0]
    print(f"{step} steps of {BATCH} crops, {(time.monotonic() - started_s) / 60:.1f} min in all", flush=True)
    return averaged


@torch.no_grad()
def follow(averaged: nn.Module, detector: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the learning ones."""
    for slow, fast in zip(averaged.state_dict().values(), detector.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)


def export(detector: Detector, path: Path) -> None:
    """Write the ONNX file, batch norm folded, and prove that it computes what torch computes."""
    model = Exported(copy.deepcopy(detector).to(memory_format=torch.contiguous_format)).eval()
    for block in model.modules():
        if isinstance(block, Conv):
            block[0] = nn.utils.fuse_conv_bn_eval(block[0], block[1])
            block[1] = nn.Identity()
    rng = np.random.default_rng(0)
    sample = torch.from_numpy(draw_board(rng).picture)[None, None].float() / 255
    torch.onnx.export(
        model, (sample,), str(path), input_names=["images"], output_names=["output0"], opset_version=OPSET, dynamo=False
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        apart = np.abs(session.run(None, {"images": sample.numpy()})[0] - Exported(detector).eval()(sample).numpy())
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{path.name}: {path.stat().st_size} bytes, {parameters} parameters")
    print(f"onnxruntime and torch differ by at most {apart.max():.2e}")
    if apart.max() > 0.05:
        raise SystemExit(f"{path}: the exported network differs from the trained one by {apart.max():.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=3000, help="boards drawn for training")
    parser.add_argument("--minutes", type=float, default=25, help="time for drawing and learning")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--onnx", type=Path, default=BUNDLE / "model.onnx")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    export(train(arguments.pool, arguments.minutes, arguments.seed), arguments.onnx)
    write_pictures(BUNDLE / "golden", GOLDEN, GOLDEN, GOLDEN_SEED)


if __name__ == "__main__":
    main()
