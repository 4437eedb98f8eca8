"""What a policy is told, what it remembers, and what it must keep to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from edge_inspector.datatypes import ThresholdState
from edge_inspector.settings.adaptive import Policy


class Word(str, Enum):
    """What is known of a part: the station's verdict, or that somebody has looked at it again."""

    OK = "ok"
    REJECT = "reject"
    GOOD = "good"
    """Confirmed good, however it was judged."""
    BAD = "bad"
    """Confirmed bad, however it was judged."""


@dataclass(frozen=True)
class Bounds:
    """Between which thresholds each class may move; every tuple has one entry a class, in the model's order.

    `base` is the recipe's own. A class that is `kept` stays there: one that is no defect, or whose count matters.
    """

    classes: tuple[str, ...]
    base: tuple[float, ...]
    floor: tuple[float, ...]
    ceiling: tuple[float, ...]
    kept: tuple[bool, ...]

    def __post_init__(self) -> None:
        n = len(self.classes)
        for name in ("base", "floor", "ceiling", "kept"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"Bounds.{name} has {len(getattr(self, name))} entries, expected {n}: one a class")
        for name, floor, ceiling in zip(self.classes, self.floor, self.ceiling, strict=True):
            if not 0.0 <= floor <= ceiling <= 1.0:
                raise ValueError(f"Bounds of {name!r} are {floor} to {ceiling}, expected 0 <= floor <= ceiling <= 1")
        for name, base in zip(self.classes, self.base, strict=True):
            if not 0.0 <= base <= 1.0:
                raise ValueError(f"Bounds.base of {name!r} is {base}, expected 0 to 1")

    @staticmethod
    def tighten_only(classes: Sequence[str], base: Sequence[float], kept: Collection[int] = ()) -> Bounds:
        """Down to 0 and never above `base`: all that is allowed where no golden set has been run."""
        n = len(classes)
        return Bounds(tuple(classes), tuple(base), (0.0,) * n, tuple(base), tuple(c in kept for c in range(n)))

    def unreleased(self) -> Bounds:
        """The same, but nothing may be looser than the recipe says."""
        ceiling = tuple(min(c, b) for c, b in zip(self.ceiling, self.base, strict=True))
        floor = tuple(min(f, c) for f, c in zip(self.floor, ceiling, strict=True))
        return replace(self, floor=floor, ceiling=ceiling)

    def clamp(self, by_class: Sequence[float]) -> tuple[float, ...]:
        """The nearest thresholds that keep to these bounds."""
        return tuple(
            base if kept else max(floor, min(ceiling, one))
            for one, base, floor, ceiling, kept in zip(
                by_class, self.base, self.floor, self.ceiling, self.kept, strict=True
            )
        )


@dataclass(frozen=True)
class Seen:
    """One step: a settled part, or a word on an earlier one. `seq` is the part's number in the book.

    `peaks` and `thresholds` are those of its result, for a later word too. `hold` says why no threshold may move now
    (the input drifts, somebody has frozen them), empty = they may.
    """

    seq: int
    peaks: tuple[float, ...]
    thresholds: tuple[float, ...]
    word: Word
    hold: str = ""

    def __post_init__(self) -> None:
        for name in ("peaks", "thresholds"):
            wrong = [one for one in getattr(self, name) if not 0.0 <= one <= 1.0]
            if wrong:
                raise ValueError(f"Seen.{name} of part {self.seq} has {wrong[0]}, expected scores from 0 to 1")


@dataclass(frozen=True)
class Learnt:
    """A good part: its peaks, and the thresholds by which it was judged."""

    seq: int
    peaks: tuple[float, ...]
    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class Estimate:
    """Where a policy would put a threshold if nothing stopped it, and the 95 % interval of that."""

    wanted: float
    low: float
    high: float


@dataclass(frozen=True)
class State:
    """All that one policy remembers of one recipe; every tuple but `parts` has one entry a class.

    An estimate is None while too few parts are known. `leaning` counts the parts at which a threshold was at its
    ceiling (> 0) or floor (< 0) and would have gone on, back to 0 by those at which not; a class is `stuck` from
    `lean_parts` until 0. `capped` is the ceiling that an escape has taught, 1 = none. `steps` counts verdicts.
    `frozen` says why thresholds do not move, `alarm` what a person must hear of.
    """

    policy: Policy
    by_class: tuple[float, ...]
    estimates: tuple[Estimate | None, ...]
    leaning: tuple[int, ...]
    stuck: tuple[bool, ...]
    capped: tuple[float, ...]
    parts: tuple[Learnt, ...] = ()
    steps: int = 0
    escape: str = ""
    frozen: str = ""
    alarm: str = ""


@dataclass(frozen=True)
class Proposal:
    """What a policy says of one class; `estimate` None = it knows too few parts."""

    class_name: str
    now: float
    base: float
    floor: float
    ceiling: float
    estimate: Estimate | None
    learnt: int


def begin(policy: Policy, bounds: Bounds) -> State:
    """Nothing learnt yet: the recipe's own thresholds, as far as the bounds allow."""
    n = len(bounds.classes)
    by_class = bounds.base if policy in ("fixed", "percentile") else bounds.clamp(bounds.base)
    return State(policy, by_class, (None,) * n, (0,) * n, (False,) * n, (1.0,) * n)


def stamp(state: State) -> ThresholdState:
    """The thresholds as a part is judged by them."""
    return ThresholdState(state.by_class, state.policy)


def proposals(bounds: Bounds, state: State) -> tuple[Proposal, ...]:
    """What the policy says of each class, for people."""
    ceilings = [min(*pair) for pair in zip(bounds.ceiling, state.capped, strict=True)]
    return tuple(
        Proposal(name, now, base, floor, max(floor, ceiling), estimate, len(state.parts))
        for name, now, base, floor, ceiling, estimate in zip(
            bounds.classes, state.by_class, bounds.base, bounds.floor, ceilings, state.estimates, strict=True
        )
    )
