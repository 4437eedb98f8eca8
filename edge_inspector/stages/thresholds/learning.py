"""Which parts a policy learns from, and what an escape teaches it."""

from __future__ import annotations

from dataclasses import replace

from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.stages.thresholds.limits import ceiling_below
from edge_inspector.stages.thresholds.records import Bounds, Learnt, Seen, State


def learnt(settings: AdaptiveSettings, state: State, seen: Seen) -> State:
    """A good part more; of all, the last `window` in the book's order stay."""
    others = [part for part in state.parts if part.seq != seen.seq]
    at = len(others)
    while at and others[at - 1].seq > seen.seq:
        at -= 1
    others.insert(at, Learnt(seen.seq, seen.peaks, seen.thresholds))
    return replace(state, parts=tuple(others[-settings.window :]))


def unlearnt(settings: AdaptiveSettings, bounds: Bounds, state: State, seen: Seen) -> State:
    """A part is bad: nothing is learnt from it, and from now on it is a golden part.

    Where the recipe's own thresholds catch it, the class that sees it most above them gets a ceiling below its peak.
    """
    state = replace(state, parts=tuple(part for part in state.parts if part.seq != seen.seq))
    moving = [c for c, kept in enumerate(bounds.kept) if not kept]
    best = max(moving, key=lambda c: seen.peaks[c] - bounds.base[c], default=None)
    if best is None or seen.peaks[best] < bounds.base[best]:
        return state
    ceiling = ceiling_below(seen.peaks[best], bounds.base[best], settings.reserve)
    capped = tuple(min(cap, ceiling) if c == best else cap for c, cap in enumerate(state.capped))
    if any(seen.peaks[c] >= seen.thresholds[c] for c in moving):
        return replace(state, capped=capped)
    escape = (
        f"part {seen.seq} was bad and passed by a looser threshold than the recipe's"
        f" ({bounds.classes[best]} {seen.peaks[best]:.2f}): it will not be so loose again;"
        " revoke the release, or put such a part into the golden set"
    )
    return replace(state, capped=capped, escape=escape)
