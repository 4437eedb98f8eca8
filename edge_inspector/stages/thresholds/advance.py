"""One step of a policy: a part has been judged, or somebody has looked at one again."""

from __future__ import annotations

from dataclasses import replace

from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.stages.thresholds import moving, percentile
from edge_inspector.stages.thresholds.learning import learnt, unlearnt
from edge_inspector.stages.thresholds.records import Bounds, Learnt, Seen, State, Word
from edge_inspector.stages.thresholds.words import told


def advance(settings: AdaptiveSettings, bounds: Bounds, state: State, seen: Seen) -> State:
    """The state after one more step; ValueError when the number of classes does not fit."""
    n = len(bounds.classes)
    for name, found in (("state", state.by_class), ("peaks", seen.peaks), ("thresholds", seen.thresholds)):
        if len(found) != n:
            raise ValueError(
                f"{name} at part {seen.seq}: {len(found)} classes, expected {n}, one for each of the model's"
            )
    if state.policy == "fixed":
        return replace(state, by_class=bounds.base)
    if seen.word is Word.BAD and state.policy != "percentile":  # it only tightens: in a drift, too
        return told(bounds, rebound(bounds, unlearnt(settings, bounds, state, seen)), seen.hold)
    if seen.hold:
        return told(bounds, rebound(bounds, state), seen.hold)
    if state.policy == "percentile":
        return _rolled(bounds, state, seen)
    if seen.word is Word.GOOD:
        return told(bounds, rebound(bounds, learnt(settings, state, seen)), "")
    if seen.word is Word.OK:
        state = learnt(settings, state, seen)
    return told(bounds, moving.moved(settings, bounds, state), "")


def rebound(bounds: Bounds, state: State) -> State:
    """The same state within other bounds: its thresholds are within them at once."""
    if state.policy == "percentile":
        return state
    if state.policy == "fixed":
        return replace(state, by_class=bounds.base)
    return replace(state, by_class=moving.within(bounds, state.capped).clamp(state.by_class))


def _rolled(bounds: Bounds, state: State, seen: Seen) -> State:
    """The plain rolling rule; it knows neither limits nor feedback."""
    if seen.word is Word.OK:
        part = Learnt(seen.seq, seen.peaks, seen.thresholds)
        state = replace(state, parts=(*state.parts, part)[-percentile.PARTS :])
    scores = [
        max((peak for peak, kept in zip(part.peaks, bounds.kept, strict=True) if not kept), default=0.0)
        for part in state.parts
    ]
    one = percentile.rolling(scores)
    by_class = tuple(base if kept else one for base, kept in zip(bounds.base, bounds.kept, strict=True))
    return replace(state, by_class=by_class, frozen="", alarm="")
