"""The metrics as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector

from edge_inspector.health.counted import COUNTED, LATENCY_S, SENSED
from edge_inspector.health.metric import PREFIX, Metric
from edge_inspector.health.metric_table import ASKED
from edge_inspector.health.metrics import WINDOW

_INTRODUCTION = f"""\
# Metrics

What `/metrics` of the [web service](../how-to/web-service.md) answers, as OpenMetrics text 1.0. How to collect and show
it: [watch with Grafana](../how-to/watch-with-grafana.md). The MQTT topic `metrics` carries a short form of the same,
whose percentiles are those of the last {WINDOW} Production parts.

- A counter begins at 0 with each start of the station and never goes down; ask for `increase` or `rate`. The books,
  to the part and over restarts, are the ledger: `edge-inspector ledger summary`.
- A part of mode Manual is in no metric. Cycle, stages and defects are those of mode Production; `told_seconds` counts
  every part that was told.
- The series of a histogram end in `_bucket`, `_sum` and `_count`; the upper ends of its buckets, in seconds:
  {", ".join(f"{end:g}" for end in LATENCY_S)}.
- A metric without series is one that this station cannot tell. No label says which station it is: Prometheus adds
  `station` and `line` as its configuration has them.

"""
_TABLES = (
    ("What the station has done", "counted as it happens"),
    ("What the station is", "asked for at each reading"),
    ("Its machine", "asked for at each reading"),
    ("Its process", "as every program tells it to Prometheus"),
)


def metrics_markdown() -> str:
    """docs/reference/metrics.md, without the line that says that it is generated."""
    rows = [COUNTED, [asked.metric for asked in ASKED], SENSED, list(_of_the_process())]
    parts = [_INTRODUCTION]
    for (title, how), metrics in zip(_TABLES, rows, strict=True):
        parts.append(f"## {title}: {how}\n\n| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n")
        parts += [f"| `{m.exported}` | {m.kind} | {', '.join(m.labels)} | {m.text} |\n" for m in metrics]
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def _of_the_process() -> Iterator[Metric]:
    for family in ProcessCollector(namespace=PREFIX.rstrip("_"), registry=CollectorRegistry()).collect():
        yield Metric(
            family.name.removeprefix(PREFIX), "counter" if family.type == "counter" else "gauge", family.documentation
        )
