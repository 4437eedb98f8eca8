"""One part of the book: its pictures, its verdict as it was judged, and its verdict as it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge_inspector.datatypes import Frame, InspectionResult, ThresholdState
from edge_inspector.errors import EdgeInspectorError, FrameError
from edge_inspector.replay.comparing import differences, lacks_of
from edge_inspector.replay.history import History
from edge_inspector.replay.policies import Course
from edge_inspector.replay.records import Lack, ReplayedPart, Skip, Skipped, WhatIf
from edge_inspector.replay.running import Runner, Seen, judged
from edge_inspector.replay.setups import Setup, Station
from edge_inspector.store.images.originals import read_original
from edge_inspector.store.kept_parts import KeptPart
from edge_inspector.store.reading import StoredImage, StoredResult


class CannotRunError(EdgeInspectorError):
    """A part cannot be run; the message names the file or camera."""

    def __init__(self, why: Skip, text: str = "") -> None:
        super().__init__(text)
        self.why = why


@dataclass(frozen=True)
class Desk:
    """What is needed for every part; `then`, `now` and `courses` by the recipe under which it was booked."""

    station: Station
    what: WhatIf
    then: Mapping[str, Setup]
    now: Mapping[str, Setup]
    courses: Mapping[str, Course]
    history: History

    def setups(self) -> Iterator[Setup]:
        """Every one that may be run."""
        yield from self.then.values()
        yield from self.now.values()

    def run(self, runner: Runner, part: KeptPart, booked: StoredResult) -> ReplayedPart | Skipped:
        """DeviceLostError: nothing more can be run in this process."""
        try:
            return self._run(runner, part, booked)
        except CannotRunError as exc:
            return Skipped(part, exc.why, str(exc))

    def _run(self, runner: Runner, part: KeptPart, booked: StoredResult) -> ReplayedPart:
        now, then = self.now.get(part.recipe), self.then.get(part.recipe)
        if now is None:
            raise CannotRunError(Skip.RECIPE, f"recipe {part.recipe}")
        thresholds = self._thresholds(now, booked)
        frames = frames_of(self.station, originals(booked, now.recipe.cameras))
        seen = runner.look(now, frames)
        after = judged(now, thresholds, seen, booked)
        lacks, again = self._as_booked(runner, then, booked, now, seen)
        differs = () if again is None else differences(booked, again)
        return ReplayedPart(part, booked, again, after, lacks, differs, seen.times_ms)

    def _as_booked(
        self, runner: Runner, then: Setup | None, booked: StoredResult, now: Setup, seen: Seen
    ) -> tuple[tuple[Lack, ...], InspectionResult | None]:
        """What a replay by the part's own recipe lacks, and its verdict; None where it cannot be made."""
        if then is None or set(then.recipe.cameras) != set(booked.views):
            return (Lack.RECIPE,), None
        try:
            pictures = originals(booked, then.recipe.cameras)
            lacks = dict.fromkeys((*lacks_of(booked, then, pictures), *self.history.since(booked, booked.views)))
            if {Lack.MODEL, Lack.THRESHOLDS} & lacks.keys():
                return tuple(lacks), None
            own = seen if then.sees_alike(now) else runner.look(then, frames_of(self.station, pictures))
        except CannotRunError:
            return (Lack.PICTURES,), None
        stamped = ThresholdState(booked.thresholds, booked.policy)
        return tuple(lacks), judged(then, stamped, own, booked)

    def _thresholds(self, now: Setup, booked: StoredResult) -> ThresholdState:
        """As the part has them stamped, unless another recipe, bundle or policy makes them. CannotRunError."""
        if self.what.policy is not None and self.what.policy != "fixed":
            state = self.courses[booked.recipe].by_seq.get(booked.seq)
            if state is None:
                raise CannotRunError(Skip.SEQUENCE)
            return state
        same = booked.model_hash == now.recipe.model_hash and bool(booked.thresholds)
        stamped = same and self.what.recipe is None and self.what.policy is None
        base = ThresholdState(booked.thresholds, booked.policy) if stamped else now.recipe.thresholds
        return now.with_thresholds(self.what.thresholds, base)


def originals(booked: StoredResult, cameras: Collection[str]) -> list[StoredImage]:
    """The original of each camera that was judged. CannotRunError: there is none, or nobody knows which it is."""
    frame_of = dict(zip(booked.views, booked.frame_ids, strict=False))
    found = []
    for camera in cameras:
        stored = [image for image in booked.images if image.kind == "original" and image.camera == camera]
        if len(stored) > 1:
            stored = [image for image in stored if image.frame_id == frame_of.get(camera)]
        if len(stored) != 1:
            raise CannotRunError(Skip.MISSING, f"camera {camera}")
        if stored[0].removed_utc is not None:
            raise CannotRunError(Skip.REMOVED, f"{stored[0].path}, since {stored[0].removed_utc}")
        found += stored
    return found


def frames_of(station: Station, pictures: Sequence[StoredImage]) -> dict[str, Frame]:
    """By camera. CannotRunError: a file is not what was stored."""
    try:
        return {picture.camera: read_original(station.images, picture) for picture in pictures}
    except FrameError as exc:
        raise CannotRunError(Skip.DAMAGED, str(exc)) from exc
