from __future__ import annotations

import dataclasses
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mqtt_rig import BASE, WAIT_S, Mosquitto, a_result, mosquitto, needs_mosquitto, publisher_to, retained
from pydantic import ValidationError

from edge_inspector.datatypes import Event, Mode, SavedImage
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.errors import OutputError
from edge_inspector.outputs.mqtt import Config, Tls

pytestmark = needs_mosquitto
SAVED = SavedImage(
    seq=17,
    result_id="line1.0a1b2c3d.17",
    camera="top",
    kind="overlay",
    why=("reject",),
    path="17.jpg",
    sha256="ab" * 32,
    size_bytes=4711,
    lossless=False,
    pixel_format="Mono8",
    image_hw=(8, 8),
    frame_id=5,
    wall_utc="2026-11-22T00:00:00.123Z",
    clock_synced=True,
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


# --- topics and messages ---------------------------------------------------------------------------------------------


def test_a_result_becomes_three_messages_and_an_ok_without_defects_two() -> None:
    publisher = publisher_to(1)
    assert [(m.topic, m.schema, m.seq, m.retain) for m in publisher.render(a_result(5, defects=1))] == [
        (f"{BASE}/result", "vision.result/1", 5, False),
        (f"{BASE}/result/last", "vision.result/1", 5, True),
        (f"{BASE}/defects", "vision.defects/1", 5, False),
    ]
    assert [m.topic for m in publisher.render(a_result(5))] == [f"{BASE}/result", f"{BASE}/result/last"]


def test_a_part_of_an_earlier_start_is_marked_as_replayed_and_never_becomes_the_last_result() -> None:
    (message,) = publisher_to(1).render(a_result(5, boot_id=1))
    assert message.topic == f"{BASE}/result"
    assert json.loads(message.payload)["replayed"] == 1


def test_an_event_becomes_one_message() -> None:
    (message,) = publisher_to(1).render(Event("alarm", "camera_lost", "top", "2026-11-22T00:00:00.000Z"))
    assert (message.destination, message.topic, message.schema) == ("mqtt", f"{BASE}/event", "vision.event/1")


def test_a_picture_is_named_on_its_own_topic_and_a_posted_one_is_nobodys_result() -> None:
    publisher = publisher_to(1)
    (message,) = publisher.render(SAVED)
    assert (message.topic, message.schema, message.seq, message.retain) == (
        f"{BASE}/image",
        "vision.image/1",
        17,
        False,
    )
    posted = dataclasses.replace(a_result(5), trigger=dataclasses.replace(a_result(5).trigger, mode=Mode.MANUAL))
    assert publisher.render(posted) == ()


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a//b", "a/+/b", "a/#", "a\0b"])
def test_a_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="prefix"):
        Config(prefix=prefix)


def test_half_of_a_credential_is_refused() -> None:
    with pytest.raises(ValidationError, match="cert_file and key_file belong together"):
        Tls(cert_file=Path("c.pem"))
    with pytest.raises(ValidationError, match="password_file is given without username"):
        Config(password_file=Path("p"))


def test_the_port_follows_tls() -> None:
    configs = (Config(), Config(tls=Tls()), Config(tls=Tls(), port=1))
    assert [config.broker_port for config in configs] == [1883, 8883, 1]


# --- publishing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_published_messages_are_acknowledged_and_arrive_in_order(broker: Mosquitto, protocol: str) -> None:
    with Subscriber(broker.port, f"{BASE}/#") as witness:
        with publisher_to(broker.port, protocol=protocol) as publisher:
            for first in range(1, 200, 50):
                messages = [m for n in range(first, first + 50) for m in publisher.render(a_result(n, defects=1))]
                publisher.publish(messages)
            publisher.metrics({"cycle_ms_p99": 41.5})
            publisher.idle(0.0)
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/defects"] == 200, WAIT_S)
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/metrics"] == 1, WAIT_S)
        assert witness.order == [f"line1.0a1b2c3d.{n}" for n in range(1, 201)]
        assert witness.duplicates == 0
        assert json.loads(witness.last_payload[f"{BASE}/metrics"])["cycle_ms_p99"] == 41.5


