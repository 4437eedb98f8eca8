"""How a picture differs from its reference: position, focus, brightness, and what stands where nothing should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.errors import ConfigError
from edge_inspector.stages.camera_reference import FEWEST, MOST, Gray, Reference, Spread, envelope, spread_of

BLOCKS = 8
"""The picture's brightness is looked at in 8 x 8 blocks."""
DARKEST = 12.0
"""Gray value below which a block has no brightness to lose."""
CORRELATED_PX = 1024
"""Long side of the picture whose position is measured: a larger one is shrunk to it."""
REACH_PX = 2
"""Movement that dirt is told apart from: the reference's extremes of a 5 x 5 neighbourhood are allowed."""
TOLERANCE = 10.0
"""Gray values beyond the reference's extremes that noise is given."""
FEWEST_IN_BLOCK = 1e-2
"""Share of a block that must be edge, or flat, for either to be measured in it."""
FEWEST_BLOCKS = 4
"""Blocks with edges by which focus is measured."""
FEWEST_FLAT = 1e-2
"""Share of the picture that must be flat and neither black nor white for noise to be measured there."""
_STEEP, _FLAT = 40.0, 10.0
"""Sobel gradients (gray values per px, times 4) of an edge, and of a place in which noise alone has a Laplacian."""
_EDGE_PX = 9
_CLIPPED, _WHITE = 6, 255
_USUAL = 3.0
"""Standard deviations of a block's brightness that are the part's own, and no light."""
_LEAST_GAIN = 1e-3
_RANGE = 3.0
"""Highest less lowest of 5 to 50 values of noise, in standard deviations: 2.3 to 4.5."""
_LEAST_NOISE = 0.5
_Spectrum = npt.NDArray[np.complexfloating[Any, Any]]
_TINY = 1e-9


@dataclass(frozen=True)
class Measured:
    """One picture against its reference. `shift_px` is x, y: where the scene went.

    `focus` is the edges' share of the reference's variance of the Laplacian, None = too few edges; `brightness` that of
    its brightness, 1 = as it was; `blocks` (64,) float32 each block's brightness against the whole, NaN = too dark. It
    is the middle one of a block and its neighbours: light changes several blocks, something in the scene changes one.
    """

    shift_px: tuple[float, float]
    focus: float | None
    brightness: float
    blocks: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Odd:
    """Where a picture is beyond all that the reference saw: (h,w) uint8, 1 = it is."""

    darker: Gray
    brighter: Gray


