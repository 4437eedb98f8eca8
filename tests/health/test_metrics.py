"""What the station counts, read back by prometheus-client's own parser."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from station_numbers import ACCEPTED_NS, MS, full_readings, part, read, sensors_in, trigger

from edge_inspector.datatypes import Evaluation, Event, Mode, Reason, Refusal, SavedImage
from edge_inspector.health.metrics import WINDOW, StationMetrics
from edge_inspector.outputs.payloads import MetricsPayload


@pytest.fixture
def metrics(tmp_path: Path) -> StationMetrics:
    made = StationMetrics(sensors_in(tmp_path))
    made.readings = full_readings
    return made


def test_each_evaluation_reason_recipe_and_mode_is_its_own_series(metrics: StationMetrics) -> None:
    for evaluation, reason, mode, count in (
        (Evaluation.OK, Reason.NONE, Mode.PRODUCTION, 5),
        (Evaluation.NOT_OK, Reason.DEFECT, Mode.PRODUCTION, 3),
        (Evaluation.UNDEFINED, Reason.DEADLINE, Mode.PRODUCTION, 2),
        (Evaluation.OK, Reason.NONE, Mode.GOLDEN, 1),
    ):
        for _ in range(count):
            metrics.result(part(evaluation, reason, mode=mode), told=True)
    seen = read(metrics.openmetrics())
    assert seen["results_total{evaluation=OK,mode=PRODUCTION,reason=none,recipe=lid}"] == 5
    assert seen["results_total{evaluation=NOT_OK,mode=PRODUCTION,reason=defect,recipe=lid}"] == 3
    assert seen["results_total{evaluation=UNDEFINED,mode=PRODUCTION,reason=deadline,recipe=lid}"] == 2
    assert seen["results_total{evaluation=OK,mode=GOLDEN,reason=none,recipe=lid}"] == 1
    assert sum(value for name, value in seen.items() if name.startswith("results_total")) == 11


def test_only_production_parts_are_in_histograms_defects_and_percentiles(metrics: StationMetrics) -> None:
    metrics.result(
        part(Evaluation.NOT_OK, Reason.DEFECT, cycle_ms=30.0, defects=("dent", "dent", "scratch")), told=True
    )
    for mode in (Mode.GOLDEN, Mode.SIMULATION, Mode.SETUP):
        metrics.result(part(Evaluation.NOT_OK, Reason.DEFECT, mode=mode, cycle_ms=900.0, defects=("dent",)), told=True)
    seen, flat = read(metrics.openmetrics()), metrics.flat()
    assert seen["cycle_seconds_count"] == 1
    assert seen["cycle_seconds_sum"] == pytest.approx(0.03)
    assert (seen["defects_total{class=dent}"], seen["defects_total{class=scratch}"]) == (2, 1)
    assert (flat["results_not_ok"], flat["cycle_ms_p100"]) == (1, 30.0)


def test_a_manual_part_counts_nowhere(metrics: StationMetrics) -> None:
    before = read(metrics.openmetrics())
    metrics.accepted(trigger(mode=Mode.MANUAL))
    metrics.result(part(mode=Mode.MANUAL), told=False)
    after = read(metrics.openmetrics())
    changed = {name for name in after if after[name] != before.get(name)}
    assert {name for name in changed if not name.startswith("process_")} == set()


def test_a_cycle_falls_into_the_bucket_that_it_does_not_exceed(metrics: StationMetrics) -> None:
    for cycle_ms in (4.0, 5.0, 5.001, 20_000.0):
        metrics.result(part(cycle_ms=cycle_ms), told=True)
    seen = read(metrics.openmetrics())
    assert seen["cycle_seconds_bucket{le=0.002}"] == 0
    assert seen["cycle_seconds_bucket{le=0.005}"] == 2
    assert seen["cycle_seconds_bucket{le=0.01}"] == 3
    assert seen["cycle_seconds_bucket{le=5.0}"] == 3
    assert seen["cycle_seconds_bucket{le=+Inf}"] == 4


def test_each_stage_has_its_own_histogram_in_seconds(metrics: StationMetrics) -> None:
    metrics.result(part(), told=True)
    seen = read(metrics.openmetrics())
    assert seen["stage_seconds_sum{stage=infer}"] == pytest.approx(0.012)
    assert seen["stage_seconds_sum{stage=tell}"] == pytest.approx(0.0005)
    assert seen["stage_seconds_count{stage=infer}"] == seen["stage_seconds_count{stage=tell}"] == 1


def test_told_acknowledged_and_untold_results_are_counted_apart(metrics: StationMetrics) -> None:
    metrics.told(part(), ACCEPTED_NS + 25 * MS)
    metrics.result(part(), told=True)
    metrics.result(part(), told=None)  # on its way: whether it was told is said later
    metrics.result(part(), told=False)
    metrics.not_told()
    metrics.acknowledged(3)
    seen = read(metrics.openmetrics())
    assert (seen["told_seconds_count"], seen["told_seconds_sum"]) == (1, pytest.approx(0.025))
    assert seen["results_untold_total"] == 2
    assert seen["results_acknowledged_total"] == 3


def test_a_run_of_skipped_numbers_counts_as_many_refusals(metrics: StationMetrics) -> None:
    metrics.refused(Refusal(9, "", Reason.MISSED, "", 77, count=4))
    metrics.refused(Refusal(10, "", Reason.OVERLOAD, "", 77))
    seen = read(metrics.openmetrics())
    assert seen["triggers_refused_total{reason=missed}"] == 4
    assert seen["triggers_refused_total{reason=overload}"] == 1
    assert metrics.flat()["refused"] == 5


def test_the_oldest_part_without_a_verdict_is_what_the_age_is_of(metrics: StationMetrics) -> None:
    assert read(metrics.openmetrics())["open_part_age_seconds"] == 0
    metrics.accepted(replace(trigger(2), accepted_ns=ACCEPTED_NS + 1000 * MS))
    metrics.accepted(trigger(1))
    assert read(metrics.openmetrics())["open_part_age_seconds"] == pytest.approx(1.5)
    metrics.result(part(seq=1), told=True)
    assert read(metrics.openmetrics())["open_part_age_seconds"] == pytest.approx(0.5)
    metrics.result(part(seq=2), told=True)
    seen = read(metrics.openmetrics())
    assert seen["open_part_age_seconds"] == 0
    assert seen["triggers_accepted_total{mode=PRODUCTION}"] == 2


def test_events_pictures_and_late_views_are_counted(metrics: StationMetrics) -> None:
    metrics.event(Event("alarm", "camera_lost", "top", ""))
    metrics.event(Event("alarm", "camera_lost", "top", ""))
    metrics.late(part())
    metrics.late(part(mode=Mode.MANUAL))
    metrics.unannounced("side")
    for kind in ("original", "overlay", "overlay"):
        metrics.image(
            SavedImage(1, "r", "top", kind, ("reject",), "p", "00", 1000, True, "Mono8", (4, 4), 1, "", True)  # type: ignore[arg-type]
        )
    seen = read(metrics.openmetrics())
    assert seen["events_total{code=camera_lost,severity=alarm}"] == 2
    assert seen["views_late_total"] == metrics.flat()["late_views"] == 1
    assert seen["pictures_unannounced_total{camera=side}"] == 1
    assert seen["images_stored_total{camera=top,kind=overlay}"] == 2
    assert seen["images_stored_bytes_total{camera=top,kind=overlay}"] == 2000
    assert seen["images_stored_bytes_total{camera=top,kind=original}"] == 1000


def test_class_names_of_any_text_are_exported_and_read_back(metrics: StationMetrics) -> None:
    names = ('a"b', "a\\b", "two\nlines", "ß漢", "\ud800")
    metrics.result(part(Evaluation.NOT_OK, Reason.DEFECT, defects=names), told=True)
    seen = read(metrics.openmetrics())
    for name in ('a"b', "a\\b", "two\nlines", "ß漢", "?"):
        assert seen[f"defects_total{{class={name}}}"] == 1


def test_percentiles_are_those_of_the_last_parts_only() -> None:
    metrics = StationMetrics()
    assert not [name for name in metrics.flat() if name.startswith("cycle")]
    for _ in range(500):
        metrics.result(part(cycle_ms=9000.0), told=True)
    for n in range(WINDOW):
        metrics.result(part(cycle_ms=float(n + 1)), told=True)
    flat = metrics.flat()
    assert {name: flat[name] for name in flat if name.startswith("cycle")} == {
        "cycle_ms_p50": 500.0,
        "cycle_ms_p95": 950.0,
        "cycle_ms_p99": 990.0,
        "cycle_ms_p100": 1000.0,
    }


def test_the_mqtt_topic_has_one_number_a_name(metrics: StationMetrics) -> None:
    metrics.result(part(), told=True)
    flat = metrics.flat()
    assert {type(value) for value in flat.values()} == {float}
    MetricsPayload.model_validate({"ts": "2026-11-22T13:00:00.000Z", **flat})
    assert flat["open_inspections"] == 2
    assert flat["ledger_waiting"] == 9
    assert flat["results_ok"] == 1
    assert flat["camera_top_frames"] == 100
    assert flat["camera_side_hangs"] == 1
    assert flat["outbox_plant_waiting"] == 12
    assert flat["images_stopped"] == 0
    of_the_active_recipe = {"threshold_scratch": 0.45, "threshold_scratch_proposed": 0.55, "threshold_dent": 0.4}
    assert {name: flat[name] for name in flat if name.startswith("threshold")} == of_the_active_recipe
    assert (flat["temp_c"], flat["disk_free_pct"], flat["memory_free_pct"]) == (61.5, 40.0, 37.5)


def test_reading_while_parts_come_in_loses_no_count_and_never_fails() -> None:
    metrics = StationMetrics()
    metrics.readings = full_readings
    done = threading.Event()
    last: list[float] = []

    def scrape() -> None:
        while not done.is_set():
            last.append(read(metrics.openmetrics())["cycle_seconds_count"])
            metrics.flat()

    reader = threading.Thread(target=scrape)
    reader.start()
    for seq in range(4000):
        metrics.accepted(trigger(seq))
        metrics.result(part(seq=seq), told=True)
    done.set()
    reader.join(30)
    assert last
    assert last == sorted(last)
    seen = read(metrics.openmetrics())
    assert seen["cycle_seconds_count"] == seen["triggers_accepted_total{mode=PRODUCTION}"] == 4000


def test_no_number_of_parts_and_no_text_of_a_plc_makes_a_series(metrics: StationMetrics) -> None:
    metrics.accepted(trigger())
    metrics.result(part(), told=True)
    metrics.refused(Refusal(1, "", Reason.OVERLOAD, "", 77))
    before = read(metrics.openmetrics()).keys()
    for seq in range(200):
        one = replace(trigger(seq), part_id=f"P{seq}", result_id=f"r{seq}", boot_id=seq, trigger_seq=seq)
        metrics.accepted(one)
        metrics.result(replace(part(), trigger=one, reason_text=f"text {seq}"), told=True)
        metrics.refused(Refusal(seq, f"P{seq}", Reason.OVERLOAD, "", seq))
    assert read(metrics.openmetrics()).keys() == before