def test_the_station_is_online_while_connected_and_offline_after(broker: Mosquitto) -> None:
    publisher = publisher_to(broker.port)
    with publisher:
        publisher.announce("operational", 4, "pcb")
        online = retained(broker.port, "status")
        assert online is not None
        assert (online["online"], online["state"], online["state_no"], online["recipe"]) == (
            True,
            "operational",
            4,
            "pcb",
        )
        assert (online["boot_id"], online["version"], online["schema"]) == (4711, "0.1.0", "vision.status/1")
    offline = retained(broker.port, "status")
    assert offline is not None
    assert (offline["online"], offline["state"]) == (False, "offline")
    with publisher:
        again = retained(broker.port, "status")
        assert again is not None
        assert (again["online"], again["state"]) == (True, "operational")


CHILD = """
import sys
import threading
from pathlib import Path
from edge_inspector.datatypes import Identity
from edge_inspector.outputs.mqtt import Config, MqttPublisher
with MqttPublisher("mqtt", Config(host="127.0.0.1", port=int(sys.argv[1])), Identity("line1", 1, "x")) as publisher:
    print("connected", flush=True)
    while True:
        publisher.idle(1.0)
"""


def test_a_killed_station_is_reported_offline_by_its_last_will(broker: Mosquitto) -> None:
    with Subscriber(broker.port, f"{BASE}/status") as witness:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(broker.port)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "connected\n"
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 1, WAIT_S)
            assert json.loads(witness.last_payload[f"{BASE}/status"])["online"] is True
            child.kill()
            child.wait()
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 2, WAIT_S)
        assert json.loads(witness.last_payload[f"{BASE}/status"])["online"] is False


def test_the_last_result_is_the_one_with_the_highest_number_whatever_is_sent_again(broker: Mosquitto) -> None:
    with Subscriber(broker.port, f"{BASE}/#") as witness:
        with publisher_to(broker.port) as publisher:
            old = [m for n in (1, 2, 3) for m in publisher.render(a_result(n))]
            publisher.publish(old)
            publisher.publish(old)
        with publisher_to(broker.port) as restarted:  # knows nothing but what the broker retains
            restarted.publish(old)
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/result"] == 9, WAIT_S)
            last = retained(broker.port, "result/last")
            assert last is not None
            assert last["seq"] == 3
            assert witness.by_topic[f"{BASE}/result/last"] == 1
            restarted.publish(restarted.render(a_result(4)))
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/result/last"] == 2, WAIT_S)
            restarted.publish(restarted.render(a_result(1, book="ffffffff")))  # the ledger was begun anew
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/result/last"] == 3, WAIT_S)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_port_without_a_broker_is_told(tmp_path: Path) -> None:
    port = Mosquitto(tmp_path).port
    with pytest.raises(OutputError, match=f"mqtt: MQTT broker 127.0.0.1:{port} cannot be reached: .*refused"):
        publisher_to(port).__enter__()


def test_a_host_that_has_no_address_is_told() -> None:
    with pytest.raises(OutputError, match=r"broker no-such-host\.invalid:1 cannot be reached: .*check host and port"):
        publisher_to(1, host="no-such-host.invalid").__enter__()


def test_a_broker_that_acknowledges_nothing_is_no_broker_for_results(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true", "max_qos 0") as broker,
        pytest.raises(OutputError, match=r"reason code 0x9b|it takes QoS 0 only"),
    ):
        publisher_to(broker.port).__enter__()


