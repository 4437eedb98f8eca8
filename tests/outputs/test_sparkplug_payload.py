"""Sparkplug payloads: exact bytes, what the test's own decoder reads of them, and damaged commands."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparkplug_wire import decode

from edge_inspector.outputs.sparkplug.payload import DataType, Metric, booleans, encode

REBIRTH = bytes.fromhex("0801 121a 0a14 4e6f646520436f6e74726f6c2f52656269727468 200b 7001")
RANGES = {DataType.INT32: 32, DataType.INT64: 64}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Metric("b", DataType.BOOLEAN, True, 1), "0a0162 1801 200b 7001"),
        (Metric("b", DataType.BOOLEAN, False, 1), "0a0162 1801 200b 7000"),
        (Metric("i", DataType.INT32, 300, 1), "0a0169 1801 2003 50ac02"),
        (Metric("i", DataType.INT32, -1, 1), "0a0169 1801 2003 50ffffffff0f"),
        (Metric("l", DataType.INT64, 0, 1), "0a016c 1801 2004 5800"),
        (Metric("l", DataType.INT64, -1, 1), "0a016c 1801 2004 58ffffffffffffffffff01"),
        (Metric("d", DataType.DOUBLE, 1.5, 1), "0a0164 1801 200a 69000000000000f83f"),
        (Metric("s", DataType.STRING, "ä", 1), "0a0173 1801 200c 7a02c3a4"),
        (Metric("s", DataType.STRING, "", 1), "0a0173 1801 200c 7a00"),
        (Metric("n", DataType.DOUBLE, None, 1), "0a016e 1801 200a 3801"),
        (Metric("h", DataType.STRING, "x", 1, historical=True), "0a0168 1801 200c 2801 7a0178"),
    ],
)
def test_a_metric_has_the_bytes_of_the_protobuf_definition(metric: Metric, expected: str) -> None:
    body = bytes.fromhex(expected)
    assert encode([metric], 1, None) == b"\x08\x01\x12" + bytes([len(body)]) + body


def test_a_payload_is_its_time_its_metrics_and_its_sequence_number_if_it_has_one() -> None:
    assert encode([], 1_486_144_502_122, 0) == bytes.fromhex("08eaf2f5a8a02b 1800")
    assert encode([], 1_486_144_502_122, 255) == bytes.fromhex("08eaf2f5a8a02b 18ff01")
    assert encode([], 1_486_144_502_122, None) == bytes.fromhex("08eaf2f5a8a02b")


@pytest.mark.parametrize("datatype", RANGES)
def test_an_integer_that_its_type_cannot_hold_is_refused_not_wrapped(datatype: DataType) -> None:
    edge = 1 << RANGES[datatype] - 1
    for value in (edge, -edge - 1):
        with pytest.raises(ValueError, match=f"metric x is {value}, expected an integer of {RANGES[datatype]} bits"):
            encode([Metric("x", datatype, value, 0)], 0, 0)
    for value in (edge - 1, -edge):
        assert decode(encode([Metric("x", datatype, value, 0)], 0, 0))["x"] == value


def test_text_that_is_no_unicode_is_sent_with_a_question_mark() -> None:
    assert decode(encode([Metric("x", DataType.STRING, "a\udc80b", 0)], 0, 0))["x"] == "a?b"


_TIMES = st.integers(0, (1 << 64) - 1)
_VALUES = st.one_of(
    st.tuples(st.just(DataType.BOOLEAN), st.booleans()),
    st.tuples(st.just(DataType.INT32), st.integers(-(1 << 31), (1 << 31) - 1)),
    st.tuples(st.just(DataType.INT64), st.integers(-(1 << 63), (1 << 63) - 1)),
    st.tuples(st.just(DataType.DOUBLE), st.floats()),
    st.tuples(st.just(DataType.STRING), st.text()),
    st.tuples(st.sampled_from(list(DataType)), st.none()),
)


@given(st.lists(st.tuples(st.text(), _VALUES, _TIMES, st.booleans())), _TIMES, st.none() | st.integers(0, 255))
def test_whatever_is_encoded_is_read_back(
    metrics: list[tuple[str, tuple[DataType, object], int, bool]], at: int, seq: int | None
) -> None:
    told = [Metric(name, kind, value, ms, late) for name, (kind, value), ms, late in metrics]  # type: ignore[arg-type]
    body = decode(encode(told, at, seq))
    assert (body.timestamp, body.seq) == (at, seq)
    assert len(body.metrics) == len(told)
    for sent, got in zip(told, body.metrics, strict=True):
        assert (got.name, got.datatype, got.timestamp) == (sent.name, sent.datatype, sent.timestamp_ms)
        assert (got.historical, got.null) == (sent.historical, sent.value is None)
        same = got.value == sent.value
        assert same or (isinstance(sent.value, float) and math.isnan(sent.value) and math.isnan(got.value))


@given(st.lists(st.tuples(st.text(min_size=1), st.booleans()), unique_by=lambda item: item[0]))
def test_the_booleans_of_a_command_are_read_and_other_metrics_are_passed_over(wanted: list[tuple[str, bool]]) -> None:
    noise = [Metric("n", DataType.DOUBLE, 2.5, 1), Metric("t", DataType.STRING, "x", 1)]
    metrics = [Metric(name, DataType.BOOLEAN, value, 1) for name, value in wanted]
    assert booleans(encode([*noise, *metrics], 5, None)) == dict(wanted)


def test_a_rebirth_request_as_a_host_sends_it_is_understood() -> None:
    assert booleans(REBIRTH) == {"Node Control/Rebirth": True}
    assert booleans(REBIRTH[:-1] + b"\x00") == {"Node Control/Rebirth": False}
    assert booleans(REBIRTH[:-2].replace(b"\x12\x1a", b"\x12\x18")) == {}  # no value


@given(st.binary(max_size=80))
def test_bytes_that_are_no_payload_are_a_value_error_and_nothing_else(damage: bytes) -> None:
    _read(damage)


@given(st.integers(0, len(REBIRTH) - 1), st.integers(0, 255), st.integers(0, len(REBIRTH)))
def test_a_damaged_command_is_a_value_error_and_nothing_else(at: int, byte: int, end: int) -> None:
    _read((REBIRTH[:at] + bytes([byte]) + REBIRTH[at + 1 :])[:end])


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("12ff01", "a field of 255 bytes"),
        ("0b", "wire type 3"),
        ("08ffffffffffffffffffff01", "has no end"),
        ("08", "has no end"),
        ("1203 0a01ff", "decode"),
        ("0901", "a field of 8 bytes"),
        ("0d01", "a field of 4 bytes"),
    ],
)
def test_what_is_wrong_with_a_damaged_command_is_said(damage: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        booleans(bytes.fromhex(damage))


def _read(payload: bytes) -> None:
    try:
        found = booleans(payload)
    except ValueError:
        return
    assert all(isinstance(value, bool) and name for name, value in found.items())
