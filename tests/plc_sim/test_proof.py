"""PLC's log against ledger: each way in which they can disagree is found, and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.errors import ConfigError
from edge_inspector.plc_sim.log import AtGate, PlcBook, ToldResult
from edge_inspector.plc_sim.proof import Truth, compare, read_truth
from edge_inspector.plc_sim.report import report
from edge_inspector.store.books import VerdictRow

OK, BAD = Evaluation.OK, Evaluation.NOT_OK


def booked(seq: int, evaluation: Evaluation, **changes: object) -> VerdictRow:
    row = VerdictRow(seq, seq, f"p-{seq}", evaluation, 7, Reason.NONE, True, True, False, {}, 5.0, ("cam",), (seq,), ())
    return replace(row, **changes)  # type: ignore[arg-type]


def read(seq: int, evaluation: Evaluation, **changes: object) -> ToldResult:
    told = ToldResult(seq, f"s.b.{seq}", int(evaluation), f"p-{seq}", wrong_part_id=False, round_trip_ms=5.0 * seq)
    return replace(told, **changes)  # type: ignore[arg-type]


def gate(seq: int, passed: bool, why: str = "why") -> AtGate:
    return AtGate(seq, f"p-{seq}", passed, "pass" if passed else why)


ROWS = {"s.b.1": booked(1, OK), "s.b.2": booked(2, BAD), "s.b.9": booked(9, OK, part_id="another PLC's")}
BOOK = PlcBook(
    part_ids={1: "p-1", 2: "p-2", 3: "p-3"},
    triggered=(1, 2, 3),
    accepted=(1, 2),
    refused=(3,),
    unanswered=(),
    acknowledged=(1, 2),
    without_result=(),
    results=(read(1, OK), read(2, BAD)),
    gate=(gate(1, True), gate(2, False), gate(3, False)),
    faults={},
)


def book(**changes: object) -> PlcBook:
    return replace(BOOK, **changes)  # type: ignore[arg-type]


def test_the_same_story_is_good() -> None:
    proof = compare(BOOK, ROWS)
    assert (proof.compared, proof.unread, proof.good) == (2, 0, True)
    assert (proof.bad_passed, proof.wrong_ids, proof.disagreements) == ((), (), ())


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param({"s.b.2": ROWS["s.b.2"]}, "passed, the ledger has nothing", id="never booked"),
        pytest.param({**ROWS, "s.b.1": booked(1, BAD)}, "passed, the ledger has NOT_OK", id="booked as bad"),
        pytest.param({**ROWS, "s.b.1": booked(1, Evaluation.UNDEFINED)}, "has UNDEFINED", id="booked as undefined"),
        pytest.param({**ROWS, "s.b.4": booked(4, BAD, part_id="p-1")}, "has OK, NOT_OK", id="booked twice"),
    ],
)
def test_a_part_that_passed_must_be_one_ok_in_the_ledger(rows: dict[str, VerdictRow], says: str) -> None:
    proof = compare(BOOK, rows)
    assert [text for text in proof.bad_passed if "p-1" in text and says in text]
    assert not proof.good


def test_a_part_that_passed_must_have_been_read() -> None:
    proof = compare(book(results=(read(2, BAD),)), ROWS)
    assert proof.bad_passed == ("p-1 passed without a result",)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"results": (read(1, BAD), read(2, BAD))}, "PLC read NOT_OK for 'p-1'", id="verdict"),
        pytest.param({"results": (read(1, OK), read(2, BAD, part_id="p-1"))}, "ledger has NOT_OK for 'p-2'", id="part"),
        pytest.param({"results": (read(1, OK), read(2, BAD, trigger_seq=5))}, "(trigger 5)", id="number"),
        pytest.param({"results": (read(1, OK), read(2, BAD, result_id="s.b.8"))}, "s.b.8, which", id="result id"),
        pytest.param({"accepted": (1, 2, 3)}, "saw p-3 accepted, which the ledger does not know", id="accepted"),
        pytest.param({"refused": (2, 3)}, "saw p-2 refused, which the ledger has accepted", id="refused"),
    ],
)
def test_a_disagreement_is_named(changes: dict[str, object], says: str) -> None:
    proof = compare(book(**changes), ROWS)
    assert [text for text in proof.disagreements if says in text], proof
    assert not proof.good


def test_a_part_that_is_booked_twice_is_named() -> None:
    proof = compare(BOOK, {**ROWS, "s.b.4": booked(4, BAD, part_id="p-2")})
    assert proof.disagreements == ("p-2 is booked 2 times",)


def test_a_result_with_another_parts_id_is_counted() -> None:
    proof = compare(book(results=(read(1, OK), read(2, BAD, wrong_part_id=True))), ROWS)
    assert len(proof.wrong_ids) == 1
    assert not proof.good


def test_results_from_the_ring_are_found_by_their_part() -> None:
    results = (read(1, OK, result_id=""), read(2, BAD, result_id=""))
    assert compare(book(results=results), ROWS).good
    wrong = compare(book(results=(read(1, BAD, result_id=""),)), ROWS)
    assert "result of p-1: PLC read NOT_OK" in wrong.disagreements[0]


def test_outside_production_the_plc_reads_undefined_for_every_verdict() -> None:
    golden = (read(1, Evaluation.UNDEFINED, mode=2), read(2, BAD))
    gates = (gate(1, False), gate(2, False))
    assert compare(book(results=golden, gate=gates), ROWS).good
    assert not compare(book(results=(read(1, OK, mode=2), read(2, BAD)), gate=gates), ROWS).good


def test_a_verdict_that_was_told_and_never_read_is_counted_and_is_a_reject() -> None:
    unread = compare(book(results=(read(1, OK),)), ROWS)
    assert (unread.unread, unread.good) == (1, True)
    untold = compare(book(results=(read(1, OK),)), {**ROWS, "s.b.2": booked(2, BAD, told=False)})
    assert untold.unread == 0


@pytest.mark.parametrize(
    ("good", "frames", "escaped"),
    [
        ((True, True, True), (1,), False),
        ((True, False, True), (1,), True),
        ((True, False), (3,), True),  # pictures begin again
        ((True, True), (0, -1), True),  # one view was never pictured
        ((True, False), (0, 2), False),
        ((True, False), (0, 1), True),
    ],
)
def test_the_truth_of_the_pictures_is_held_against_what_passed(
    good: tuple[bool, ...], frames: tuple[int, ...], escaped: bool
) -> None:
    proof = compare(BOOK, {**ROWS, "s.b.1": booked(1, OK, frame_ids=frames)}, Truth(good))
    assert bool(proof.bad_passed) is escaped


def test_a_truth_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text('{"good": [true, false]}')
    assert read_truth(tmp_path / "truth.json") == Truth((True, False))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"good": []}', '{"good": [1]}', '{"good": true}', None])
def test_a_truth_file_that_says_nothing_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "truth.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"truth\.json"):
        read_truth(path)


def test_the_report_says_what_passed_what_not_and_why() -> None:
    gates = (gate(1, True), gate(2, False, "cold"), gate(3, False, "late"), gate(4, False, "late"))
    told = (*BOOK.results, read(3, OK, round_trip_ms=None))
    lines = report(book(gate=gates, results=told, faults={"restart": 2}), compare(BOOK, ROWS), 2.0)
    assert lines == [
        "4 parts through the gate in 2.0 s, 2.0 a second: 1 passed, 3 rejected",
        "       2  late",
        "       1  cold",
        "faults played: restart 2",
        "from TriggerSeq to the result: p50 5.0 ms, p99 10.0 ms, at most 10.0 ms",
        "bad parts passed: 0, wrong part ids: 0",
        "ledger: 2 results compared, 0 disagreements, 0 told but never read",
    ]


def test_without_the_ledger_the_report_claims_nothing() -> None:
    lines = report(BOOK, None, 2.0)
    assert not [line for line in lines if "bad parts" in line]
    assert "--ledger" in lines[-1]


def test_the_report_lists_what_is_wrong_and_not_for_ever() -> None:
    many = {n: f"p-{n}" for n in range(1, 21)}
    proof = compare(book(part_ids=many, accepted=tuple(many), results=(), gate=(), refused=()), {})
    lines = report(BOOK, proof, 1.0)
    assert "ledger: 0 results compared, 20 disagreements, 0 told but never read" in lines
    assert len([line for line in lines if "accepted, which the ledger" in line]) == 10
    assert lines[-1] == "  and 10 more"
