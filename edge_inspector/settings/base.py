"""The frozen pydantic bases, and what every plugin's part of the station file has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from edge_inspector.datatypes import FeatureValue


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path.expanduser() if base is None else base / path.expanduser()


LocalPath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path; a relative one is meant beside the file in which it is written."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""A name that is safe in a file name, a topic and a tag."""

Confidence = Annotated[float, Field(ge=0.0, le=1.0)]


def _feature(value: object, valid: ValidatorFunctionWrapHandler) -> FeatureValue:
    try:
        taken: FeatureValue = valid(value)
    except ValidationError:
        raise ValueError("expected true, false, a number or text") from None
    if isinstance(taken, float) and not math.isfinite(taken):
        raise ValueError("expected a finite number")
    return taken


Features = dict[str, Annotated[FeatureValue, WrapValidator(_feature)]]
"""GenICam features by name, in the order in which they are set."""


def _in_order(window: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= window[0] < window[1] <= 60_000:
        raise ValueError("expected [earliest, latest] in ms, 0 <= earliest < latest <= 60000")
    return window


Window = Annotated[tuple[float, float], AfterValidator(_in_order)]
"""Earliest and latest, milliseconds after the announcement."""


class Settings(BaseModel):
    """Frozen, and a key that nobody reads is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class PluginConfig(Settings):
    """The part of the station file that one plugin reads; a subclass narrows `type` to its own name."""

    type: str


class PictureGate(Settings):
    """Which pictures are not worth judging: they make the part UNDEFINED (bad_frame)."""

    identical: bool = Field(
        default=True, description="Refuse a picture that is pixel for pixel the one before: the camera is frozen."
    )
    min_brightness: float = Field(
        default=0.004,
        ge=0,
        le=1,
        description="Refuse a picture whose mean is below this part of full scale: it is black.",
    )
    max_saturated: float = Field(
        default=0.98, ge=0, le=1, description="Refuse a picture of which more than this part is at full scale."
    )
    min_sharpness: float = Field(
        default=0.0,
        ge=0,
        description="Refuse a picture whose variance of the Laplacian (8-bit gray) is below; 0 = do not look.",
    )


class CameraConfig(PluginConfig):
    """What every camera has, whatever its make."""

    calibration: LocalPath | None = Field(
        None, description="Calibration file (YAML); without one the picture is not undistorted."
    )
    gate: PictureGate = Field(default=PictureGate(), description="Which pictures are refused.")


class PlcConfig(PluginConfig):
    """What every PLC link has, whatever its protocol."""

    acknowledge: bool = Field(
        True,
        description="Whether the PLC acknowledges each result; it can only for parts that it has triggered itself.",
    )
    result_hold_ms: float = Field(
        500.0, gt=0, le=60_000, description="How long ResultsValid holds when acknowledge is off."
    )

    @property
    def output_cameras(self) -> tuple[str, ...]:
        """The cameras whose output lines the link drives."""
        return ()

    @property
    def output_lines(self) -> tuple[str, ...]:
        """Every line that the link drives, in words that are the same on each link that has it."""
        return ()


class HandshakeConfig(PlcConfig):
    """A link whose PLC writes the Control tags."""

    heartbeat_timeout_s: float = Field(
        2.0, ge=0.2, le=60, description="Control.Heartbeat must change within this; at least 3 read cycles of the PLC."
    )
    plc_cycle_ms: float = Field(
        100.0, gt=0, le=60_000, description="How often the PLC reads; for the check of gate_ms."
    )
    gate_ms: float | None = Field(
        None,
        gt=0,
        le=600_000,
        description="From the trigger to the gate, as the PLC's gate timer has it. When given, `edge-inspector check`"
        " refuses recipes whose deadline and plc_cycle_ms do not fit in.",
    )
