"""The frozen pydantic bases and the models that both the station file and the stages speak of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

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


class RoiSettings(Settings):
    """A rectangle in undistorted full-image pixels."""

    x: int = Field(ge=0, description="Left edge, px.")
    y: int = Field(ge=0, description="Upper edge, px.")
    width: int = Field(gt=0, description="Width, px.")
    height: int = Field(gt=0, description="Height, px.")


class TilingSettings(Settings):
    """A view cut into overlapping tiles, for defects that would be too small in a large picture shrunk to the input."""

    width_px: int | None = Field(
        None,
        gt=0,
        le=65535,
        description="Width of a tile, undistorted full-image px; without it the model's input width: no shrinking.",
    )
    height_px: int | None = Field(
        None, gt=0, le=65535, description="Height of a tile, likewise; without it the model's input height."
    )
    overlap_px: int = Field(
        gt=0,
        le=65535,
        description="What neighbouring tiles share at the least, px: the side of the largest defect, which so is whole "
        "in one of them. What is larger is put together from its parts.",
    )


class View(Settings):
    """One camera's part in a recipe."""

    camera: Name = Field(description="A camera of this file; a camera gives one view of a part.")
    roi: RoiSettings | None = Field(None, description="Inspect only this rectangle, in undistorted full-image pixels.")
    tiling: TilingSettings | None = Field(
        None,
        description="Look at it in overlapping tiles; each costs a run of the model. None: shrink it to the input.",
    )
    features: Features = Field(
        default_factory=dict,
        description="GenICam features of the camera while this recipe is active, such as ExposureTime and Gain.",
    )
    window_ms: Window | None = Field(None, description="As the recipe's, for this camera alone.")


class Recipe(Settings):
    """What is right for one product."""

    number: int = Field(ge=1, le=65535, description="The number by which the PLC knows the recipe.")
    trigger: Literal["plc", "announced", "line", "timer"] = Field(
        "plc",
        description="plc: a change of Control.TriggerSeq; announced: it announces a part, whose pictures the cameras' "
        "own line inputs take; line: the camera's own trigger; timer: every period_s.",
    )
    window_ms: Window | None = Field(
        None,
        description="For trigger = announced: the earliest and the latest arrival of the pictures after the "
        "announcement. The verdict waits for the latest, because a second picture until then is a doubt.",
    )
    period_s: float | None = Field(None, gt=0, le=3600, description="Seconds between parts, for trigger = timer.")
    views: tuple[View, ...] = Field(
        min_length=1, max_length=16, description="The pictures of a part, one camera each; all of them are judged."
    )
    bundle: Path = Field(description="Folder of the model bundle, or the name of one that came with edge-inspector.")
    deadline_ms: float = Field(1000.0, gt=0, le=600_000, description="From the trigger to the end of the PLC write.")
    output_margin_ms: float = Field(
        5.0, ge=0, description="An OK is refused when less than this remains before the deadline."
    )
    thresholds: dict[str, Confidence] = Field(
        default_factory=dict,
        description="Confidence from which a detection of a class counts; classes not named keep the bundle's.",
    )
