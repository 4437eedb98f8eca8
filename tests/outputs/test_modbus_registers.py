"""The register map: nothing overlaps or is forgotten, and another program reads back what we wrote."""

from __future__ import annotations

import itertools
import math
from datetime import datetime, timedelta, timezone
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from edge_inspector.outputs.modbus.page import register_map_markdown
from edge_inspector.outputs.modbus.registers import (
    CONTROL,
    CONTROL_END,
    CONTROL_START,
    IMAGE,
    IMAGE_END,
    Place,
    WordOrder,
    decoded,
    encoded,
)
from edge_inspector.plc.tags import TAGS, Value

ORDERS: tuple[WordOrder, ...] = ("big", "little")
KINDS = {kind.name: kind for kind in ModbusClientMixin.DATATYPE}
BY_TAG = {place.tag.name: place for place in (*IMAGE, *CONTROL)}
numbers = {
    "UInt16": st.integers(0, 2**16 - 1),
    "UInt32": st.integers(0, 2**32 - 1),
    "Int32": st.integers(-(2**31), 2**31 - 1),
    "Float": st.floats(width=32, allow_nan=False),
}
by_pymodbus = {"UInt16": "UINT16", "UInt32": "UINT32", "Int32": "INT32", "Float": "FLOAT32"}


def words(registers: bytes) -> list[int]:
    return [int.from_bytes(registers[i : i + 2], "big") for i in range(0, len(registers), 2)]


def read_by_pymodbus(place: Place, registers: bytes, order: WordOrder) -> object:
    kind = KINDS[by_pymodbus[place.tag.type]]
    values = ModbusClientMixin.convert_from_registers(words(registers), kind, word_order=order)
    return tuple(values) if isinstance(values, list) else values


def test_every_tag_has_its_place_but_the_booleans_which_are_bits_and_the_block_which_all_of_it_is() -> None:
    missing = {tag.name for tag in TAGS} - set(BY_TAG)
    assert missing == {tag.name for tag in TAGS if tag.type == "Boolean"} | {"Control.Block"}
    assert {place.tag.writer for place in IMAGE} == {"station"}
    assert {place.tag.writer for place in CONTROL} == {"plc"}


@pytest.mark.parametrize(
    ("places", "start", "end"), [(IMAGE, 1, IMAGE_END), (CONTROL, CONTROL_START, CONTROL_END)], ids=["image", "control"]
)
def test_no_two_tags_share_a_register(places: tuple[Place, ...], start: int, end: int) -> None:
    taken = sorted((place.address, place.end) for place in places)
    assert taken[0][0] == start
    assert taken[-1][1] == end
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(taken))


def test_the_addresses_are_those_of_version_1_for_ever() -> None:
    pinned = {
        "Ident.InterfaceVersion": 1, "Status.Heartbeat": 2, "Status.BootId": 4, "Status.Word": 6, "Status.Word2": 7,
        "Status.TriggerAckSeq": 10, "Result.TriggerSeq": 32, "Result.Evaluation": 38, "Result.PartId": 64,
        "Status.Block": 104, "Counter.Total": 120, "Health.TempC": 136, "Result.ResultId": 304, "Result.DefectBox": 528,
        "Result.Ring": 656, "Control.Heartbeat": 2000, "Control.PlcBootId": 2002, "Control.BootIdEcho": 2004,
        "Control.ResultAckSeq": 2006, "Control.PartId": 2008, "Control.TriggerSeq": 2048, "Control.RecipeReqNo": 2050,
        "Control.RecipeReq": 2051, "Control.RecipeReqSeq": 2084, "Control.PartFeedback": 2100,
        "Control.Command": 2101, "Control.FeedbackSeq": 2102, "Control.CommandSeq": 2104,
    }  # fmt: skip
    assert {name: BY_TAG[name].address for name in pinned} == pinned


def test_one_read_request_holds_all_that_the_rule_needs() -> None:
    rule = ("Status.Heartbeat", "Status.BootId", "Status.Word", "Result.TriggerSeq", "Result.BootId",
            "Result.PlcBootId", "Result.Evaluation", "Result.Mode", "Result.RecipeNo", "Result.PartId")  # fmt: skip
    assert max(BY_TAG[name].end for name in rule) <= 125


