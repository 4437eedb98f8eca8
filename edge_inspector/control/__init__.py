"""The daemon's Unix socket: its own side of it, and that of who calls it."""

from edge_inspector.control.client import MAX_LINE, ControlClient, StationAway
from edge_inspector.control.server import Control

__all__ = ["MAX_LINE", "Control", "ControlClient", "StationAway"]
