from __future__ import annotations

import dataclasses
import mmap
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_inspector.datatypes import InspectionResult, Refusal, Trigger
from edge_inspector.errors import StorageError
from edge_inspector.store.flight import SLOT_BYTES, FlightEntry, FlightRecord

MakeTrigger = Callable[..., Trigger]
MakeResult = Callable[..., InspectionResult]
MakeRefusal = Callable[..., Refusal]


class PhotographedMap(mmap.mmap):
    """A real mapping that keeps a copy of the file after each half of each write: what a SIGKILL could leave."""

    copies: list[bytes]

    def __setitem__(self, key: Any, value: Any) -> None:
        middle = key.start + (key.stop - key.start) // 2
        for start, stop in ((key.start, middle), (middle, key.stop)):
            if start < stop:
                super().__setitem__(slice(start, stop), value[start - key.start : stop - key.start])
                self.copies.append(self[:])


def left_in(path: Path) -> list[FlightEntry]:
    with FlightRecord(path) as record:
        return record.left()


def test_a_new_record_is_empty_and_takes_as_many_entries_as_it_has_slots(tmp_path: Path, trigger: MakeTrigger) -> None:
    with FlightRecord(tmp_path / "flight", slots=3) as record:
        assert (record.left(), record.used, record.full) == ([], 0, False)
        slots = [record.trigger(trigger(n)) for n in (1, 2, 3)]
        assert (record.used, record.full) == (3, True)
        with pytest.raises(StorageError, match="full: 3 records wait for the ledger"):
            record.trigger(trigger(4))
        record.free(slots[1])
        assert (record.used, record.full) == (2, False)
        record.trigger(trigger(4))
    assert [e.trigger and e.trigger.seq for e in left_in(tmp_path / "flight")] == [1, 3, 4]


def test_everything_comes_back_as_it_was_written(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, refusal: MakeRefusal
) -> None:
    opened, settled, told = (trigger(n) for n in (1, 2, 3))
    with FlightRecord(tmp_path / "flight", slots=8) as record:
        record.trigger(opened)
        second = record.trigger(settled)
        record.refusal(refusal())
        third = record.trigger(told)
        record.verdict(second, result(settled, defects=2))
        record.verdict(third, result(told))
        record.told(third)
    entries = left_in(tmp_path / "flight")
    assert [dataclasses.replace(e, slot=0) for e in entries] == [
        FlightEntry(0, opened, None, None, told=False),
        FlightEntry(0, settled, None, result(settled, defects=2), told=False),
        FlightEntry(0, None, refusal(), None, told=False),
        FlightEntry(0, told, None, result(told), told=True),
    ]


