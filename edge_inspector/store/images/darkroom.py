"""From a part's frame to the files that are kept of it: masked, encoded, labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from edge_inspector.datatypes import Calibration, Frame, PixelFormat, SavedImage
from edge_inspector.errors import ConfigError
from edge_inspector.store.images import encode, files
from edge_inspector.store.images.encode import Content, Format
from edge_inspector.store.images.masks import mask_of
from edge_inspector.store.images.overlay import overlay
from edge_inspector.store.images.policy import Wanted
from edge_inspector.store.images.settings import ImageSettings
from edge_inspector.store.images.waiting import Task


@dataclass(frozen=True)
class _Print:
    form: Format
    content: memoryview
    pixel_format: PixelFormat
    image_hw: tuple[int, int]
    lossless: bool = False
    """Whether it gives back all pixels of the frame from which it was made."""


class Darkroom:
    """On the image thread."""

    def __init__(self, settings: ImageSettings, calibrations: Mapping[str, Calibration | None]) -> None:
        """ConfigError: a mask for a camera that there is not, which would hide nothing."""
        unknown = sorted({mask.camera for mask in settings.masks} - calibrations.keys())
        if unknown:
            raise ConfigError(
                f"images.masks: {unknown[0]!r} is no camera of a recipe; expected one of "
                f"{', '.join(sorted(calibrations))}: correct the name, or take the mask out"
            )
        self._settings = settings
        self._calibrations = calibrations
        self._visible: dict[tuple[str, tuple[int, int]], npt.NDArray[np.uint8]] = {}

    def know(self, calibrations: Mapping[str, Calibration | None]) -> None:
        """Cameras that may come besides those that are known; any thread."""
        self._calibrations = {**self._calibrations, **calibrations}

    def prints(self, task: Task) -> Iterator[tuple[SavedImage, Content]]:
        """Each file that is wanted of the picture, made when it is asked for, and what is booked of it. NotAPicture."""
        encode.check(task.frame.pixels, task.frame.pixel_format)
        masked = self._masked(task.frame)
        for wanted in task.wanted:
            made = self._original(masked) if wanted.kind == "original" else self._overlay(task, masked)
            yield _booked(task, wanted, replace(made, lossless=made.lossless and masked is task.frame))

    def _masked(self, frame: Frame) -> Frame:
        """The frame with what is to be hidden in black; the same frame when that is nothing."""
        polygons = [mask.polygon for mask in self._settings.masks if mask.camera == frame.camera]
        if not polygons:
            return frame
        known = (frame.camera, frame.hw)
        if known not in self._visible:
            hidden = mask_of(frame.hw, polygons, self._calibrations[frame.camera])
            self._visible[known] = (~hidden).astype(np.uint8)
        return replace(frame, pixels=cv2.copyTo(frame.pixels, self._visible[known]), lease=None)

    def _original(self, frame: Frame) -> _Print:
        settings = self._settings.originals
        if settings.format == "png":
            content = encode.lossless(frame.pixels, frame.pixel_format)
            return _Print("png", content, frame.pixel_format, frame.hw, lossless=True)
        picture = encode.developed(frame.pixels, frame.pixel_format)
        pixel_format: PixelFormat = "Mono8" if picture.ndim == 2 else "BGR8"
        return _Print("jpeg", encode.for_people(picture, "jpeg", settings.quality), pixel_format, frame.hw)

    def _overlay(self, task: Task, frame: Frame) -> _Print:
        settings = self._settings.overlays
        picture = encode.developed(frame.pixels, frame.pixel_format)
        calibration = self._calibrations[frame.camera]
        drawn = overlay(picture, task.result, frame.camera, frame.frame_id, calibration, settings.max_side_px)
        content = encode.for_people(drawn, settings.format, settings.quality)
        return _Print(settings.format, content, "BGR8", (drawn.shape[0], drawn.shape[1]))


def _booked(task: Task, wanted: Wanted, made: _Print) -> tuple[SavedImage, Content]:
    """The file with what is known of it inside, and the same for the ledger."""
    frame, result, trigger = task.frame, task.result, task.result.trigger
    name = files.name_of(result.result_id, frame.camera, wanted.kind, task.number, encode.SUFFIX[made.form])
    image = SavedImage(
        seq=trigger.seq,
        result_id=result.result_id,
        camera=frame.camera,
        kind=wanted.kind,
        why=wanted.why,
        path=files.path_of(wanted.why[0], trigger.wall_utc, trigger.clock_synced, name),
        sha256="",
        size_bytes=0,
        lossless=made.lossless,
        pixel_format=made.pixel_format,
        image_hw=made.image_hw,
        frame_id=frame.frame_id,
        wall_utc=trigger.wall_utc,
        clock_synced=trigger.clock_synced,
        every_nth=wanted.every_nth,
    )
    content = encode.labelled(made.content, image)
    sha256 = hashlib.sha256()
    for piece in content:
        sha256.update(piece)
    return replace(image, sha256=sha256.hexdigest(), size_bytes=sum(len(piece) for piece in content)), content
