"""What the simulated PLC sends, and when: changes, a seldom heartbeat, and what faults hold back."""

from __future__ import annotations

from edge_inspector.plc.tags import Value
from edge_inspector.plc_sim.outputs import HEARTBEAT_NS, Outputs

MS = 1_000_000
START = 10_000 * MS
IMAGE: dict[str, Value] = {
    "Control.Heartbeat": 1,
    "Control.ResultAckSeq": 5,
    "Control.PartId": "p",
    "Control.TriggerSeq": 6,
}


def image(**changes: Value) -> dict[str, Value]:
    return {**IMAGE, **{f"Control.{name}": value for name, value in changes.items()}}


def begun() -> Outputs:
    outputs = Outputs()
    assert outputs.due(IMAGE, START) == [IMAGE]
    return outputs


def test_only_what_has_changed_is_sent_and_in_its_order() -> None:
    outputs = begun()
    assert outputs.due(IMAGE, START + MS) == []
    (sent,) = outputs.due(image(TriggerSeq=7, PartId="q"), START + 2 * MS)
    assert list(sent.items()) == [("Control.PartId", "q"), ("Control.TriggerSeq", 7)]


def test_the_heartbeat_is_sent_less_often_than_it_changes() -> None:
    outputs = begun()
    assert outputs.due(image(Heartbeat=2), START + HEARTBEAT_NS - 1) == []
    assert outputs.due(image(Heartbeat=3), START + HEARTBEAT_NS) == [{"Control.Heartbeat": 3}]


def test_a_new_session_gets_everything() -> None:
    outputs = begun()
    outputs.forget()
    assert outputs.due(IMAGE, START + HEARTBEAT_NS) == [IMAGE]


def test_an_acknowledgement_that_was_held_back_is_sent_when_the_fault_is_over() -> None:
    outputs = begun()
    outputs.strike("no-ack", START)
    assert outputs.due(image(ResultAckSeq=6), START + 1499 * MS) == []
    assert outputs.due(image(ResultAckSeq=6), START + 1500 * MS) == [{"Control.ResultAckSeq": 6}]


def test_a_stopped_heartbeat_comes_back() -> None:
    outputs = begun()
    outputs.strike("heartbeat-stop", START)
    assert outputs.due(image(Heartbeat=9), START + 2999 * MS) == []
    assert outputs.due(image(Heartbeat=9), START + 3000 * MS) == [{"Control.Heartbeat": 9}]


def test_what_is_late_holds_up_what_comes_behind_it() -> None:
    outputs = begun()
    outputs.strike("late-write", START)
    assert outputs.due(image(PartId="q"), START + 190 * MS) == []
    assert outputs.due(image(PartId="q", TriggerSeq=7), START + 200 * MS) == []
    assert outputs.due(image(PartId="q", TriggerSeq=7), START + 390 * MS) == [
        {"Control.PartId": "q"},
        {"Control.TriggerSeq": 7},
    ]


def test_a_value_is_repeated_though_it_has_not_changed() -> None:
    outputs = begun()
    outputs.repeat("Control.TriggerSeq", START)
    assert outputs.due(IMAGE, START + MS) == [{"Control.TriggerSeq": 6}]


def test_other_faults_hold_nothing_back() -> None:
    outputs = begun()
    outputs.strike("restart", START)
    assert outputs.due(image(ResultAckSeq=6), START + MS) == [{"Control.ResultAckSeq": 6}]
