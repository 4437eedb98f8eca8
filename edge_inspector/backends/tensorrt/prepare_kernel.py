"""What to launch so that a GPU does what `stages.prepare` does: `prepare.cu`, its parameters and look-up arrays.

Nothing here touches CUDA. The kernel, one thread for each pixel of the model's input, is
`ENTRY(Parameters, picture, map, table, output, faults)`; all but the first are device addresses:

- `Parameters`: by value, the bytes of `Launch.parameters`;
- `picture`: the frame's pixels, C-contiguous, as they came from the camera;
- `map`, `table`: `Launch.map.array()` (0 without a map) and `Launch.table.array()`, to be kept there by these keys;
- `output`: the engine's whole input, (n,C,H,W) of `element`; a launch writes its own tile and nothing else;
- `faults`: a uint32 that is zero before the launch. Not zero afterwards = a 12-bit pixel is brighter than 4095, for
  which `prepare` raises FrameError; the kernel takes it for 4095. Pixels that no sample looks at are not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Calibration, Floats, InputSpec, PixelFormat, PreparePlan, RawView
from edge_inspector.errors import BundleError, FrameError
from edge_inspector.stages.prepare import EXACT_FROM, Fit, fits, fused_map, halvings_of, tables_of

SOURCE = Path(__file__).with_name("prepare.cu").read_text(encoding="utf-8")
ENTRY = "edge_inspector_prepare"
Element: TypeAlias = Literal["float32", "float16"]
"""What the engine's input consists of."""

BLOCK = (32, 4, 1)  # the kernel's launch bounds; a warp writes 32 neighbours of one row
DEEPEST = 8
"""Halvings that the kernel can do: a picture may be 511 times as large as its place in the input."""
LARGEST_HALF = float(np.finfo(np.float16).max)
VIEWS_KEPT = 64  # launches are worked out once for each view of the recipes in use

MONO8, MONO12, COLOUR8, MOSAIC8, MOSAIC12 = range(5)
AREA, LINEAR, MAP = range(3)
_PIXEL_BYTES: Mapping[int, int] = {MONO8: 1, MONO12: 2, COLOUR8: 3, MOSAIC8: 1, MOSAIC12: 2}
FIXED_STEPS = 32  # of OpenCV's fixed-point maps, in each direction of a pixel

PARAMETERS = np.dtype(
    [
        (name, np.int32)
        for name in (
            "source",  # MONO8..MOSAIC12
            "width", "height",  # of the camera's picture, px
            "pitch_bytes",  # from one row of it to the next
            "red_x", "red_y",  # a mosaic's: where red lies in each 2x2 cell, 0 or 1
            "red_first",  # values of a pixel are red, green, blue; else blue, green, red
            "planes",  # C: 1 = gray, 3
            "reversed",  # the output's planes run the other way round than a pixel's values
            "sampling",  # AREA..MAP
            "halvings",  # the grid is the picture in blocks of 2^halvings px, from (origin_x, origin_y) on
            "origin_x", "origin_y",  # px of the camera's picture
            "grid_width", "grid_height",  # blocks
            "pad_value",  # 0..255
            "float16",  # the output's element; else float32
            "tile",  # which of the output's n
            "out_width", "out_height",  # W, H
            "left", "top", "content_width", "content_height",  # where the grid lands in the output, px
        )
    ]
)  # fmt: skip
"""The kernel's `struct Parameters`, field by field."""

_RED_SITE: Mapping[str, tuple[int, int]] = {"RG": (0, 0), "GR": (1, 0), "GB": (0, 1), "BG": (1, 1)}
"""x, y of red in a mosaic's first cell; GenICam names the first two pixels of the first row."""


@dataclass(frozen=True)
class SourceMap:
    """Key of the map of one calibration and fit: where in the halved picture each pixel of the content lies."""

    calibration: Calibration
    fit: Fit

    @property
    def bytes(self) -> int:
        return self.fit.content.height * self.fit.content.width * 2 * 4

    def array(self) -> Floats:
        """(h,w,2) float32 x, y: blocks of the grid of the whole picture, centres at whole numbers; `fused_map`'s."""
        way = fused_map(self.calibration, self.fit)
        if way.halvings >= EXACT_FROM:
            x, y = way.maps
        else:
            whole, steps = way.maps
            x, y = whole[..., 0] + steps % FIXED_STEPS / FIXED_STEPS, whole[..., 1] + steps // FIXED_STEPS / FIXED_STEPS
        first = (way.source.x >> way.halvings, way.source.y >> way.halvings)
        return np.stack([x + first[0], y + first[1]], axis=2).astype(np.float32)


@dataclass(frozen=True)
class Table:
    """Key of the table that normalises: what each of the 256 values of each channel becomes."""

    spec: InputSpec
    element: Element

    def array(self) -> npt.NDArray[Any]:
        """(C,256) float32 or float16, rounded to nearest even; in float32 exactly what `prepare` looks up.

        BundleError: a value that float16 does not have.
        """
        table = np.stack(tables_of(self.spec))
        largest = float(np.abs(table).max())
        if self.element == "float16" and largest > LARGEST_HALF:
            raise BundleError(
                f"the input's scale, mean and std give values of up to {largest:g}, float16 ends at {LARGEST_HALF:g}; "
                "correct [input] in model.toml or build the engine with a float32 input"
            )
        return table.astype(self.element)


@dataclass(frozen=True)
class Launch:
    """One tile: `parameters` are the bytes of one `PARAMETERS`; `map` None = the kernel's map pointer is not read."""

    parameters: bytes
    map: SourceMap | None
    table: Table
    grid: tuple[int, int, int]
    block: tuple[int, int, int]

    @property
    def values(self) -> np.void:
        """`parameters` by name."""
        value: np.void = np.frombuffer(self.parameters, PARAMETERS)[0]
        return value


