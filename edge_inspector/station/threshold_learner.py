"""What one recipe's thresholds have learnt, and how far they may move."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_inspector.datatypes import Evaluation, ThresholdState
from edge_inspector.engine.limits_file import LimitsFile, rules_sum
from edge_inspector.health.readings import ThresholdReading
from edge_inspector.settings.adaptive import Policy
from edge_inspector.stages.rules import adaptable
from edge_inspector.stages.thresholds import (
    Bounds,
    Proposal,
    Seen,
    State,
    Word,
    advance,
    begin,
    bounds_of,
    dumps,
    proposals,
    rebound,
)
from edge_inspector.station.parts import LoadedRecipe
from edge_inspector.station.threshold_kept import Kept, Noted, Release, Since, read_kept, read_since
from edge_inspector.store.peaks import ScoredPart

DIGITS = 4
"""Of a threshold by which parts are judged: scores are kept with as many."""
MOST_NOTED = 100
_WORDS = {Evaluation.OK: Word.OK, Evaluation.NOT_OK: Word.REJECT}


@dataclass(frozen=True)
class Shown:
    """One policy of a recipe, for people: `judges` or only proposes."""

    policy: Policy
    judges: bool
    frozen: str
    alarm: str
    classes: tuple[Proposal, ...]


class Learner:
    """Owned by the line loop. `seq` is the last part that it has seen; `changed`: it is not put down yet."""

    def __init__(self, recipe: LoadedRecipe, golden: str) -> None:
        """`golden` is the golden set in the words of the configuration, empty = not known."""
        self.recipe = recipe
        self.seq = 0
        self.changed = True
        self.frozen_by = ""
        self.limits: LimitsFile | None = None
        self.release: Release | None = None
        self._settings = recipe.settings.adaptive
        self._golden = golden
        self._rules = rules_sum(recipe.settings, recipe.plans, recipe.thresholds)
        self._stays = frozenset(range(len(recipe.criteria.classes))) - adaptable(recipe.criteria)
        self._drift = ""
        self._turn = 0
        self._noted: list[Noted] = []
        policies = dict.fromkeys((self._settings.policy, self._settings.shadow))
        self._bounds = {policy: self._bounds_of(policy) for policy in policies}
        self._states: dict[Policy, State] = {
            policy: begin(policy, bounds) for policy, bounds in self._bounds.items() if policy != "fixed"
        }

    @property
    def name(self) -> str:
        return self.recipe.name

    def now(self) -> ThresholdState:
        """Those by which a part is judged that is accepted now: never beyond the bounds, whatever a policy says."""
        policy = self._settings.policy
        if policy == "fixed":
            return self.recipe.thresholds
        asked = [round(one, DIGITS) for one in self._states[policy].by_class]
        return ThresholdState(self._bounds[policy].clamp(asked), policy)

    @property
    def alarm(self) -> str:
        """What a person must hear of the policy that judges, empty = nothing."""
        policy = self._settings.policy
        return "" if policy == "fixed" else self._states[policy].alarm

    @property
    def held(self) -> bool:
        """Whether the policy that judges may not move its thresholds, or a person must hear of it."""
        policy = self._settings.policy
        return bool(self.frozen_by or (policy != "fixed" and (self._states[policy].frozen or self.alarm)))

    @property
    def released(self) -> bool:
        """Whether thresholds may be looser than the recipe says."""
        return self.limits is not None and self.release is not None and self.release.limits == self.limits.sum

    @property
    def lapsed(self) -> str:
        """Why a release that was given does not hold any more, empty = it does, or there was none."""
        if self.release is None or self.released:
            return ""
        return (
            f"the release of {self.release.utc[:10]} by {self.release.who} was for another model, golden set or other "
            "rules: no threshold is looser than the recipe says until it is released again"
        )

    @property
    def crowded(self) -> bool:
        """Whether so much was noted that it is shorter to put everything down."""
        return len(self._noted) >= MOST_NOTED

    def set_limits(self, limits: LimitsFile | None) -> None:
        """What a golden run has shown, None = nothing that holds."""
        self.limits = limits
        self._rebound()

    def set_release(self, release: Release | None) -> None:
        self.release = release
        self._rebound()

    def why_not(self, limits: LimitsFile) -> str:
        """Why these limits are not for this recipe as it is now, empty = they are."""
        if limits.model != self.recipe.model_hash:
            return "they are of another model"
        if not self._golden or self._golden != f"sha256 {limits.golden[:16]}":
            return "they are of another golden set"
        if limits.rules != self._rules:
            return "they were made for other rules, zones, thresholds, cameras or calibrations"
        if len(limits.by_class) != len(self.recipe.criteria.classes):
            return f"they are of {len(limits.by_class)} classes, expected {len(self.recipe.criteria.classes)}"
        return ""

    def freeze(self, who: str) -> None:
        """No threshold moves any more, and nothing is learnt but bad parts; empty = go on."""
        self.frozen_by = who
        self.changed = True

    def see(self, part: ScoredPart, drift: str) -> bool:
        """Learn from a verdict; `drift` is what is wrong with the pictures. Whether something was noted."""
        noted = bool(drift) != bool(self._drift)
        if noted:
            self._drift = drift
            self._noted.append(Noted(after=self.seq, drift=drift))
        if part.seq > self.seq:  # else it was accepted when this recipe had other rules
            self._judged(part)
        return noted

    def hear(self, part: ScoredPart, good: bool) -> bool:
        """Learn from what somebody says of an earlier part; whether something was noted.

        A bad part teaches frozen thresholds too: they may become lower by it, and never higher.
        """
        if self.frozen_by and good:
            return False
        self._noted.append(Noted(after=self.seq, part=part.seq, good=good))
        self.changed = True
        self._said(part, good)
        return True

    def readings(self) -> list[ThresholdReading]:
        """Every class that rejects."""
        settings, now = self._settings, self.now().by_class
        other = self._states.get(settings.shadow) if settings.shadow != settings.policy else None
        rows = zip(self.recipe.criteria.classes, self.recipe.thresholds.by_class, now, strict=True)
        return [
            ThresholdReading(self.name, name, base, one, None if other is None else other.by_class[c])
            for c, (name, base, one) in enumerate(rows)
            if c not in self._stays
        ]

    def shown(self) -> tuple[Shown, ...]:
        """What each policy says."""
        return tuple(
            Shown(
                policy,
                policy == self._settings.policy,
                state.frozen,
                state.alarm,
                proposals(self._bounds[policy], state),
            )
            for policy, state in self._states.items()
        )

    def put_down(self) -> Callable[[], str]:
        """Everything that it has learnt, as text for `take_up`; made when it is called, on any thread."""
        self.changed = False
        self._turn += 1
        self._noted = []
        states = dict(self._states)
        facts: dict[str, Any] = {"of": self._of(), "turn": self._turn, "seq": self.seq}
        facts |= {"frozen_by": self.frozen_by, "drift": self._drift}

        def text() -> str:
            return Kept(states={policy: dumps(state) for policy, state in states.items()}, **facts).model_dump_json()

        return text

    def noted(self) -> str:
        """What verdicts do not tell, since it was last put down."""
        return Since(turn=self._turn, noted=tuple(self._noted)).model_dump_json(exclude_none=True)

    def take_up(self, kept: str, since: str | None, parts: Sequence[ScoredPart]) -> str:
        """Go on where an earlier process was when it ended; why that cannot be, empty = done.

        `since` is what it had noted, `parts` are the newest of this recipe that have a verdict, oldest first.
        """
        try:
            found, states = read_kept(kept)
        except ValueError as exc:
            return f"what was learnt cannot be read: {exc}"
        self.frozen_by, self._turn = found.frozen_by, found.turn
        if found.of != self._of():
            return "model, rules or the numbers of [adaptive] are others now"
        self.seq, self._drift = found.seq, found.drift
        self._states |= {policy: state for policy, state in states.items() if policy in self._states}
        self._rebound()
        by_seq = {part.seq: part for part in parts}
        self._noted = list(read_since(since, found.turn))
        to_come = deque(self._noted)
        for part in parts:
            while to_come and to_come[0].after < part.seq:
                self._again(to_come.popleft(), by_seq)
            if part.seq > self.seq:
                self._judged(part)
        while to_come:
            self._again(to_come.popleft(), by_seq)
        return ""

    def _again(self, noted: Noted, by_seq: dict[int, ScoredPart]) -> None:
        if noted.drift is not None:
            self._drift = noted.drift
        elif noted.part in by_seq and noted.good is not None:
            self._said(by_seq[noted.part], noted.good)

    def _judged(self, part: ScoredPart) -> None:
        self.seq = part.seq
        self.changed = True
        word = _WORDS.get(part.evaluation)
        if word is not None and not self.frozen_by:
            self._learn(part, word)

    def _said(self, part: ScoredPart, good: bool) -> None:
        self._learn(part, Word.GOOD if good else Word.BAD)

    def _learn(self, part: ScoredPart, word: Word) -> None:
        fits = len(part.peaks) == len(part.thresholds) == len(self.recipe.criteria.classes)
        if not fits or not part.whole or part.model_hash != self.recipe.model_hash:
            return
        if not all(0.0 <= one <= 1.0 for one in (*part.peaks, *part.thresholds)):
            return  # of a decoder that is not ours: no share, and nothing to learn from
        seen = Seen(part.seq, part.peaks, part.thresholds, word, self._drift)
        self._states = {
            policy: advance(self._settings, self._bounds[policy], state, seen) for policy, state in self._states.items()
        }
        self.changed = True

    def _rebound(self) -> None:
        self._bounds = {policy: self._bounds_of(policy) for policy in self._bounds}
        self._states = {policy: rebound(self._bounds[policy], state) for policy, state in self._states.items()}
        self.changed = True

    def _bounds_of(self, policy: Policy) -> Bounds:
        """Of the policy that judges, and of the shadow, which shows what a release would allow."""
        classes, base = self.recipe.criteria.classes, self.recipe.thresholds.by_class
        if self.limits is None:
            seen_from = self.recipe.reading.score_floor  # below it the model says nothing
            return replace(
                Bounds.tighten_only(classes, base, self._stays), floor=tuple(min(one, seen_from) for one in base)
            )
        bounds = bounds_of(classes, base, self.limits.limits, self._stays)
        return bounds if self.released or policy != self._settings.policy else bounds.unreleased()

    def _of(self) -> str:
        """What it has learnt is worth nothing for another model, other rules or other numbers of the policies."""
        numbers: dict[str, Any] = self._settings.model_dump(mode="json", exclude={"policy", "shadow"})
        said = json.dumps([self.recipe.model_hash, self._rules, numbers], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()