class Eye:
    """A reference, made ready to measure pictures by; keeps nothing of them.

    Its memory is 7 bytes a pixel. Takes 8-bit gray pictures of the reference's size; another size is a ValueError.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        median = reference.median
        self._scale = min(1.0, CORRELATED_PX / max(median.shape))
        rows, columns = (_middle(round(side * self._scale)) for side in median.shape)
        self._middle_hw = rows.stop - rows.start, columns.stop - columns.start
        self._window = cv2.createHanningWindow(self._middle_hw[::-1], cv2.CV_32F)
        self._matched = self._match()
        self._edges, self._flat = _edges(median)
        self._blocks = _means(median)
        self._lit = self._blocks >= DARKEST
        self._block_spread = np.array(reference.spread.blocks, np.float32)
        around = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)
        self._low = cv2.erode(reference.low, around)
        self._high = cv2.dilate(reference.high, around)

    def measure(self, picture: Gray) -> Measured:
        if picture.shape != self.reference.median.shape:
            raise ValueError(f"a picture of {picture.shape}, expected {self.reference.median.shape}")
        ratios = _means(picture)[self._lit] / self._blocks[self._lit]
        gain = max(float(np.median(ratios)), _LEAST_GAIN) if ratios.size else 1.0
        blocks = np.ones(BLOCKS * BLOCKS, np.float32)
        blocks[self._lit] = ratios / gain
        even = np.asarray(cv2.medianBlur(blocks.reshape(BLOCKS, BLOCKS), 3), np.float32).reshape(-1)
        blocks = np.where(self._lit, even, np.float32(np.nan))
        return Measured(self._shift(picture), self._focus(picture, blocks, gain), gain, blocks)

    def odd(self, picture: Gray, measured: Measured) -> Odd:
        """What is darker or brighter than any reference picture was there, after the light's own change."""
        usual = np.abs(measured.blocks - 1.0) <= _USUAL * self._block_spread
        even = np.where(usual | np.isnan(measured.blocks), 1.0, measured.blocks)
        gains = even.reshape(BLOCKS, BLOCKS) * measured.brightness
        size = picture.shape[1], picture.shape[0]
        light = cv2.resize(gains.astype(np.float32).clip(0.3, 3.0), size, interpolation=cv2.INTER_LINEAR)
        darker = picture < cv2.multiply(self._low, light, dtype=cv2.CV_32F) - TOLERANCE
        brighter = picture > cv2.multiply(self._high, light, dtype=cv2.CV_32F) + TOLERANCE
        return Odd(darker.view(np.uint8), brighter.view(np.uint8))

    def edge_energy(self, picture: Gray) -> npt.NDArray[np.float32]:
        """(64,) mean square of the Laplacian along the reference's edges of each block, NaN = it has too few.

        Less that of flat places: noise drops out. Where there are none it stays in, and a loss of focus shows less.
        """
        laplacian = cv2.Laplacian(picture, cv2.CV_32F)
        square = cv2.multiply(laplacian, laplacian)
        flat = _means(square, self._flat)
        noise = 0.0 if np.isnan(flat).all() else float(np.nanmedian(flat))
        energy: npt.NDArray[np.float32] = _means(square, self._edges) - np.float32(noise)
        return energy

    def _focus(self, picture: Gray, blocks: npt.NDArray[np.float32], gain: float) -> float | None:
        """The middle one of the blocks: a defect changes those in which it lies."""
        level = np.array(self.reference.focus, np.float32)
        if not level.any():
            return None
        light = np.where(np.isnan(blocks), 1.0, blocks).clip(_LEAST_GAIN) * gain
        usable = level > 0
        return max(0.0, float(np.median((self.edge_energy(picture) / light**2)[usable] / level[usable])))

    def _shift(self, picture: Gray) -> tuple[float, float]:
        """Where the phase correlation is highest, to parts of a pixel by a parabola through the values beside it.

        Of a scene that the reference does not show it is any number: `Spread` knows by how much it varies.
        """
        seen = self._spectrum(picture)
        peaks = np.fft.irfft2(seen * self._matched / np.maximum(np.abs(seen), _TINY), self._middle_hw)
        row, column = divmod(int(np.argmax(peaks)), peaks.shape[1])
        y = _whole(row, peaks.shape[0]) + _part(peaks[:, column], row)
        x = _whole(column, peaks.shape[1]) + _part(peaks[row], column)
        return (x / self._scale, y / self._scale)

    def _spectrum(self, picture: Gray) -> _Spectrum:
        """Of the middle of the picture, which is shrunk if it is large; it fades out towards its border."""
        if self._scale < 1.0:
            picture = _gray(cv2.resize(picture, None, fx=self._scale, fy=self._scale, interpolation=cv2.INTER_AREA))
        rows, columns = map(_middle, picture.shape)
        middle = picture[rows, columns].astype(np.float32)
        return np.fft.rfft2((middle - middle.mean()) * self._window)

    def _match(self) -> _Spectrum:
        """The reference's phases, each with the weight that it has beside the noise of a single picture."""
        reference = self.reference
        own = self._spectrum(reference.median)
        sigma = float(np.median(reference.high.astype(np.int16) - reference.low)) / _RANGE * self._scale
        power = np.abs(own) ** 2
        noise = max(sigma, _LEAST_NOISE) ** 2 * float((self._window**2).sum())
        matched: _Spectrum = np.conj(own) / np.maximum(np.abs(own), _TINY) * power / (power + noise)
        return matched


def reference_of(pictures: Sequence[Gray]) -> Reference:
    """The reference that these pictures of good parts make. ConfigError: too few, too many, or of several sizes."""
    if not FEWEST <= len(pictures) <= MOST:
        raise ConfigError(f"{len(pictures)} pictures for a reference, expected {FEWEST} to {MOST}")
    sizes = sorted({picture.shape for picture in pictures})
    if len(sizes) > 1:
        raise ConfigError(f"pictures of {', '.join(map(str, sizes))} for one reference, expected one size")
    halves = pictures[::2], pictures[1::2]
    crossed = zip(halves, reversed(halves), strict=True)  # what a picture has a part in is like it in any case
    spread = _spread([eye.measure(one) for half, other in crossed for eye in [Eye(_bare(half))] for one in other])
    return replace(_bare(pictures), spread=spread)


