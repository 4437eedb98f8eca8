"""The frozen pydantic models of which both the station file and the stages speak."""

from edge_inspector.settings.base import (
    CameraConfig,
    Confidence,
    Features,
    HandshakeConfig,
    LocalPath,
    Name,
    PictureGate,
    PlcConfig,
    PluginConfig,
    Settings,
    Window,
)
from edge_inspector.settings.recipe import Recipe, RoiSettings, TilingSettings, View

__all__ = [
    "CameraConfig",
    "Confidence",
    "Features",
    "HandshakeConfig",
    "LocalPath",
    "Name",
    "PictureGate",
    "PlcConfig",
    "PluginConfig",
    "Recipe",
    "RoiSettings",
    "Settings",
    "TilingSettings",
    "View",
    "Window",
]
