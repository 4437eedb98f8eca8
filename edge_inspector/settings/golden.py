"""Master parts and reference pictures by which a station shows that it still sees."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from edge_inspector.settings.base import LocalPath, Settings

PartName = Annotated[str, StringConstraints(min_length=1, max_length=254)]


class MasterPart(Settings):
    """A part of which everybody knows what it is."""

    id: PartName = Field(description="The part id that the PLC sends with it or, with told_by = order, its name.")
    expect: Literal["OK", "NOT_OK", "NOT_DECIDABLE"] = Field(description="The verdict that it must get.")
    defects: tuple[str, ...] = Field(
        (), max_length=32, description="Classes that must be found on it, whatever else is; only with expect = NOT_OK."
    )

    @model_validator(mode="after")
    def _found_on_bad_parts(self) -> MasterPart:
        if self.defects and self.expect != "NOT_OK":
            raise ValueError(f"defects belong to expect = 'NOT_OK', and this part is expected {self.expect!r}")
        return self


class GoldenSettings(Settings):
    """When known parts must be judged rightly before production goes on."""

    parts: tuple[MasterPart, ...] = Field(
        (),
        max_length=64,
        description="The master parts, good and bad; without any, stored pictures (`edge-inspector golden run`) are"
        " the check, which proves the software alone.",
    )
    told_by: Literal["part_id", "order"] = Field(
        "part_id",
        description="part_id: the PLC names each master part; order: they are shown in the order of this list.",
    )
    pictures: LocalPath | None = Field(
        None,
        description="Folder of stored pictures, with the folders good and bad in it: one picture file a part or, with"
        " several cameras, a folder a part with CAMERA.png in it. None: the bundle's golden set.",
    )
    shift_start: bool = Field(False, description="Due at the begin of each shift: ledger.shifts.")
    after_changeover: bool = Field(True, description="Due when this recipe follows another one.")
    every_parts: int | None = Field(None, ge=1, description="After so many production parts; None: not by number.")
    grace_parts: int = Field(
        0,
        ge=0,
        le=100_000,
        description="So many parts may still be judged when shift_start or every_parts make a check due; then the"
        " station is not READY. None may after a changeover or a failed check.",
    )

    @model_validator(mode="after")
    def _good_and_bad(self) -> GoldenSettings:
        ids = [part.id for part in self.parts]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise ValueError(f"part {twice[0]!r} is there twice; give each part once")
        good = sum(part.expect == "OK" for part in self.parts)
        if self.parts and not 0 < good < len(self.parts):
            raise ValueError(
                f"{good} of {len(self.parts)} parts are expected to be OK; expected at least one good and one bad part,"
                " or a station that says the same of every part would pass"
            )
        return self


Share = Annotated[float, Field(gt=0, lt=1)]


class HealthSettings(Settings):
    """How far a camera's pictures may be from the reference picture."""

    every_s: float = Field(5.0, ge=0.1, le=3600, description="A picture of each camera is measured so often, at most.")
    pictures: int = Field(
        8, ge=3, le=50, description="So many pictures in a row, of as many parts, must show it before it is told."
    )
    shift_px: tuple[float, float] = Field(
        (1.5, 2.5), description="Position: [warning, alarm], px in the camera's picture."
    )
    focus_loss: tuple[Share, Share] = Field(
        (0.1, 0.16), description="Focus: [warning, alarm], share of the variance of the Laplacian that is lost."
    )
    brightness: tuple[Share, Share] = Field(
        (0.07, 0.12), description="Brightness, up or down: [warning, alarm], share of the reference's."
    )
    uniformity: tuple[Share, Share] = Field(
        (0.1, 0.2), description="Brightness of a part of the picture against the rest: [warning, alarm], share."
    )
    dirt_px: tuple[float, float] = Field(
        (5.0, 8.0), description="Dirt: [warning, alarm], diameter of what stays in its place on all pictures, px."
    )
    stops: bool = Field(True, description="Whether an alarm makes the station not READY until it is reset.")

    @model_validator(mode="after")
    def _warned_before(self) -> HealthSettings:
        for name in ("shift_px", "focus_loss", "brightness", "uniformity", "dirt_px"):
            warning, alarm = getattr(self, name)
            if not 0 < warning <= alarm:
                raise ValueError(f"{name} = [{warning:g}, {alarm:g}]: expected [warning, alarm], 0 < warning <= alarm")
        return self