@pytest.mark.parametrize("order", ORDERS)
@given(data=st.data())
def test_an_independent_program_reads_every_number_as_it_was_written(order: WordOrder, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([p for p in BY_TAG.values() if p.tag.type in numbers]))
    one = numbers[place.tag.type]
    value = cast(Value, data.draw(st.tuples(*[one] * place.tag.length) if place.tag.length else one))
    registers = encoded(place, value, order)
    assert len(registers) == 2 * place.registers
    assert read_by_pymodbus(place, registers, order) == value


@pytest.mark.parametrize("order", ORDERS)
@given(data=st.data())
def test_the_station_reads_every_number_as_an_independent_program_wrote_it(
    order: WordOrder, data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from([p for p in CONTROL if p.tag.type in numbers]))
    value = data.draw(numbers[place.tag.type])
    kind = KINDS[by_pymodbus[place.tag.type]]
    wrote = ModbusClientMixin.convert_to_registers(value, kind, word_order=order)
    assert decoded(place, b"".join(word.to_bytes(2, "big") for word in wrote), order) == value


@pytest.mark.parametrize("order", ORDERS)
@given(text=st.text(max_size=120))
def test_a_text_keeps_as_many_whole_characters_as_there_is_room_for(order: WordOrder, text: str) -> None:
    place = BY_TAG["Control.PartId"]
    registers = encoded(place, text, order)
    assert len(registers) == 80
    kept = registers.rstrip(b"\0").decode()  # raises on half a character
    room = text.encode("utf-8", "replace").decode()
    assert room.rstrip("\0").startswith(kept)
    assert len(room[: len(kept) + 1].encode()) > 80 or kept == room.rstrip("\0")
    assert decoded(place, registers, order) == kept.split("\0")[0]


@pytest.mark.parametrize(
    ("registers", "text"),
    [
        (b"PCB-1\0\0\0", "PCB-1"),
        (b"PCB-1\0old part's end", "PCB-1"),
        (b"\0\0", ""),
        ("Prüfling".encode(), "Prüfling"),
        ("Prüfling".encode("latin-1"), "Pr?fling"),
        (b" padded ", " padded "),
    ],
    ids=["padded", "ends at the first 0", "empty", "UTF-8", "Latin-1", "blanks stay"],
)
def test_what_the_plc_wrote_as_a_text(registers: bytes, text: str) -> None:
    assert decoded(BY_TAG["Control.PartId"], registers, "little") == text


@pytest.mark.parametrize("order", ORDERS)
@given(
    when=st.datetimes(
        datetime(1970, 1, 1),
        datetime(2105, 12, 31),
        timezones=st.just(timezone.utc),
    )
)
def test_a_time_is_seconds_and_milliseconds_since_1970(order: WordOrder, when: datetime) -> None:
    when = when.replace(microsecond=when.microsecond // 1000 * 1000)
    utc = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    read = words(encoded(BY_TAG["Result.TimeUtc"], utc, order))
    seconds = ModbusClientMixin.convert_from_registers(read[:2], KINDS["UINT32"], word_order=order)
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert epoch + timedelta(seconds=seconds, milliseconds=read[2]) == when  # type: ignore[arg-type]


def test_text_that_no_byte_stands_for_becomes_a_question_mark() -> None:
    assert encoded(BY_TAG["Result.Unit"], "\ud800m", "big") == b"?m" + bytes(6)


def test_no_time_and_a_number_too_large_for_a_float_have_their_registers_too() -> None:
    assert encoded(BY_TAG["Result.TimeUtc"], "", "big") == bytes(6)
    assert read_by_pymodbus(BY_TAG["Result.Score"], encoded(BY_TAG["Result.Score"], -1e39, "big"), "big") == -math.inf


def test_the_page_lists_every_tag_with_its_address_and_every_bit() -> None:
    page = register_map_markdown()
    for place in (*IMAGE, *CONTROL):
        assert f"\n| {place.address} | {place.registers} | `{place.tag.name}` |" in page
    assert "| 656 | 256 | `Result.Ring` | UInt32[128] |" in page
    assert "| 2008 | 40 | `Control.PartId` | text, 80 bytes |" in page
    assert "| 6 | ResultsValid (`Status.Word` bit 6) |" in page
    assert "| 21 | Degraded (`Status.Word2` bit 5) |" in page
