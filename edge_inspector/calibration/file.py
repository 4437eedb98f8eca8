"""The calibration file of one camera."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import ConfigDict, Field

from edge_inspector.datatypes import Calibration
from edge_inspector.errors import ConfigError
from edge_inspector.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class CalibrationFile(Settings):
    """Pinhole camera with OpenCV's distortion coefficients k1 k2 p1 p2 [k3 [k4 k5 k6]]; lengths in pixels."""

    model_config = ConfigDict(allow_inf_nan=False)

    schema_version: Literal[1] = Field(alias="schema")
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)
    fx: float = Field(gt=0)
    fy: float = Field(gt=0)
    cx: float
    cy: float
    distortion: tuple[float, ...]
    note: str = ""

    @pydantic.field_validator("distortion")
    @classmethod
    def _length(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) not in (4, 5, 8):
            raise ValueError(f"{len(value)} coefficients, expected 4, 5 or 8")
        return value


def load_calibration(path: Path) -> Calibration:
    """Read one file. ConfigError names the file, the key and what was expected."""
    try:
        file = CalibrationFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as exc:
        raise ConfigError(f"{path}: calibration cannot be read: {exc.strerror}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{path}: calibration is not a calibration file: nested too deeply") from exc
    except pydantic.ValidationError as exc:
        lines = [f"{path}: {_told(error)}" for error in exc.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from exc
    except ValueError as exc:  # not TOML, not UTF-8, or a path that cannot be one
        raise ConfigError(f"{path}: calibration is not TOML: {exc}") from exc
    return Calibration((file.height_px, file.width_px), (file.fx, file.fy, file.cx, file.cy), file.distortion)


def _told(error: Any) -> str:
    """One line about one key."""
    key, value = ".".join(map(str, error["loc"])), error["input"]
    if error["type"] == "missing":
        return f"{key} is missing; add it"
    if error["type"] == "extra_forbidden":
        return f"{key} is a key that nobody reads; correct its name or remove it"
    shown = f" = {value!r}" if isinstance(value, str | float | list) else ""
    return f"{key}{shown:.80}: {error['msg']}"
