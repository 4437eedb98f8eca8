"""What a replay is asked, and what comes of each part."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_inspector.datatypes import Evaluation, InspectionResult
from edge_inspector.settings.adaptive import Policy
from edge_inspector.store.kept_parts import KeptPart
from edge_inspector.store.reading import StoredResult


@dataclass(frozen=True)
class WhatIf:
    """What is to be different; None and empty = as it was booked."""

    recipe: str | None = None
    bundle: Path | None = None
    policy: Policy | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def anything(self) -> bool:
        return self.recipe is not None or self.bundle is not None or self.policy is not None or bool(self.thresholds)


class Lack(str, enum.Enum):
    """What a part's replay lacks to be the same in every number; see `WORDS`."""

    LOSSY = "lossy"
    MODEL = "model"
    RECIPE = "recipe"
    CALIBRATION = "calibration"
    BACKEND = "backend"
    SOFTWARE = "software"
    HISTORY = "history"
    THRESHOLDS = "thresholds"
    BATCH = "batch"
    CAUSE = "cause"
    PICTURES = "pictures"


WORDS: Mapping[Lack, str] = {
    Lack.LOSSY: "a picture was not stored bit by bit (JPEG, or parts of it are masked): scores differ a little",
    Lack.MODEL: "another model judged it then: another file, or another model.toml",
    Lack.RECIPE: "what its recipe looks at, or its rules, have been changed since",
    Lack.CALIBRATION: "a calibration or a picture gate has been changed since",
    Lack.BACKEND: "the backend or its options have been changed since",
    Lack.SOFTWARE: "another version of edge-inspector judged it",
    Lack.HISTORY: "nobody knows what was changed since: the book does not say, or the clock was not set",
    Lack.THRESHOLDS: "its result does not say by which thresholds it was judged",
    Lack.BATCH: "the station may have run several views together, which this replay does not",
    Lack.CAUSE: "its verdict did not come from pictures alone (too late, a camera, an abort, a frozen picture)",
    Lack.PICTURES: "a picture of it is missing or damaged",
}
"""In sentences, for people."""


class Skip(str, enum.Enum):
    """Why a part of which an original was stored could not be run at all; see `SKIPPED`."""

    REMOVED = "removed"
    MISSING = "missing"
    DAMAGED = "damaged"
    RECIPE = "recipe"
    GONE = "gone"
    SEQUENCE = "sequence"


SKIPPED: Mapping[Skip, str] = {
    Skip.REMOVED: "a picture was removed: its time was over, or room was needed",
    Skip.MISSING: "a camera of the recipe has no stored picture of it",
    Skip.DAMAGED: "a picture's file is gone, was changed, or is no picture",
    Skip.RECIPE: "its recipe is not in the station file any more",
    Skip.GONE: "its result was removed from the book while the replay ran",
    Skip.SEQUENCE: "the policy does not know it: it was not judged whole, or its result has no scores",
}


@dataclass(frozen=True)
class Skipped:
    """A part that was not run; `text` names the file or camera."""

    part: KeptPart
    why: Skip
    text: str


@dataclass(frozen=True)
class ReplayedPart:
    """A part that was run again. `after` is the verdict as asked.

    `again` is the verdict by the recipe and the thresholds of the time; None = its model is not there. `lacks` says
    what keeps it from being the same as the book, and `differs` in what it is not. `good` is what people said, None =
    nothing. `times_ms` is by stage, the slowest view.
    """

    part: KeptPart
    booked: StoredResult
    again: InspectionResult | None
    after: InspectionResult
    lacks: tuple[Lack, ...]
    differs: tuple[str, ...]
    times_ms: Mapping[str, float]
    good: bool | None = None

    @property
    def exact(self) -> bool:
        """Nothing is lacking: the replay must be the same as the book in every number."""
        return not self.lacks

    @property
    def passed_before(self) -> bool:
        return self.booked.evaluation is Evaluation.OK

    @property
    def passes_now(self) -> bool:
        return self.after.evaluation is Evaluation.OK

    @property
    def flipped(self) -> bool:
        """Accepted then and rejected now, or the other way round."""
        return self.passed_before != self.passes_now

    @property
    def by_picture(self) -> bool:
        """The same recipe, model and thresholds give the other verdict, too: what was asked has not done it."""
        return self.flipped and self.again is not None and (self.again.evaluation is Evaluation.OK) == self.passes_now
