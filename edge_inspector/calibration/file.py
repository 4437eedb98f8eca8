"""The calibration file of one camera: YAML that OpenCV's FileStorage, ROS (camera_info) and any YAML reader take."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge_inspector.calibration.boards import board_text
from edge_inspector.calibration.records import PlaneFit, Solution
from edge_inspector.datatypes import Calibration, Homography
from edge_inspector.errors import ConfigError
from edge_inspector.stages.geometry import sees_horizon

SCHEMA = 1
LARGEST_BYTES = 1_000_000  # OpenCV's own files with every corner of every picture stay below
LARGEST_SIDE_PX = 65_536
LONGEST_TEXT = 200
LARGEST_NUMBER = 1e9  # of any number that is read; products of four of them are still far from the end of a double
MODELS: Mapping[str, tuple[int, ...]] = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""ROS's names of the distortion models, and how many coefficients each can have."""
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
HEADER = "%YAML"
HEAD = """\
%YAML 1.0
---
# One camera with its lens, focus and picture size; made by `edge-inspector calibrate`. Lengths are pixels or as named.
"""


def load_calibration(path: Path) -> Calibration:
    """Read one file: ours, ROS's camera_info or OpenCV's. ConfigError names the file, the key and what was expected."""
    document = _document(path)
    return _Reader(path, document).calibration()


def save_calibration(path: Path, solution: Solution, plane: PlaneFit | None) -> None:
    """Write the file whole or not at all; its folder is made. ConfigError when it cannot be written."""
    facts: dict[str, str | float] = {
        "date": solution.made_utc,
        "board": board_text(solution.board),
        "lens": solution.lens,
        "views": len(solution.views),
        "views_dropped": len(solution.dropped),
        "rms": solution.rms_px,
        "held_out_px": solution.held_out_px,
        **{f"{name}_deviation": value for name, value in solution.deviations.items()},
    }
    if plane:
        facts |= {"plane_mm_per_px": plane.mm_per_px, "plane_rms_mm": plane.rms_mm}
    text = calibration_text(solution.calibration, plane.homography if plane else None, facts)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path}: calibration cannot be written: {exc.strerror}; give another --out") from exc


def calibration_text(
    calibration: Calibration, plane: Sequence[float] | None = None, facts: Mapping[str, str | float] | None = None
) -> str:
    """The file's text. `plane` replaces the calibration's own; facts that are not finite are left out."""
    if not calibration.serial.isprintable() or len(calibration.serial) > LONGEST_TEXT:
        raise ConfigError(f"serial {calibration.serial!r:.80}: expected at most {LONGEST_TEXT} printable characters")
    fx, fy, cx, cy = calibration.matrix
    height, width = calibration.image_hw
    plane = plane or calibration.plane
    parts = [
        HEAD,
        _line("schema", SCHEMA),
        _line("image_width", width),
        _line("image_height", height),
        _line("camera_name", calibration.serial),
        _matrix("camera_matrix", 3, (fx, 0, cx, 0, fy, cy, 0, 0, 1)),
        _line("distortion_model", _model(calibration)),
        _matrix("distortion_coefficients", 1, calibration.distortion),
        _matrix("rectification_matrix", 3, np.eye(3).ravel()),
        _matrix("projection_matrix", 3, (fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0)),
        _line("serial", calibration.serial),
        *(_line(key, value) for key, value in (facts or {}).items() if isinstance(value, str) or math.isfinite(value)),
    ]
    if plane:
        parts += ["# undistorted pixels -> mm on the inspection plane\n", _matrix("plane_homography", 3, plane)]
    return "".join(parts)


def _model(calibration: Calibration) -> str:
    if calibration.lens == "fisheye":
        return "equidistant"
    return "rational_polynomial" if len(calibration.distortion) == 8 else "plumb_bob"


def _line(key: str, value: str | float) -> str:
    return f"{key}: {json.dumps(value, ensure_ascii=False) if isinstance(value, str) else _number(value)}\n"


def _matrix(key: str, rows: int, values: Iterable[float]) -> str:
    """As FileStorage writes it, without its tag `!!opencv-matrix`: OpenCV does not need it, others stumble over it."""
    numbers = [_number(float(value)) for value in values]
    columns = len(numbers) // rows
    lines = [", ".join(numbers[first : first + columns]) for first in range(0, len(numbers), columns)]
    data = ",\n          ".join(lines)
    return f"{key}:\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"


def _number(value: float) -> str:
    """All digits, and always the point without which YAML 1.1 takes 1e-05 for a word."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


class _Loader(yaml.BaseLoader):
    """Scalars stay text; no references, so that a short file cannot grow; no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.YAMLError(f"{twice:.40} is there twice{node.start_mark}")
        return mapping


