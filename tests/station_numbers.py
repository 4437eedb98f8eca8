"""Parts and readings with known numbers, for the tests of metrics and dashboards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from edge_inspector.datatypes import (
    CameraStatistics,
    Defect,
    Evaluation,
    Identity,
    InspectionResult,
    Mode,
    Reason,
    Trigger,
)
from edge_inspector.health.metric import PREFIX
from edge_inspector.health.readings import CameraReading, EngineReading, PowerReading, Readings, ThresholdReading
from edge_inspector.interfaces import Vitals
from edge_inspector.plc.states import STARTING

ACCEPTED_NS = 5_000_000_000
MS = 1_000_000
IDENTITY = Identity("press", 77, "9.8.7")


@dataclass(frozen=True)
class Destination:
    """What a publisher's thread counts."""

    destination: str = "plant"
    connected: bool = True
    waiting: int = 12
    oldest_waiting_s: float = 3.5
    delivered: int = 400
    dropped: int = 2
    refused: int = 1
    reconnects: int = 3


def trigger(seq: int = 1, mode: Mode = Mode.PRODUCTION, recipe: str = "lid") -> Trigger:
    return Trigger(
        seq=seq,
        result_id=f"press.0123abcd.{seq}",
        trigger_seq=seq,
        part_id=f"P{seq}",
        attempt=1,
        mode=mode,
        recipe=recipe,
        recipe_no=7,
        boot_id=77,
        plc_boot_id=3,
        accepted_ns=ACCEPTED_NS,
        deadline_ns=ACCEPTED_NS + 200 * MS,
        wall_utc="2026-11-22T13:00:00.000Z",
        clock_synced=True,
    )


def part(
    evaluation: Evaluation = Evaluation.OK,
    reason: Reason = Reason.NONE,
    *,
    seq: int = 1,
    mode: Mode = Mode.PRODUCTION,
    cycle_ms: float = 20.0,
    defects: tuple[str, ...] = (),
) -> InspectionResult:
    """A part that took `cycle_ms`, 12 ms of it in the model."""
    return InspectionResult(
        trigger=trigger(seq, mode),
        evaluation=evaluation,
        reason=reason,
        reason_text="",
        defects=tuple(Defect(name, 0, 0.9, (0.0, 0.0, 1.0, 1.0), "top") for name in defects),
        views=("top",),
        views_judged=1,
        thresholds=(0.5,),
        model_hash="ab" * 32,
        settled_ns=ACCEPTED_NS + round(cycle_ms * MS),
        stage_ns={"infer": 12 * MS, "tell": MS // 2},
    )


def full_readings() -> Readings:
    """A station that can tell everything."""
    return Readings(
        now_ns=ACCEPTED_NS + 1500 * MS,
        identity=IDENTITY,
        status=replace(STARTING, ready=True, recipe="lid", recipe_no=7, recipe_ready=True, clock_synced=True),
        open_parts=2,
        classes=("scratch", "dent"),
        deadline_s=0.2,
        queues={"line": 1, "model": 4, "ledger": 9},
        ledger_healthy=True,
        ledger_bytes=7_000_000,
        outbox_bytes=21_000,
        flight_used=5,
        flight_slots=10_000,
        vitals=Vitals(temp_c=61.5, gpu_load=0.25, disk_free_pct=40.0, power_mode="25W", memory_free_pct=37.5),
        cameras=(
            CameraReading("top", True, CameraStatistics(100, 1, 2, 3, 4, 5000, 6, 7, 8), opened=2, lost=1, hangs=0),
            CameraReading("side", False, CameraStatistics(frames=50), opened=1, lost=1, hangs=1),
        ),
        destinations=(Destination(), Destination("cloud", connected=False)),
        links={"line": True, "belt": False},
        engines=(EngineReading("lid", "ab" * 32, "tensorrt", "fp16", 123_000_000),),
        progress_age_s={"line": 0.25, "gpu": 1.0},
        hung_s=30.0,
        thresholds=(
            ThresholdReading("lid", "scratch", 0.5, 0.45, 0.55),
            ThresholdReading("lid", "dent", 0.4, 0.4, None),
            ThresholdReading("box", "dent", 0.3, 0.3, None),
        ),
        thresholds_held={"lid": True, "box": False},
        changeovers=3,
        changeover_s=0.75,
        images={
            "images_queue": 3.0,
            "images_stored": 20.0,
            "images_stored_bytes": 2e6,
            "images_skipped": 4.0,
            "images_failed": 5.0,
            "images_removed": 6.0,
            "images_removed_early": 1.0,
            "images_bytes": 9e6,
            "images_max_bytes": 1e9,
            "images_stopped": 0.0,
        },
        power=PowerReading(throttled=True, changes=6, failures=2),
    )


SENSORS = {
    "class/thermal/thermal_zone0/type": "cpu-thermal",
    "class/thermal/thermal_zone0/temp": "61500",
    "class/thermal/thermal_zone10/type": "cpu-thermal",
    "class/thermal/thermal_zone10/temp": "-12250",
    "class/thermal/thermal_zone2/type": "gpu-thermal",
    "class/thermal/thermal_zone2/temp": "58000",
    "class/thermal/thermal_zone3/type": "tj-thermal",
    "class/thermal/thermal_zone3/temp": "-256000",  # a Jetson's word for a sensor that is off
    "class/hwmon/hwmon0/name": "ina3221",
    "class/hwmon/hwmon0/in1_label": "VDD_IN",
    "class/hwmon/hwmon0/in1_input": "5000",
    "class/hwmon/hwmon0/curr1_input": "1840",
    "class/hwmon/hwmon0/in2_input": "5000",
    "class/hwmon/hwmon0/curr2_input": "200",
    "class/hwmon/hwmon0/curr3_input": "100",
    "class/hwmon/hwmon1/name": "amdgpu",
    "class/hwmon/hwmon1/power1_input": "12500000",
    "class/hwmon/hwmon1/power1_label": "PPT",
    "class/hwmon/hwmon1/power2_input": "broken",
    "class/hwmon/hwmon2/name": "nvme",
    "class/hwmon/hwmon2/temp1_input": "40000",
}
"""/sys of a machine with a Jetson's power monitor beside a graphics card."""


def sensors_in(folder: Path) -> Path:
    for path, text in SENSORS.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text + "\n")
    return folder


def read(text: bytes) -> dict[str, float]:
    """Every series as `name{label=value,...}` without the prefix, labels sorted."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{name}{{{labels}}}" if labels else name] = sample.value
    return found
