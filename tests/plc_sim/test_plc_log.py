"""The simulated PLC's log: what is written is what is read."""

from __future__ import annotations

from pathlib import Path

from edge_inspector.plc_sim.log import AtGate, PlcLog, ToldResult, read_plc_log

RESULT = {"result_id": "s.b.1", "evaluation": 1, "part_id": "p-1", "wrong_part_id": False, "round_trip_ms": 5.0}


def test_each_event_is_added_up_on_its_own(tmp_path: Path) -> None:
    log = PlcLog(tmp_path / "plc.jsonl")
    for seq in (1, 2, 3):
        log.write("trigger", trigger_seq=seq, part_id=f"p-{seq}")
    log.write("accepted", trigger_seq=1)
    log.write("refused", trigger_seq=2)
    log.write("unanswered", trigger_seq=3)
    log.write("result", trigger_seq=1, **RESULT)
    log.write("acknowledged", trigger_seq=1)
    log.write("without_result", trigger_seq=3)
    log.write("fault", name="restart")
    log.write("fault", name="restart")
    log.write("gate", trigger_seq=1, part_id="p-1", passed=True, why="pass")
    log.write("gate", trigger_seq=None, part_id="p-4", passed=False, why="not ready")
    log.close()
    book = read_plc_log(tmp_path / "plc.jsonl")
    assert book.part_ids == {1: "p-1", 2: "p-2", 3: "p-3"}
    assert (book.triggered, book.accepted, book.refused, book.unanswered) == ((1, 2, 3), (1,), (2,), (3,))
    assert (book.acknowledged, book.without_result, book.faults) == ((1,), (3,), {"restart": 2})
    assert book.results == (ToldResult(1, "s.b.1", 1, "p-1", wrong_part_id=False, round_trip_ms=5.0),)
    assert book.passed == (AtGate(1, "p-1", passed=True, why="pass"),)
    assert len(book.gate) == 2


def test_a_half_written_line_is_no_line(tmp_path: Path) -> None:
    path = tmp_path / "plc.jsonl"
    log = PlcLog(path)
    log.write("accepted", trigger_seq=1)
    log.close()
    with path.open("a") as file:
        file.write('{"event": "accepted", "trig')
    assert read_plc_log(path).accepted == (1,)


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_plc_log(tmp_path / "none.jsonl").triggered == ()


def test_a_run_can_be_read_without_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "plc.jsonl"
    for seq in (1, 2):
        log = PlcLog(path)
        log.write("accepted", trigger_seq=seq)
        log.close()
    assert read_plc_log(path, log.begin).accepted == (2,)
    assert read_plc_log(path).accepted == (1, 2)
