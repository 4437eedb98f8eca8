"""What an edge node says, without a broker: history, the present, sizes, configuration, the word of a host."""

from __future__ import annotations

import dataclasses

import pydantic
import pytest
from mqtt_rig import ME, a_result
from sparkplug_rig import NOON_MS, an_event, publisher_to, result_at, results
from sparkplug_wire import decode

from edge_inspector.datatypes import Mode, OutboxMessage, SavedImage
from edge_inspector.errors import OutputError
from edge_inspector.outputs.sparkplug.config import Config
from edge_inspector.outputs.sparkplug.host import PrimaryHost
from edge_inspector.outputs.sparkplug.session import Session

READY = ("Ready", 6, "pcb")
NODE = publisher_to(1)


@pytest.fixture
def session() -> Session:
    made = Session(ME)
    made.begin(0)
    made.node_birth(NOON_MS)
    made.sent()
    made.device_birth(READY, NOON_MS)
    made.sent()
    return made


def message(seq: int, ms: int, *, boot_id: int = ME.boot_id) -> OutboxMessage:
    return results(NODE, [seq], ms, boot_id=boot_id)[0]


def history(session: Session, one: OutboxMessage, now_ms: int) -> bool:
    flags = {metric.historical for metric in decode(session.data(one, now_ms)).metrics}
    assert len(flags) == 1
    return flags.pop()


@pytest.mark.parametrize(
    ("ts_ms", "now_ms", "boot_id", "expected"),
    [
        (NOON_MS, NOON_MS, ME.boot_id, False),
        (NOON_MS - 1, NOON_MS, ME.boot_id, True),
        (NOON_MS + 50, NOON_MS + 90, ME.boot_id, False),
        (NOON_MS + 50, NOON_MS + 90, ME.boot_id + 1, True),  # of an earlier start, whose clock was ahead
        (NOON_MS - 3_600_000, NOON_MS - 3_599_900, ME.boot_id, False),  # the clock was set back by an hour
    ],
)
def test_what_is_older_than_the_session_is_history(
    session: Session, ts_ms: int, now_ms: int, boot_id: int, expected: bool
) -> None:
    assert history(session, message(1, ts_ms, boot_id=boot_id), now_ms) == expected


def test_a_rebirth_makes_nothing_history_that_is_of_the_same_session(session: Session) -> None:
    session.node_birth(NOON_MS + 1000)
    session.sent()
    assert not history(session, message(1, NOON_MS + 500), NOON_MS + 1000)


def test_the_newest_of_a_backlog_is_said_again_as_the_present_and_only_once(session: Session) -> None:
    for seq in (1, 2):
        assert history(session, message(seq, NOON_MS - 10), NOON_MS)
        session.sent()
    again = session.present(NOON_MS)
    assert again is not None
    assert decode(again)["Result/Seq"] == 2
    assert not any(metric.historical for metric in decode(again).metrics)
    session.sent()
    assert session.present(NOON_MS) is None


def test_a_birth_says_the_newest_of_a_backlog_as_the_present(session: Session) -> None:
    for one in (message(1, NOON_MS - 10), *NODE.render(an_event(NOON_MS - 5))):
        assert history(session, one, NOON_MS)
        session.sent()
    birth = decode(session.device_birth(READY, NOON_MS))
    session.sent()
    assert (birth["Result/Seq"], birth["Event/Code"]) == (1, "camera_lost")
    assert not any(metric.historical for metric in birth.metrics)
    assert session.present(NOON_MS) is None


def test_an_event_of_a_backlog_is_said_again_too(session: Session) -> None:
    session.data(NODE.render(an_event(NOON_MS - 5))[0], NOON_MS)
    session.sent()
    again = session.present(NOON_MS)
    assert again is not None
    assert [metric.name for metric in decode(again).metrics] == ["Event/Severity", "Event/Code", "Event/Text"]


def test_the_number_of_connects_goes_round_after_255(session: Session) -> None:
    said = []
    for connects in (0, 1, 255, 256, 511, 512):
        session.begin(connects)
        said.append((decode(session.node_death(NOON_MS))["bdSeq"], decode(session.node_birth(NOON_MS))["bdSeq"]))
    assert said == [(0, 0), (1, 1), (255, 255), (0, 0), (255, 255), (0, 0)]


def test_what_was_made_and_not_sent_takes_no_sequence_number_and_is_in_no_birth(session: Session) -> None:
    before = decode(session.data(message(1, NOON_MS), NOON_MS))
    after = decode(session.data(message(2, NOON_MS), NOON_MS))
    assert before.seq == after.seq == 2
    assert decode(session.device_birth(READY, NOON_MS))["Result/Seq"] is None


def test_a_birth_says_what_was_told_last_also_in_the_next_session(session: Session) -> None:
    (event,) = NODE.render(an_event(NOON_MS + 5))
    for one in (message(7, NOON_MS + 10), event):
        session.data(one, NOON_MS + 20)
        session.sent()
    session.begin(1)
    session.node_birth(NOON_MS + 100)
    session.sent()
    birth = decode(session.device_birth(READY, NOON_MS + 100))
    assert birth["Result/Seq"] == 7
    assert birth["Event/Code"] == "camera_lost"
    assert birth["Station/State"] == "Ready"
    told = {metric.name: metric.timestamp for metric in birth.metrics}
    assert (told["Result/Seq"], told["Event/Code"], told["Station/State"]) == (
        NOON_MS + 10, NOON_MS + 5, NOON_MS + 100,
    )  # fmt: skip


