"""Thresholds with a real ledger and flight record, fed with verdicts that no camera has made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from station_rig import CLASSES, Rig

from edge_inspector.datatypes import Evaluation, Event, InspectionResult, Mode, Reason, ThresholdState, Trigger
from edge_inspector.engine.limits_file import LimitsFile, rules_sum
from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.station.booking import Booking
from edge_inspector.station.changes import Configuration
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.recovery import recover
from edge_inspector.station.thresholds import Thresholds
from edge_inspector.store.flight import FlightRecord
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.settings import LedgerSettings

MODEL, GOLDEN = "a" * 64, "b" * 64
BASE = (0.5, 0.5)
QUICK: dict[str, Any] = {"window": 100, "least": 20, "loosen_per_100": 1.0, "tighten_per_100": 1.0}
"""Policies that move after a few parts."""


def adaptive_recipe(rig: Rig, name: str = "r", **adaptive: Any) -> LoadedRecipe:
    """A recipe of this rig whose thresholds follow the line."""
    settings = AdaptiveSettings.model_validate({**QUICK, **adaptive})
    made = replace(
        rig.recipe(name, number=len(rig.recipes) + 1, adaptive=settings),
        model_hash=MODEL,
        thresholds=ThresholdState(BASE),
    )
    rig.recipes[name] = made
    return made


def limits_of(recipe: LoadedRecipe, *, ceiling: float = 0.8, floor: float = 0.1, **changed: Any) -> LimitsFile:
    """As a golden run with 40 defects of each class leaves them."""
    rules = rules_sum(recipe.settings, recipe.plans, recipe.thresholds)
    rows = tuple((floor, ceiling, 40, 0, 0.0722) for _ in recipe.criteria.classes)
    said = {"schema": 1, "recipe": recipe.name, "model": MODEL, "golden": GOLDEN, "rules": rules, "by_class": rows}
    return LimitsFile.model_validate({**said, "utc": "2026-11-22T16:00:00.000Z", "good": 50, **changed})


@dataclass
class Fed:
    """Thresholds as the line holds them, and what it does with them."""

    parts: Parts
    thresholds: Thresholds
    events: list[Event]
    drift: list[str] = field(default_factory=lambda: [""])
    seq: int = 0
    slots: dict[int, int] = field(default_factory=dict)

    def accept(self, recipe: str = "r", mode: Mode = Mode.PRODUCTION) -> Trigger:
        """A part begins."""
        self.seq = max(self.seq + 1, self.parts.ledger.next_seq)
        identity = self.parts.identity
        trigger = Trigger(
            seq=self.seq,
            result_id=f"{identity.station}.{self.parts.ledger.book}.{self.seq}",
            trigger_seq=self.seq % 50,  # a PLC counts in a circle
            part_id=f"p{self.seq}",
            attempt=1,
            mode=mode,
            recipe=recipe,
            recipe_no=1,
            boot_id=identity.boot_id,
            plc_boot_id=9,
            accepted_ns=self.seq,
            deadline_ns=self.seq + 10**9,
            wall_utc="2026-11-22T16:00:00.000Z",
            clock_synced=True,
        )
        self.slots[self.seq] = self.thresholds._booking.accepted(trigger)
        self.thresholds.accepted(trigger)
        return trigger

    def settle(self, trigger: Trigger, *peaks: float, ok: bool | None = None, **changed: Any) -> InspectionResult:
        """Its verdict: by its peaks and the thresholds of now, if nobody says otherwise."""
        now = self.thresholds.now(self.parts.recipes[trigger.recipe])
        passed = all(p < t for p, t in zip(peaks, now.by_class, strict=True)) if ok is None else ok
        result = InspectionResult(
            trigger=trigger,
            evaluation=Evaluation.OK if passed else Evaluation.NOT_OK,
            reason=Reason.NONE if passed else Reason.DEFECT,
            reason_text="",
            defects=(),
            views=("a",),
            views_judged=1,
            thresholds=now.by_class,
            model_hash=MODEL,
            settled_ns=trigger.accepted_ns + 1,
            stage_ns={},
            peaks=peaks,
            policy=now.policy,
        )
        result = replace(result, **changed)
        slot = self.slots.pop(trigger.seq)
        self.parts.flight.verdict(slot, result)
        self.thresholds._booking.settled(slot, result, told=True)
        self.thresholds.settled(result)
        return result

    def part(self, *peaks: float, recipe: str = "r", **changed: Any) -> InspectionResult:
        return self.settle(self.accept(recipe), *peaks, **changed)

    def run(self, rows: Sequence[Sequence[float]], recipe: str = "r") -> None:
        for row in rows:
            self.part(*row, recipe=recipe)

    def now(self, recipe: str = "r") -> ThresholdState:
        return self.thresholds.now(self.parts.recipes[recipe])

    def learnt(self, recipe: str = "r") -> dict[str, Any]:
        """All that one recipe's learner would put down."""
        learner = self.thresholds.learners[recipe]
        before = learner.changed, learner._turn, learner._noted
        kept = json.loads(learner.put_down()())
        learner.changed, learner._turn, learner._noted = before
        return {**kept, "turn": None, "limits": learner.limits, "release": learner.release}


@contextmanager
def fed(rig: Rig, *, golden: str = GOLDEN, power_cut: bool = False) -> Iterator[Fed]:
    """One start of the station. With `power_cut` it ends as a killed process does: what waits for the book is lost."""
    words = {f"recipes.{name}.golden": f"sha256 {golden[:16]}" for name in rig.recipes}
    parts = rig.parts()
    flight = FlightRecord(rig.folder / "flight.bin", slots=600)
    ledger = Ledger(rig.ledger, [], on_booked=flight.free, settings=LedgerSettings(synchronous="normal"))
    parts = replace(parts, configuration=Configuration(words), flight=flight, ledger=ledger)
    events: list[Event] = []

    def emit(kind: str, record: object) -> None:
        if kind == "event":
            assert isinstance(record, Event)
            events.append(record)

    drift = [""]
    try:
        with parts.flight, parts.ledger:
            recover(parts)
            booking = Booking(parts, emit)
            yield Fed(parts, Thresholds(parts, booking, lambda _: drift[0]), events, drift)
            if power_cut:
                raise _PowerCutError
    except _PowerCutError:
        return


class _PowerCutError(Exception): ...


def book(fed: Fed) -> None:
    """Let the ledger's thread, which nobody has started, book all that waits."""
    fed.parts.ledger.close()
    fed.parts.ledger.run()
    fed.parts.ledger._closing = False


__all__ = ["BASE", "CLASSES", "GOLDEN", "MODEL", "Fed", "adaptive_recipe", "book", "fed", "limits_of"]
