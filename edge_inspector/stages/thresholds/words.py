"""What a person reads of a policy's state."""

from __future__ import annotations

from dataclasses import replace

from edge_inspector.stages.thresholds.moving import within
from edge_inspector.stages.thresholds.records import Bounds, State


def told(bounds: Bounds, state: State, hold: str) -> State:
    """The state with its texts; they stay the same for as long as their cause does."""
    bounds = within(bounds, state.capped)
    stuck = [_leans(bounds, state, c) for c in range(len(bounds.classes)) if state.stuck[c]]
    frozen = "; ".join([hold] * bool(hold) + stuck)
    return replace(state, frozen=frozen, alarm="; ".join([frozen] * bool(frozen) + [state.escape] * bool(state.escape)))


def _leans(bounds: Bounds, state: State, c: int) -> str:
    name = bounds.classes[c]
    if state.leaning[c] > 0:
        return (
            f"{name}: the threshold leans on its ceiling of {bounds.ceiling[c]:.2f}, good parts score nearly as high as"
            " known defects; look at light, lens and parts, or train the model anew"
        )
    return (
        f"{name}: the threshold leans on its floor of {bounds.floor[c]:.2f}, good parts score lower than golden ones;"
        " look whether the picture has become dark or blurred"
    )
