"""What stands in deploy/dashboards against the program: names in queries, fields of payloads, files."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import tomli
import yaml
from alert_cases import RULES, alerts
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from station_numbers import full_readings, part, sensors_in, trigger

from edge_inspector.datatypes import Evaluation, Event, Reason
from edge_inspector.health.metrics import StationMetrics
from edge_inspector.outputs import payloads

FOLDER = RULES.parents[1]
TARGET_LABELS = {"line", "station", "instance", "job"}
"""What Prometheus adds to every series."""


@cache
def families() -> tuple[Metric, ...]:
    """Everything that a station can export, read back."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = StationMetrics(sensors_in(Path(folder)))
        metrics.readings = full_readings
        metrics.accepted(trigger())
        metrics.result(part(Evaluation.NOT_OK, Reason.DEFECT, defects=("dent",)), told=True)
        metrics.event(Event("info", "x", "", ""))
        return tuple(text_string_to_metric_families(metrics.openmetrics().decode()))


def exported() -> dict[str, set[str]]:
    """Every series by its full name, and its labels."""
    known: dict[str, set[str]] = {}
    for family in families():
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    return known


class Exported(Collector):
    """The same for prometheus-client's writer of the text that promtool reads."""

    def collect(self) -> tuple[Metric, ...]:
        return families()


def test_promtool_has_nothing_against_the_names_that_are_exported() -> None:
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, check=False, input=generate_latest(Exported()), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    bad = b"# HELP a_total A gauge.\n# TYPE a_total gauge\na_total 1\n"
    assert subprocess.run(command, check=False, input=bad, capture_output=True, timeout=60).returncode != 0


def recorded() -> dict[str, set[str]]:
    """The series that the rules make, and the labels that they keep."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "record" in rule]
    return {rule["record"]: set(re.findall(r"\w+", rule["expr"].split("by (")[1].split(")")[0])) for rule in rules}


@cache
def known_series() -> dict[str, set[str]]:
    of_prometheus: dict[str, set[str]] = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}
    return {name: labels | TARGET_LABELS for name, labels in (exported() | recorded() | of_prometheus).items()}


def asked_of(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Every series that a query asks for, and the labels by which it chooses among them."""
    plain = re.sub(r"\b(by|on) \([^)]*\)", "", expression)
    for found in re.finditer(r"(?<![\w$\"\[.:])([a-zA-Z_][\w:]*)(\{[^}]*\})?", plain):
        name, labels = found[1], found[2] or ""
        called = not labels and plain[found.end() :].lstrip().startswith("(")
        if not called and name not in ("and", "or"):
            yield name, set(re.findall(r"(\w+)\s*[!=]", labels))


