"""The shipped Node-RED flow in a real Node-RED, fed by our publisher through a real Mosquitto."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from node_programs import Node, Script
from real_station import free_port, listens
from test_interop_node_red import SETTINGS

from edge_inspector.datatypes import Evaluation, Event, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.outputs.mqtt import Config, MqttPublisher

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]
FLOW = Path(__file__).resolve().parents[2] / "deploy" / "dashboards" / "node-red" / "flow.json"
IDENTITY = Identity("press", 77, "1.2.3")
TRIGGER = Trigger(
    1, "press.0123abcd.1", 1, "P1", 1, Mode.PRODUCTION, "lid", 7, 77, 0, 0, 10**9, "2026-11-22T13:00:00.000Z", True
)


def part(seq: int, evaluation: Evaluation = Evaluation.OK, mode: Mode = Mode.PRODUCTION) -> InspectionResult:
    trigger = replace(TRIGGER, seq=seq, result_id=f"press.0123abcd.{seq}", mode=mode)
    reason = Reason.NONE if evaluation is Evaluation.OK else Reason.DEADLINE
    return InspectionResult(trigger, evaluation, reason, "", (), ("top",), 1, (0.5,), "ab", 10**8, {})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while not listens(port):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(10)


class NodeRed:
    """A headless Node-RED with the shipped flow, whose broker is ours."""

    def __init__(self, start: Node, modules: Path, home: Path, broker: int) -> None:
        self._start, self._modules, self._home, self.port = start, modules, home, free_port()
        home.mkdir()
        (home / "node_modules").symlink_to(modules)
        (home / "settings.js").write_text(SETTINGS.format(port=self.port))
        flow = json.loads(FLOW.read_text())
        for one in flow:
            if one["type"] == "mqtt-broker":
                one["port"] = str(broker)
        (home / "flow.json").write_text(json.dumps(flow))
        self.script = self.start()

    def start(self) -> Script:
        program = self._modules / "node-red" / "red.js"
        self.script = self._start(program, "--userDir", self._home, "--settings", self._home / "settings.js")
        self.script.wait("Node-RED answers", lambda: self.ask() is not None, 60)
        return self.script

    def stop(self) -> None:
        self.script.process.terminate()
        self.script.process.wait(20)

    def ask(self) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/edge-inspector", timeout=5) as answer:
                said: dict[str, Any] = json.load(answer)
                return said
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def station(self) -> dict[str, Any]:
        said = self.ask()
        assert said is not None
        found: dict[str, Any] = said["stations"].get("press", {})
        return found


@pytest.fixture
def red(node: Node, node_modules: Path, tmp_path: Path, broker: int) -> Iterator[NodeRed]:
    made = NodeRed(node, node_modules, tmp_path / "node_red", broker)
    yield made
    made.stop()
    shutil.rmtree(tmp_path / "node_red")


def test_the_flow_counts_each_part_once_and_finds_those_that_came_while_it_was_off(red: NodeRed, broker: int) -> None:
    publisher = MqttPublisher("plant", Config(port=broker), IDENTITY)
    with publisher:
        publisher.announce("Ready", 11, "lid")
        red.script.wait("the state arrives", lambda: red.station().get("state") == "Ready", 30)
        for result in (part(1), part(2, Evaluation.UNDEFINED), part(3), part(4, mode=Mode.GOLDEN)):
            publisher.publish(publisher.render(result))
        publisher.publish(publisher.render(part(3)))  # a duplicate, as after a lost PUBACK
        publisher.publish(publisher.render(Event("alarm", "camera_lost", "top", "2026-11-22T13:00:01.000Z")))
        publisher.publish(publisher.render(Event("info", "images_again", "", "2026-11-22T13:00:02.000Z")))
        publisher.publish(publisher.render(part(5, Evaluation.NOT_DECIDABLE)))  # the last one: what is before it is in
        red.script.wait("all parts arrive", lambda: red.station()["last"]["seq"] == 5, 30)
        seen, alarms = red.station(), (red.ask() or {})["alarms"]
        assert seen["counts"] == {"OK": 2, "NOT_OK": 0, "UNDEFINED": 1, "NOT_DECIDABLE": 1}
        assert (seen["parts"], seen["yield"], seen["online"]) == (4, 0.5, True)
        assert [(a["station"], a["code"]) for a in alarms] == [("press", "camera_lost")]

        red.stop()
        publisher.publish(publisher.render(part(6)))
        red.start()
        red.script.wait(
            "the part of the meantime arrives", lambda: (red.station().get("last") or {}).get("seq") == 6, 30
        )
        assert red.station()["parts"] == 1  # its sums are those since its own start
    red.script.wait("the station is offline", lambda: red.station()["online"] is False, 30)
