"""What the station counts and measures, for Prometheus and for the MQTT topic `metrics`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from edge_inspector.datatypes import (
    Evaluation,
    Event,
    ImageKind,
    InspectionResult,
    Mode,
    Reason,
    Refusal,
    SavedImage,
    Trigger,
)
from edge_inspector.health import counted, sensors
from edge_inspector.health.metric import PREFIX, Metric
from edge_inspector.health.metric_table import UP, families
from edge_inspector.health.readings import Readings

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of `StationMetrics.openmetrics` and `away`."""
WINDOW = 1000
"""The percentiles of the MQTT topic are those of so many parts; Prometheus makes its own of the histograms."""
_render: Callable[[Collector], bytes] = generate_latest
_no_created: Callable[[], None] = prometheus_client.disable_created_metrics
_DECIDED = {
    Reason.NONE: Evaluation.OK,
    Reason.DEFECT: Evaluation.NOT_OK,
    Reason.COUNT: Evaluation.NOT_OK,
    Reason.NOT_DECIDABLE: Evaluation.NOT_DECIDABLE,
}  # every other reason makes a part UNDEFINED


def away() -> bytes:
    """What there is to say while the station does not answer."""
    up = UP.metric
    return _render(_Families([GaugeMetricFamily(up.exported, up.text, value=0)]))


