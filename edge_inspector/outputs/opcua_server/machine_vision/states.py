"""The two state machines of OPC 40100-1 as one graph: states, transitions with their numbers, ways between states."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_inspector.plc.states import State

Machine = Literal["vision", "automatic"]

AUTOMATIC = (State.Initialized, State.Ready, State.SingleExecution, State.ContinuousExecution)
"""Sub-states of Operational; they belong to the AutomaticModeStateMachine."""
EXECUTING = (State.SingleExecution, State.ContinuousExecution)
STATE_NODE: Mapping[State, int] = {
    State.Preoperational: 5028,
    State.Halted: 5029,
    State.Error: 5030,
    State.Operational: 5031,
    State.Initialized: 5056,
    State.Ready: 5057,
    State.SingleExecution: 5058,
    State.ContinuousExecution: 5059,
}
"""Numeric NodeId of each state object, in the namespace of OPC 40100-1."""


@dataclass(frozen=True)
class Transition:
    """One transition object of the published nodeset; an empty `cause` is one that the system makes by itself."""

    number: int
    node: int
    before: State
    after: State
    cause: str = ""

    @property
    def name(self) -> str:
        """Its browse name."""
        suffix = {"": "Auto", "PrepareRecipe": "Recipe", "Stop": "Stop", "Abort": "Abort"}.get(self.cause, "")
        return f"{self.before.name}To{self.after.name}{suffix}"

    @property
    def machine(self) -> Machine:
        """To which of the two state machines it belongs."""
        return "automatic" if self.before in AUTOMATIC else "vision"


_P, _H, _E, _O = State.Preoperational, State.Halted, State.Error, State.Operational
_I, _R, _S, _C = AUTOMATIC
TRANSITIONS: tuple[Transition, ...] = (
    Transition(120, 5033, _P, _H),
    Transition(121, 5032, _P, _H, "Halt"),
    Transition(130, 5034, _P, _E),
    Transition(150, 5036, _P, _I),
    Transition(151, 5035, _P, _I, "SelectModeAutomatic"),
    Transition(210, 5038, _H, _P),
    Transition(211, 5037, _H, _P, "Reset"),
    Transition(310, 5040, _E, _P),
    Transition(311, 5039, _E, _P, "Reset"),
    Transition(320, 5042, _E, _H),
    Transition(321, 5041, _E, _H, "Halt"),
    Transition(340, 5255, _E, _O),
    Transition(410, 5048, _O, _P),
    Transition(411, 5047, _O, _P, "Reset"),
    Transition(420, 5050, _O, _H),
    Transition(421, 5049, _O, _H, "Halt"),
    Transition(430, 5051, _O, _E),
    Transition(560, 5061, _I, _R),
    Transition(561, 5060, _I, _R, "PrepareRecipe"),
    Transition(650, 5063, _R, _I),
    Transition(670, 5065, _R, _S),
    Transition(671, 5064, _R, _S, "StartSingleJob"),
    Transition(680, 5067, _R, _C),
    Transition(681, 5066, _R, _C, "StartContinuous"),
    Transition(760, 5070, _S, _R),
    Transition(761, 5068, _S, _R, "Stop"),
    Transition(762, 5069, _S, _R, "Abort"),
    Transition(860, 5073, _C, _R),
    Transition(861, 5071, _C, _R, "Stop"),
    Transition(862, 5072, _C, _R, "Abort"),
)
"""Those that a station of ours makes. Recipes cannot be unprepared and there are no products: 651, 652, 562 never
happen; the automatic mode is the only one, so Operational is entered by 150 and 151, not by 140 and 141."""

_EVERYWHERE = frozenset({_P, _H, _E, *AUTOMATIC})
ALLOWED: Mapping[str, frozenset[State]] = {
    "Halt": _EVERYWHERE - {_H},
    "Reset": _EVERYWHERE,
    "SelectModeAutomatic": frozenset({_P}),
    "StartSingleJob": frozenset({_R}),
    "StartContinuous": frozenset({_R}),
    "Stop": frozenset({_S, _C}),
    "Abort": frozenset({_S, _C}),
    "PrepareRecipe": frozenset({_P, _E, _I, _R}),
}
"""In which states a method is accepted. PrepareRecipe also where only another recipe leads out of the state."""


@dataclass(frozen=True)
class Step:
    """One transition made: from and to which sub-state, where Operational has one."""

    before: State
    after: State
    transition: Transition


def _edges(transition: Transition) -> list[tuple[State, State]]:
    """Operational stands for whichever of its sub-states is active or is entered."""
    before = AUTOMATIC if transition.before is State.Operational else (transition.before,)
    after = AUTOMATIC if transition.after is State.Operational else (transition.after,)
    return [(a, b) for a in before for b in after]


_BY_EDGE: Mapping[tuple[State, State, str], Transition] = {
    (a, b, transition.cause): transition for transition in TRANSITIONS for a, b in _edges(transition)
}


def way(before: State, after: State, cause: str = "") -> tuple[Step, ...]:
    """The shortest way by transitions of the specification; where `cause` is why one of them happens, it is named.

    It does not pass a state that would say something untrue, such as Error on the way to Ready.
    """
    reached: dict[State, tuple[State, ...]] = {before: ()}
    queue = deque([before])
    while after not in reached:
        here = queue.popleft()
        passable = here in (before, *AUTOMATIC) or (before is State.Halted and here is State.Preoperational)
        for a, b, caused_by in _BY_EDGE:
            if passable and a is here and not caused_by and b not in reached:
                reached[b] = (*reached[here], b)
                queue.append(b)
    steps, here = [], before
    for there in reached[after]:
        transition = _BY_EDGE.get((here, there, cause)) or _BY_EDGE[here, there, ""]
        steps.append(Step(here, there, transition))
        here = there
    return tuple(steps)


def top(state: State) -> State:
    """The state of the VisionStateMachine when the whole is in `state`."""
    return State.Operational if state in AUTOMATIC else state
