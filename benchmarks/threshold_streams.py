"""Streams of parts for the benchmark of thresholds: which part comes when, and how far the picture has drifted."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Role = Literal["ceilings", "tuning", "claim"]
"""What a picture is for: golden limits, trying policies, the published claim. No picture has two."""
Kind = Literal["quiet", "light", "dirt", "defocus", "ramp", "burst"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DRIFTING: tuple[Kind, ...] = KINDS[1:]
SEEDS: dict[Role, tuple[int, ...]] = {
    "ceilings": (11,),
    "tuning": (101, 102, 103),
    "claim": (901, 902, 903, 904, 905, 906),
}
PARTS = 2000
BAD_SHARE = 0.05
BURST = range(800, 900)  # defects only, while the glass is at its dirtiest
TURNS = 8  # a picture and its mirror image, each in four directions
# (part, how far the picture has drifted: 0 = as when the recipe was made, 1 = as far as it goes)
COURSES: dict[Kind, tuple[tuple[int, float], ...]] = {
    "quiet": ((0, 0.0),),
    "light": ((200, 0.0), (500, 1.0), (1450, 1.0), (1500, 0.0)),  # a lamp ages and is changed
    "dirt": ((200, 0.0), (700, 1.0), (1500, 1.0), (1501, 0.0)),  # dust settles on the glass, which is wiped
    "defocus": ((200, 0.0), (240, 1.0), (1500, 1.0), (1501, 0.0)),  # a lens is knocked and set again
    "ramp": ((100, 0.0), (1900, 1.0)),  # light and dirt together, slower than anybody would notice
    "burst": ((200, 0.0), (700, 1.0), (1500, 1.0), (1501, 0.0)),  # dirt, and BURST
}
SINCE: dict[Kind, int] = {"quiet": 0, "light": 200, "dirt": 200, "defocus": 200, "ramp": 100, "burst": 200}
GONE: dict[Kind, int] = {"quiet": PARTS, "light": 1450, "dirt": 1500, "defocus": 1500, "ramp": PARTS, "burst": 1500}
# the part with which drift begins, and the one with which it goes
CURED = tuple(kind for kind in KINDS if GONE[kind] < PARTS)


@dataclass(frozen=True)
class Shot:
    """One part before the camera: picture `source` of the good or of the bad ones, at a level of drift.

    Bad ones come turned; good ones are in the pool in each direction in which the recipe accepts them.
    """

    bad: bool
    source: int
    turn: int
    level: float
    seed: int


def role_of(picture: str) -> Role:
    """A fifth of the pictures makes the limits, two fifths are for tuning, two for the claim; by name, for ever."""
    fifth = int.from_bytes(hashlib.sha256(f"thresholds {picture}".encode()).digest()[:8], "big") % 5
    return "ceilings" if fifth == 0 else "tuning" if fifth <= 2 else "claim"


def shots(kind: Kind, seed: int, goods: int, bads: int, parts: int = PARTS) -> list[Shot]:
    """The stream of one seed, of so many good and bad pictures of its role; a shorter one is the same, squeezed."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    at, levels = zip(*COURSES[kind], strict=True)
    found = []
    for part in range(parts):
        of_course = part * PARTS / parts
        bad = bool(rng.random() < BAD_SHARE) or (kind == "burst" and int(of_course) in BURST)
        source = int(rng.integers(bads if bad else goods))
        level = float(np.interp(of_course, at, levels))
        turn = int(rng.integers(TURNS))
        found.append(Shot(bad, source, turn if bad else 0, level, int(rng.integers(2**31))))
    return found
