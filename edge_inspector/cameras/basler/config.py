"""What a station file says about a Basler camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from edge_inspector.datatypes import FeatureValue, TriggerMode
from edge_inspector.settings import CameraConfig, Features, LocalPath

SET_BY_TRIGGER = ("TriggerMode", "TriggerSelector", "AcquisitionMode")
"""Features that the key `trigger` stands for: set by hand they would only contradict it."""


class Config(CameraConfig):
    """Which Basler camera, and how it takes pictures."""

    type: Literal["basler"]
    serial: str | None = Field(default=None, description="Serial number. Without any of the four: the only camera.")
    user_name: str | None = Field(default=None, description="The name given to the camera in pylon (DeviceUserID).")
    model: str | None = Field(default=None, description="Model name, such as a2A1920-51gmBAS.")
    ip: str | None = Field(default=None, description="IP address of a GigE camera.")
    trigger: TriggerMode = Field(
        default="software",
        description="software: by the station; line: by an input, Line1 unless features.TriggerSource names another; "
        "free: as fast as it can, and only the latest picture is kept.",
    )
    feature_file: LocalPath | None = Field(
        default=None, description="Features as pylon Viewer saves them (.pfs); loaded before `features`."
    )
    features: Features = Field(
        default_factory=dict,
        description="GenICam features by name, set in this order and read back: ExposureTime (us), Gain (dB), "
        "PixelFormat, TriggerSource, GevSCPSPacketSize, ... Those not named stay as stored in the camera.",
    )
    buffers: int = Field(default=10, ge=2, le=1000, description="Buffers that pylon may fill ahead.")
    slots: int = Field(default=8, ge=1, le=256, description="Frames that may be in use at once.")
    stall_s: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="A camera with trigger = free that gives no picture for so long is lost, and opened again.",
    )
    emulate_folder: LocalPath | None = Field(
        default=None, description="Play this folder through pylon's emulator; no real camera is ever taken then."
    )
    emulate_count: int = Field(
        default=8, ge=1, le=256, description="Emulated cameras to make, unless PYLON_CAMEMU is set."
    )

    @field_validator("features")
    @classmethod
    def _can_be_meant(cls, features: Mapping[str, FeatureValue]) -> Mapping[str, FeatureValue]:
        for name in features:
            if name in SET_BY_TRIGGER:
                raise ValueError(f"{name} is set by the key trigger (software, line or free); remove it here")
        return features

    @model_validator(mode="after")
    def _trigger_agrees(self) -> Config:
        if self.emulate_folder is not None and self.trigger == "line":
            raise ValueError("the emulator has no line input; use trigger = software or free with emulate_folder")
        source = self.features.get("TriggerSource")
        if source is not None and (self.trigger == "free" or (source == "Software") != (self.trigger == "software")):
            raise ValueError(
                f"features.TriggerSource = {source} contradicts trigger = {self.trigger}; expected no TriggerSource "
                "with free, Software or none with software, an input such as Line1 with line"
            )
        return self
