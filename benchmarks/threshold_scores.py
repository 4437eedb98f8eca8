"""Scores of streams, kept in a folder: the model looks once, policies are tried in seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from threshold_boards import Boards
from threshold_drift import Optics, Pixels, Strength
from threshold_steel import Steel
from threshold_streams import BAD_SHARE, BURST, COURSES, PARTS, Kind, Role, shots

GENERATION = 1  # raised when the code of the generators gives other pictures or scores


class Product(Protocol):
    """Pictures of one role and what gives them scores."""

    name: str
    strength: Strength
    classes: tuple[str, ...]
    base: tuple[float, ...]
    identity: str
    good: list[Pixels]
    bad: list[Pixels]

    def peaks(self, picture: Pixels) -> tuple[float, ...]: ...

    def defects(self, nth: int) -> tuple[int, ...]:
        """The classes of the defects of bad picture `nth`."""
        ...

    def at_defects(self, nth: int, picture: Pixels) -> list[tuple[float, ...]]:
        """The highest score of each class at the place of each of them, in `picture` of it, not turned."""
        ...


@dataclass(frozen=True)
class Scored:
    """A stream as the station saw it: `peaks` (parts, classes) to 4 digits, `bad` and `level` (parts,)."""

    peaks: npt.NDArray[np.float64]
    bad: npt.NDArray[np.bool_]
    level: npt.NDArray[np.float64]


Arrays = dict[str, npt.NDArray[Any]]
PRODUCTS: dict[str, Callable[[Path, Role], Product]] = {"boards": Boards, "steel": Steel}


def scored(product: Product, kind: Kind, seed: int, cache: Path | None, parts: int = PARTS) -> Scored:
    """The scores of a stream, from the cache where it has them."""
    facts = (COURSES[kind], parts, BAD_SHARE, (BURST.start, BURST.stop))
    name = f"{product.name}-{kind}-{seed}-{key(product, facts)}"
    kept = cached(cache, name, lambda: _look(product, kind, seed, parts))
    return Scored(kept["peaks"], kept["bad"], kept["level"])


def cached(cache: Path | None, name: str, look: Callable[[], Arrays]) -> Arrays:
    """What `look` gives, kept in the folder under that name."""
    file = None if cache is None else cache / f"{name}.npz"
    if file is not None and file.is_file():
        with np.load(file) as kept:
            return dict(kept)
    found = look()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez_compressed(part, allow_pickle=False, **found)
        part.replace(file)
    return found


def key(product: Product, facts: object) -> str:
    """What scores depend on: a cache made by other generators, pictures, model or OpenCV is not found."""
    of_product = (product.identity, astuple(product.strength), len(product.good), len(product.bad))
    everything = json.dumps((GENERATION, cv2.__version__, of_product, facts))
    return hashlib.sha256(everything.encode()).hexdigest()[:12]


def _look(product: Product, kind: Kind, seed: int, parts: int) -> Arrays:
    optics = Optics(kind, seed, product.strength)
    stream = shots(kind, seed, len(product.good), len(product.bad), parts)
    peaks = [product.peaks(optics.taken((product.bad if s.bad else product.good)[s.source], s)) for s in stream]
    return {
        "peaks": np.array(peaks),
        "bad": np.array([s.bad for s in stream]),
        "level": np.array([s.level for s in stream]),
    }
