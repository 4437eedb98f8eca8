from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_inspector.datatypes import (
    Defect,
    Evaluation,
    Event,
    Identity,
    InspectionResult,
    Mode,
    Reason,
    SavedImage,
    Trigger,
)
from edge_inspector.interfaces import OrderAnswer
from edge_inspector.outputs import payloads
from edge_inspector.outputs.payloads import MetricsPayload, Payload, StatusPayload

ME = Identity("line1", 4711, "0.1.0")

TRIGGER = Trigger(
    seq=17,
    result_id="line1.0a1b2c3d.17",
    trigger_seq=65535,
    part_id="Ä 4711",
    attempt=2,
    mode=Mode.PRODUCTION,
    recipe="pcb",
    recipe_no=7,
    boot_id=4711,
    plc_boot_id=815,
    accepted_ns=1_000_000_000,
    deadline_ns=1_500_000_000,
    wall_utc="2026-11-22T00:00:00.123Z",
    clock_synced=False,
)
NOT_OK = InspectionResult(
    trigger=TRIGGER,
    evaluation=Evaluation.NOT_OK,
    reason=Reason.DEFECT,
    reason_text="spur",
    defects=(
        Defect("spur", 3, 0.123456, (10.04, 20.06, 30.0, 40.95), "top"),
        Defect("open", 1, 0.987654, (1.0, 2.0, 3.0, 4.0), "side"),
    ),
    views=("top", "side"),
    views_judged=2,
    thresholds=(0.25,),
    model_hash="abcd",
    settled_ns=1_042_345_678,
    stage_ns={"acquire": 20_000_400, "infer": 12_345_678},
)

SAVED = SavedImage(
    seq=17,
    result_id="line1.0a1b2c3d.17",
    camera="top",
    kind="original",
    why=("reject", "near_margin"),
    path="2026-11-22/line1.0a1b2c3d.17.top.png",
    sha256="ab" * 32,
    size_bytes=4711,
    lossless=True,
    pixel_format="Mono8",
    image_hw=(1200, 1920),
    frame_id=5,
    wall_utc="2026-11-22T00:00:00.123Z",
    clock_synced=True,
)


def body(payload: Payload) -> dict[str, Any]:
    return dict(json.loads(payload.to_json()))


def test_a_result_is_flat_and_has_every_field_of_the_schema() -> None:
    assert body(payloads.result_payload(NOT_OK, ME)) == {
        "schema": "vision.result/1",
        "ts": "2026-11-22T00:00:00.123Z",
        "result_id": "line1.0a1b2c3d.17",
        "seq": 17,
        "station": "line1",
        "part_id": "Ä 4711",
        "recipe": "pcb",
        "model": "abcd",
        "evaluation": "NOT_OK",
        "ok": 0,
        "reason": "defect",
        "defect_count": 2,
        "max_score": 0.9877,
        "cycle_ms": 42.346,
        "acq_ms": 20.0,
        "infer_ms": 12.346,
        "replayed": 0,
        "boot_id": 4711,
        "mode": "PRODUCTION",
        "recipe_no": 7,
        "attempt": 2,
        "clock_synced": False,
        "policy": "fixed",
    }


@pytest.mark.parametrize("evaluation", Evaluation)
def test_only_ok_is_ok(evaluation: Evaluation) -> None:
    result = body(payloads.result_payload(dataclasses.replace(NOT_OK, evaluation=evaluation), ME))
    assert (result["evaluation"], result["ok"]) == (evaluation.name, 1 if evaluation is Evaluation.OK else 0)


def test_a_result_of_an_earlier_start_is_replayed() -> None:
    assert body(payloads.result_payload(NOT_OK, Identity("line1", 9, "0.1.0")))["replayed"] == 1


def test_defects_have_their_boxes_to_a_tenth_of_a_pixel() -> None:
    assert body(payloads.defects_payload(NOT_OK)) == {
        "schema": "vision.defects/1",
        "result_id": "line1.0a1b2c3d.17",
        "defects": [
            {"class": "spur", "class_id": 3, "score": 0.1235, "bbox": [10.0, 20.1, 30.0, 41.0], "camera": "top"},
            {"class": "open", "class_id": 1, "score": 0.9877, "bbox": [1.0, 2.0, 3.0, 4.0], "camera": "side"},
        ],
    }


