"""The PLC's side of the contract: what passes the gate, what is written, and when."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from edge_inspector.plc.function_block import READS, FunctionBlock, Read, Verdict
from edge_inspector.plc.tags import BY_NAME, RING_ROWS, RING_WORDS, Value

STATION, PLC, OLD = 7000, 9000, 1
MS = 1_000_000
GATE_MS = 2000
PART = "board-1"
OK: dict[str, Value] = {
    "Status.ResultsValid": True,
    "Result.TriggerSeq": 1,
    "Result.Evaluation": 1,
    "Result.Mode": 1,
    "Result.BootId": STATION,
    "Result.PlcBootId": PLC,
    "Result.RecipeNo": 3,
    "Result.PartId": PART,
}
"""The named slot with the OK of part 1."""


def image(**changes: Value) -> dict[str, Value]:
    """A ready station of recipe 3; a change names its tag with __ for the dot."""
    tags = {name: BY_NAME[name].zero for name in {*READS["slot"], *READS["ring"]}}
    tags |= {"Status.BootId": STATION, "Status.PlcLinkOk": True, "Status.TriggerReady": True}
    tags |= {"Status.RecipeReqAckSeq": 1}
    return tags | {name.replace("__", "."): value for name, value in changes.items()}


def ring(*rows: tuple[int, ...]) -> tuple[int, ...]:
    words = [word for row in rows for word in row]
    return (*words, *[0] * (RING_ROWS * RING_WORDS - len(words)))


def row(seq: int = 1, judged: int = 1 | 1 << 8, part: str = PART, station: int = STATION, plc: int = PLC,
        recipe: int = 3) -> tuple[int, ...]:  # fmt: skip
    return (seq, judged, 0, recipe, station, plc, zlib.crc32(part.encode()), 12345)


def greeted(block: FunctionBlock) -> FunctionBlock:
    """Linked, with its recipe, at 30 ms; the station's heartbeat has moved at 20 ms."""
    for beat, ms in ((1, 0), (1, 10), (2, 20), (2, 30)):
        block = block.scanned(image(Status__Heartbeat=beat), ms * MS)
    return block


def new(**settings: object) -> FunctionBlock:
    return replace(FunctionBlock(PLC, 3, GATE_MS * MS), **settings)  # type: ignore[arg-type]


@pytest.fixture
def block() -> FunctionBlock:
    return greeted(new())


@pytest.fixture
def waiting(block: FunctionBlock) -> FunctionBlock:
    """Part 1 is announced at 40 ms and accepted at 50 ms."""
    block = block.announce(PART, 40 * MS)
    return block.scanned(image(Status__Heartbeat=3, Status__TriggerAckSeq=1), 50 * MS)


def told(block: FunctionBlock, ms: int = 60, **changes: Any) -> FunctionBlock:
    """The next scan reads the OK of part 1, but for the changes."""
    return block.scanned(image(Status__Heartbeat=4, Status__TriggerAckSeq=1) | OK | _dotted(changes), ms * MS)


def _dotted(changes: dict[str, Any]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in changes.items()}


def test_an_ok_of_this_part_passes_the_gate(waiting: FunctionBlock) -> None:
    assert told(waiting).verdict(1, 70 * MS) is Verdict.PASS
    assert told(waiting).at_gate(1, 70 * MS)


