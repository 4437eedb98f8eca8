"""OPC 40100-1's states, as far as a station of ours can be in them."""

from __future__ import annotations

import enum

from edge_inspector.interfaces import StationStatus


class State(enum.IntEnum):
    """StateNumber of the VisionStateMachine."""

    Preoperational = 1
    Halted = 2
    Error = 3
    Operational = 4
    Initialized = 5
    Ready = 6
    SingleExecution = 7
    ContinuousExecution = 8


def resting_state(status: StationStatus) -> State:
    """The state without telling apart which part is in work: what a person or a broker wants to know."""
    if status.error_code:
        return State.Error
    if status.halted:
        return State.Halted
    if not status.recipe_ready:
        return State.Preoperational
    return State.Ready