def _bare(pictures: Sequence[Gray]) -> Reference:
    """Without its spread."""
    low, median, high = envelope(pictures)
    bare = Reference(low, median, high, (), Spread(0.0, 0.0, 0.0, (0.0,) * BLOCKS**2))
    eye = Eye(bare)
    light = [eye.measure(picture).brightness for picture in pictures]
    energies = [eye.edge_energy(picture) / gain**2 for picture, gain in zip(pictures, light, strict=True)]
    level = np.nan_to_num(np.median(energies, axis=0), nan=0.0).clip(0.0)
    return replace(bare, focus=tuple(map(float, level)) if np.count_nonzero(level) >= FEWEST_BLOCKS else ())


def _spread(measured: Sequence[Measured]) -> Spread:
    shifts = zip(*(one.shift_px for one in measured), strict=True)
    focus = [one.focus for one in measured if one.focus is not None]
    blocks = np.stack([one.blocks for one in measured])
    return Spread(
        shift_px=max(map(spread_of, shifts)),
        focus=spread_of(focus) if focus else 0.0,
        brightness=spread_of([one.brightness for one in measured]),
        blocks=tuple(0.0 if np.isnan(block).any() else spread_of(block) for block in blocks.T),
    )


def _edges(median: Gray) -> tuple[Gray, Gray]:
    """Masks of the edges with what lies a few pixels beside them, and of places without any."""
    smooth = cv2.GaussianBlur(median, (5, 5), 0)
    steep = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    around = np.ones((_EDGE_PX, _EDGE_PX), np.uint8)
    edges = cv2.dilate((steep > _STEEP).view(np.uint8), around)
    flat = (cv2.dilate(steep, around) < _FLAT).view(np.uint8)
    whole = flat & (median >= _CLIPPED) & (median <= _WHITE - _CLIPPED)  # in black and white noise is cut off
    return _gray(edges), _gray(whole if np.count_nonzero(whole) > FEWEST_FLAT * median.size else flat)


def _means(picture: npt.NDArray[Any], mask: Gray | None = None) -> npt.NDArray[np.float32]:
    """(64,) mean of each block, where there is a mask (0 and 1) of its pixels in that; NaN = it has too few of them."""
    if mask is None:
        counts = _sums(np.ones(picture.shape, np.uint8))
        return (_sums(picture) / counts).astype(np.float32)
    counts, whole = _sums(mask), picture.size / BLOCKS**2
    masked = cv2.multiply(picture, mask, dtype=cv2.CV_32F)
    means = _sums(masked) / np.maximum(counts, 1)
    return np.where(counts >= FEWEST_IN_BLOCK * whole, means, np.nan).astype(np.float32)


def _sums(picture: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(64,) sum of each block's pixels."""
    rows, columns = (np.linspace(0, side, BLOCKS + 1).astype(int) for side in picture.shape)
    sums = np.asarray(cv2.integral(picture, sdepth=cv2.CV_64F))
    corners = sums[np.ix_(rows, columns)]
    total: npt.NDArray[np.float64] = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    return total.reshape(-1)


def _middle(side: int) -> slice:
    """Of a side, as much as a fast Fourier transform likes; even."""
    length = side - side % 2
    while cv2.getOptimalDFTSize(length) != length:
        length -= 2
    return slice((side - length) // 2, (side + length) // 2)


def _whole(index: int, length: int) -> int:
    """Of a shift that goes round: the second half is the way back."""
    return index if index < length // 2 else index - length


def _part(values: npt.NDArray[np.floating[Any]], at: int) -> float:
    """The parts of a pixel by which the top of a parabola is beside the highest value, -0.5..0.5."""
    before, top, after = (float(values[(at + step) % len(values)]) for step in (-1, 0, 1))
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else (before - after) / (2 * bend)


def _gray(mask: npt.NDArray[Any]) -> Gray:
    return np.asarray(mask, np.uint8)