def test_metrics_are_flat_numbers() -> None:
    metrics = MetricsPayload.model_validate({"ts": "2026-11-22T00:00:00.123Z", "cycle_ms_p99": 41.5, "triggers": 3})
    assert body(metrics) == {
        "schema": "vision.metrics/1",
        "ts": "2026-11-22T00:00:00.123Z",
        "cycle_ms_p99": 41.5,
        "triggers": 3.0,
    }


def test_an_event_without_parts_has_no_parts() -> None:
    event = payloads.event_payload(Event("alarm", "camera_lost", "top", "2026-11-22T00:00:00.123Z"))
    assert body(event) == {
        "schema": "vision.event/1",
        "ts": "2026-11-22T00:00:00.123Z",
        "severity": "alarm",
        "code": "camera_lost",
        "text": "top",
    }


def test_an_event_names_the_parts_that_caused_it() -> None:
    event = Event("alarm", "line_stop", "3 in a row", "2026-11-22T00:00:00.123Z", ("line1.0a1b2c3d.17",))
    assert body(payloads.event_payload(event))["parts"] == ["line1.0a1b2c3d.17"]


def test_a_picture_is_named_with_its_hash_and_never_sent() -> None:
    assert body(payloads.image_payload(SAVED)) == {
        "schema": "vision.image/1",
        "ts": "2026-11-22T00:00:00.123Z",
        "result_id": "line1.0a1b2c3d.17",
        "camera": "top",
        "kind": "original",
        "path": "2026-11-22/line1.0a1b2c3d.17.top.png",
        "sha256": "ab" * 32,
        "size_bytes": 4711,
        "lossless": True,
        "why": "reject,near_margin",
    }


def test_a_reply_tells_whether_the_order_was_carried_out() -> None:
    reply = payloads.reply_payload(
        "halt", OrderAnswer(False, "the PLC is the master\ud800"), "2026-11-22T00:00:00.123Z"
    )
    assert body(reply) == {
        "schema": "vision.reply/1",
        "ts": "2026-11-22T00:00:00.123Z",
        "command": "halt",
        "done": False,
        "text": "the PLC is the master?",
    }


def test_a_margin_is_told_where_there_is_one() -> None:
    result = dataclasses.replace(NOT_OK, margin=0.012345)
    assert body(payloads.result_payload(result, ME))["margin"] == 0.0123
    assert "margin" not in body(payloads.result_payload(NOT_OK, ME))


def test_the_rule_that_decided_and_the_thresholds_policy_are_told() -> None:
    told = body(payloads.result_payload(dataclasses.replace(NOT_OK, rule="rim", policy="guarded"), ME))
    assert (told["rule"], told["policy"]) == ("rim", "guarded")
    assert "rule" not in body(payloads.result_payload(NOT_OK, ME))


def test_status_tells_who_and_what() -> None:
    status = StatusPayload(
        ts="2026-11-22T00:00:00.123Z", online=True, state="a", state_no=4, boot_id=1, version="0", recipe="pcb"
    )
    assert list(body(status)) == ["schema", "ts", "online", "state", "state_no", "boot_id", "version", "recipe"]


@example("a\ud800z")
@given(st.text(st.characters(codec=None), max_size=254))
def test_any_part_id_becomes_valid_json(part_id: str) -> None:
    result = dataclasses.replace(NOT_OK, trigger=dataclasses.replace(TRIGGER, part_id=part_id))
    assert body(payloads.result_payload(result, ME))["part_id"] == part_id.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    "payload",
    [
        payloads.result_payload(NOT_OK, ME),
        payloads.defects_payload(NOT_OK),
        payloads.event_payload(Event("info", "started", "", "2026-11-22T00:00:00.123Z")),
        payloads.image_payload(SAVED),
        payloads.reply_payload("halt", OrderAnswer(True), "2026-11-22T00:00:00.123Z"),
        MetricsPayload.model_validate({"ts": "2026-11-22T00:00:00.123Z", "x": 1.5}),
        StatusPayload(ts="t", online=False, state="offline", state_no=0, boot_id=1, version="0", recipe=""),
    ],
    ids=lambda payload: payload.schema_,
)
def test_a_payload_keeps_its_json_schema(payload: Payload) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = type(payload).model_json_schema(mode="serialization")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    content = body(payload)
    validator.validate(content)
    for field in schema["required"]:
        without = {name: value for name, value in content.items() if name != field}
        assert not validator.is_valid(without), f"{field} is said to be required, but is not"
    assert not validator.is_valid({**content, "schema": "vision.other/1"})
