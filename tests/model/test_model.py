"""Every state of the shipped contract with the shipped function block, within bounds; and faults that must be found."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import mutants
import pytest
from explorer import Check, Report, explore, unsafe, unsafe_or_stuck
from world import ANSWER, BEFORE_THE_WRAP, GATE, MODULUS, STALE, UNKNOWN_RECIPE, Bounds, a_contract, start

from edge_inspector.datatypes import Mode
from edge_inspector.plc.function_block import FunctionBlock
from edge_inspector.plc.handshake import Contract


def a_block(kind: type[FunctionBlock] = FunctionBlock, **changes: object) -> FunctionBlock:
    """The first trigger has the number before the wrap. The numbers alone decide, not the part's id."""
    given: Mapping[str, object] = {"seq": BEFORE_THE_WRAP, "checks_part_id": False, **changes}
    return kind(1, 1, GATE, answer_ns=ANSWER, stale_ns=STALE, modulus=MODULUS, **given)  # type: ignore[arg-type]


def show(capsys: pytest.CaptureFixture[str], name: str, report: Report) -> None:
    """The counts at once, a counterexample with `pytest -rP`."""
    sys.stdout.write(str(report))
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {report.states} states, {report.transitions} transitions ")


SLOT, RING = a_block(), a_block(through="ring")
WITHOUT_ACKS = a_block(through="ring", acknowledge=False)
TWO_REQUESTS = a_block(one_read=False)
SMALL = [
    pytest.param(Bounds(triggers=3, max_open=3), SLOT, True, id="three parts at once through the slot"),
    pytest.param(Bounds(triggers=3, max_open=3), RING, True, id="three parts at once through the ring"),
    pytest.param(Bounds(triggers=3, may_refuse=True), SLOT, True, id="any of three triggers refused"),
    pytest.param(Bounds(leaves=True), SLOT, True, id="results after the part has left its gate"),
    pytest.param(Bounds(station_restarts=1, late_wire=True), SLOT, True, id="the station restarts"),
    pytest.param(Bounds(plc_restarts=1, late_wire=True), SLOT, True, id="the PLC restarts"),
    pytest.param(Bounds(plc_restarts=1, late_wire=True), RING, True, id="the PLC restarts and reads the ring"),
    pytest.param(Bounds(triggers=1, station_restarts=1, plc_restarts=1), SLOT, True, id="both restart"),
    pytest.param(Bounds(triggers=1, tears_reads=True), TWO_REQUESTS, True, id="scans that tear the slot, one part"),
    pytest.param(Bounds(any_order=True), SLOT, True, id="tags written in any order"),
    pytest.param(Bounds(1, any_order=True, plc_restarts=1), SLOT, True, id="any order while the PLC restarts"),
    pytest.param(Bounds(1, orders=(UNKNOWN_RECIPE, 2)), SLOT, True, id="a refused recipe, then a known one"),
    pytest.param(Bounds(meddles=True), SLOT, True, id="somebody else selects a recipe"),
    pytest.param(Bounds(mode=Mode.SETUP), SLOT, True, id="some parts inspected while somebody sets up"),
    pytest.param(Bounds(mode=Mode.SIMULATION), RING, True, id="some parts simulated, read in the ring"),
    pytest.param(Bounds(mode=Mode.GOLDEN), SLOT, True, id="golden parts among them"),
    pytest.param(Bounds(jumps=(ANSWER + 1,)), SLOT, True, id="answers and results that come too late"),
    pytest.param(Bounds(jumps=(GATE + 1,)), SLOT, True, id="heartbeats and gates run out"),
    pytest.param(Bounds(jumps=(ANSWER + 1,)), WITHOUT_ACKS, False, id="without acknowledgements"),
    pytest.param(Bounds(3, buffer=1, ring=2), WITHOUT_ACKS, True, id="a PLC that owes its acknowledgements"),
    pytest.param(Bounds(impatient=True, may_refuse=True), SLOT, True, id="a trigger before the last one is answered"),
]
LARGE = [
    pytest.param(Bounds(orders=(UNKNOWN_RECIPE, 2)), SLOT, True, id="a refused recipe with two parts"),
    pytest.param(Bounds(station_restarts=1, plc_restarts=1, late_wire=True), SLOT, True, id="both restart, slot"),
    pytest.param(Bounds(station_restarts=1, plc_restarts=1, late_wire=True), RING, True, id="both restart, ring"),
    pytest.param(Bounds(plc_restarts=2, late_wire=True), SLOT, True, id="the PLC restarts twice"),
    pytest.param(Bounds(tears_reads=True), TWO_REQUESTS, True, id="scans that tear the slot, two parts"),
    pytest.param(Bounds(1, tears_reads=True, plc_restarts=1), TWO_REQUESTS, True, id="torn scans and a restart"),
    pytest.param(Bounds(jumps=(ANSWER + 1, GATE + 1)), SLOT, True, id="time jumps twice"),
    pytest.param(Bounds(station_restarts=1, orders=(UNKNOWN_RECIPE, 2)), SLOT, True, id="recipes and a restart"),
    pytest.param(Bounds(3, may_refuse=True, mode=Mode.SETUP), SLOT, True, id="three parts, modes, refusals"),
]


