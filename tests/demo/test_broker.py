from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_inspector.datatypes import Event, Identity
from edge_inspector.demo.broker import wait_until_listening
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.errors import OutputError
from edge_inspector.outputs.mqtt import Config, MqttPublisher

pytest.importorskip("amqtt", reason="the demo's broker is not installed: pip install edge-inspector[demo]")
WAIT_S = 20.0
BASE = "edge/site/area/line/cell/vision/line1"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def demo_broker(port: int) -> Iterator[subprocess.Popen[str]]:
    """The demo's broker as the demo starts it."""
    command = [sys.executable, "-m", "edge_inspector.demo.broker", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            wait_until_listening(port, WAIT_S)
            yield child
        finally:
            child.kill()


def publisher_to(port: int, protocol: str) -> MqttPublisher:
    config = Config.model_validate({"host": "127.0.0.1", "port": port, "protocol": protocol, "connect_timeout_s": 3.0})
    return MqttPublisher("mqtt", config, Identity("line1", 1, "0.1.0"))


def test_the_witness_counts_what_the_station_publishes_and_the_broker_ends_in_silence() -> None:
    port = free_port()
    with demo_broker(port) as child:
        with Subscriber(port, f"{BASE}/#") as witness, publisher_to(port, "3.1.1") as publisher:
            for number in range(60):
                publisher.publish(publisher.render(Event("info", "tick", str(number), "2026-11-22T00:00:00.000Z")))
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/event"] == 60, WAIT_S)
            assert witness.by_topic[f"{BASE}/status"] == 1
        child.send_signal(signal.SIGTERM)
        output, _ = child.communicate(timeout=WAIT_S)
        assert (child.returncode, output) == (0, "")


def test_mqtt_5_is_refused_by_the_demo_broker_and_this_is_told() -> None:
    port = free_port()
    with demo_broker(port), pytest.raises(OutputError, match=r"protocol|MQTT 5"):
        publisher_to(port, "5").__enter__()


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "edge_inspector.demo.broker", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode != 0
    assert f"demo broker cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_broker_that_never_listens_is_told() -> None:
    with pytest.raises(OutputError, match="no broker listens on"):
        wait_until_listening(free_port(), 0.1)