def test_a_part_without_a_result_does_not_pass(waiting: FunctionBlock) -> None:
    assert waiting.verdict(1, 70 * MS) is Verdict.NO_RESULT
    assert not waiting.at_gate(1, 70 * MS)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        pytest.param({"Result__Evaluation": 0}, Verdict.NOT_OK, id="undefined"),
        pytest.param({"Result__Evaluation": 2}, Verdict.NOT_OK, id="not ok"),
        pytest.param({"Result__Evaluation": 3}, Verdict.NOT_OK, id="not decidable"),
        pytest.param({"Result__Mode": 0}, Verdict.NOT_PRODUCTION, id="no mode"),
        pytest.param({"Result__Mode": 2}, Verdict.NOT_PRODUCTION, id="golden"),
        pytest.param({"Result__Mode": 3}, Verdict.NOT_PRODUCTION, id="simulation"),
        pytest.param({"Result__Mode": 4}, Verdict.NOT_PRODUCTION, id="setup"),
        pytest.param({"Result__RecipeNo": 4}, Verdict.WRONG_RECIPE, id="another recipe"),
        pytest.param({"Result__PartId": "board-2"}, Verdict.WRONG_PART, id="another part's id"),
        pytest.param({"Result__TriggerSeq": 2}, Verdict.NO_RESULT, id="another number"),
        pytest.param({"Result__BootId": OLD}, Verdict.NO_RESULT, id="an earlier start of the station"),
        pytest.param({"Result__PlcBootId": OLD}, Verdict.NO_RESULT, id="an earlier start of the PLC"),
        pytest.param({"Status__ResultsValid": False}, Verdict.NO_RESULT, id="not valid"),
    ],
)
def test_one_thing_wrong_in_the_slot_is_enough(
    waiting: FunctionBlock, changes: dict[str, Any], verdict: Verdict
) -> None:
    assert told(waiting, **changes).verdict(1, 70 * MS) is verdict


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        pytest.param(row(), Verdict.PASS, id="the part's OK"),
        pytest.param(row(judged=1 | 1 << 8 | 1 << 16), Verdict.PASS, id="flags are no matter"),
        pytest.param(row(judged=2 | 1 << 8), Verdict.NOT_OK, id="not ok"),
        pytest.param(row(judged=0 | 1 << 8), Verdict.NOT_OK, id="undefined"),
        pytest.param(row(judged=1 | 2 << 8), Verdict.NOT_PRODUCTION, id="golden"),
        pytest.param(row(recipe=4), Verdict.WRONG_RECIPE, id="another recipe"),
        pytest.param(row(part="board-2"), Verdict.WRONG_PART, id="another part's checksum"),
        pytest.param(row(seq=2), Verdict.NO_RESULT, id="another number"),
        pytest.param(row(station=OLD), Verdict.NO_RESULT, id="an earlier start of the station"),
        pytest.param(row(plc=OLD), Verdict.NO_RESULT, id="an earlier start of the PLC"),
        pytest.param((0,) * RING_WORDS, Verdict.NO_RESULT, id="an empty row"),
    ],
)
def test_the_ring_is_read_by_the_same_rule(words: tuple[int, ...], verdict: Verdict) -> None:
    block = greeted(new(through="ring")).announce(PART, 40 * MS)
    read = block.scanned(image(Status__Heartbeat=3, Status__TriggerAckSeq=1, Result__Ring=ring(words)), 50 * MS)
    assert read.verdict(1, 60 * MS) is verdict


def test_without_the_check_of_the_part_id_the_numbers_alone_decide() -> None:
    block = greeted(new(checks_part_id=False)).announce(PART, 40 * MS)
    assert told(block, Result__PartId="board-2").at_gate(1, 70 * MS)


@pytest.mark.parametrize(("ms", "verdict"), [(40 + GATE_MS, Verdict.PASS), (41 + GATE_MS, Verdict.GATE_TIME)])
def test_the_gate_timer_ends_what_the_part_may_hope_for(waiting: FunctionBlock, ms: int, verdict: Verdict) -> None:
    fresh = told(waiting, ms=ms)
    assert fresh.verdict(1, ms * MS) is verdict


@pytest.mark.parametrize(("ms", "verdict"), [(1060, Verdict.PASS), (1061, Verdict.STATION_STALE)])
def test_an_ok_counts_while_the_stations_heartbeat_is_fresh(waiting: FunctionBlock, ms: int, verdict: Verdict) -> None:
    assert told(waiting, ms=60).verdict(1, ms * MS) is verdict


def test_a_heartbeat_that_was_never_seen_to_move_is_stale() -> None:
    block = new()
    for ms in (0, 10, 20):
        block = block.scanned(image(Status__Heartbeat=4), ms * MS)
    block = told(block.announce(PART, 30 * MS), ms=40)
    assert block.verdict(1, 40 * MS) is Verdict.STATION_STALE


