"""The alert rules of deploy/dashboards under real promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from alert_cases import CASES, RULES, Case, alerts


def promtool(*arguments: object) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_station(series: str, station: str) -> str:
    """The series with the labels that Prometheus adds."""
    name, _, labels = series.rstrip("}").partition("{")
    return name + "{" + (f"{labels}," if labels else "") + f'line="l",station="{station}"' + "}"


def expected(case: Case, station: str) -> dict[str, Any]:
    labels = {"line": "l", "station": station, "severity": case.severity, **case.labels}
    summary = case.summary.replace("s:", f"{station}:", 1)
    description = case.description or alerts()[case.alert]["annotations"]["description"]
    return {"exp_labels": labels, "exp_annotations": {"summary": summary, "description": description}}


def test_prometheus_takes_its_configuration_and_rules() -> None:
    promtool("check", "config", RULES.with_name("prometheus.yml"))
    promtool("check", "rules", RULES)


def test_each_alert_is_raised_when_it_should_be_and_not_just_before(tmp_path: Path) -> None:
    """Every case is a station of its own; of all stations only those that should be raised are."""
    series, raised = [], {name: [] for name in alerts()}  # type: ignore[var-annotated]
    for number, case in enumerate(CASES):
        for station, values in ((f"bad-{number}", case.raised), (f"good-{number}", case.quiet)):
            series += [{"series": of_station(name, station), "values": value} for name, value in values.items()]
        raised[case.alert].append(expected(case, f"bad-{number}"))
    asked = [{"eval_time": "20m", "alertname": name, "exp_alerts": exp} for name, exp in raised.items()]
    test = {"interval": "15s", "input_series": series, "alert_rule_test": asked}
    file = tmp_path / "alerts.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [test]}))
    assert "SUCCESS" in promtool("test", "rules", file)


def test_no_alert_is_without_a_case() -> None:
    assert {case.alert for case in CASES} == alerts().keys()
    assert {rule["labels"]["severity"] for rule in alerts().values()} == {"critical", "warning"}
