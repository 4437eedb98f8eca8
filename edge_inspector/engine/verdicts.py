"""Whether two models that saw the same pictures judge them alike: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_inspector.datatypes import Evaluation
from edge_inspector.engine.golden import Label
from edge_inspector.engine.passport import Flip, Outcome

ENOUGH = 20
"""So many pictures that the reference passes, and so many that it rejects, must the engine have judged, too."""
MANY = 200
"""From so many pictures on, the engine may reject a share of those that the ONNX file passes."""
_NAMED = 5


@dataclass(frozen=True)
class Verdict:
    """One model's word on one picture, and what it saw or why it could not see."""

    evaluation: Evaluation
    text: str

    @property
    def answered(self) -> bool:
        return self.evaluation is not Evaluation.UNDEFINED


@dataclass(frozen=True)
class Compared:
    """Two verdicts on one picture."""

    picture: str
    label: Label
    reference: Verdict
    engine: Verdict

    @property
    def same(self) -> bool:
        return self.reference.evaluation is self.engine.evaluation

    @property
    def counts_as(self) -> Label:
        """What the picture can show: good = that nothing is rejected falsely, bad = that nothing slips through.

        Empty = neither, because one of the two gave no answer or the reference does not see what a person says.
        """
        if not (self.reference.answered and self.engine.answered):
            return ""
        seen: Label = "good" if self.reference.evaluation is Evaluation.OK else "bad"
        return seen if self.label in ("", seen) else ""

    @property
    def escape(self) -> bool:
        """The engine passes what the reference rejects: it said NOT_OK, or was in doubt."""
        return self.engine.evaluation is Evaluation.OK and self.reference.evaluation is not Evaluation.OK

    @property
    def overkill(self) -> bool:
        """The engine rejects, or gives no answer to, what the reference passes."""
        return self.reference.evaluation is Evaluation.OK and self.engine.evaluation is not Evaluation.OK


@dataclass(frozen=True)
class Comparison:
    """What comes of all pictures; as `Proof`'s fields of these names."""

    outcome: Outcome
    text: str
    good: int
    bad: int
    flips: tuple[Flip, ...]
    overkill: int
    unanswered: tuple[str, ...]


def worst(pairs: Sequence[Compared]) -> Compared:
    """Of one picture's verdicts by several thresholds: an escape, else overkill, else a difference, else the first."""
    return min(pairs, key=lambda one: (not one.escape, not one.overkill, one.same))


def compare(pictures: Sequence[Compared], overkill_limit: float) -> Comparison:
    """failed: an escape, or more overkill than allowed. unverified: too few pictures to say that it passed.

    `overkill_limit` is the allowed share of what the reference passes, from `MANY` pictures on; below, none is allowed.
    Good and bad count as `Compared.counts_as` says: where the reference sees nothing, a blind engine is equal to it.
    """
    escapes = [one for one in pictures if one.escape]
    overkill = [one for one in pictures if one.overkill]
    passed = sum(1 for one in pictures if one.reference.evaluation is Evaluation.OK)
    allowed = math.floor(overkill_limit * passed + 1e-9) if len(pictures) >= MANY else 0
    good = sum(1 for one in pictures if one.counts_as == "good")
    bad = sum(1 for one in pictures if one.counts_as == "bad")
    outcome: Outcome = "passed"
    words = []
    if escapes:
        outcome = "failed"
        words.append(f"{_count(escapes)} rejected by the reference and passed by the engine: {_named(escapes)}")
    if len(overkill) > allowed:
        outcome = "failed"
        words.append(
            f"{_count(overkill)} passed by the reference and rejected by the engine, allowed {allowed}: "
            f"{_named(overkill)}"
        )
    if good < ENOUGH or bad < ENOUGH:
        outcome = "unverified" if outcome == "passed" else outcome
        words.append(_too_few(pictures, good, bad))
    if not words:
        words.append(f"{len(pictures)} pictures, {good} good and {bad} bad: {_agreement(pictures)}")
    return Comparison(
        outcome=outcome,
        text="; ".join(words),
        good=good,
        bad=bad,
        flips=tuple(_flip(one) for one in pictures if not one.same),
        overkill=len(overkill),
        unanswered=tuple(
            f"{one.picture}: {name}: {verdict.text}"
            for one in pictures
            for name, verdict in (("reference", one.reference), ("engine", one.engine))
            if not verdict.answered
        ),
    )


def _too_few(pictures: Sequence[Compared], good: int, bad: int) -> str:
    lacking = [(ENOUGH - good, "good"), (ENOUGH - bad, "bad")]
    more = " and ".join(f"{count} more {label}" for count, label in lacking if count > 0)
    silent = sum(1 for one in pictures if not one.counts_as)
    unanswered = f" ({silent} of {len(pictures)} were not)" if silent else ""
    return (
        f"{good} good and {bad} bad pictures were judged so by the ONNX file and answered by the engine{unanswered}, "
        f"expected {ENOUGH} of each: add {more} pictures to the bundle's golden set"
    )


def _agreement(pictures: Sequence[Compared]) -> str:
    differ = sum(1 for one in pictures if not one.same)
    return f"all but {differ} verdicts are the same, within the limits" if differ else "all verdicts are the same"


def _count(pictures: Sequence[Compared]) -> str:
    return f"{len(pictures)} picture{'s are' if len(pictures) > 1 else ' is'}"


def _named(pictures: Sequence[Compared]) -> str:
    names = [one.picture for one in pictures[:_NAMED]]
    more = len(pictures) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _flip(one: Compared) -> Flip:
    return Flip(
        picture=one.picture,
        label=one.label,
        reference=one.reference.evaluation.name,
        engine=one.engine.evaluation.name,
        reference_text=one.reference.text,
        engine_text=one.engine.text,
        escape=one.escape,
    )