GARBAGE = (
    b"\x20\x03\x00\xff\x00",  # a CONNACK with a reason code that MQTT 5 does not have
    b"\x20\x08\x00\x00\x05\x7f\x00\x00\x00\x00",  # a property that is none
    b"\x20\x00",  # a CONNACK without anything
    b"\x20\x04\x00\x00\x7f\x21",  # properties that are longer than the packet
    b"\xff\xff\xff\xff\xff\xff",
    b"\x40\x01\x00",  # a PUBACK of one byte
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_server_that_speaks_something_else_is_told_and_ends_no_thread(garbage: bytes) -> None:
    with answering(garbage) as port, pytest.raises(OutputError, match=r"127\.0\.0\.1"):
        publisher_to(port, connect_timeout_s=0.5).__enter__()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(first=st.sampled_from([0x20, 0x30, 0x40, 0x90, 0xD0, 0xE0]), rest=st.binary(max_size=24))
def test_whatever_a_server_says_the_failure_is_one_that_the_station_expects(first: int, rest: bytes) -> None:
    with answering(bytes((first, len(rest))) + rest) as port, pytest.raises(OutputError):
        publisher_to(port, connect_timeout_s=0.2, ack_timeout_s=0.2).__enter__()


@contextmanager
def answering(what: bytes) -> Iterator[int]:
    """A server that says this to the first who comes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(what)

        thread = threading.Thread(target=answer)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(WAIT_S)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publisher = publisher_to(silent.getsockname()[1], connect_timeout_s=0.2)
        with pytest.raises(OutputError, match=r"sent no CONNACK in 0\.2 s"):
            publisher.__enter__()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_told_and_the_right_one_connects(tmp_path: Path, protocol: str) -> None:
    passwords, right, wrong = (tmp_path / name for name in ("passwords", "right", "wrong"))
    right.write_text("secret\n")
    wrong.write_text("guess\n")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "station", "secret"], check=True, capture_output=True)
    with mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        refused = publisher_to(broker.port, username="station", password_file=wrong, protocol=protocol)
        with pytest.raises(OutputError, match=r"refused the connection: .*; check username and password_file"):
            refused.__enter__()
        with publisher_to(broker.port, username="station", password_file=right, protocol=protocol) as publisher:
            publisher.publish(publisher.render(a_result(1)))
        with pytest.raises(OutputError, match=r"password_file .*absent cannot be read"):
            publisher_to(broker.port, username="station", password_file=tmp_path / "absent").__enter__()


def test_a_frozen_broker_is_given_up_within_the_time_limit(broker: Mosquitto) -> None:
    with publisher_to(broker.port, ack_timeout_s=0.3) as publisher:
        broker.process.send_signal(signal.SIGSTOP)
        with pytest.raises(OutputError, match=r"2 messages without PUBACK after 0\.3 s"):
            publisher.publish(publisher.render(a_result(1)))
        with pytest.raises(OutputError, match="is not connected: 2 messages without PUBACK"):
            publisher.idle(0.0)


def test_a_lost_broker_is_told_by_every_call_and_nothing_is_queued(broker: Mosquitto) -> None:
    publisher = publisher_to(broker.port)
    with publisher:
        broker.stop(signal.SIGKILL)
        with pytest.raises(OutputError, match="is lost"):
            publisher.idle(WAIT_S)
        calls: tuple[Callable[[], None], ...] = (
            lambda: publisher.publish(publisher.render(a_result(1))),
            lambda: publisher.announce("operational", 4, "pcb"),
            lambda: publisher.metrics({"n": 1.0}),
            lambda: publisher.idle(0.0),
        )
        for call in calls:
            with pytest.raises(OutputError, match="is not connected"):
                call()
        broker.start()
    with publisher, Subscriber(broker.port, f"{BASE}/#") as witness:
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 1, WAIT_S)
        assert json.loads(witness.last_payload[f"{BASE}/status"])["state"] == "operational"
        assert set(witness.by_topic) == {f"{BASE}/status"}


def test_a_second_station_with_the_same_client_id_takes_the_connection_over_and_this_is_told(broker: Mosquitto) -> None:
    with (
        publisher_to(broker.port) as first,
        publisher_to(broker.port),
        pytest.raises(OutputError, match="is lost: the connection broke"),
    ):
        first.idle(WAIT_S)