def test_a_reject_stays_one_whatever_comes_later(waiting: FunctionBlock) -> None:
    rejected = told(waiting, Result__Evaluation=2)
    assert told(rejected, ms=80).verdict(1, 90 * MS) is Verdict.NOT_OK


def test_an_unknown_part_does_not_pass(waiting: FunctionBlock) -> None:
    assert told(waiting).verdict(5, 70 * MS) is Verdict.UNKNOWN
    assert told(waiting).left(1).verdict(1, 70 * MS) is Verdict.UNKNOWN


def test_a_refused_trigger_is_a_reject(block: FunctionBlock) -> None:
    block = block.announce(PART, 40 * MS).scanned(image(Status__RefusedSeq=1), 50 * MS)
    assert told(block).verdict(1, 70 * MS) is Verdict.REFUSED


@pytest.mark.parametrize(("ms", "verdict"), [(540, Verdict.PASS), (541, Verdict.NO_ANSWER)])
def test_a_trigger_that_nobody_answers_within_500_ms_is_a_reject(
    block: FunctionBlock, ms: int, verdict: Verdict
) -> None:
    announced = block.announce(PART, 40 * MS).scanned(image(Status__Heartbeat=3), ms * MS)
    assert told(announced, ms=ms + 10).verdict(1, (ms + 10) * MS) is verdict


def test_an_answer_that_nobody_came_to_read_in_time_is_none_at_the_gate(block: FunctionBlock) -> None:
    assert block.announce(PART, 40 * MS).verdict(1, 541 * MS) is Verdict.NO_ANSWER


def test_a_result_is_an_answer_too(block: FunctionBlock) -> None:
    block = told(block.announce(PART, 40 * MS), ms=400, Status__TriggerAckSeq=0)
    assert block.scanned(image(Status__Heartbeat=5), 900 * MS).at_gate(1, 900 * MS)


def test_a_restarted_station_makes_every_open_part_a_reject(waiting: FunctionBlock) -> None:
    block = told(waiting)
    for beat, ms in ((1, 80), (2, 90), (3, 100)):
        block = block.scanned(image(Status__BootId=STATION + 1, Status__Heartbeat=beat), ms * MS)
    assert block.verdict(1, 110 * MS) is Verdict.STATION_RESTARTED
    assert block.writes()["Control.BootIdEcho"] == STATION + 1


def test_the_same_heartbeat_of_a_restarted_station_is_not_taken_for_a_fresh_one(block: FunctionBlock) -> None:
    block = block.scanned(image(Status__BootId=STATION + 1, Status__Heartbeat=2), 40 * MS)
    assert block.beat_ns is None


def test_a_restarted_plc_keeps_its_count_and_nothing_else(waiting: FunctionBlock) -> None:
    again = told(waiting).restarted(PLC + 1)
    assert again == FunctionBlock(PLC + 1, 3, GATE_MS * MS, seq=1)
    assert told(greeted(again), ms=100).verdict(1, 100 * MS) is Verdict.UNKNOWN


def test_a_restarted_plc_keeps_all_its_settings() -> None:
    settings = {
        "answer_ns": 1,
        "stale_ns": 2,
        "acknowledge": False,
        "through": "ring",
        "one_read": False,
        "checks_part_id": False,
        "orders_recipe": False,
        "modulus": 4,
        "seq": 3,
    }
    assert new(**settings).restarted(PLC + 1) == new(**settings, plc_boot_id=PLC + 1)


def test_the_echo_is_written_one_scan_after_the_boot_ids_and_the_baseline() -> None:
    first = new(seq=5).scanned(image(), 0)
    assert {**first.writes(), "Control.Heartbeat": 0} == {
        "Control.Heartbeat": 0,
        "Control.PlcBootId": PLC,
        "Control.RecipeReqNo": 3,
        "Control.RecipeReqSeq": 0,
        "Control.PartId": "",
        "Control.TriggerSeq": 5,
        "Control.BootIdEcho": 0,
    }
    assert first.scanned(image(), MS).writes()["Control.BootIdEcho"] == STATION