def launches(view: RawView, element: Element) -> tuple[Launch, ...]:
    """One launch for each tile of the view, each into its own place of an output that holds them all.

    FrameError: it is to be shrunk more than the kernel can. Worked out once for each plan, format and size of picture:
    the same tuple comes again.
    """
    made, tiles = _launches(view.plan, view.frame.hw, view.frame.pixel_format, element)
    letterboxes = tuple(fit.letterbox for fit in tiles)
    if view.tiles != letterboxes:
        raise ValueError(f"the view of {view.frame.camera} says tiles {view.tiles}, its plan gives {letterboxes}")
    return made


def bytes_moved(launch: Launch) -> int:
    """Bytes that must be read and written at the least: each pixel looked at, the map and the output, once each."""
    p = launch.values
    pixels = int(p["grid_width"]) * int(p["grid_height"])
    around = 0
    if launch.map is not None:
        pixels, around = _seen(launch.map.array(), int(p["grid_width"]), int(p["grid_height"])), launch.map.bytes
    read = _PIXEL_BYTES[int(p["source"])] * (pixels << 2 * int(p["halvings"]))
    written = int(p["planes"]) * int(p["out_width"]) * int(p["out_height"]) * (2 if p["float16"] else 4)
    return read + around + written


def _seen(places: Floats, width: int, height: int) -> int:
    """How many blocks of the grid lie around one of these places; places outside begin two before it."""
    column = np.floor(places[..., 0]).astype(np.intp).clip(-2, width) + 2
    row = np.floor(places[..., 1]).astype(np.intp).clip(-2, height) + 2
    seen = np.zeros((height + 4, width + 4), np.bool_)
    for right, down in np.ndindex(2, 2):
        seen[row + down, column + right] = True
    return int(seen[2 : height + 2, 2 : width + 2].sum())


@lru_cache(maxsize=VIEWS_KEPT)
def _launches(
    plan: PreparePlan, hw: tuple[int, int], pixel_format: PixelFormat, element: Element
) -> tuple[tuple[Launch, ...], tuple[Fit, ...]]:
    spec, tiles = plan.input, fits(plan, hw)
    grid = (-(-spec.width_px // BLOCK[0]), -(-spec.height_px // BLOCK[1]), 1)
    made = []
    for tile, fit in enumerate(tiles):
        fields = {
            **_source(pixel_format, hw, spec),
            **(_mapped(hw, fit) if plan.calibration else _scaled(fit)),
            "pad_value": spec.pad_value,
            "float16": element == "float16",
            "tile": tile,
            "out_width": spec.width_px,
            "out_height": spec.height_px,
            "left": fit.content.x,
            "top": fit.content.y,
            "content_width": fit.content.width,
            "content_height": fit.content.height,
        }
        if fields["halvings"] > DEEPEST:
            raise FrameError(
                f"{fit.bounds.width}x{fit.bounds.height} pixels are to become {fit.content.width}x{fit.content.height}"
                f", expected at most {2 ** (DEEPEST + 1) - 1} in one; set prepare_on_device = false"
            )
        parameters = np.array([tuple(fields[name] for name in PARAMETERS.names or ())], PARAMETERS).tobytes()
        map_ = SourceMap(plan.calibration, fit) if plan.calibration else None
        made.append(Launch(parameters, map_, Table(spec, element), grid, BLOCK))
    return tuple(made), tiles


def _source(pixel_format: PixelFormat, hw: tuple[int, int], spec: InputSpec) -> dict[str, int]:
    """How the picture lies in memory, and which of a pixel's values goes to which plane."""
    deep, mosaic = pixel_format.endswith("12"), pixel_format.startswith("Bayer")
    if mosaic:
        source = MOSAIC12 if deep else MOSAIC8
    elif pixel_format.startswith("Mono"):
        source = MONO12 if deep else MONO8
    else:
        source = COLOUR8
    red_x, red_y = _RED_SITE[pixel_format[5:7]] if mosaic else (0, 0)
    red_first = pixel_format == "RGB8"
    return {
        "source": source,
        "height": hw[0],
        "width": hw[1],
        "pitch_bytes": hw[1] * _PIXEL_BYTES[source],
        "red_x": red_x,
        "red_y": red_y,
        "red_first": red_first,
        "planes": spec.channels,
        "reversed": (spec.color == "rgb") != red_first,
    }


def _scaled(fit: Fit) -> dict[str, int]:
    """As `prepare` scales a picture without a calibration: the blocks of the bounds, from their own corner on."""
    bounds, content = fit.bounds, fit.content
    halvings = halvings_of((bounds.height, bounds.width), fit.letterbox.scale)
    width, height = bounds.width >> halvings, bounds.height >> halvings
    same = (width, height) == (content.width, content.height)  # the area of a pixel is then one block
    sampling = LINEAR if fit.letterbox.scale * 2**halvings > 0.5 and not same else AREA
    return {
        "sampling": sampling,
        "halvings": halvings,
        "origin_x": bounds.x,
        "origin_y": bounds.y,
        "grid_width": width,
        "grid_height": height,
    }


def _mapped(hw: tuple[int, int], fit: Fit) -> dict[str, int]:
    """As `fused_map` sees the whole picture."""
    halvings = halvings_of(hw, fit.letterbox.scale)
    return {
        "sampling": MAP,
        "halvings": halvings,
        "origin_x": 0,
        "origin_y": 0,
        "grid_width": hw[1] >> halvings,
        "grid_height": hw[0] >> halvings,
    }
