"""The rule in the PLC code that we ship, clause by clause: take any one away, and the part must not pass."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from test_plc_code import GATE_MS, IN, SOURCES, Shipped

from edge_inspector.plc.tags import Value

NOTHING: Mapping[str, Value] = MappingProxyType({})
IDLE: dict[str, Value] = {
    **dict.fromkeys(IN.values(), 0),
    **{"Status.BootId": 7, "Status.PlcLinkOk": True, "Status.TriggerReady": True, "Result.PartId": ""},
    "Status.RecipeReqAckSeq": 1,
}
GOOD: dict[str, Value] = {
    **{"Status.ResultsValid": True, "Result.BootId": 7, "Result.PlcBootId": 9, "Result.Evaluation": 1},
    **{"Result.Mode": 1, "Result.RecipeNo": 5, "Result.PartId": "part"},
}
WRONG: list[tuple[str, Value]] = [
    *(("Result.Evaluation", value) for value in (0, 2, 3)),
    *(("Result.Mode", value) for value in (0, 2, 3, 4)),
    *(("Result.TriggerSeq", value) for value in (0, 2, 17, 2**32 - 1)),
    *((tag, 6) for tag in ("Result.BootId", "Result.PlcBootId", "Result.RecipeNo")),
    *(("Result.PartId", value) for value in ("", "par", "part ", "other")),
    ("Status.ResultsValid", False),
    ("Status.RefusedSeq", 1),
]


class Line:
    """One PLC with the block, scanned each 100 ms while the station's heartbeat goes on."""

    def __init__(self, source: str, beats: bool = True) -> None:
        self.block = Shipped(source, 5)
        self.now_ms = 0
        self.beat = 0
        for _ in range(3):
            self.scan(beats=beats)
        assert self.block.memory.ready

    def scan(
        self, tags: Mapping[str, Value] = NOTHING, part_id: str | None = None, beats: bool = True, after_ms: int = 100
    ) -> None:
        self.now_ms += after_ms
        self.beat += beats
        self.block.scan({**IDLE, "Status.Heartbeat": self.beat, **tags}, self.now_ms, part_id)

    def result(self, seq: int, wrong: Mapping[str, Value] = NOTHING) -> None:
        self.scan({**GOOD, "Result.TriggerSeq": seq, **wrong})


@pytest.fixture(params=SOURCES)
def line(request: pytest.FixtureRequest) -> Line:
    one = Line(request.param)
    one.scan(part_id="part")
    return one


def test_nothing_passes_before_its_result_and_the_good_part_alone_after_it(line: Line) -> None:
    assert not line.block.passes(1)
    line.result(1)
    assert [line.block.passes(seq) for seq in (0, 1, 2, 17, 33)] == [False, True, False, False, False]


@pytest.mark.parametrize(("tag", "value"), WRONG)
def test_a_result_that_is_wrong_in_one_thing_passes_nothing(line: Line, tag: str, value: Value) -> None:
    line.result(1, {tag: value})
    assert not any(line.block.passes(seq) for seq in (0, 1, 2, 17))


@pytest.mark.parametrize("evaluation", [0, 2, 3])
def test_the_first_result_of_a_part_is_the_only_one(line: Line, evaluation: int) -> None:
    line.result(1, {"Result.Evaluation": evaluation})
    line.scan()
    line.result(1)
    assert not line.block.passes(1)


def test_a_part_that_was_announced_anew_in_the_same_place_starts_without_a_verdict(line: Line) -> None:
    line.result(1)
    for _ in range(16):
        line.scan(part_id="part")
    assert line.block.tags_out.TriggerSeq == 17
    assert not line.block.passes(1)
    assert not line.block.passes(17)


def test_a_part_is_judged_for_the_recipe_that_it_was_announced_for(line: Line) -> None:
    line.block.memory.orderedNo = 6
    line.result(1, {"Result.RecipeNo": 6})
    assert not line.block.passes(1)


def test_a_part_passes_until_its_gate_timer_runs_out_and_no_longer(line: Line) -> None:
    line.result(1)
    for _ in range(GATE_MS // 100 - 1):
        line.scan()
    assert line.block.passes(1)
    line.scan(after_ms=1)
    assert not line.block.passes(1)


def test_a_part_passes_while_the_heartbeat_is_fresh_and_no_longer(line: Line) -> None:
    line.result(1)
    line.scan(beats=False, after_ms=1000)
    assert line.block.passes(1)
    line.scan(beats=False, after_ms=1)
    assert not line.block.passes(1)


@pytest.mark.parametrize("source", SOURCES)
def test_a_heartbeat_that_was_never_seen_to_move_lets_nothing_pass(source: str) -> None:
    """What a station that died before the PLC started has left in its tags."""
    line = Line(source, beats=False)
    line.scan(part_id="part", beats=False)
    line.scan({**GOOD, "Result.TriggerSeq": 1}, beats=False)
    assert not line.block.passes(1)
    line.scan()
    assert line.block.passes(1)


def test_a_part_of_before_the_stations_restart_never_passes(line: Line) -> None:
    line.result(1)
    line.scan({"Status.BootId": 8})
    line.scan({"Status.BootId": 8})
    line.result(1, {"Status.BootId": 8, "Result.BootId": 8})
    assert not line.block.passes(1)


def test_a_part_that_was_not_answered_in_time_is_a_reject_whatever_comes_later(line: Line) -> None:
    line.scan(after_ms=501)
    line.result(1)
    assert not line.block.passes(1)


def test_the_next_part_waits_until_this_one_is_answered(line: Line) -> None:
    line.scan()
    assert not line.block.memory.ready
    line.scan({"Status.TriggerAckSeq": 1})
    assert line.block.memory.ready


def test_after_a_change_of_product_nothing_is_announced_until_the_station_has_taken_it(line: Line) -> None:
    line.result(1)
    line.block.memory.orderedNo = 6
    line.scan()
    line.scan()
    assert not line.block.memory.ready
    line.scan({"Status.RecipeReqAckSeq": 2, "Status.RecipeReqResult": 13})
    assert not line.block.memory.ready
    line.scan({"Status.RecipeReqAckSeq": 2})
    assert line.block.memory.ready


def test_a_restarted_station_is_ordered_the_recipe_anew(line: Line) -> None:
    line.result(1)
    for _ in range(3):
        line.scan({"Status.BootId": 8})
    assert (line.block.tags_out.RecipeReqSeq, line.block.memory.ready) == (2, False)
    line.scan({"Status.BootId": 8, "Status.RecipeReqAckSeq": 2})
    assert line.block.memory.ready


def test_a_part_that_was_accepted_is_not_refused_afterwards(line: Line) -> None:
    line.scan({"Status.TriggerAckSeq": 1})
    line.scan({"Status.TriggerAckSeq": 1, "Status.RefusedSeq": 1})
    line.result(1)
    assert line.block.passes(1)
