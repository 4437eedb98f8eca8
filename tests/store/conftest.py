"""Makers of the records that the store keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge_inspector.datatypes import (
    Defect,
    Evaluation,
    InspectionResult,
    Mode,
    OutboxMessage,
    Reason,
    Refusal,
    SavedImage,
    Trigger,
)

BOOK = "0a1b2c3d"


def make_trigger(seq: int = 1, **changes: Any) -> Trigger:
    fields: dict[str, Any] = {
        "seq": seq,
        "result_id": f"line1.{BOOK}.{seq}",
        "trigger_seq": 100 + seq,
        "part_id": f"P{seq:06d}",
        "attempt": 1,
        "mode": Mode.PRODUCTION,
        "recipe": "pcb",
        "recipe_no": 7,
        "boot_id": 4711,
        "plc_boot_id": 815,
        "accepted_ns": seq * 1_000_000_000,
        "deadline_ns": seq * 1_000_000_000 + 500_000_000,
        "wall_utc": "2026-11-22T00:00:00.123Z",
        "clock_synced": True,
    }
    return Trigger(**{**fields, **changes})


def make_result(trigger: Trigger, defects: int = 0, **changes: Any) -> InspectionResult:
    found = tuple(Defect("spur", 3, 0.875 - i / 1000, (10.5 + i, 20.25, 30.0, 40.125), "top") for i in range(defects))
    fields: dict[str, Any] = {
        "trigger": trigger,
        "evaluation": Evaluation.NOT_OK if defects else Evaluation.OK,
        "reason": Reason.DEFECT if defects else Reason.NONE,
        "reason_text": "spur" if defects else "",
        "defects": found,
        "views": ("top",),
        "views_judged": 1,
        "thresholds": (0.25, 0.5),
        "model_hash": "ab" * 32,
        "settled_ns": trigger.accepted_ns + 42_500_000,
        "stage_ns": {"acquire": 20_000_000, "infer": 12_345_678},
    }
    return InspectionResult(**{**fields, **changes})


def make_refusal(trigger_seq: int = 5, **changes: Any) -> Refusal:
    fields: dict[str, Any] = {
        "trigger_seq": trigger_seq,
        "part_id": "R1",
        "reason": Reason.NOT_READY,
        "wall_utc": "2026-11-22T00:00:01.000Z",
        "boot_id": 4711,
    }
    return Refusal(**{**fields, **changes})


def make_message(seq: int, destination: str = "mqtt", topic: str = "result") -> OutboxMessage:
    return OutboxMessage(destination, topic, "vision.result/1", b'{"seq":%d}' % seq, seq)


def make_saved(seq: int = 1, **changes: Any) -> SavedImage:
    fields: dict[str, Any] = {
        "seq": seq,
        "result_id": f"line1.{BOOK}.{seq}",
        "camera": "top",
        "kind": "original",
        "why": ("reject",),
        "path": f"{seq}.png",
        "sha256": "cd" * 32,
        "size_bytes": 12345,
        "lossless": True,
        "pixel_format": "mono8",
        "image_hw": (480, 640),
        "frame_id": 77,
        "wall_utc": "2026-11-22T00:00:01.000Z",
        "clock_synced": True,
    }
    return SavedImage(**{**fields, **changes})


@pytest.fixture
def trigger() -> Callable[..., Trigger]:
    return make_trigger


@pytest.fixture
def result() -> Callable[..., InspectionResult]:
    return make_result


@pytest.fixture
def refusal() -> Callable[..., Refusal]:
    return make_refusal


@pytest.fixture
def message() -> Callable[..., OutboxMessage]:
    return make_message


@pytest.fixture
def saved() -> Callable[..., SavedImage]:
    return make_saved
