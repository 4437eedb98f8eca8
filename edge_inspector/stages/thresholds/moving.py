"""How far thresholds go towards where they should be: never beyond a limit, never fast, and not for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edge_inspector.settings.adaptive import AdaptiveSettings, Policy
from edge_inspector.stages.thresholds import guarded, tail
from edge_inspector.stages.thresholds.records import Bounds, Estimate, State
from edge_inspector.stages.thresholds.sample import sample_of

EVERY: Mapping[Policy, int] = {"guarded": 1, "tail": 5}
"""Of so many parts one has a class estimated anew: a fit of `tail` costs some milliseconds of the line loop."""


def within(bounds: Bounds, capped: tuple[float, ...]) -> Bounds:
    """The bounds with what escapes have taught."""
    ceiling = tuple(max(f, min(c, cap)) for f, c, cap in zip(bounds.floor, bounds.ceiling, capped, strict=True))
    return replace(bounds, ceiling=ceiling)


def moved(settings: AdaptiveSettings, bounds: Bounds, state: State) -> State:
    """After a verdict: one class is estimated anew, in turn, and every class goes a step."""
    bounds = within(bounds, state.capped)
    estimates = _estimates(settings, bounds, state)
    leaning, stuck, by_class = [], [], []
    for c, (now, one) in enumerate(zip(state.by_class, estimates, strict=True)):
        side = 0 if one is None or bounds.kept[c] else _leans(bounds, c, now, one.wanted)
        count = _counted(state.leaning[c], side, settings.lean_parts)
        held = abs(count) >= settings.lean_parts or (state.stuck[c] and count != 0)
        leaning.append(count)
        stuck.append(held)
        wanted = bounds.base[c] if one is None else one.wanted  # where nothing is known, the recipe's own
        by_class.append(_step(settings, now, wanted, bounds.base[c], held))
    return replace(
        state,
        by_class=bounds.clamp(by_class),
        estimates=estimates,
        leaning=tuple(leaning),
        stuck=tuple(stuck),
        steps=state.steps + 1,
    )


def _leans(bounds: Bounds, c: int, now: float, wanted: float) -> int:
    """1 when a threshold is at its ceiling and would go on, -1 at its floor, else 0.

    One that may not be looser than the recipe's leans on nothing: it is where `fixed` has it.
    """
    if wanted > bounds.ceiling[c] > bounds.base[c]:
        return 1 if now >= bounds.ceiling[c] else 0
    if wanted < bounds.floor[c]:
        return -1 if now <= bounds.floor[c] else 0
    return 0


def _counted(count: int, side: int, most: int) -> int:
    """One more on the side on which it leans, one less when it does not."""
    if side and count * side >= 0:
        return max(-most, min(most, count + side))
    return count - (count > 0) + (count < 0)


def _estimates(settings: AdaptiveSettings, bounds: Bounds, state: State) -> tuple[Estimate | None, ...]:
    """At most one class a part, in turn, so that the line loop never waits for all of them."""
    moving = [c for c, kept in enumerate(bounds.kept) if not kept]
    if len(state.parts) < settings.least or not moving:
        return (None,) * len(bounds.classes)
    every = EVERY[state.policy]
    if state.steps % every:
        return state.estimates
    due = moving[state.steps // every % len(moving)]
    alpha = settings.target_per_thousand / 1000.0 / len(moving)
    estimate = tail.estimate if state.policy == "tail" else guarded.estimate
    fresh = estimate(sample_of(state.parts, due), alpha)
    return tuple(fresh if c == due else one for c, one in enumerate(state.estimates))


def _step(settings: AdaptiveSettings, now: float, wanted: float, base: float, held: bool) -> float:
    """One part's way towards `wanted`; one that is `held` goes only back towards the recipe's own threshold."""
    step = max(-settings.tighten_per_100 / 100.0, min(settings.loosen_per_100 / 100.0, wanted - now))
    if held and (step > 0) == (now >= base):
        return now
    return now + step
