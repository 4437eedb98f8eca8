"""What the registers answer to each request, byte by byte, and which writes are taken."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_inspector.outputs.modbus.frames import Frame, StreamError, first_frame
from edge_inspector.outputs.modbus.image import Registers
from edge_inspector.outputs.modbus.registers import CONTROL
from edge_inspector.plc.tags import Value

FUNCTION, ADDRESS, VALUE = 1, 2, 3
WRITABLE = {place.tag.name for place in CONTROL if not place.command}


class Unit:
    """Registers, and the writes that were taken from a client."""

    def __init__(self, commands: bool = False, order: str = "big") -> None:
        self.taken: list[Mapping[str, Value]] = []
        self.registers = Registers("little" if order == "little" else "big", commands, self.taken.append)

    def ask(self, function: int, *fields: int, tail: bytes = b"") -> bytes:
        return self.registers.answer(bytes([function]) + b"".join(struct.pack(">H", f) for f in fields) + tail)

    def write(self, address: int, *registers: int) -> bytes:
        body = b"".join(struct.pack(">H", r) for r in registers)
        return self.ask(16, address, len(registers), tail=bytes([len(body)]) + body)


def refused(function: int, code: int) -> bytes:
    return bytes([function | 0x80, code])


@pytest.mark.parametrize("function", [3, 4])
def test_both_functions_read_the_same_image_and_the_plcs_own_registers(function: int) -> None:
    unit = Unit()
    unit.registers.show([("Status.BootId", 0x11223344), ("Status.Word", 0x55AA), ("Status.TriggerReady", True)])
    assert unit.ask(function, 0, 1) == bytes([function, 2, 0, 1])  # the version of the map
    assert unit.ask(function, 4, 3) == bytes([function, 6]) + bytes.fromhex("1122334455aa")
    unit.write(2000, 0, 7)
    assert unit.ask(function, 2000, 2) == bytes([function, 4, 0, 0, 0, 7])


def test_the_low_word_comes_first_when_the_file_says_so() -> None:
    unit = Unit(order="little")
    unit.registers.show([("Status.BootId", 0x11223344), ("Result.DefectScore", (1.0,) + (0.0,) * 15)])
    assert unit.ask(4, 4, 2)[2:] == bytes.fromhex("33441122")
    assert unit.ask(4, 496, 2)[2:] == bytes.fromhex("00003f80")
    unit.write(2048, 0x0002, 0x0001)
    assert unit.taken == [{"Control.TriggerSeq": 0x10002}]


@pytest.mark.parametrize("function", [1, 2])
def test_bits_are_those_of_both_words_the_lowest_first(function: int) -> None:
    unit = Unit()
    unit.registers.show([("Status.Word", 0x8041), ("Status.Word2", 0x0011)])
    assert unit.ask(function, 0, 32) == bytes([function, 4, 0x41, 0x80, 0x11, 0x00])
    assert unit.ask(function, 6, 1) == bytes([function, 1, 1])
    assert unit.ask(function, 15, 6) == bytes([function, 1, 0b100011])
    assert unit.ask(function, 31, 1) == bytes([function, 1, 0])


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (struct.pack(">BHH", 3, 0, 0), VALUE),
        (struct.pack(">BHH", 4, 0, 126), VALUE),
        (struct.pack(">BHH", 1, 0, 2001), VALUE),
        (struct.pack(">BHH", 2, 0, 33), ADDRESS),
        (struct.pack(">BHH", 3, 911, 2), ADDRESS),
        (struct.pack(">BHH", 3, 1999, 2), ADDRESS),
        (struct.pack(">BHH", 3, 2105, 2), ADDRESS),
        (struct.pack(">BHH", 3, 65535, 125), ADDRESS),
        (struct.pack(">BHH", 6, 6, 1), ADDRESS),
        (struct.pack(">BHH", 6, 2000, 1), ADDRESS),
        (struct.pack(">BHH", 6, 2009, 1), ADDRESS),
        (struct.pack(">BHH", 6, 2101, 1), ADDRESS),
        (struct.pack(">BHHBH", 16, 2000, 1, 2, 1), ADDRESS),
        (struct.pack(">BHHB", 6, 2050, 1, 0), VALUE),
        (struct.pack(">BHHBHH", 16, 2000, 2, 2, 1, 1), VALUE),
        (struct.pack(">BHHBHH", 16, 2050, 1, 4, 1, 1), VALUE),
        (struct.pack(">BHHBH", 16, 2000, 2, 4, 1), VALUE),
        (struct.pack(">BHHB", 16, 2000, 0, 0), VALUE),
        (struct.pack(">BHHB", 16, 2000, 124, 248) + bytes(248), VALUE),
        (struct.pack(">BHH", 16, 2000, 1), VALUE),
        (struct.pack(">BHHB", 3, 0, 1, 0), VALUE),
        (struct.pack(">BH", 3, 0), VALUE),
        (b"\x06", VALUE),
        (struct.pack(">BHH", 5, 0, 0xFF00), FUNCTION),
        (struct.pack(">BHHBB", 15, 0, 1, 1, 1), FUNCTION),
        (struct.pack(">BHHHHBH", 23, 0, 1, 2050, 1, 2, 1), FUNCTION),
        (struct.pack(">BHHH", 22, 2050, 0, 1), FUNCTION),
        (struct.pack(">BHH", 8, 1, 0), FUNCTION),
        (b"\x2b\x0e\x01\x00", FUNCTION),
        (b"\x83\x02", FUNCTION),
        (b"\x00", FUNCTION),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_what_is_not_allowed_gets_its_exception_code_and_changes_nothing(request_: bytes, code: int) -> None:
    unit = Unit()
    before = [unit.ask(3, start, 106) for start in range(0, 806, 106)] + [unit.ask(3, 2000, 106)]
    assert unit.registers.answer(request_) == refused(request_[0], code)
    assert unit.taken == []
    assert [unit.ask(3, start, 106) for start in range(0, 806, 106)] + [unit.ask(3, 2000, 106)] == before


def test_one_request_is_taken_as_one_write_with_all_its_values() -> None:
    unit = Unit()
    part = struct.unpack(">40H", b"PCB-7".ljust(80, b"\0"))
    registers = (0, 9, 0, 5, 0, 77, 0, 3, *part, 0, 12, 4)
    assert unit.write(2000, *registers) == struct.pack(">BHH", 16, 2000, 51)
    assert unit.taken == [
        {
            "Control.Heartbeat": 9,
            "Control.PlcBootId": 5,
            "Control.BootIdEcho": 77,
            "Control.ResultAckSeq": 3,
            "Control.PartId": "PCB-7",
            "Control.TriggerSeq": 12,
            "Control.RecipeReqNo": 4,
        }
    ]
    assert list(unit.taken[0]).index("Control.PartId") < list(unit.taken[0]).index("Control.TriggerSeq")


def test_a_single_register_takes_a_16_bit_value() -> None:
    unit = Unit()
    assert unit.ask(6, 2050, 3) == struct.pack(">BHH", 6, 2050, 3)
    assert unit.taken == [{"Control.RecipeReqNo": 3}]


def test_a_text_may_be_cut_short_and_nothing_of_the_one_before_is_left() -> None:
    unit = Unit()
    unit.write(2008, *struct.unpack(">4H", b"LONGNAME"))
    unit.write(2008, *struct.unpack(">2H", b"ABC\0"))
    assert unit.taken[1] == {"Control.PartId": "ABC"}
    assert unit.ask(3, 2008, 5)[2:] == b"ABC" + bytes(7)


def test_a_request_that_reaches_from_a_text_into_half_a_number_takes_neither() -> None:
    unit = Unit()
    assert unit.write(2008, *[0x4141] * 41) == refused(16, ADDRESS)
    assert unit.taken == []
    assert unit.ask(3, 2008, 1)[2:] == bytes(2)


def test_commands_and_feedback_are_taken_only_where_the_file_allows_them() -> None:
    values = (1, 5, 0, 8, 0, 9)  # feedback 1, command 5, FeedbackSeq 8, CommandSeq 9
    closed, open_ = Unit(), Unit(commands=True)
    assert closed.write(2100, *values) == refused(16, ADDRESS)
    assert closed.taken == []
    assert open_.write(2100, *values) == struct.pack(">BHH", 16, 2100, 6)
    assert open_.taken == [
        {"Control.PartFeedback": 1, "Control.Command": 5, "Control.FeedbackSeq": 8, "Control.CommandSeq": 9}
    ]


def test_nobody_writes_the_free_registers_between_the_two_ranges() -> None:
    unit = Unit(commands=True)
    assert unit.write(2084, *[0] * 18) == refused(16, ADDRESS)
    assert unit.taken == []


@given(st.binary(min_size=1, max_size=253))
@example(struct.pack(">BHHB", 16, 2000, 123, 246) + bytes(246))
def test_whatever_is_asked_is_answered_by_one_legal_pdu_and_only_the_plcs_tags_are_written(pdu: bytes) -> None:
    unit = Unit()
    answer = unit.registers.answer(pdu)
    assert 2 <= len(answer) <= 253
    assert answer[0] in (pdu[0], pdu[0] | 0x80)
    if answer[0] != pdu[0]:
        assert unit.taken == []
    assert all(set(values) <= WRITABLE for values in unit.taken)


@given(st.integers(0, 0xFFFF), st.integers(0, 255), st.binary(min_size=1, max_size=253), st.binary(max_size=20))
def test_a_frame_is_found_whole_at_the_front_whatever_follows(tid: int, unit: int, pdu: bytes, rest: bytes) -> None:
    packed = Frame(tid, unit, pdu).packed()
    assert struct.unpack(">HHHB", packed[:7]) == (tid, 0, len(pdu) + 1, unit)
    assert first_frame(packed + rest) == (Frame(tid, unit, pdu), len(packed))
    assert all(first_frame(packed[:n]) == (None, 0) for n in range(len(packed)))


@pytest.mark.parametrize(("protocol", "length"), [(1, 6), (0, 0), (0, 1), (0, 255), (0, 65535)])
def test_what_is_no_modbus_header_ends_the_stream(protocol: int, length: int) -> None:
    with pytest.raises(StreamError, match=rf"protocol {protocol}, length {length}; expected 0 and 2..254"):
        first_frame(struct.pack(">HHHB", 1, protocol, length, 1))
