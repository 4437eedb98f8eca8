"""Which pictures of a camera are worth judging, and when it must be doubted that the camera still looks."""

from __future__ import annotations

from edge_inspector.datatypes import Frame
from edge_inspector.errors import CameraError, FrameError
from edge_inspector.settings import PictureGate
from edge_inspector.stages import quality

FROZEN_IN_A_ROW = 5
"""After so many pictures that were the same as the one before the camera is opened again."""


class PictureCheck:
    """Of one opening of a camera; on its thread."""

    def __init__(self, gate: PictureGate) -> None:
        self._gate = gate
        self._newest: int | None = None
        self._fingerprint: int | None = None
        self._frozen = 0

    def follows(self, frame: Frame) -> None:
        """FrameError when the picture is an older one than the camera has given already, whole or damaged."""
        if self._newest is not None and frame.frame_id <= self._newest:
            what = f"camera {frame.camera}, picture {frame.frame_id}"
            raise FrameError(f"{what}: came after picture {self._newest}, so it is not of this part")
        self._newest = frame.frame_id

    def damaged(self, error: FrameError) -> None:
        """A damaged picture has its place in the order, too."""
        if error.frame_id is not None and (self._newest is None or error.frame_id > self._newest):
            self._newest = error.frame_id

    def check(self, frame: Frame) -> None:
        """FrameError when the picture is empty, frozen, black, saturated or out of focus."""
        what = f"camera {frame.camera}, picture {frame.frame_id}"
        fault = quality.fault(frame.pixels, frame.pixel_format, self._gate)
        if fault:
            raise FrameError(f"{what}: {fault}")
        if not self._gate.identical:
            return
        before, self._fingerprint = self._fingerprint, quality.fingerprint(frame.pixels)
        if self._fingerprint == before:
            self._frozen += 1
            raise FrameError(f"{what}: is pixel for pixel the one before; a frozen camera? (gate.identical)")
        self._frozen = 0

    def trust(self, camera: str) -> None:
        """CameraError when too many pictures in a row were the same."""
        if self._frozen >= FROZEN_IN_A_ROW:
            raise CameraError(f"camera {camera}: {self._frozen} pictures in a row are the same as the one before")
