"""What the tags read: words of bits, modes, health, ring rows, and which values say nothing yet."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
from contract_parts import BOOT, PLC_BOOT, READY, SECOND, a_result, bit, linked

from edge_inspector.datatypes import Defect, Evaluation, InspectionResult, Mode, Reason
from edge_inspector.interfaces import StationStatus, Vitals
from edge_inspector.plc.image import image, uncertain
from edge_inspector.plc.tags import BY_NAME


def of(result: InspectionResult, **changes: object) -> InspectionResult:
    return replace(result, trigger=replace(result.trigger, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "number"),
    [
        (replace(READY, golden_due=True), 1),
        (replace(READY, line_stop=7), 2),
        (replace(READY, alarm=True), 3),
        (replace(READY, clock_synced=True), 4),
        (replace(READY, degraded=True), 5),
    ],
)
def test_each_bit_of_the_second_word_says_one_thing(status: StationStatus, number: int) -> None:
    tags = image(linked().told(status, 1))
    assert tags["Status.Word2"] == 1 << number
    assert tags["Status.Block"][2] == int(str(tags["Status.Word"])) + 65536 * (1 << number)  # type: ignore[index]


@pytest.mark.parametrize(
    ("status", "number"),
    [
        (replace(READY, acquiring=True), 3),
        (replace(READY, busy=True), 5),
        (replace(READY, warning=True), 13),
        (replace(READY, error_code=101, error_text="camera top: is away"), 14),
    ],
)
def test_each_bit_of_the_status_changes_one_bit_of_the_word(status: StationStatus, number: int) -> None:
    before, after = image(linked())["Status.Word"], image(linked().told(status, 1))["Status.Word"]
    assert int(str(before)) ^ int(str(after)) == 1 << number


def test_a_line_stop_has_its_reason_until_it_is_over() -> None:
    contract = linked().told(replace(READY, line_stop=int(Reason.INFERENCE)), 1)
    assert image(contract)["Status.LineStopReason"] == int(Reason.INFERENCE)
    assert image(contract.told(READY, 2))["Status.LineStopReason"] == 0


def test_health_reads_what_is_known_and_the_rest_is_uncertain() -> None:
    contract = linked().told(Vitals(temp_c=51.5, power_mode="15W"), 1)
    tags = image(contract)
    assert [tags[f"Health.{name}"] for name in ("TempC", "GpuLoad", "DiskFreePct", "PowerMode")] == [
        51.5,
        0.0,
        0.0,
        "15W",
    ]
    assert uncertain(contract) == {"Health.GpuLoad", "Health.DiskFreePct"}
    known = linked().told(Vitals(0.0, 0.0, 0.0, ""), 1)
    assert not uncertain(known), "a measured 0 is no unknown"


@pytest.mark.parametrize("mode", [Mode.GOLDEN, Mode.SIMULATION, Mode.SETUP, Mode.MANUAL])
@pytest.mark.parametrize("evaluation", list(Evaluation))
@pytest.mark.parametrize("acknowledge", [True, False])
def test_outside_production_no_output_evaluates(mode: Mode, evaluation: Evaluation, acknowledge: bool) -> None:
    contract = linked(acknowledge=acknowledge).told(a_result(1, evaluation, mode), 1)
    tags = image(contract)
    assert (tags["Result.Evaluation"], tags["Result.GoldenOutcome"]) == (0, int(evaluation))
    assert (tags["Result.Mode"], tags["Result.Ring"][1]) == (int(mode), int(mode) << 8)  # type: ignore[index]
    assert (bit(tags, 6), bit(tags, 8), bit(tags, 9)) == (True, False, True)
    assert not contract.overall_ok
    assert {tags[f"Counter.{name}"] for name in ("Total", "Ok", "NotOk", "NotDecidable", "Undefined")} == {0}


@pytest.mark.parametrize("evaluation", list(Evaluation))
def test_in_production_the_outputs_say_what_was_decided(evaluation: Evaluation) -> None:
    contract = linked().told(a_result(1, evaluation), 1)
    tags = image(contract)
    ok = evaluation is Evaluation.OK
    assert (tags["Result.Evaluation"], tags["Result.GoldenOutcome"]) == (int(evaluation), 0)
    assert (bit(tags, 8), bit(tags, 9), contract.overall_ok) == (ok, not ok, ok)
    names = {0: "Undefined", 1: "Ok", 2: "NotOk", 3: "NotDecidable"}
    assert {name: tags[f"Counter.{name}"] for name in names.values()} == {
        name: int(number == evaluation) for number, name in names.items()
    }


@pytest.mark.parametrize(
    ("attempt", "settled_ns", "flags"),
    [
        pytest.param(1, SECOND, 0, id="the first look, in time to the nanosecond"),
        pytest.param(2, SECOND, 1, id="rework"),
        pytest.param(1, SECOND + 1, 2, id="settled after its deadline"),
        pytest.param(3, 2 * SECOND, 3, id="both"),
    ],
)
def test_a_ring_row_has_eight_words(attempt: int, settled_ns: int, flags: int) -> None:
    result = of(a_result(7), attempt=attempt, part_id="Teil ü", recipe_no=12)
    result = replace(result, settled_ns=settled_ns, reason=Reason.DEADLINE)
    ring = image(linked().told(result, 1))["Result.Ring"]
    expected = (7, 1 | 1 << 8 | flags << 16, 1, 12, BOOT, PLC_BOOT, zlib.crc32("Teil ü".encode()), settled_ns // 1000)
    assert ring == expected + (0,) * 120


def test_the_ring_goes_round_and_the_block_names_the_newest() -> None:
    contract = linked()
    for seq in range(1, 19):
        contract = contract.told(a_result(seq), seq)
        contract, _ = contract.written({"Control.ResultAckSeq": seq}, seq)
    tags = image(contract)
    ring = tags["Result.Ring"]
    assert isinstance(ring, tuple)
    assert [ring[row] for row in range(0, 128, 8)] == [17, 18, *range(3, 17)]
    assert tags["Status.Block"][7] == 18  # type: ignore[index]


def test_the_block_is_eight_words_of_the_status() -> None:
    contract, _ = (
        linked(10).told(replace(READY, recipe_no=3, mode=Mode.SETUP), 1).written({"Control.TriggerSeq": 11}, 1)
    )
    tags = image(replace(contract, heartbeat=9))
    word = int(str(tags["Status.Word"]))
    assert tags["Status.Block"] == (9, BOOT, word, 6 | 4 << 16, 10, 0, 3, 0)


def test_the_first_16_defects_are_listed_and_all_are_counted() -> None:
    defects = tuple(Defect("d", i, i / 100, (i, i + 1, 2.0, 3.0), "b" if i % 2 else "a") for i in range(17))
    result = replace(a_result(1, Evaluation.NOT_OK), defects=defects, views=("a", "b"), reason=Reason.DEFECT)
    tags = image(linked().told(result, 1))
    assert tags["Result.DefectCount"] == 17
    assert tags["Result.DefectClass"] == tuple(range(16))
    assert tags["Result.DefectView"] == (1, 2) * 8
    assert tags["Result.DefectScore"] == tuple(i / 100 for i in range(16))
    assert tags["Result.DefectBox"] == tuple(side for i in range(16) for side in (i, i + 1, 2.0, 3.0))
    assert (tags["Result.Reason"], tags["Result.Score"], tags["Result.Threshold"]) == (1000, 0.16, 0.5)


def test_every_tag_that_the_station_writes_has_its_type() -> None:
    python = {
        "Boolean": bool,
        "UInt16": int,
        "UInt32": int,
        "Int32": int,
        "Float": float,
        "String": str,
        "DateTime": str,
    }
    tags = image(linked().told(a_result(1), 1).told(Vitals(50.0, 0.5, 80.0, "15W"), 1))
    for name, value in tags.items():
        first = value[0] if isinstance(value, tuple) else value
        assert type(first) is python[BY_NAME[name].type], name
