"""The client's pure parts: NodeIds as text, the mapping, types, and the order in which an image is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pydantic
import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from opcua_client_rig import ALL, BOOT, PLC_BOOT, READY, URI, config, mapping, result

from edge_inspector.datatypes import Evaluation, Identity, Mode
from edge_inspector.errors import OutputError
from edge_inspector.outputs.opcua_client.cells import Cell, Node
from edge_inspector.outputs.opcua_client.node_text import node_id, text_of
from edge_inspector.outputs.opcua_client.steps import steps
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import identity_image, image
from edge_inspector.plc.tags import BY_NAME, RING_ROWS, RING_WORDS, Value

NAMESPACES = ["http://opcfoundation.org/UA/", "urn:plc", URI, "urn:a;b%c"]
KINDS = ua.VariantType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ns=3;s="DB_Vision"."Result"."Mode"', ua.NodeId('"DB_Vision"."Result"."Mode"', 3)),
        (f'nsu={URI};s="DB"."x;y=z"', ua.NodeId('"DB"."x;y=z"', 2)),
        ("nsu=urn:a%3Bb%25c;i=7", ua.NodeId(7, 3)),
        ("i=2258", ua.NodeId(2258, 0)),
        ("ns=1;b=AQID", ua.NodeId(b"\x01\x02\x03", 1)),
        ("ns=4;s=|var|PLC.Application.GVL.seq", ua.NodeId("|var|PLC.Application.GVL.seq", 4)),
    ],
)
def test_a_node_id_is_read_as_the_trade_writes_it(text: str, expected: ua.NodeId) -> None:
    assert node_id(text, NAMESPACES) == expected


@pytest.mark.parametrize(
    "text",
    ["", "DB_Vision.Mode", "ns=3", "ns=x;s=a", "ns=70000;i=1", "i=-1", "i=4294967296", "g=12", "b=%%", "ns=3;s="],
)
def test_what_is_no_node_id_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        node_id(text, NAMESPACES)


def test_a_namespace_that_the_server_has_not_is_named_with_those_that_it_has() -> None:
    with pytest.raises(OutputError, match=r"no namespace 'urn:gone'; it has .*'urn:plc'"):
        node_id("nsu=urn:gone;s=a", NAMESPACES)


@given(
    st.sampled_from(range(len(NAMESPACES))),
    st.one_of(
        st.text(min_size=1, max_size=20), st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=9), st.uuids()
    ),
)
def test_a_node_finds_itself_again_by_its_text(index: int, identifier: Any) -> None:
    node = ua.NodeId(identifier, index)
    assert node_id(text_of(node, NAMESPACES), NAMESPACES) == node


# --- the mapping ------------------------------------------------------------------------------------------------------


def problem(**keys: Any) -> str:
    with pytest.raises(pydantic.ValidationError) as caught:
        config(4840, **keys)
    return str(caught.value)


def without(*tags: str) -> dict[str, dict[str, str]]:
    return mapping(tuple(tag for tag in ALL if tag not in tags))


@pytest.mark.parametrize(
    "tag",
    [
        *("Result.TriggerSeq", "Result.Evaluation", "Result.Mode", "Result.BootId", "Result.PlcBootId"),
        *("Result.RecipeNo", "Status.Heartbeat", "Status.BootId", "Control.TriggerSeq", "Control.PlcBootId"),
        *("Control.BootIdEcho", "Control.Heartbeat", "Control.ResultAckSeq"),
    ],
)
def test_every_tag_that_the_rule_needs_must_be_mapped(tag: str) -> None:
    assert f"{tag} " in problem(map=without(tag))


def test_the_blocks_and_the_ring_are_enough() -> None:
    blocks = ("Control.Block", "Status.Block", "Result.Ring", "Control.PartId")
    assert {*config(4840, map=mapping(blocks)).nodes} == {*blocks}


def test_a_plc_that_does_not_acknowledge_needs_no_number_for_it() -> None:
    assert config(4840, acknowledge=False, map=without("Control.ResultAckSeq")).nodes


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"Result": {"Color": "i=1"}}, "Result.Color is no tag"),
        ({"Result": {"Mode": "DB.Mode"}}, "expected a NodeId"),
        ({"Result": {"Mode": f'nsu={URI};s="DB_Vision"."Result"."RecipeNo"'}}, "mapped to the same node"),
        ({"Control": {"Block": "i=1"}}, "map one of them"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(wrong: dict[str, dict[str, str]], expected: str) -> None:
    whole = mapping()
    for group, leaves in wrong.items():
        whole[group] |= leaves
    assert expected in problem(map=whole)


def test_a_number_without_its_value_is_refused() -> None:
    assert "Control.CommandSeq and Control.Command belong together" in problem(map=without("Control.Command"))


def test_tags_in_quotes_mean_the_same() -> None:
    quoted = {f"{group}.{leaf}": text for group, leaves in mapping().items() for leaf, text in leaves.items()}
    assert config(4840, map=quoted).nodes == config(4840).nodes


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"endpoint": "opc.tcp://me:secret@plc:4840"}, "must not hold a user"),
        ({"endpoint": "opc.tcp://plc:0"}, "port from 1 to 65535"),
        ({"endpoint": "http://plc"}, "pattern"),
        ({"user": "me"}, "belong together"),
        ({"certificate": "/a.der"}, "belong together"),
        ({"cycle_ms": 800, "heartbeat_timeout_s": 2}, "three times"),
    ],
)
def test_a_station_file_that_cannot_work_is_refused(keys: dict[str, Any], expected: str) -> None:
    assert expected in problem(**keys)


def test_the_port_is_opc_uas_own_when_none_is_given() -> None:
    assert config(1, endpoint="opc.tcp://192.168.0.1").url == "opc.tcp://192.168.0.1:4840"


# --- types ------------------------------------------------------------------------------------------------------------


def cell(tag: str, kind: ua.VariantType | None, **facts: Any) -> Cell:
    length = BY_NAME[tag].length
    node = Node("ns=3;s=x", ua.NodeId("x", 3), kind, rank=1 if length else -1, length=length)
    return Cell(BY_NAME[tag], replace(node, **facts))


@pytest.mark.parametrize(
    ("tag", "kinds"),
    [
        ("Result.TriggerSeq", {KINDS.UInt32, KINDS.Int64, KINDS.UInt64}),
        ("Result.Reason", {KINDS.Int32, KINDS.Int64}),
        (
            "Result.Evaluation",
            {*(KINDS.SByte, KINDS.Byte, KINDS.Int16, KINDS.UInt16, KINDS.Int32, KINDS.UInt32)}
            | {KINDS.Int64, KINDS.UInt64},
        ),
        ("Status.Word", {KINDS.UInt16, KINDS.Int32, KINDS.UInt32, KINDS.Int64, KINDS.UInt64}),
        ("Result.Score", {KINDS.Float, KINDS.Double}),
        ("Result.PartId", {KINDS.String}),
        ("Result.TimeUtc", {KINDS.DateTime, KINDS.String}),
    ],
)
def test_a_node_whose_type_cannot_hold_the_tag_is_refused(tag: str, kinds: set[ua.VariantType]) -> None:
    fitting = {kind for kind in KINDS if kind is not KINDS.Null and not [*cell(tag, kind).problems()]}
    assert fitting == kinds


@pytest.mark.parametrize(
    ("tag", "facts", "expected"),
    [
        ("Result.TriggerSeq", {"type": KINDS.Int32}, "is Int32, which does not hold UInt32; expected UInt32 or Int64"),
        ("Result.TriggerSeq", {"type": None}, "has a type that is not known"),
        ("Result.TriggerSeq", {"writable": False}, "cannot be written"),
        ("Control.TriggerSeq", {"readable": False}, "cannot be read"),
        ("Result.TriggerSeq", {"rank": 1}, "is an array, expected a single value"),
        ("Result.DefectClass", {"rank": -1}, "is no one-dimensional array"),
        ("Result.DefectClass", {"length": 8}, "is an array of 8, expected at least 16"),
    ],
)
def test_what_is_wrong_with_a_node_is_said(tag: str, facts: dict[str, Any], expected: str) -> None:
    kind = facts.pop("type", KINDS[BY_NAME[tag].type])
    (told,) = cell(tag, kind, **facts).problems()
    assert expected in told


def test_an_array_that_is_longer_in_the_plc_is_filled_up() -> None:
    sent = cell("Result.DefectClass", KINDS.UInt16, length=20).variant((7,) * 16)
    assert sent.Value == [7] * 16 + [0] * 4
    assert sent.VariantType is KINDS.UInt16


@pytest.mark.parametrize(
    ("tag", "kind", "value", "sent"),
    [
        ("Result.Evaluation", KINDS.Byte, 3, 3),
        ("Status.ResultsValid", KINDS.UInt16, True, 1),
        ("Result.Score", KINDS.Double, 0.5, 0.5),
        ("Result.TimeUtc", KINDS.String, "2026-11-22T10:00:00.000Z", "2026-11-22T10:00:00.000Z"),
        ("Result.TriggerSeq", KINDS.Int64, 2**32 - 1, 2**32 - 1),
    ],
)
def test_a_value_goes_out_in_the_nodes_own_type(tag: str, kind: ua.VariantType, value: Any, sent: Any) -> None:
    variant = cell(tag, kind).variant(value)
    assert (variant.Value, variant.VariantType) == (sent, kind)


@pytest.mark.parametrize(
    ("tag", "kind", "read"),
    [
        ("Control.TriggerSeq", KINDS.Int32, -1),
        ("Control.TriggerSeq", KINDS.Int64, 2**32),
        ("Control.TriggerSeq", KINDS.Null, None),
        ("Control.Command", KINDS.UInt32, 65536),
        ("Control.PartId", KINDS.UInt32, 5),
        ("Control.Block", KINDS.UInt32, [1, 2, 3]),
    ],
)
def test_what_the_plc_wrote_is_refused_when_it_is_no_value_of_the_tag(tag: str, kind: Any, read: Any) -> None:
    with pytest.raises(OutputError, match=rf"{tag} \(node ns=3;s=x\) reads"):
        cell(tag, kind).value(ua.Variant(read, kind))


def test_a_part_id_is_text_of_the_contracts_length_whatever_the_plc_sends() -> None:
    part = cell("Control.PartId", KINDS.String)
    assert part.value(ua.Variant(None, KINDS.String)) == ""
    assert part.value(ua.Variant("x" * 300, KINDS.String)) == "x" * 254
    assert part.value(ua.Variant("\udcff", KINDS.String)) == "?"


# --- order ------------------------------------------------------------------------------------------------------------

FIXED = identity_image(Identity("s7", BOOT, "1"))
RULE = ("Result.Evaluation", "Result.Mode", "Result.TriggerSeq", "Result.BootId", "Result.PlcBootId", "Result.RecipeNo")
MAPPED = tuple(tag.name for tag in BY_NAME.values() if tag.writer == "station")


def greeted(acknowledge: bool) -> Contract:
    contract = Contract(BOOT, acknowledge=acknowledge).told(READY, 0)
    greeting = {"Control.PlcBootId": PLC_BOOT, "Control.TriggerSeq": 0, "Control.Heartbeat": 1}
    contract, _ = contract.written(greeting, 1)
    return contract.written({"Control.BootIdEcho": BOOT}, 2)[0]


def whole(contract: Contract) -> dict[str, Value]:
    everything = {**FIXED, **image(contract)}
    return {tag: everything[tag] for tag in MAPPED}


def passes(memory: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """What the rule lets pass with this memory: the slot, each row of the ring.

    For a program that does not look at ResultsValid too; 0 is then the number of no part.
    """
    rows = [memory["Result.Ring"][i : i + RING_WORDS] for i in range(0, len(memory["Result.Ring"]), RING_WORDS)]
    read = [(r[1] & 255, r[1] >> 8 & 255, r[0], r[4], r[5], r[3]) for r in rows]
    slot = tuple(memory[tag] for tag in RULE)
    if memory["Status.ResultsValid"] or memory["Status.Word"] & 1 << 6 or memory["Result.TriggerSeq"]:
        read.append(slot)
    return {one for one in read if one[:2] == (Evaluation.OK, Mode.PRODUCTION)}


results = st.lists(
    st.builds(
        lambda evaluation, mode, recipe, plc: (evaluation, mode, recipe, plc),
        st.sampled_from([Evaluation.OK, Evaluation.NOT_OK]),
        st.sampled_from([Mode.PRODUCTION, Mode.GOLDEN]),
        st.sampled_from([1, 2]),
        st.sampled_from([PLC_BOOT, PLC_BOOT + 1]),
    ),
    min_size=1,
    max_size=20,
)


@given(results, st.booleans(), st.data())
def test_no_moment_of_any_writing_lets_another_part_pass(told: list[Any], acknowledge: bool, data: Any) -> None:
    """Whatever the PLC held before, and wherever the writing stops, only true results satisfy the rule."""
    contract = greeted(acknowledge)
    true: set[tuple[Any, ...]] = set()
    memory: dict[str, Any] = dict(whole(contract))
    held: dict[str, Value] = dict(memory)
    for seq, (evaluation, mode, recipe, plc_boot_id) in enumerate(told, 1):
        one = result(seq, evaluation, mode=mode, plc_boot_id=plc_boot_id)
        one = replace(one, trigger=replace(one.trigger, recipe_no=recipe))
        true.add((evaluation, mode, seq, BOOT, plc_boot_id, recipe))
        contract = contract.told(one, seq * 10)
        target = whole(contract)
        lost = data.draw(st.booleans(), "the connection is lost in the middle")
        writes = [pair for step in steps(held, target) for pair in step]
        stop = data.draw(st.integers(0, len(writes)), "writes that come through") if lost else len(writes)
        for tag, value in writes[:stop]:
            memory[tag] = value
            assert passes(memory) <= true
        held = {} if lost else dict(target)
    for step in steps(held, whole(contract)):
        for tag, value in step:
            memory[tag] = value
            assert passes(memory) <= true
    assert memory == whole(contract)


def test_an_image_that_is_there_is_not_written_again() -> None:
    target = whole(greeted(True).told(result(1), 5))
    assert steps(target, target) == ()


def test_a_result_behind_the_slot_does_not_take_back_the_one_in_it() -> None:
    first = greeted(True).told(result(1), 5)
    written = {tag for step in steps(whole(first), whole(first.told(result(2), 6))) for tag, _ in step}
    assert "Result.Ring" in written
    assert not {tag for tag in written if tag.startswith("Result.")} - {"Result.Ring"}
    assert "Status.ResultsValid" not in written


def test_a_row_of_the_ring_that_changes_is_emptied_first() -> None:
    """Sixteen results later its place is taken: half of the old one and half of the new one must not look like one."""
    contract = greeted(False)
    for seq in range(1, RING_ROWS + 1):
        contract = contract.told(result(seq), seq)
    before = whole(contract)
    down, up = steps(before, whole(contract.told(result(RING_ROWS + 1), RING_ROWS + 1)))
    emptied, old = cast("tuple[int, ...]", dict(down)["Result.Ring"]), cast("tuple[int, ...]", before["Result.Ring"])
    assert emptied == (*[0] * RING_WORDS, *old[RING_WORDS:])
    assert cast("tuple[int, ...]", dict(up)["Result.Ring"])[0] == RING_ROWS + 1


def test_while_anything_is_unknown_the_flags_wait_until_the_data_are_there() -> None:
    target = whole(greeted(True).told(result(1), 5))
    down, data, flags = steps({}, target)
    assert ("Status.ResultsValid", False) in down
    assert "Result.PartId" in dict(data)
    assert [tag for tag, _ in flags][-3:] == ["Status.Word", "Status.ResultsValid", "Status.TriggerReady"]
    assert "Status.ResultsValid" not in dict(data)
