"""What the station is asked for at each reading, and the tables of all metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from station_numbers import full_readings, part, read, sensors_in

from edge_inspector.datatypes import CameraStatistics, Evaluation, Event, Mode, Reason, SavedImage
from edge_inspector.health.counted import COUNTED, SENSED
from edge_inspector.health.metric import PREFIX
from edge_inspector.health.metric_table import ASKED
from edge_inspector.health.metrics import StationMetrics, away
from edge_inspector.health.metrics_page import metrics_markdown
from edge_inspector.health.progress import ProgressBook
from edge_inspector.health.readings import Readings
from edge_inspector.plc.states import STARTING

FLAGS = (
    "ready",
    "busy",
    "halted",
    "recipe_ready",
    "warning",
    "alarm",
    "degraded",
    "golden_due",
    "clock_synced",
    "line_stop",
)


@pytest.fixture
def metrics(tmp_path: Path) -> StationMetrics:
    made = StationMetrics(sensors_in(tmp_path))
    made.readings = full_readings
    return made


def test_what_can_be_asked_for_is_exported_in_base_units(metrics: StationMetrics) -> None:
    seen = read(metrics.openmetrics())
    expected = {
        "up": 1,
        "station_info{name=press,version=9.8.7}": 1,
        "active_recipe_info{recipe=lid,recipe_no=7}": 1,
        "ready": 1,
        "halted": 0,
        "mode{mode=PRODUCTION}": 1,
        "mode{mode=GOLDEN}": 0,
        "deadline_seconds": 0.2,
        "threshold{class=scratch,recipe=lid,which=fixed}": 0.5,
        "threshold{class=scratch,recipe=lid,which=now}": 0.45,
        "threshold{class=scratch,recipe=lid,which=proposed}": 0.55,
        "threshold{class=dent,recipe=box,which=now}": 0.3,
        "thresholds_held{recipe=lid}": 1,
        "thresholds_held{recipe=box}": 0,
        "changeovers_total": 3,
        "changeover_seconds": 0.75,
        "plc_link_up{link=line}": 1,
        "plc_link_up{link=belt}": 0,
        "open_parts": 2,
        "queue_items{queue=model}": 4,
        "queue_items{queue=images}": 3,
        "ledger_healthy": 1,
        "ledger_size_bytes": 7_000_000,
        "outbox_size_bytes": 21_000,
        "flight_slots_used": 5,
        "flight_slots": 10_000,
        "loop_margin_seconds{loop=line}": 29.75,
        "loop_margin_seconds{loop=gpu}": 29.0,
        "temperature_celsius{sensor=cpu-thermal}": 61.5,
        "power_watts{rail=VDD_IN}": 9.2,
        "gpu_load_ratio": 0.25,
        "disk_free_ratio": 0.4,
        "memory_free_ratio": 0.375,
        "power_mode_info{power_mode=25W}": 1,
        "throttled": 1,
        "power_mode_changes_total": 6,
        "power_mode_failures_total": 2,
        f"engine_info{{backend=tensorrt,model={'ab' * 32},precision=fp16,recipe=lid}}": 1,
        "engine_memory_bytes{recipe=lid}": 123_000_000,
        "camera_up{camera=top}": 1,
        "camera_up{camera=side}": 0,
        "camera_opened_total{camera=top}": 2,
        "camera_lost_total{camera=side}": 1,
        "camera_hangs_total{camera=top}": 0,
        "camera_hangs_total{camera=side}": 1,
        "destination_up{destination=cloud}": 0,
        "outbox_messages{destination=plant}": 12,
        "outbox_oldest_seconds{destination=plant}": 3.5,
        "outbox_delivered_total{destination=plant}": 400,
        "outbox_dropped_total{destination=plant}": 2,
        "outbox_refused_total{destination=plant}": 1,
        "destination_reconnects_total{destination=plant}": 3,
        "images_stopped": 0,
        "images_folder_bytes": 9e6,
        "images_folder_max_bytes": 1e9,
        "images_skipped_total": 4,
        "images_failed_total": 5,
        "images_removed_total": 6,
        "images_removed_early_total": 1,
    }
    assert {name: seen.get(name) for name in expected} == expected
    for number, field in enumerate(fields(CameraStatistics)):
        assert seen[f"camera_{field.name}_total{{camera=top}}"] == (100, 1, 2, 3, 4, 5000, 6, 7, 8)[number]


@pytest.mark.parametrize(
    "flag", ["ready", "busy", "halted", "recipe_ready", "warning", "alarm", "degraded", "golden_due", "clock_synced"]
)
def test_each_flag_of_the_status_is_its_own_metric(flag: str) -> None:
    metrics = StationMetrics()
    metrics.readings = lambda: Readings(status=replace(STARTING, **{flag: True}, line_stop=0))
    seen = read(metrics.openmetrics())
    said = {name for name in FLAGS if seen[name] == 1}
    assert said == {flag}


def test_line_stop_error_code_and_mode_are_those_of_the_status() -> None:
    metrics = StationMetrics()
    metrics.readings = lambda: Readings(status=replace(STARTING, line_stop=1000, error_code=101, mode=Mode.GOLDEN))
    seen = read(metrics.openmetrics())
    assert (seen["line_stop"], seen["error_code"]) == (1, 101)
    assert {mode.name: seen[f"mode{{mode={mode.name}}}"] for mode in Mode} == {m.name: m is Mode.GOLDEN for m in Mode}


def test_a_station_that_cannot_tell_exports_no_number_instead_of_a_wrong_one(tmp_path: Path) -> None:
    seen = read(StationMetrics(tmp_path).openmetrics())
    unknown = (
        "temperature_celsius",
        "power_watts",
        "gpu_load_ratio",
        "disk_free_ratio",
        "memory_free_ratio",
        "deadline_seconds",
        "images_stopped",
        "mode",
        "throttled",
        "power_mode",
    )
    assert [name for name in unknown if any(one.startswith(name) for one in seen)] == []
    assert (seen["ready"], seen["up"]) == (0, 1)


def test_series_of_the_active_recipe_stand_at_zero_before_its_first_part(metrics: StationMetrics) -> None:
    seen = read(metrics.openmetrics())
    begun = {name: value for name, value in seen.items() if name.startswith("results_total{")}
    assert len(begun) == len(Reason)
    assert set(begun.values()) == {0}
    assert begun["results_total{evaluation=NOT_OK,mode=PRODUCTION,reason=defect,recipe=lid}"] == 0
    assert (seen["defects_total{class=scratch}"], seen["defects_total{class=dent}"]) == (0, 0)
    assert seen["pictures_unannounced_total{camera=side}"] == 0
    assert seen["images_stored_total{camera=side,kind=overlay}"] == 0
    assert seen["images_stored_bytes_total{camera=top,kind=original}"] == 0
    assert seen["triggers_refused_total{reason=overload}"] == seen["triggers_accepted_total{mode=PRODUCTION}"] == 0


def test_every_exported_metric_is_in_a_table_and_follows_prometheus_conventions(metrics: StationMetrics) -> None:
    kinds = Counter(m.exported for m in (*COUNTED, *SENSED, *(asked.metric for asked in ASKED)))
    assert [name for name, count in kinds.items() if count > 1] == []
    exported = {}
    for family in text_string_to_metric_families(metrics.openmetrics().decode()):
        exported[family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")] = family.type
        assert not [sample for sample in family.samples if sample.name.endswith("_created")]
        assert family.name.startswith(PREFIX)
        if family.type in ("gauge", "histogram"):
            assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info", "_ms", "_percent"))
    tabled = {m.exported: m.kind for m in (*COUNTED, *SENSED, *(asked.metric for asked in ASKED))}
    assert {name: kind for name, kind in exported.items() if not name.startswith(f"{PREFIX}process_")} == tabled
    assert f"{PREFIX}process_resident_memory_bytes" in exported


def test_labels_are_those_of_the_table(metrics: StationMetrics) -> None:
    metrics.result(part(Evaluation.NOT_OK, Reason.DEFECT, defects=("dent",)), told=True)
    metrics.event(Event("info", "x", "", ""))
    metrics.unannounced("top")
    metrics.image(SavedImage(1, "r", "top", "original", (), "p", "00", 1, True, "Mono8", (4, 4), 1, "", True))
    tabled = {m.exported: set(m.labels) for m in (*COUNTED, *SENSED, *(asked.metric for asked in ASKED))}
    seen = set()
    for family in text_string_to_metric_families(metrics.openmetrics().decode()):
        for sample in family.samples:
            name = sample.name if sample.name in tabled else family.name
            if name in tabled:
                seen.add(name)
                assert set(sample.labels) - {"le"} == tabled[name], name
    assert seen == set(tabled)


def test_a_station_that_is_away_is_said_to_be_down() -> None:
    assert read(away()) == {"up": 0}


def test_the_page_names_every_metric_with_its_labels() -> None:
    page = metrics_markdown()
    for metric in (*COUNTED, *SENSED, *(asked.metric for asked in ASKED)):
        assert f"| `{metric.exported}` | {metric.kind} | {', '.join(metric.labels)} | {metric.text} |" in page
    assert "`edge_inspector_process_cpu_seconds_total` | counter" in page


class Hands:
    """A clock that stands where it is put."""

    now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc(self) -> str:
        raise AssertionError

    def synced(self) -> bool:
        raise AssertionError


def test_the_age_of_a_loop_is_since_it_signed_last_and_one_that_rests_has_none() -> None:
    clock = Hands()
    book = ProgressBook(clock)
    for loop in ("line", "gpu", "idle"):
        book.sign(loop)
    clock.now_ns = 2_500_000_000
    book.sign("line")
    book.rest("idle")
    clock.now_ns += 500_000_000
    assert book.ages_s() == {"gpu": 3.0, "line": 0.5}


def test_a_fresh_reading_says_nothing_of_a_station_that_has_not_begun() -> None:
    assert StationMetrics().readings() == Readings()
