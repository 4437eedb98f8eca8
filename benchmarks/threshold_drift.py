"""What drift does to a picture: ageing light, dust on glass and part, a lens out of focus, a sensor's noise."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from threshold_streams import Kind, Shot

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Strength:
    """How far drift goes at level 1, for pictures of one product; a level between is a part of it."""

    gain: float
    """Of the light: what all grey values are multiplied by."""
    shade: float
    """What share of the light is lost from the left edge to the right one."""
    noise: float
    """Standard deviation of the sensor's noise under that light, grey values."""
    quiet_noise: float
    """The same before any drift."""
    specks: int
    """That have settled on the glass: they stay where they are."""
    dust: float
    """Grains on each part, mean of a Poisson distribution; elsewhere on each."""
    radius_px: tuple[float, float]
    depth: tuple[float, float]
    """Which share of the light a speck or grain takes."""
    blur_px: float
    """Standard deviation of the lens's spread."""
    exposure: float
    """A lens that is knocked is opened, too: what grey values are multiplied by before they saturate at 255."""
    ramp: float
    """Where the slow ramp of light and dirt together ends, as a level of each."""


@dataclass(frozen=True)
class _Speck:
    x: float
    y: float
    radius_px: float
    depth: float
    since: float
    """The level of drift at which it has settled."""


class Optics:
    """The light, the glass and the lens of one stream; a picture taken twice is the same twice."""

    def __init__(self, kind: Kind, seed: int, strength: Strength) -> None:
        self._kind, self._strength = kind, strength
        rng = np.random.default_rng([seed, zlib.crc32(f"{kind} glass".encode())])
        self._glass = [self._speck(rng, float(rng.random())) for _ in range(strength.specks)]

    def taken(self, picture: Pixels, shot: Shot) -> Pixels:
        """The picture of one part as the camera delivers it."""
        strength = self._strength
        level = shot.level * (strength.ramp if self._kind == "ramp" else 1.0)
        rng = np.random.default_rng(shot.seed)
        seen: Floats = turned(picture, shot.turn).astype(np.float32)
        noise = strength.quiet_noise
        if self._kind in {"dirt", "burst", "ramp"}:
            grains = [self._speck(rng, 0.0) for _ in range(rng.poisson(strength.dust * level))]
            for speck in [*(s for s in self._glass if s.since < level), *grains]:
                _darken(seen, speck)
        if self._kind in {"light", "ramp"}:
            fall = np.linspace(1.0, 1.0 - strength.shade * level, seen.shape[1], dtype=np.float32)
            seen *= (1.0 + (strength.gain - 1.0) * level) * fall
            noise += (strength.noise - noise) * level
        if self._kind == "defocus" and level > 0:
            seen = cv2.GaussianBlur(seen, (0, 0), max(strength.blur_px * level, 0.1)).astype(np.float32)
            seen *= 1.0 + (strength.exposure - 1.0) * level
        noisy = seen.clip(0, 255) + noise * rng.standard_normal(seen.shape, np.float32)
        delivered: Pixels = noisy.round().clip(0, 255).astype(np.uint8)
        return delivered

    def _speck(self, rng: np.random.Generator, since: float) -> _Speck:
        x, y = rng.random(2)
        return _Speck(
            float(x), float(y), rng.uniform(*self._strength.radius_px), rng.uniform(*self._strength.depth), since
        )


def turned(picture: Pixels, turn: int) -> Pixels:
    """In one of eight directions: 0 to 3 quarter turns, 4 to 7 the same of the mirror image."""
    return np.ascontiguousarray(np.rot90(picture[:, ::-1] if turn >= 4 else picture, turn % 4))


def _darken(seen: Floats, speck: _Speck) -> None:
    """A soft round shadow, in place."""
    height, width = seen.shape
    x, y = speck.x * (width - 1), speck.y * (height - 1)
    reach = int(speck.radius_px * 3) + 2
    left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
    patch = seen[top : int(y) + reach + 1, left : int(x) + reach + 1]
    down, across = np.mgrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    distance = np.hypot(across - x, down - y)
    patch *= (1.0 - speck.depth / (1.0 + np.exp((distance - speck.radius_px) * 2.0))).astype(np.float32)
