"""When the line should stop: what counts as one of a row, what ends it, and what does neither."""

from __future__ import annotations

import pytest

from edge_inspector.datatypes import Evaluation, InspectionResult, Mode, Reason, Trigger
from edge_inspector.station.line_rules import LineRules

OK, BAD = Evaluation.OK, Evaluation.NOT_OK


def a_result(seq: int, evaluation: Evaluation, mode: Mode = Mode.PRODUCTION) -> InspectionResult:
    trigger = Trigger(seq, f"s.0a.{seq}", seq, "", 1, mode, "r", 1, 7, 9, 0, 1, "2026-11-22T01:02:03.004Z", True)
    reason = Reason.NONE if evaluation is OK else Reason.DEADLINE
    return InspectionResult(trigger, evaluation, reason, "", (), ("top",), 1, (0.25,), "", 0, {})


def told(stop: LineStop, *evaluations: Evaluation, mode: Mode = Mode.PRODUCTION) -> list[bool]:
    """For each result whether it made it enough."""
    return [bool(stop.settled(a_result(seq, one, mode))) for seq, one in enumerate(evaluations)]


@pytest.mark.parametrize("bad", [one for one in Evaluation if one is not OK])
def test_whatever_is_not_ok_counts_and_the_last_ones_reason_is_latched(bad: Evaluation) -> None:
    stop = LineStop(3)
    assert told(stop, bad, bad, bad) == [False, False, True]
    assert stop.reason == Reason.DEADLINE


def test_an_ok_in_between_begins_the_row_again() -> None:
    stop = LineStop(2)
    assert told(stop, BAD, OK, BAD, OK) == [False] * 4
    assert stop.reason == 0


@pytest.mark.parametrize("mode", [one for one in Mode if one is not Mode.PRODUCTION])
def test_parts_outside_production_neither_count_nor_end_a_row(mode: Mode) -> None:
    stop = LineStop(2)
    told(stop, BAD)
    assert told(stop, BAD, OK, BAD, mode=mode) == [False] * 3
    assert told(stop, BAD) == [True]


def test_it_is_told_once_and_stays_whatever_comes_until_somebody_has_looked() -> None:
    stop = LineStop(2)
    assert told(stop, BAD, BAD, BAD, OK, OK, BAD, BAD) == [False, True, *[False] * 5]
    assert stop.reason == Reason.DEADLINE


def test_after_the_acknowledgement_the_row_is_counted_from_the_next_part_on() -> None:
    stop = LineStop(2)
    told(stop, BAD, BAD, BAD)
    stop.acknowledge()
    assert stop.reason == 0
    assert told(stop, BAD, BAD) == [False, True]


def test_zero_never_stops_the_line() -> None:
    assert told(LineStop(0), BAD, BAD, BAD) == [False] * 3
