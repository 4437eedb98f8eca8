"""Basler cameras through pylon: GigE, USB3, and pylon's own emulator."""

from edge_inspector.cameras.basler.camera import BaslerCamera
from edge_inspector.cameras.basler.config import Config
from edge_inspector.cameras.basler.discovery import CameraInfo, seen
from edge_inspector.cameras.basler.emulator import emulated_order
from edge_inspector.cameras.basler.nodes import Feature

__all__ = ["BaslerCamera", "CameraInfo", "Config", "Feature", "emulated_order", "seen"]
