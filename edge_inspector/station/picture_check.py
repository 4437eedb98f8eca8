"""Which pictures of a camera are worth judging, and when so many are not that the camera itself must be doubted."""

from __future__ import annotations

from edge_inspector.datatypes import Frame
from edge_inspector.errors import CameraError, FrameError
from edge_inspector.settings import PictureGate
from edge_inspector.stages import quality

DAMAGED_IN_A_ROW = 5
"""After so many pictures that were damaged, or the same as the one before, the camera is opened again."""


class PictureCheck:
    """Of one opening of a camera; on its thread."""

    def __init__(self, gate: PictureGate) -> None:
        self._gate = gate
        self._fingerprint: int | None = None
        self._in_a_row = 0
        self._last = ""

    def check(self, frame: Frame) -> None:
        """FrameError when the picture is empty, frozen, black, saturated or out of focus."""
        if frame.pixels.size == 0:
            raise FrameError(f"the picture is empty ({frame.pixels.shape}); check the camera's width and height")
        what = f"camera {frame.camera}, picture {frame.frame_id}"
        before, self._fingerprint = (
            self._fingerprint,
            quality.fingerprint(frame.pixels) if self._gate.identical else None,
        )
        if before is not None and self._fingerprint == before:
            error = FrameError(f"{what}: is pixel for pixel the one before; a frozen camera? (gate.identical)")
            self.damaged(error)
            raise error
        self._in_a_row = 0
        fault = quality.fault(frame.pixels, frame.pixel_format, self._gate)
        if fault:
            raise FrameError(f"{what}: {fault}")

    def damaged(self, error: FrameError) -> None:
        """Count a picture that the camera, not the scene, has spoilt."""
        self._in_a_row += 1
        self._last = str(error)

    def trust(self) -> None:
        """CameraError when too many pictures in a row were spoilt."""
        if self._in_a_row >= DAMAGED_IN_A_ROW:
            raise CameraError(f"{self._in_a_row} pictures in a row are damaged, the last: {self._last}")