def test_a_result_arrives_as_it_is_in_the_book(session: Session) -> None:
    body = decode(
        session.data(NODE.render(dataclasses.replace(result_at(5, NOON_MS), margin=0.65, rule="rim"))[0], NOON_MS + 90)
    )
    assert {metric.name: metric.value for metric in body.metrics} == {
        "Result/ResultId": "line1.0a1b2c3d.5",
        "Result/Seq": 5,
        "Result/PartId": "P5",
        "Result/Attempt": 1,
        "Result/Mode": "PRODUCTION",
        "Result/Recipe": "pcb",
        "Result/RecipeNo": 7,
        "Result/Model": "ab" * 32,
        "Result/Evaluation": "NOT_OK",
        "Result/OK": False,
        "Result/Reason": "defect",
        "Result/DefectCount": 1,
        "Result/MaxScore": 0.9,
        "Result/Rule": "rim",
        "Result/Margin": 0.65,
        "Result/CycleMs": 42.0,
        "Result/AcquireMs": 20.0,
        "Result/InferMs": 12.0,
        "Result/Replayed": False,
        "Result/ClockSynced": True,
        "Result/BootId": 4711,
    }
    assert {metric.timestamp for metric in body.metrics} == {NOON_MS}
    assert body.timestamp == NOON_MS + 90


def test_a_time_before_1970_is_sent_as_1970(session: Session) -> None:
    body = decode(session.data(message(1, -1000), NOON_MS))
    assert {metric.timestamp for metric in body.metrics} == {0}


def test_pictures_and_manual_inspections_are_not_for_a_host() -> None:
    image = SavedImage(
        1, "r", "cam", "original", ("rejects",), "a.png", "00", 1, True, "BGR8", (1, 1), 1, "2026-11-22T00:00:00Z", True
    )
    by_hand = a_result(1)
    by_hand = dataclasses.replace(by_hand, trigger=dataclasses.replace(by_hand.trigger, mode=Mode.MANUAL))
    assert NODE.render(image) == NODE.render(by_hand) == ()


def test_topics_have_the_stations_name_unless_an_edge_node_is_named() -> None:
    assert NODE.node.topic("DDATA") == "spBv1.0/plant/DDATA/line1/line1"
    assert publisher_to(1, edge_node="ipc 7").node.topic("NCMD") == "spBv1.0/plant/NCMD/ipc 7"


@pytest.mark.parametrize("name", ["", "a/b", "a+", "#", "a\x00", "a\n", "x" * 121])
@pytest.mark.parametrize("key", ["group", "edge_node", "primary_host"])
def test_what_cannot_be_a_level_of_a_topic_is_refused(key: str, name: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=key):
        Config.model_validate({"group": "plant", key: name})


def test_no_group_is_named_as_the_topic_of_the_hosts() -> None:
    with pytest.raises(pydantic.ValidationError, match="host applications"):
        Config.model_validate({"group": "STATE"})


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"ONLINE", b"null", b"3", b'"online"', b"[]", b"{}", b'{"online": true}', b'{"timestamp": 1}',
        b'{"online": 1, "timestamp": 1}', b'{"online": true, "timestamp": "1"}', b'{"online": true, "timestamp": true}',
        b'{"online": true, "timestamp": NaN}', b'{"online": true, "timestamp": Infinity}', b"\xff\xfe", b"[" * 9999,
    ],
)  # fmt: skip
def test_what_is_no_state_is_refused_and_changes_nothing(payload: bytes) -> None:
    host = PrimaryHost("ignition")
    with pytest.raises(ValueError, match="is no STATE message"):
        host.said(payload)
    assert not host.online
    host.said(b'{"online": true, "timestamp": 1}')
    with pytest.raises(ValueError, match="is no STATE message"):
        host.said(payload)
    assert host.online


@pytest.mark.parametrize(
    ("words", "online"),
    [
        ("true 5", True),
        ("false 5", False),
        ("true 5, false 4", True),
        ("true 5, false 5", False),
        ("true 5, false 6.5", False),
        ("false 5, true 4", False),
        ("false 5, true 5", True),
        ("true 9, false 8, true 9", True),
        ("true " + "9" * 400 + ", false 5", True),
    ],
)
def test_the_word_of_a_host_counts_unless_it_is_older_than_the_one_before(words: str, online: bool) -> None:
    host = PrimaryHost("ignition")
    for word in words.split(", "):
        host.said('{{"online": {}, "timestamp": {}}}'.format(*word.split()).encode())
    assert host.online == online


def test_who_waits_for_nobody_has_a_host_and_who_misses_its_own_says_which() -> None:
    nobody = PrimaryHost(None)
    assert nobody.online
    nobody.require("scada")
    with pytest.raises(OutputError, match=r"scada: primary host application spBv1\.0/STATE/ignition is offline"):
        PrimaryHost("ignition").require("scada")