def _document(path: Path) -> Mapping[str, Any]:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"{path}: calibration is no regular file; expected the file that `calibrate` wrote")
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
        if len(raw) > LARGEST_BYTES:
            raise ConfigError(f"{path}: calibration has more than {LARGEST_BYTES} bytes; it is another kind of file")
        text = raw.decode("utf-8-sig")
        if text.startswith(HEADER):  # OpenCV writes %YAML:1.0, which is not YAML
            text = f"#{text}"
        document = yaml.load(text, _Loader)
    except OSError as exc:
        raise ConfigError(f"{path}: calibration cannot be read: {exc.strerror}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{path}: calibration is not a calibration file: nested too deeply") from exc
    except (yaml.YAMLError, ValueError) as exc:  # ValueError: not UTF-8, or a path that cannot be one
        raise ConfigError(f"{path}: calibration is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: calibration holds {document!r:.40}, expected keys such as camera_matrix")
    return document


class _Reader:
    """Takes the keys out of one document; every complaint names file, key and value."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self._path = path
        self._document = document

    def calibration(self) -> Calibration:
        if self._document.get("schema", str(SCHEMA)) != str(SCHEMA):
            raise self._wrong("schema", self._document["schema"], f"{SCHEMA}; update edge-inspector to read this file")
        hw = (
            self._whole("image_height", self._get("image_height")),
            self._whole("image_width", self._get("image_width")),
        )
        model, distortion = self._distortion()
        return Calibration(
            image_hw=hw,
            matrix=self._camera_matrix(),
            distortion=distortion,
            lens="fisheye" if model == "equidistant" else "pinhole",
            serial=self._text("serial", ""),
            plane=self._plane(hw),
        )

    def _camera_matrix(self) -> tuple[float, float, float, float]:
        key = "camera_matrix"
        fx, skew, cx, zero, fy, cy, *last = self._matrix(key, 3, 3)
        if not (fx > 0 and fy > 0):
            raise self._wrong(f"{key}.data", [fx, fy], "focal lengths above 0")
        if [skew, zero, *last] != [0, 0, 0, 0, 1]:
            raise self._wrong(f"{key}.data", self._get(key)["data"], "[fx, 0, cx, 0, fy, cy, 0, 0, 1]")
        return fx, fy, cx, cy

    def _distortion(self) -> tuple[str, tuple[float, ...]]:
        """The model's name, guessed from the number of coefficients where there is none, and the coefficients."""
        key = "distortion_coefficients"
        values = self._matrix(key)
        while len(values) > 8 and values[-1] == 0:  # OpenCV fills up to 12 or 14
            values = values[:-1]
        model = self._text("distortion_model", "rational_polynomial" if len(values) == 8 else "plumb_bob")
        if model not in MODELS:
            raise self._wrong("distortion_model", model, f"one of {', '.join(MODELS)}")
        if len(values) not in MODELS[model]:
            expected = " or ".join(map(str, MODELS[model] if "distortion_model" in self._document else (4, 5, 8)))
            raise self._wrong(f"{key}.data", f"{len(values)} numbers", f"{expected} of a {model} lens")
        return model, values

    def _plane(self, hw: tuple[int, int]) -> Homography | None:
        key = "plane_homography"
        if key not in self._document:
            return None
        a, b, c, d, e, f, g, h, i = self._matrix(key, 3, 3)
        plane = (a, b, c, d, e, f, g, h, i)
        if np.linalg.matrix_rank(np.reshape(plane, (3, 3))) < 3 or sees_horizon(plane, hw):
            raise self._wrong(f"{key}.data", self._get(key)["data"], "a plane that lies before the whole picture")
        return plane

    def _matrix(self, key: str, *shape: int) -> tuple[float, ...]:
        """Row by row; of any shape with one row or column where none is given."""
        matrix = self._get(key)
        if not isinstance(matrix, dict) or not isinstance(matrix.get("data"), list):
            raise self._wrong(key, matrix, "rows, cols and data: [ ... ]")
        values = tuple(self._number(f"{key}.data", value) for value in matrix["data"])
        told = tuple(self._whole(f"{key}.{side}", matrix.get(side, "")) for side in ("rows", "cols"))
        if math.prod(told) != len(values) or told != (shape or told) or (not shape and 1 not in told):
            expected = "x".join(map(str, shape)) if shape else "one row or column of as many as it says"
            raise self._wrong(key, f"{told[0]}x{told[1]} with {len(values)} numbers", expected)
        return values

    def _whole(self, key: str, value: object) -> int:
        number = self._number(key, value)
        if number != int(number) or not 1 <= number <= LARGEST_SIDE_PX:
            raise self._wrong(key, value, f"a whole number from 1 to {LARGEST_SIDE_PX}")
        return int(number)

    def _number(self, key: str, value: object) -> float:
        number = float(value) if isinstance(value, str) and NUMBER.fullmatch(value) else math.nan
        if not abs(number) <= LARGEST_NUMBER:
            raise self._wrong(key, value, f"a number between -{LARGEST_NUMBER:g} and {LARGEST_NUMBER:g}")
        return number

    def _text(self, key: str, default: str) -> str:
        value = self._document.get(key, default)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
            raise self._wrong(key, value, f"at most {LONGEST_TEXT} printable characters")
        return value

    def _get(self, key: str) -> Any:
        if key not in self._document:
            raise ConfigError(f"{self._path}: {key} is missing; add it, or make the file with edge-inspector calibrate")
        return self._document[key]

    def _wrong(self, key: str, value: object, expected: str) -> ConfigError:
        return ConfigError(f"{self._path}: {key} = {value!r:.80}: expected {expected}")
