"""What a metric is: its name, kind, meaning and labels, and how one is read that the station does not count itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family

from edge_inspector.health.readings import Readings

PREFIX = "edge_inspector_"
_ENDINGS = {"counter": "_total", "info": "_info"}

Rows = Iterable[tuple[tuple[str, ...], float]]
"""Label values and number of each series."""


@dataclass(frozen=True)
class Metric:
    """One metric; `name` is without the prefix and without the ending that its kind gives it."""

    name: str
    kind: Literal["counter", "gauge", "info", "histogram"]
    text: str
    labels: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name as a query has it; a histogram's series end in _bucket, _sum and _count besides."""
        return f"{PREFIX}{self.name}{_ENDINGS.get(self.kind, '')}"


@dataclass(frozen=True)
class Asked:
    """A metric and how it is read."""

    metric: Metric
    rows: Callable[[Readings], Rows]

    def family(self, readings: Readings) -> Family:
        """Without series where the station cannot tell."""
        metric = self.metric
        name, text = PREFIX + metric.name, metric.text
        if metric.kind == "info":
            info = InfoMetricFamily(name, text)
            for labels, _ in self.rows(readings):
                info.add_metric((), dict(zip(metric.labels, labels, strict=True)))
            return info
        made: CounterMetricFamily | GaugeMetricFamily
        if metric.kind == "counter":
            made = CounterMetricFamily(name, text, labels=metric.labels)
        else:
            made = GaugeMetricFamily(name, text, labels=metric.labels)
        for labels, value in self.rows(readings):
            made.add_metric(labels, value)
        return made