def test_the_part_id_is_written_before_the_trigger_and_the_echo_last(block: FunctionBlock) -> None:
    order = list(block.announce(PART, 0).writes())
    assert order.index("Control.PartId") < order.index("Control.TriggerSeq")
    assert order.index("Control.PlcBootId") < order.index("Control.TriggerSeq")
    assert order[-1] == "Control.BootIdEcho"


def test_each_scan_moves_the_heartbeat(block: FunctionBlock) -> None:
    after = block.scanned(image(), 40 * MS)
    assert after.writes()["Control.Heartbeat"] == block.heartbeat + 1


def test_the_recipe_is_ordered_once_when_the_station_listens() -> None:
    block = new().scanned(image(Status__PlcLinkOk=False), 0).scanned(image(Status__PlcLinkOk=False), MS)
    assert block.writes()["Control.RecipeReqSeq"] == 0
    for ms in (2, 3, 4):
        block = block.scanned(image(), ms * MS)
    assert block.writes()["Control.RecipeReqSeq"] == 1


def test_a_restarted_station_gets_the_order_again(block: FunctionBlock) -> None:
    for ms in (40, 50, 60):
        block = block.scanned(image(Status__BootId=STATION + 1), ms * MS)
    assert block.writes()["Control.RecipeReqSeq"] == 2


def test_a_new_product_is_ordered_and_parts_announced_before_keep_theirs(waiting: FunctionBlock) -> None:
    block = told(waiting.order(4))
    assert (block.writes()["Control.RecipeReqNo"], block.writes()["Control.RecipeReqSeq"]) == (4, 2)
    assert block.at_gate(1, 70 * MS)
    later = block.left(1).announce("board-2", 70 * MS)
    later = told(later, ms=80, Result__TriggerSeq=2, Result__PartId="board-2", Result__RecipeNo=3)
    assert later.verdict(2, 80 * MS) is Verdict.WRONG_RECIPE


@pytest.mark.parametrize(
    ("changes", "ready"),
    [
        pytest.param({}, True, id="all is well"),
        pytest.param({"Status.TriggerReady": False}, False, id="the station takes none"),
        pytest.param({"Status.RecipeReqAckSeq": 0}, False, id="the recipe is not answered"),
        pytest.param({"Status.RecipeReqResult": 13}, False, id="the recipe is refused"),
        pytest.param({"Status.PlcLinkOk": False}, False, id="the station does not hear us"),
    ],
)
def test_a_part_may_be_announced_only_when(changes: dict[str, Any], ready: bool) -> None:
    block = new()
    for ms, beat in ((0, 1), (10, 1), (20, 2), (30, 2)):
        block = block.scanned(image(Status__Heartbeat=beat) | changes, ms * MS)
    assert block.ready is ready


def test_a_plc_that_orders_no_recipe_writes_none_and_waits_for_none() -> None:
    block = greeted(new(orders_recipe=False))
    assert not {name for name in block.writes() if "Recipe" in name}
    assert block.scanned(image(Status__RecipeReqAckSeq=0), 40 * MS).ready


def test_no_part_is_announced_before_the_greeting_even_if_the_recipe_is_left_to_others() -> None:
    block = new(orders_recipe=False).scanned(image(), 0)
    assert not block.ready
    assert block.scanned(image(), 10 * MS).ready


def test_no_second_part_is_announced_before_the_first_is_answered(block: FunctionBlock) -> None:
    block = block.announce(PART, 40 * MS).scanned(image(), 50 * MS)
    assert not block.ready
    assert block.scanned(image(Status__TriggerAckSeq=1), 60 * MS).ready


def test_a_taken_result_is_acknowledged_once(waiting: FunctionBlock) -> None:
    assert "Control.ResultAckSeq" not in waiting.writes()
    block = told(waiting)
    assert block.writes()["Control.ResultAckSeq"] == 1
    assert block.taken == (Read(1, 1, 1, STATION, PLC, 3, PART),)
    assert told(block, ms=70).taken == ()


def test_a_result_of_a_part_that_has_left_is_acknowledged_all_the_same(waiting: FunctionBlock) -> None:
    assert told(waiting.left(1)).writes()["Control.ResultAckSeq"] == 1