@pytest.mark.parametrize(("bounds", "block", "acknowledge"), SMALL)
def test_no_state_lets_a_part_pass_on_the_result_of_another(
    bounds: Bounds, block: FunctionBlock, acknowledge: bool, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    report = explore(start(bounds, a_contract(acknowledge), block), unsafe_or_stuck)
    show(capsys, request.node.callspec.id, report)
    assert report.fault is None, str(report)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("bounds", "block", "acknowledge"), LARGE)
def test_nor_does_any_state_within_wider_bounds(
    bounds: Bounds, block: FunctionBlock, acknowledge: bool, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    report = explore(start(bounds, a_contract(acknowledge), block), unsafe_or_stuck)
    show(capsys, request.node.callspec.id, report)
    assert report.fault is None, str(report)


RESTART = Bounds(plc_restarts=1)
PASSES, LOST = "passes, but what was seen is", "has neither a result nor a refusal"


@pytest.mark.parametrize(
    ("kind", "bounds", "changes", "fault"),
    [
        (mutants.ForgetsPlcBootId, Bounds(plc_restarts=1), {"through": "ring"}, PASSES),
        (mutants.ForgetsBootId, Bounds(station_restarts=1), {}, PASSES),
        (mutants.ForgetsTheNumber, Bounds(), {}, PASSES),
        (mutants.ForgetsTheMode, Bounds(1, mode=Mode.SETUP), {}, PASSES),
        (mutants.ForgetsTheRecipe, Bounds(1, meddles=True), {}, PASSES),
        (mutants.ForgetsToWait, Bounds(), {}, PASSES),
        pytest.param(FunctionBlock, Bounds(tears_reads=True), {"one_read": True}, PASSES, marks=pytest.mark.heavy),
    ],
)
def test_a_function_block_that_forgets_something_is_found_out(
    kind: type[FunctionBlock], bounds: Bounds, changes: dict[str, object], fault: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    report = explore(start(bounds, a_contract(), a_block(kind, **changes)), unsafe)
    show(capsys, f"{kind.__name__}, shortest way to the fault {len(report.trace)} steps", report)
    assert report.fault is not None
    assert fault in report.fault


@pytest.mark.parametrize(
    ("kind", "bounds", "check", "fault"),
    [
        (mutants.ShowsOldStarts, RESTART, unsafe, "a result of PLC start 1 in the slot of start 2"),
        (mutants.KeepsAnswers, RESTART, unsafe, "TriggerAck for number 3 of PLC start 2, which was never accepted"),
        (mutants.NeverGreeted, Bounds(1), unsafe, "something to read before the greeting"),
        (mutants.AnswersWithZero, Bounds(3, may_refuse=True, max_open=3), unsafe, PASSES),
        (mutants.TakesAnyStep, Bounds(), unsafe, "a number was accepted twice"),
        (mutants.ForgetsTheRefusedRecipe, Bounds(1, orders=(UNKNOWN_RECIPE,)), unsafe, "READY although"),
        (mutants.AcknowledgesByNumberAlone, Bounds(), unsafe_or_stuck, LOST),
    ],
)
def test_a_contract_that_forgets_something_is_found_out(
    kind: type[Contract], bounds: Bounds, check: Check, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = explore(start(bounds, kind(1, stale_ns=STALE, hold_ns=ANSWER, modulus=MODULUS), SLOT), check)
    show(capsys, f"{kind.__name__}, shortest way to the fault {len(report.trace)} steps", report)
    assert report.fault is not None
    assert fault in report.fault
