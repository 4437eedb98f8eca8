"""What is right for one product, as the station file says it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.settings.base import Confidence, Features, Name, Settings, Window
from edge_inspector.settings.golden import GoldenSettings, HealthSettings
from edge_inspector.settings.rules import AnyRule, Zone


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
    zones: dict[Name, Zone] = Field(default_factory=dict, description="Parts of the pictures that rules speak of.")
    rules: tuple[AnyRule, ...] = Field(
        (),
        max_length=64,
        description="What makes a part good or bad; a class of defects that no rule speaks of rejects by itself.",
    )
    adaptive: AdaptiveSettings = Field(
        default_factory=lambda: AdaptiveSettings.model_validate({}), description="How thresholds follow the line."
    )
    golden: GoldenSettings | None = Field(None, description="The golden-sample check; None: this recipe has none.")
    health: HealthSettings | None = Field(
        None, description="Cameras are compared with reference pictures; None: this recipe has none."
    )