@pytest.mark.parametrize("changes", [{"Result__PlcBootId": OLD}, {"Result__BootId": OLD}])
def test_a_result_of_another_start_is_never_acknowledged(waiting: FunctionBlock, changes: dict[str, Any]) -> None:
    block = told(waiting, **changes)
    assert "Control.ResultAckSeq" not in block.writes()
    assert block.taken == ()


def test_results_that_come_out_of_order_are_acknowledged_each(waiting: FunctionBlock) -> None:
    block = waiting.announce("board-2", 50 * MS)
    block = told(block, Result__TriggerSeq=2, Result__PartId="board-2")
    assert block.writes()["Control.ResultAckSeq"] == 2
    block = told(block, ms=70)
    assert block.writes()["Control.ResultAckSeq"] == 1
    assert block.at_gate(1, 80 * MS)
    assert block.at_gate(2, 80 * MS)


def test_a_plc_without_acknowledgements_writes_none() -> None:
    block = told(greeted(new(acknowledge=False)).announce(PART, 40 * MS))
    assert "Control.ResultAckSeq" not in block.writes()
    assert block.at_gate(1, 70 * MS)


def test_a_torn_scan_counts_only_when_the_next_one_reads_the_same() -> None:
    block = greeted(new(one_read=False)).announce(PART, 40 * MS)
    torn = told(block, Result__Evaluation=0)  # the evaluation was read before the result came, the rest after
    assert (torn.verdict(1, 60 * MS), torn.taken) == (Verdict.NO_RESULT, ())
    whole = told(torn, ms=70)
    assert whole.verdict(1, 70 * MS) is Verdict.NO_RESULT
    assert told(whole, ms=80).verdict(1, 80 * MS) is Verdict.PASS


def test_every_open_part_of_the_ring_is_judged_and_the_newest_acknowledged() -> None:
    block = greeted(new(through="ring")).announce(PART, 40 * MS).announce("board-2", 40 * MS)
    rows = ring(row(2, part="board-2", judged=2 | 1 << 8), row(1))
    block = block.scanned(image(Status__Heartbeat=3, Result__Ring=rows), 50 * MS)
    assert (block.verdict(1, 50 * MS), block.verdict(2, 50 * MS)) == (Verdict.PASS, Verdict.NOT_OK)
    assert block.writes()["Control.ResultAckSeq"] == 2
    assert block.scanned(image(Status__Heartbeat=3, Result__Ring=rows), 60 * MS).taken == ()


def test_a_row_of_a_part_that_has_left_is_acknowledged() -> None:
    block = greeted(new(through="ring", seq=4))
    block = block.scanned(image(Result__Ring=ring(row(5))), 50 * MS)
    assert block.writes()["Control.ResultAckSeq"] == 5
    later = block.scanned(image(Result__Ring=ring(row(5), row(6), row(4))), 60 * MS)
    assert later.writes()["Control.ResultAckSeq"] == 6
    assert [read.seq for read in later.taken] == [6]


def test_the_count_wraps_at_the_modulus() -> None:
    block = greeted(new(modulus=4, seq=3)).announce(PART, 40 * MS)
    assert block.writes()["Control.TriggerSeq"] == 0
    assert told(block, Result__TriggerSeq=0, Status__RefusedSeq=2).at_gate(0, 70 * MS)


def test_the_count_of_a_plc_has_32_bits() -> None:
    block = new(seq=2**32 - 2).announce(PART, 0).announce("board-2", 0)
    assert [part.seq for part in block.parts] == [2**32 - 1, 0]


def test_the_acknowledged_number_of_the_ring_wraps_too() -> None:
    block = greeted(new(through="ring", modulus=8, seq=6))
    for seq in (7, 0, 1):
        block = block.scanned(image(Result__Ring=ring(row(seq))), 50 * MS)
        assert block.writes()["Control.ResultAckSeq"] == seq


def test_blocks_are_values(waiting: FunctionBlock) -> None:
    assert hash(told(waiting)) == hash(told(waiting))
    assert told(waiting) == told(waiting)


def test_a_station_without_a_boot_id_is_not_linked() -> None:
    block = new()
    for ms in (0, 10, 20):
        block = block.scanned(image(Status__BootId=0), ms * MS)
    assert not block.linked
    assert not block.ready