def test_entries_left_by_an_earlier_process_are_settled_and_freed_like_any_other(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    with FlightRecord(tmp_path / "flight", slots=2) as record:
        record.trigger(trigger(1))
    with FlightRecord(tmp_path / "flight") as record:
        (entry,) = record.left()
        later = record.trigger(trigger(2))
        assert record.full
        record.verdict(entry.slot, result(trigger(1)))
        record.free(entry.slot)
    assert [e.slot for e in left_in(tmp_path / "flight")] == [later]


def test_a_second_verdict_on_a_slot_is_refused(tmp_path: Path, trigger: MakeTrigger, result: MakeResult) -> None:
    with FlightRecord(tmp_path / "flight", slots=2) as record:
        slot = record.trigger(trigger(1))
        record.verdict(slot, result(trigger(1)))
        with pytest.raises(StorageError, match=r"line1\.0a1b2c3d\.1 was settled twice"):
            record.verdict(slot, result(trigger(1), defects=1))
    assert left_in(tmp_path / "flight")[0].result == result(trigger(1))


def test_a_late_told_or_free_never_touches_the_part_that_got_the_slot_next(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    with FlightRecord(tmp_path / "flight", slots=1) as record:
        first = record.trigger(trigger(1))
        record.verdict(first, result(trigger(1)))
        record.free(first)
        second = record.trigger(trigger(2))
        record.verdict(second, result(trigger(2)))
        record.told(first)
        with pytest.raises(StorageError, match="freed already"):
            record.free(first)
    (entry,) = left_in(tmp_path / "flight")
    assert (entry.trigger, entry.told) == (trigger(2), False)


def test_killed_after_any_half_write_a_part_is_in_its_earlier_or_its_later_state(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    PhotographedMap.copies = []
    one, two = trigger(1, part_id="€" * 254), trigger(2)
    verdict = result(one, defects=3)
    with FlightRecord(tmp_path / "flight", slots=2, map_file=PhotographedMap) as record:
        slot = record.trigger(one)
        record.verdict(slot, verdict)
        record.told(slot)
        record.free(slot)
        record.trigger(two)
        slot = record.trigger(one)
        record.verdict(slot, verdict)
    life = [
        [],
        [(one, None, False)],
        [(one, verdict, False)],
        [(one, verdict, True)],
        [],
        [(two, None, False)],
        [(two, None, False), (one, None, False)],
        [(two, None, False), (one, verdict, False)],
    ]
    at = 0
    for number, copy in enumerate(PhotographedMap.copies):
        path = tmp_path / f"copy{number}"
        path.write_bytes(copy)
        seen = [(e.trigger, e.result, e.told) for e in left_in(path)]
        assert seen in life[at : at + 2], f"after half write {number}: {seen}"
        at = at if seen == life[at] else at + 1
        path.unlink()
    assert at == len(life) - 1


def test_a_damaged_verdict_leaves_its_trigger_and_a_damaged_trigger_leaves_the_others(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    path = tmp_path / "flight"
    with FlightRecord(path, slots=3) as record:
        for n in (1, 2, 3):
            record.verdict(record.trigger(trigger(n)), result(trigger(n)))
    data = bytearray(path.read_bytes())
    verdict_of_1 = data.index(b'"evaluation"')
    data[verdict_of_1] ^= 1
    trigger_of_2 = data.index(b'"seq":2')
    data[trigger_of_2] ^= 1
    path.write_bytes(data)
    assert [(e.trigger, e.result) for e in left_in(path)] == [
        (trigger(1), None),
        (trigger(3), result(trigger(3))),
    ]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"SQLite format 3\0" + data[16:], id="another program's file"),
        pytest.param(lambda data: data[:8] + struct.pack("<I", 99) + data[12:], id="another version"),
        pytest.param(lambda data: data[:-1], id="cut short"),
        pytest.param(lambda data: data[:5], id="cut within the header"),
        pytest.param(lambda data: data[:16] + b"\xff" + data[17:], id="a flipped bit in the header"),
    ],
)
def test_a_file_that_is_not_ours_is_set_aside_and_a_fresh_one_made(
    tmp_path: Path, trigger: MakeTrigger, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "flight"
    with FlightRecord(path, slots=2) as record:
        record.trigger(trigger(1))
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with FlightRecord(path, slots=2) as record:
        assert record.set_aside is not None
        assert record.set_aside.read_bytes() == damaged
        assert (record.left(), record.used) == ([], 0)
        record.trigger(trigger(2))
    assert [e.trigger for e in left_in(path)] == [trigger(2)]


def test_a_record_whose_making_was_interrupted_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "flight").write_bytes(bytes(SLOT_BYTES))
    with FlightRecord(tmp_path / "flight", slots=2) as record:
        assert (record.set_aside, record.used) == (None, 0)


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    with (
        FlightRecord(tmp_path / "flight", slots=2),
        pytest.raises(StorageError, match="in use: another station runs"),
        FlightRecord(tmp_path / "flight", slots=2),
    ):
        pass


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be made with 2 slots"), FlightRecord(tmp_path / "no" / "flight", 2):
        pass


def test_a_result_larger_than_its_slot_keeps_the_verdict_and_the_first_defects(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    large = result(trigger(1), defects=500)
    with FlightRecord(tmp_path / "flight", slots=2) as record:
        record.verdict(record.trigger(trigger(1)), large)
    kept = left_in(tmp_path / "flight")[0].result
    assert kept is not None
    assert 10 < len(kept.defects) < 500
    assert kept == dataclasses.replace(large, defects=large.defects[: len(kept.defects)])


def test_a_result_with_endless_times_text_and_thresholds_keeps_the_verdict(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult
) -> None:
    worst = trigger(1, part_id="\x01" * 254)
    endless = result(
        worst,
        defects=100,
        reason_text="\x02" * 9000,
        thresholds=tuple(n / 7 for n in range(900)),
        stage_ns={f"camera{n}.infer": n for n in range(400)},
    )
    with FlightRecord(tmp_path / "flight", slots=2) as record:
        record.verdict(record.trigger(worst), endless)
    kept = left_in(tmp_path / "flight")[0].result
    assert kept is not None
    assert (kept.evaluation, kept.reason, kept.model_hash) == (endless.evaluation, endless.reason, endless.model_hash)


def test_lone_surrogates_in_texts_are_replaced(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, refusal: MakeRefusal
) -> None:
    with FlightRecord(tmp_path / "flight", slots=4) as record:
        broken = trigger(1, part_id="a\ud800z")
        record.verdict(record.trigger(broken), result(broken, reason_text="\udfff"))
        record.refusal(refusal(part_id="\udc80"))
    first, second = left_in(tmp_path / "flight")
    assert first.trigger == trigger(1, part_id="a?z")
    assert first.result is not None
    assert (first.result.trigger.part_id, first.result.reason_text) == ("a?z", "?")
    assert second.refusal == refusal(part_id="?")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(part_id="\udfff" * 254, defects=40)
@given(part_id=st.text(st.characters(codec=None), max_size=254), defects=st.integers(0, 40))
def test_any_part_id_is_kept(
    tmp_path: Path, trigger: MakeTrigger, result: MakeResult, part_id: str, defects: int
) -> None:
    path = tmp_path / "flight"
    part = trigger(1, part_id=part_id)
    with FlightRecord(path, slots=1) as record:
        for left in record.left():
            record.free(left.slot)
        record.verdict(record.trigger(part), result(part, defects=defects))
    (entry,) = left_in(path)
    assert entry.trigger == trigger(1, part_id=part_id.encode("utf-8", "replace").decode())
    assert entry.result is not None
    assert len(entry.result.defects) <= defects


CHILD = """
import dataclasses, sys
from pathlib import Path
sys.path[:0] = [{folder!r}]
from conftest import make_result, make_trigger
from edge_inspector.store.flight import FlightRecord
with FlightRecord(Path({path!r}), slots=50) as record:
    seq, held = 0, []
    while True:
        seq += 1
        trigger = make_trigger(seq)
        slot = record.trigger(trigger)
        print(f"t{{seq}}", flush=True)
        if seq % 3:
            record.verdict(slot, make_result(trigger, defects=seq % 4))
            print(f"v{{seq}}", flush=True)
        if seq % 3 == 1:
            record.told(slot)
        held.append(slot)
        if seq > 40:
            record.free(held[seq - 41])
"""


def test_a_killed_process_leaves_every_part_that_it_had_accepted(tmp_path: Path, result: MakeResult) -> None:
    """The child frees nothing before its 41st part and is killed at its 30th or a little later."""
    path = tmp_path / "flight"
    code = CHILD.format(folder=str(Path(__file__).parent), path=str(path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line.strip())
        if line == "t30\n":
            os.kill(child.pid, signal.SIGKILL)
            break
    lines += [line.strip() for line in child.stdout]
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    kept = {e.trigger.seq: e for e in left_in(path) if e.trigger is not None}
    accepted = [int(line[1:]) for line in lines if line.startswith("t")]
    settled = [int(line[1:]) for line in lines if line.startswith("v")]
    assert 30 in accepted
    first = max(accepted) - 40
    assert {seq for seq in accepted if seq > first} <= set(kept)
    for seq in settled:
        if seq > first:
            trigger = kept[seq].trigger
            assert trigger is not None
            assert kept[seq].result == result(trigger, defects=seq % 4)
