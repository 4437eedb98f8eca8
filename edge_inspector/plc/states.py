"""OPC 40100-1's states, as far as a station of ours can be in them, and the status that it starts with."""

from __future__ import annotations

import enum

from edge_inspector.datatypes import Mode
from edge_inspector.interfaces import StationStatus

STARTING = StationStatus(
    ready=False,
    busy=False,
    acquiring=False,
    halted=False,
    mode=Mode.PRODUCTION,
    recipe="",
    recipe_no=0,
    recipe_ready=False,
    warning=False,
    error_code=0,
    error_text="starting",
    clock_synced=False,
    queue_depth=0,
)
"""Until the station says otherwise."""


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
