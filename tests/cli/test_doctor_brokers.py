"""`edge-inspector doctor` against a real broker: what it says of each thing that can be wrong there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mqtt_rig import BASE, a_result, config_to, mosquitto, needs_mosquitto, publisher_to

from edge_inspector.cli.doctor_brokers import broker_findings, sparkplug_findings
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.health.finding import Finding
from edge_inspector.outputs.mqtt import Config, Tls
from edge_inspector.outputs.sparkplug.config import Config as SparkplugConfig

pytestmark = needs_mosquitto
QUICK = ("allow_anonymous true", "sys_interval 1")


def found(config: Config) -> dict[str, Finding]:
    return {one.check: one for one in broker_findings("line1", "plant", config)}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_is_in_order_is_said_to_be(tmp_path: Path, protocol: str) -> None:
    with mosquitto(tmp_path, *QUICK) as broker, Subscriber(broker.port, f"{BASE}/#") as witness:
        findings = found(config_to(broker.port, protocol=protocol))
        assert {check: one.level for check, one in findings.items()} == {
            "broker.connect": "ok",
            "broker.publish": "ok",
            "broker.queue": "ok",
        }
        assert "mosquitto version 2" in findings["broker.queue"].found
        end = time.monotonic() + 5
        while not witness.by_topic and time.monotonic() < end:
            time.sleep(0.01)
        assert set(witness.by_topic) == {f"{BASE}/doctor"}


def test_a_station_that_runs_keeps_its_connection(tmp_path: Path) -> None:
    with mosquitto(tmp_path, *QUICK) as broker, publisher_to(broker.port) as publisher:
        found(config_to(broker.port))
        assert publisher.publish(publisher.render(a_result(1))) == 2


def test_a_broker_that_is_not_there_fails_with_the_reason(tmp_path: Path) -> None:
    (finding,) = found(config_to(1, tls=Tls())).values()
    assert (finding.check, finding.level) == ("broker.connect", "fail")
    assert "cannot be reached" in finding.found


@pytest.mark.parametrize(("protocol", "said"), [("5", "Not authorized"), ("3.1.1", "the connection broke")])
def test_a_user_that_may_not_publish_is_told_as_far_as_the_broker_tells(
    tmp_path: Path, protocol: str, said: str
) -> None:
    rights = tmp_path / "acl"
    rights.write_text("topic read #\n")
    with mosquitto(tmp_path, *QUICK, f"acl_file {rights}") as broker:
        finding = found(config_to(broker.port, protocol=protocol))["broker.publish"]
        assert finding.level == "warn"
        assert said in finding.found
        assert f"{BASE}/#" in finding.remedy


def test_a_broker_that_has_dropped_messages_is_told_with_the_setting(tmp_path: Path) -> None:
    with mosquitto(tmp_path, *QUICK, "max_queued_messages 5") as broker:
        with Subscriber(broker.port, f"{BASE}/#", client_id="away"):
            pass  # it keeps a session there
        with publisher_to(broker.port) as publisher:
            publisher.publish([publisher.render(a_result(n))[0] for n in range(1, 41)])
        end = time.monotonic() + 10.0
        while (finding := found(config_to(broker.port))["broker.queue"]).level != "warn" and time.monotonic() < end:
            pass  # Mosquitto counts once a second
        assert finding.level == "warn"
        assert finding.remedy.startswith("set max_queued_messages 0")


def test_a_broker_of_sparkplug_is_only_logged_in_to(tmp_path: Path) -> None:
    with mosquitto(tmp_path, *QUICK) as broker, Subscriber(broker.port, "spBv1.0/#") as witness:
        config = SparkplugConfig(type="sparkplug", group="plant", host="127.0.0.1", port=broker.port)
        (finding,) = sparkplug_findings("line1", "plant", config)
        assert (finding.check, finding.subject, finding.level) == ("broker.connect", "plant", "ok")
        assert not witness.by_topic
    (finding,) = sparkplug_findings("line1", "plant", config)
    assert (finding.level, finding.remedy) == ("fail", "see docs/how-to/sparkplug.md")


def test_the_command_looks_at_the_brokers_of_a_station_file(tmp_path: Path) -> None:
    with mosquitto(tmp_path, *QUICK) as broker:
        file = tmp_path / "station.toml"
        file.write_text(f'[station]\nname = "line1"\n[publishers.plant]\ntype = "mqtt"\nport = {broker.port}\n')
        command = [sys.executable, "-m", "edge_inspector", "doctor", "--config", str(file), "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        checks = {one["check"]: one for one in json.loads(ran.stdout) if one["check"].startswith("broker.")}
        assert {check: one["level"] for check, one in checks.items()} == {
            "broker.connect": "ok",
            "broker.publish": "ok",
            "broker.queue": "ok",
        }
