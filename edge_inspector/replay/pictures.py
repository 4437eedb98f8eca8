"""Parts whose verdict has changed, side by side: as it was judged, and as it would be."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2

from edge_inspector.datatypes import InspectionResult, Mode, Trigger
from edge_inspector.replay.desk import CannotRunError, frames_of, originals
from edge_inspector.replay.records import ReplayedPart
from edge_inspector.replay.setups import Setup, Station
from edge_inspector.store.images import encode
from edge_inspector.store.images.overlay import overlay
from edge_inspector.store.reading import StoredResult

SIDE_PX = 720
"""Longest side of an embedded picture."""
_QUALITY = 80


@dataclass(frozen=True)
class Pair:
    """One camera's picture of a part, with the verdict and the defects of then and of now; JPEGs as data URIs."""

    camera: str
    then: str
    now: str


def pairs(station: Station, setup: Setup, part: ReplayedPart) -> Sequence[Pair]:
    """One for each camera; none when its files have gone meanwhile."""
    try:
        return list(_pairs(station, setup, part))
    except CannotRunError:
        return ()


def _pairs(station: Station, setup: Setup, part: ReplayedPart) -> Iterator[Pair]:
    booked = as_result(part.booked)
    frames = frames_of(station, originals(part.booked, setup.recipe.cameras))
    for camera, frame in frames.items():
        picture = encode.developed(frame.pixels, frame.pixel_format)
        calibration = setup.recipe.plans[camera].calibration
        then, now = (
            overlay(picture, result, camera, frame.frame_id, calibration, SIDE_PX) for result in (booked, part.after)
        )
        yield Pair(camera, _uri(then), _uri(now))


def as_result(booked: StoredResult) -> InspectionResult:
    """A booked result as the station had it, for the drawing; times and the PLC's numbers are not in it."""
    trigger = Trigger(
        seq=booked.seq,
        result_id=booked.result_id,
        trigger_seq=booked.trigger_seq,
        part_id=booked.part_id,
        attempt=booked.attempt,
        mode=Mode.PRODUCTION,
        recipe=booked.recipe,
        recipe_no=booked.recipe_no,
        boot_id=booked.boot_id,
        plc_boot_id=0,
        accepted_ns=0,
        deadline_ns=0,
        wall_utc=booked.wall_utc,
        clock_synced=booked.clock_synced,
    )
    return InspectionResult(
        trigger=trigger,
        evaluation=booked.evaluation,
        reason=booked.reason,
        reason_text=booked.reason_text,
        defects=booked.defects,
        views=booked.views,
        views_judged=booked.views_judged,
        thresholds=booked.thresholds,
        model_hash=booked.model_hash,
        settled_ns=0,
        stage_ns={},
        frame_ids=booked.frame_ids,
        margin=booked.margin,
        rule=booked.rule,
        peaks=booked.peaks,
        policy=booked.policy,
    )


def _uri(picture: encode.Pixels) -> str:
    packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(packed).decode()}"
