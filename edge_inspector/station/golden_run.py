"""One showing of the master parts: which were shown, and whether each was judged as it must be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from edge_inspector.datatypes import Evaluation, InspectionResult
from edge_inspector.settings.golden import GoldenSettings, MasterPart

Word: TypeAlias = Literal["passed", "failed", "incomplete"]


@dataclass(frozen=True)
class Shown:
    """A part that was shown: `right` None = nothing follows from it, `why` says why it is not right."""

    part: str
    outcome: str
    right: bool | None
    why: str = ""


@dataclass(frozen=True)
class MasterRun:
    """Golden mode of one recipe, from its begin on; parts before number `first_seq` do not belong to it.

    `shown` has each master part once, its worst showing: what was judged wrongly once stays wrong in this run.
    """

    recipe: str
    who: str
    begun_utc: str
    first_seq: int
    shown: tuple[Shown, ...] = ()
    strangers: int = 0

    def after(self, settings: GoldenSettings, result: InspectionResult) -> MasterRun:
        """The run with one more part."""
        if settings.told_by == "order":
            return replace(self, shown=_in_order(self.shown, settings, result))
        master = next((one for one in settings.parts if one.id == result.trigger.part_id), None)
        if master is None:
            return replace(self, strangers=self.strangers + 1)
        return replace(self, shown=_worst(self.shown, _judged(master, result)))

    def word(self, settings: GoldenSettings) -> Word:
        """Passed: every master part was shown and judged rightly. One that was judged wrongly fails the run at once."""
        if any(one.right is False for one in self.shown):
            return "failed"
        right = {one.part for one in self.shown if one.right}
        return "passed" if settings.parts and right == {part.id for part in settings.parts} else "incomplete"

    def detail(self, settings: GoldenSettings) -> str:
        """For the record: every part that was shown and its outcome, and those that were not."""
        lines = [f"{one.part!r} {one.outcome}{f' ({one.why})' if one.why else ''}" for one in self.shown]
        missing = missing_parts(self, settings)
        if missing:
            lines.append(f"not shown or not judged: {', '.join(map(repr, missing))}")
        if self.strangers:
            lines.append(f"{self.strangers} parts were no master parts")
        return f"recipe {self.recipe}, master parts: {'; '.join(lines) or 'none was shown'}"

    @property
    def faults(self) -> str:
        """What was judged wrongly, for Status.ErrorText."""
        wrong = [f"{one.part!r} was {one.outcome}, {one.why}" for one in self.shown if one.right is False]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return wrong[0] + more if wrong else ""


def missing_parts(run: MasterRun, settings: GoldenSettings) -> list[str]:
    """Master parts that no verdict is known of."""
    known = {one.part for one in run.shown if one.right is not None}
    return [part.id for part in settings.parts if part.id not in known]


def _in_order(shown: tuple[Shown, ...], settings: GoldenSettings, result: InspectionResult) -> tuple[Shown, ...]:
    """By order a part cannot be shown twice: nobody could say which one it was."""
    if len(shown) < len(settings.parts):
        return (*shown, _judged(settings.parts[len(shown)], result))
    if len(shown) > len(settings.parts):
        return shown
    why = f"one part more than the {len(settings.parts)} of the list: nobody can say which was which"
    return (*shown, Shown("a further part", result.evaluation.name, right=False, why=why))


def _judged(master: MasterPart, result: InspectionResult) -> Shown:
    outcome = result.evaluation.name
    if result.evaluation is Evaluation.UNDEFINED:
        return Shown(master.id, outcome, right=None, why=result.reason_text or result.reason.name.lower())
    if outcome != master.expect:
        return Shown(master.id, outcome, right=False, why=f"expected {master.expect}")
    unseen = sorted(set(master.defects) - {defect.class_name for defect in result.defects})
    if unseen:
        return Shown(master.id, outcome, right=False, why=f"expected to find {', '.join(unseen)} on it")
    return Shown(master.id, outcome, right=True)


_WORSE = (None, True, False)
"""A part without a verdict may be shown again, and a wrong verdict stays."""


def _worst(shown: tuple[Shown, ...], new: Shown) -> tuple[Shown, ...]:
    before = next((one for one in shown if one.part == new.part), None)
    if before is None:
        return (*shown, new)
    kept = max(before, new, key=lambda one: _WORSE.index(one.right))
    return tuple(kept if one is before else one for one in shown)
