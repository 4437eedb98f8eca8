"""Which parts' pictures are wanted, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_inspector.datatypes import Evaluation, ImageKind, InspectionResult, Mode
from edge_inspector.store.images.settings import ImageSettings, KindSettings

Why: TypeAlias = Literal["every_nth", "golden", "near_margin", "rejects"]
RANKS: tuple[Why, ...] = ("every_nth", "golden", "near_margin", "rejects")
"""What is given up first comes first."""


@dataclass(frozen=True)
class Wanted:
    """A kind of picture that is to be kept; `why` is the strongest reason first."""

    kind: ImageKind
    why: tuple[Why, ...]
    every_nth: int

    @property
    def rank(self) -> int:
        return RANKS.index(self.why[0])


class Policy:
    """Counts OK parts, so each result is asked for once, in the order of the verdicts."""

    def __init__(self, settings: ImageSettings) -> None:
        self._settings = settings
        self._good_parts = 0

    def wanted(self, result: InspectionResult) -> tuple[Wanted, ...]:
        """What to keep of this part's pictures: Production and golden runs count, and nothing else."""
        good = result.evaluation is Evaluation.OK
        self._good_parts += good and result.trigger.mode is Mode.PRODUCTION
        kinds: tuple[ImageKind, ...] = ("original", "overlay")
        return tuple(wanted for kind in kinds if (wanted := self._of_kind(kind, result)) is not None)

    def _of_kind(self, kind: ImageKind, result: InspectionResult) -> Wanted | None:
        settings = self._settings.of_kind(kind)
        why = self._why(settings, result)
        if not why:
            return None
        one_of = settings.every_nth if why == ("every_nth",) else None
        return Wanted(kind, why, 1 if one_of is None else one_of)

    def _why(self, settings: KindSettings, result: InspectionResult) -> tuple[Why, ...]:
        mode, good = result.trigger.mode, result.evaluation is Evaluation.OK
        if mode is Mode.GOLDEN:
            return ("golden",) if settings.golden else ()
        if mode is not Mode.PRODUCTION:
            return ()
        near = settings.near_margin is not None and result.margin is not None and result.margin <= settings.near_margin
        turn = settings.every_nth is not None and (self._good_parts - 1) % settings.every_nth == 0
        reasons: tuple[tuple[Why, bool], ...] = (
            ("rejects", settings.rejects and not good),
            ("near_margin", near),
            ("every_nth", turn and good),
        )
        return tuple(name for name, holds in reasons if holds)