@cache
def queries() -> dict[str, tuple[str, str]]:
    """Every query by where it stands, and the text that is shown beside its numbers."""
    found = {}
    for file in sorted((FOLDER / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                found[f"{file.stem}: {panel['title']} {target['refId']}"] = target["expr"], target["legendFormat"]
    for name, rule in alerts().items():
        found[f"alert {name}"] = rule["expr"], rule["annotations"]["summary"] + rule["annotations"]["description"]
    return found


@pytest.mark.parametrize("where", queries())
def test_no_query_asks_for_a_name_or_a_label_that_no_station_exports(where: str) -> None:
    query, shown = queries()[where]
    known = known_series()
    asked = list(asked_of(query))
    assert asked, f"no series found in {query}"
    labels: set[str] = set()
    for name, chosen in asked:
        assert name in known, f"{name} does not exist"
        assert chosen <= known[name], f"{name} has no label {chosen - known[name]}"
        labels |= known[name]
    grouped = {word for words in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for word in re.findall(r"\w+", words)}
    assert grouped <= labels
    assert set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", shown)) <= labels
    if not where.startswith("alert"):
        assert query.count('line="$line"') == len(asked), "a series of every line"


def test_a_query_for_a_name_that_does_not_exist_is_found() -> None:
    known = known_series()
    for query, name in (
        ("sum(rate(edge_inspector_result_total[5m]))", "edge_inspector_result_total"),
        ('edge_inspector_camera_up{camera="a"} / edge_inspector_gpu_loads', "edge_inspector_gpu_loads"),
        ('sum(edge_inspctr_up) or max_over_time(edge_inspector_up{line="a"}[2m])', "edge_inspctr_up"),
        ("station:edge_inspector_cycle_seconds:p95_1m > 1", "station:edge_inspector_cycle_seconds:p95_1m"),
    ):
        assert [one for one, _ in asked_of(query) if one not in known] == [name]
    assert list(asked_of('edge_inspector_up{camera="a",line=~"b"}')) == [("edge_inspector_up", {"camera", "line"})]


def test_almost_every_metric_is_on_a_dashboard() -> None:
    """A metric that nobody shows nobody watches; these are read by people who look for a cause."""
    shown = {name for where, (query, _) in queries().items() for name, _ in asked_of(query)}
    behind = re.compile(r"_(bucket|sum|count)$")
    aside = {
        *("images_stored_total", "images_removed_total", "power_mode_info", "destination_reconnects_total"),
        *("power_mode_changes_total", "power_mode_failures_total", "process_virtual_memory_bytes"),
    }
    missing = {behind.sub("", name) for name in exported()} - {behind.sub("", name) for name in shown}
    assert {name.removeprefix("edge_inspector_") for name in missing} == aside


@pytest.mark.parametrize("board", ["station", "line"])
def test_a_dashboard_is_whole(board: str) -> None:
    made = json.loads((FOLDER / "grafana" / "dashboards" / f"{board}.json").read_text())
    panels = made["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken), "panels lie over each other"
    assert max(x for x, _ in taken) < 24
    names = {"line", "datasource", *(["station"] if board == "station" else [])}
    assert {variable["name"] for variable in made["templating"]["list"]} == names
    uids = {json.loads(file.read_text())["uid"] for file in (FOLDER / "grafana" / "dashboards").glob("*.json")}
    assert {link["url"].removeprefix("/d/") for link in made["links"]} <= uids


def test_the_compose_file_mounts_what_is_there_and_opens_nothing_to_the_network() -> None:
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    volumes = set(compose["volumes"])
    for name, service in compose["services"].items():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert source in volumes if not source.startswith(".") else (FOLDER / source).exists(), (name, mount)
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")
        assert service["network_mode"] == "host"
    words = set(re.findall(r"\$\{(\w+):\?", (FOLDER / "compose.yaml").read_text()))
    given = re.findall(r"^(\w+)=$", (FOLDER / "env.example").read_text(), re.MULTILINE)
    assert words == set(given)
    assert "--web.listen-address=127.0.0.1:9090" in compose["services"]["prometheus"]["command"]
    assert compose["services"]["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert compose["services"]["influxdb"]["environment"]["INFLUXD_HTTP_BIND_ADDRESS"].startswith("127.0.0.1:")
    source = yaml.safe_load((FOLDER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://127.0.0.1:9090"


@pytest.mark.parametrize(
    ("measurement", "payload"),
    [
        ("vision_result", payloads.ResultPayload),
        ("vision_event", payloads.EventPayload),
        ("vision_metrics", payloads.MetricsPayload),
    ],
)
def test_telegraf_reads_fields_that_the_payloads_have(measurement: str, payload: type[payloads.Payload]) -> None:
    telegraf = tomli.loads((FOLDER / "telegraf" / "telegraf.conf").read_text())
    (one,) = [one for one in telegraf["inputs"]["mqtt_consumer"] if one["name_override"] == measurement]
    fields = {field.alias or name for name, field in payload.model_fields.items()}
    named = {one["json_time_key"], *one.get("tag_keys", ()), *one.get("json_string_fields", ())}
    assert named <= fields
    numbers = {"str", "bool", "Literal", "Text", "tuple", "EvaluationName"}
    lost = {
        name
        for name, field in payload.model_fields.items()
        if any(word in str(field.annotation) for word in numbers) and "int" not in str(field.annotation)
    }
    unread = {(payload.model_fields[name].alias or name) for name in lost} - named
    assert unread <= {"schema", "ok", "replayed", "parts"}, "text that Telegraf drops, because json keeps only numbers"
    for source in telegraf["processors"]["starlark"]:
        assert set(re.findall(r'fields\["(\w+)"\]', source["source"])) <= {"seq", "text"}
    if one["qos"] == 1:
        assert one["persistent_session"] is True
        assert one["client_id"]
