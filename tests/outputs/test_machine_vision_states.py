"""The transition table against the published nodeset, and the ways between states."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge_inspector.outputs.opcua_server.machine_vision import nodeset
from edge_inspector.outputs.opcua_server.machine_vision.methods import Error
from edge_inspector.outputs.opcua_server.machine_vision.states import (
    ALLOWED,
    AUTOMATIC,
    STATE_NODE,
    TRANSITIONS,
    Transition,
    top,
    way,
)
from edge_inspector.plc.states import State

STATES = [s for s in State if s is not State.Operational]
FROM, TO, CAUSE = "i=51", "i=52", "i=53"


class Published:
    """The nodeset as plain XML, read without asyncua."""

    def __init__(self) -> None:
        root = ElementTree.fromstring(nodeset.xml())
        self.nodes = {n.get("NodeId"): n for n in root if n.get("NodeId")}
        self.aliases = {a.get("Alias"): a.text for a in root.iter() if a.tag.endswith("Alias")}

    def name(self, node: int) -> str:
        return str(self.nodes[f"ns=1;i={node}"].get("BrowseName")).removeprefix("1:")

    def targets(self, node: int, kind: str) -> list[str]:
        found = [
            r.text
            for r in self.nodes[f"ns=1;i={node}"].iter()
            if r.tag.endswith("}Reference")
            and self.aliases.get(r.get("ReferenceType"), r.get("ReferenceType")) == kind
            and r.get("IsForward") != "false"
        ]
        return [str(self.nodes[t].get("BrowseName")).removeprefix("1:") for t in found]

    def number(self, node: int) -> int:
        """StateNumber or TransitionNumber."""
        owned = [n for n in self.nodes.values() if n.get("ParentNodeId") == f"ns=1;i={node}"]
        numbers = [n for n in owned if n.get("BrowseName") in ("StateNumber", "TransitionNumber")]
        return int("".join(numbers[0].itertext()).split()[-1])


@pytest.fixture(scope="module")
def published() -> Published:
    return Published()


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda t: str(t.number))
def test_every_transition_is_the_published_one(transition: Transition, published: Published) -> None:
    assert published.name(transition.node) == transition.name
    assert published.number(transition.node) == transition.number
    assert published.targets(transition.node, FROM) == [transition.before.name]
    assert published.targets(transition.node, TO) == [transition.after.name]
    assert published.targets(transition.node, CAUSE) == ([transition.cause] if transition.cause else [])


@pytest.mark.parametrize("state", STATE_NODE)
def test_every_state_is_the_published_one(state: State, published: Published) -> None:
    assert (published.name(STATE_NODE[state]), published.number(STATE_NODE[state])) == (state.name, int(state))


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_every_way_is_unbroken_and_says_nothing_untrue(before: State, after: State) -> None:
    steps = way(before, after)
    at = before
    for step in steps:
        assert step.before is at
        assert step.transition.before in (at, top(at))
        assert step.transition.after in (step.after, top(step.after))
        assert step.transition.cause == ""
        at = step.after
    assert at is after
    between = [s.after for s in steps[:-1]]
    assert not {State.Error, State.Halted}.intersection(between)
    assert State.Preoperational not in between or before is State.Halted


@pytest.mark.parametrize(
    ("before", "after", "cause", "numbers"),
    [
        (State.Ready, State.SingleExecution, "StartSingleJob", [671]),
        (State.Ready, State.ContinuousExecution, "StartContinuous", [681]),
        (State.SingleExecution, State.Ready, "Stop", [761]),
        (State.SingleExecution, State.Ready, "Abort", [762]),
        (State.ContinuousExecution, State.Ready, "Stop", [861]),
        (State.ContinuousExecution, State.Ready, "Abort", [862]),
        (State.Initialized, State.Ready, "PrepareRecipe", [561]),
        (State.Ready, State.Halted, "Halt", [421]),
        (State.Preoperational, State.Halted, "Halt", [121]),
        (State.Error, State.Halted, "Halt", [321]),
        (State.Halted, State.Preoperational, "Reset", [211]),
        (State.Error, State.Preoperational, "Reset", [311]),
        (State.SingleExecution, State.Preoperational, "Reset", [411]),
        (State.Preoperational, State.Ready, "SelectModeAutomatic", [151, 560]),
        (State.SingleExecution, State.Error, "Stop", [430]),
    ],
)
def test_a_transition_names_the_method_that_caused_it_and_no_other(
    before: State, after: State, cause: str, numbers: list[int]
) -> None:
    assert [s.transition.number for s in way(before, after, cause)] == numbers


def test_every_method_that_causes_a_transition_is_accepted_where_the_transition_begins() -> None:
    for transition in TRANSITIONS:
        if transition.cause:
            begins = AUTOMATIC if transition.before is State.Operational else (transition.before,)
            assert ALLOWED[transition.cause].issuperset(begins), transition.name


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table whose head begins so, in the how-to."""
    lines = (Path(__file__).parents[2] / "docs" / "how-to" / "opc-40100.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


def test_the_how_to_lists_every_transition() -> None:
    told = set()
    for before, after, by_itself, by_methods in _rows("from")[2:]:
        methods = [cell.split() for cell in by_methods.split(", ") if cell]
        told |= {(before, after, int(by_itself), "")} | {(before, after, int(n), m) for n, m in methods}
    assert told == {(t.before.name, t.after.name, t.number, t.cause) for t in TRANSITIONS}


def test_the_how_to_tells_where_a_method_is_accepted() -> None:
    head, _, *rows = _rows("accepted in")
    states = [State[name] for name in head[1:]]
    told = {row[0]: {s for s, cell in zip(states, row[1:], strict=True) if cell == "yes"} for row in rows}
    assert told == {name: set(allowed) for name, allowed in ALLOWED.items()}


def test_the_how_to_names_every_error() -> None:
    told = {int(row[0]) for row in _rows("Error")[2:-1]}
    assert told == {int(error) for error in Error if error}
