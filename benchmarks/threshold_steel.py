"""Hot-rolled steel before a plain detector: real patches without and with a labelled defect.

The detector is no model of this project and no good one: it tells how much brighter and how much darker than its
surroundings the most conspicuous spot is. It stands for the many scores that move with the light.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from threshold_drift import Pixels, Strength, turned
from threshold_streams import TURNS, Role, role_of

SIDE_PX = 64  # of a patch; the pictures are 200 x 200
STEP_PX = 68  # between patches that are taken as good
MARGIN_PX = 6  # around each label: a defect does not end where its box does
KINDS = ("scratches", "patches")  # where both have an edge; crazing and the like cover whole pictures
SPOT_PX, GROUND_PX = 1.5, 16.0  # standard deviations of what is a spot and what is around it
HEADROOM = 0.55  # the pictures are exposed to the full; a station's leave room for more light
FULL_SCALE = 40.0  # grey values of contrast at which a score has come to 0.63
ACCEPTED = 0.985  # of the good patches of the role "ceilings" each class's threshold lets pass
STEEL = Strength(
    gain=1.5,
    shade=0.1,
    noise=3.0,
    quiet_noise=2.0,
    specks=1,
    dust=2.2,
    radius_px=(2.0, 4.0),
    depth=(0.3, 0.6),
    blur_px=0.7,
    exposure=1.7,
    ramp=0.4,
)


class Steel:
    """The product: patches of one role, and the detector."""

    name = "steel"
    strength = STEEL
    classes: tuple[str, ...] = ("bright", "dark")

    def __init__(self, data: Path, role: Role) -> None:
        good, self.bad = _patches(data / "steel", role)
        setting_up = good if role == "ceilings" else _patches(data / "steel", "ceilings")[0]
        seen = np.array([self.peaks(patch) for patch in setting_up])
        self.base: tuple[float, ...] = tuple(float(limit) for limit in np.quantile(seen, ACCEPTED, axis=0).round(2))
        self.good = [patch for patch in good if all(np.array(self.peaks(patch)) < self.base)]
        self.identity = f"spots {SPOT_PX} {GROUND_PX} {FULL_SCALE} {self.base}"

    def peaks(self, picture: Pixels) -> tuple[float, ...]:
        """How bright and how dark the most conspicuous spot is, each 0..1."""
        grey = picture.astype(np.float32)
        contrast = cv2.GaussianBlur(grey, (0, 0), SPOT_PX) - cv2.GaussianBlur(grey, (0, 0), GROUND_PX)
        spots = (float(contrast.max()), float(-contrast.min()))
        return tuple(round(1.0 - float(np.exp(-max(spot, 0.0) / FULL_SCALE)), 4) for spot in spots)

    def defects(self, nth: int) -> tuple[int, ...]:
        """One: what it looks like most, against its class's threshold."""
        return (int(np.argmax(np.array(self.peaks(self.bad[nth])) / self.base)),)

    def at_defects(self, _nth: int, picture: Pixels) -> list[tuple[float, ...]]:
        """A patch is its defect's place."""
        return [self.peaks(picture)]


def _patches(steel: Path, role: Role) -> tuple[list[Pixels], list[Pixels]]:
    """(good, bad): those that keep clear of all labels, and those around the middle of each label."""
    good, bad = [], []
    for path in sorted((steel / "annotations_voc").glob("*.xml")):
        if path.stem.rsplit("_", 1)[0] not in KINDS or role_of(path.stem) != role:
            continue
        picture = cv2.imread(str(steel / "images" / f"{path.stem}.jpg"), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise FileNotFoundError(f"{steel / 'images' / path.stem}.jpg is no picture; look at --data")
        darker: Pixels = np.round(picture * HEADROOM).astype(np.uint8)
        boxes = _boxes(path)
        labelled = np.zeros(picture.shape, bool)
        for x1, y1, x2, y2 in boxes:
            labelled[max(y1 - MARGIN_PX, 0) : y2 + MARGIN_PX, max(x1 - MARGIN_PX, 0) : x2 + MARGIN_PX] = True
        places = range(0, min(picture.shape) - SIDE_PX + 1, STEP_PX)
        for y in places:
            for x in places:
                if not labelled[y : y + SIDE_PX, x : x + SIDE_PX].any():
                    patch = darker[y : y + SIDE_PX, x : x + SIDE_PX]
                    good += [turned(patch, turn) for turn in range(TURNS)]
        for x1, y1, x2, y2 in boxes:
            top = min(max((y1 + y2 - SIDE_PX) // 2, 0), picture.shape[0] - SIDE_PX)
            left = min(max((x1 + x2 - SIDE_PX) // 2, 0), picture.shape[1] - SIDE_PX)
            bad.append(darker[top : top + SIDE_PX, left : left + SIDE_PX])
    return good, bad


def _boxes(path: Path) -> list[tuple[int, int, int, int]]:
    found = []
    for box in ElementTree.parse(path).iter("bndbox"):
        x1, y1, x2, y2 = (int(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax"))
        found.append((x1, y1, x2, y2))
    return found