class StationMetrics:
    """Told by the line loop as things happen; read from other threads. To tell it one thing takes microseconds."""

    def __init__(self, sys: Path = sensors.SYS) -> None:
        _no_created()  # the start of the process says the same in one series
        self.readings: Callable[[], Readings] = Readings
        """Set by the station: what has to be asked for at the moment of a reading."""
        self._sys = sys
        self._registry = CollectorRegistry()
        ProcessCollector(namespace=PREFIX.rstrip("_"), registry=self._registry)
        self._accepted = self._counter(counted.ACCEPTED)
        self._refused = self._counter(counted.REFUSED)
        self._results = self._counter(counted.RESULTS)
        self._defects = self._counter(counted.DEFECTS)
        self._untold = self._counter(counted.UNTOLD)
        self._acknowledged = self._counter(counted.ACKNOWLEDGED)
        self._late = self._counter(counted.LATE)
        self._unannounced = self._counter(counted.UNANNOUNCED)
        self._events = self._counter(counted.EVENTS)
        self._stored = self._counter(counted.STORED)
        self._stored_bytes = self._counter(counted.STORED_BYTES)
        self._cycle = self._histogram(counted.CYCLE)
        self._stage = self._histogram(counted.STAGE)
        self._told = self._histogram(counted.TOLD)
        self._open_age = Gauge(PREFIX + counted.OPEN_AGE.name, counted.OPEN_AGE.text, registry=self._registry)
        self._open: dict[int, int] = {}
        self._cycles_ms: deque[float] = deque(maxlen=WINDOW)
        self._totals = dict.fromkeys((*map(_total, Evaluation), "refused", "late_views"), 0)
        for mode in Mode:
            if mode is not Mode.MANUAL:
                self._accepted.labels(mode.name)
        for reason in Reason:
            self._refused.labels(reason.name.lower())

    @property
    def totals(self) -> Mapping[str, int]:
        """Since the start: `results_ok` and the like of Production parts, `refused` triggers, `late_views`."""
        return self._totals

    def accepted(self, trigger: Trigger) -> None:
        """A part has begun. One of mode Manual counts nowhere."""
        if trigger.mode is Mode.MANUAL:
            return
        self._open[trigger.seq] = trigger.accepted_ns
        self._accepted.labels(trigger.mode.name).inc()

    def refused(self, refusal: Refusal) -> None:
        """A trigger was not accepted."""
        self._refused.labels(refusal.reason.name.lower()).inc(refusal.count)
        self._totals["refused"] += refusal.count

    def result(self, result: InspectionResult, told: bool | None) -> None:
        """A verdict was settled; `told` False: and no PLC can read it."""
        trigger, evaluation = result.trigger, result.evaluation
        if trigger.mode is Mode.MANUAL:
            return
        self._open.pop(trigger.seq, None)
        self._results.labels(evaluation.name, result.reason.name.lower(), trigger.recipe, trigger.mode.name).inc()
        if told is False:
            self.not_told()
        if trigger.mode is not Mode.PRODUCTION:
            return
        self._totals[_total(evaluation)] += 1
        self._cycles_ms.append(result.cycle_ms)
        self._cycle.observe(result.cycle_ms / 1e3)
        for stage, spent_ns in result.stage_ns.items():
            self._stage.labels(stage).observe(spent_ns / 1e9)
        for defect in result.defects:
            self._defects.labels(_utf8(defect.class_name)).inc()

    def told(self, result: InspectionResult, at_ns: int) -> None:
        """The PLC can read a result since `at_ns` (CLOCK_MONOTONIC)."""
        self._told.observe((at_ns - result.trigger.accepted_ns) / 1e9)

    def not_told(self) -> None:
        """A result reaches no PLC any more."""
        self._untold.inc()

    def acknowledged(self, count: int) -> None:
        """The PLC has acknowledged so many results."""
        self._acknowledged.inc(count)

    def late(self, result: InspectionResult) -> None:
        """A view came after its part's verdict."""
        if result.trigger.mode is Mode.MANUAL:
            return
        self._late.inc()
        self._totals["late_views"] += 1

    def unannounced(self, camera: str) -> None:
        """A camera brought a picture that may be nobody's."""
        self._unannounced.labels(camera).inc()

    def event(self, event: Event) -> None:
        """Something that is not a part was told."""
        self._events.labels(event.severity, event.code).inc()

    def image(self, image: SavedImage) -> None:
        """A picture was stored."""
        self._stored.labels(image.camera, image.kind).inc()
        self._stored_bytes.labels(image.camera, image.kind).inc(image.size_bytes)

    def flat(self) -> dict[str, float]:
        """For the MQTT topic `metrics`: one number a name. Evaluations and times are those of Production parts."""
        readings = self.readings()
        values: dict[str, float] = {"open_inspections": readings.open_parts, **self._totals}
        values |= _percentiles(self._cycles_ms.copy())  # one step of the interpreter: nothing is added meanwhile
        values |= {f"{queue}_waiting": waiting for queue, waiting in readings.queues.items()}
        for camera in readings.cameras:
            done = asdict(camera.statistics) | {"opened": camera.opened, "lost": camera.lost, "hangs": camera.hangs}
            values |= {f"camera_{camera.camera}_{what}": value for what, value in done.items()}
        for one in readings.destinations:
            values |= {f"outbox_{one.destination}_waiting": one.waiting}
            values |= {f"outbox_{one.destination}_oldest_s": one.oldest_waiting_s}
        values["changeovers"] = readings.changeovers
        for limit in readings.thresholds:
            if readings.status is not None and limit.recipe == readings.status.recipe:
                name = f"threshold_{_utf8(limit.class_name)}"
                values[name] = limit.now
                if limit.proposed is not None:
                    values[f"{name}_proposed"] = limit.proposed
        vitals = readings.vitals
        known = {
            "changeover_s": readings.changeover_s,
            "temp_c": vitals.temp_c,
            "gpu_load": vitals.gpu_load,
            "disk_free_pct": vitals.disk_free_pct,
            "memory_free_pct": vitals.memory_free_pct,
        }
        values |= {name: value for name, value in known.items() if value is not None}
        return {name: float(value) for name, value in (values | dict(readings.images)).items()}

    def openmetrics(self) -> bytes:
        """OpenMetrics text 1.0; on a thread that is not the line loop's."""
        readings = self.readings()
        self._begin(readings)
        oldest_ns = min(self._open.copy().values(), default=readings.now_ns)
        self._open_age.set(max(0, readings.now_ns - oldest_ns) / 1e9)
        return _render(_Families((*families(readings), *self._sensors(), *self._registry.collect())))

    def _sensors(self) -> Iterator[Family]:
        for metric, found in (
            (counted.TEMPERATURE, sensors.temperatures_c(self._sys)),
            (counted.POWER, sensors.power_w(self._sys)),
        ):
            family = GaugeMetricFamily(metric.exported, metric.text, labels=metric.labels)
            for name, value in found.items():
                family.add_metric((_utf8(name),), value)
            yield family

    def _begin(self, readings: Readings) -> None:
        """Series must stand at 0 before their first part: Prometheus does not see how far one has come that is new."""
        if readings.status is not None:
            for reason in Reason:
                evaluation = _DECIDED.get(reason, Evaluation.UNDEFINED).name
                recipe = readings.status.recipe
                self._results.labels(evaluation, reason.name.lower(), recipe, Mode.PRODUCTION.name)
        for name in readings.classes:
            self._defects.labels(_utf8(name))
        for one in readings.cameras:
            self._unannounced.labels(one.camera)
            for kind in get_args(ImageKind) if readings.images else ():
                self._stored.labels(one.camera, kind)
                self._stored_bytes.labels(one.camera, kind)

    def _counter(self, metric: Metric) -> Counter:
        return Counter(PREFIX + metric.name, metric.text, metric.labels, registry=self._registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(
            PREFIX + metric.name, metric.text, metric.labels, registry=self._registry, buckets=counted.LATENCY_S
        )


class _Families(Collector):
    """What is to be written, collected already."""

    def __init__(self, made: Iterable[Family]) -> None:
        self._made = made

    def collect(self) -> Iterable[Family]:
        return self._made


def _total(evaluation: Evaluation) -> str:
    return f"results_{evaluation.name.lower()}"


def _percentiles(cycles_ms: Iterable[float]) -> dict[str, float]:
    """Of the smallest numbers that at least so many percent do not exceed; nothing where there is no part."""
    ordered = sorted(cycles_ms)
    if not ordered:
        return {}
    ranks = {f"cycle_ms_p{percent}": math.ceil(len(ordered) * percent / 100) for percent in (50, 95, 99, 100)}
    return {name: ordered[rank - 1] for name, rank in ranks.items()}


def _utf8(text: str) -> str:
    """A bundle's own words may hold what no text can carry."""
    return text.encode("utf-8", "replace").decode()
