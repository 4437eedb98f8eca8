"""What a real broker refuses, how it says so, and that this never costs another message."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mqtt_rig import BASE, WAIT_S, Mosquitto, a_result, config_to, mosquitto, needs_mosquitto, publisher_to
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.errors import OutputError
from edge_inspector.outputs.mqtt.connection import Connection, Outgoing
from edge_inspector.outputs.mqtt.publisher import MENDING_TRIES
from edge_inspector.outputs.refusal import ConnectionCutError, MessageRefusedError

pytestmark = needs_mosquitto


@contextmanager
def allowing(folder: Path, *topics: str) -> Iterator[Mosquitto]:
    """A broker where anybody may read all, and write only these."""
    rights = folder / "acl"
    rights.write_text("".join(f"topic write {BASE}/{topic}\n" for topic in topics) + "topic read #\n")
    with mosquitto(folder, "allow_anonymous true", f"acl_file {rights}") as broker:
        yield broker


@contextmanager
def killed_soon(broker: Mosquitto) -> Iterator[None]:
    """It takes what is sent now, and dies before it answers."""
    broker.process.send_signal(signal.SIGSTOP)
    timer = threading.Timer(0.3, broker.process.send_signal, [signal.SIGKILL])
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_a_topic_that_the_broker_does_not_allow_is_told_with_its_reason_code(tmp_path: Path) -> None:
    refusal = rf"refused a message: Not authorized \(reason code 0x87\); may this client publish on {BASE}/result \?"
    with (
        allowing(tmp_path, "status") as broker,
        publisher_to(broker.port) as publisher,
        pytest.raises(MessageRefusedError, match=refusal) as caught,
    ):
        publisher.publish(publisher.render(a_result(1)))
    assert not caught.value.for_ever


def test_what_was_accepted_before_a_refused_message_is_not_sent_again(tmp_path: Path) -> None:
    with (
        allowing(tmp_path, "status", "result") as broker,
        Subscriber(broker.port, f"{BASE}/#") as witness,
        publisher_to(broker.port) as publisher,
    ):
        messages = [*publisher.render(a_result(1))[:1], *publisher.render(a_result(2, defects=1))[2:]]
        assert publisher.publish(messages) == 1
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/result"] == 1, WAIT_S)


def test_a_broker_that_does_not_allow_the_status_is_not_connected_to(tmp_path: Path) -> None:
    with allowing(tmp_path, "result") as broker, pytest.raises(OutputError, match=rf"publish on {BASE}/status \?"):
        publisher_to(broker.port).__enter__()


def test_a_message_above_the_brokers_packet_limit_is_refused_for_ever_and_not_sent(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 2000") as broker,
        publisher_to(broker.port) as publisher,
    ):
        small, large = (publisher.render(a_result(n))[0] for n in (1, 2))
        large = dataclasses.replace(large, payload=b"x" * 2000)
        assert publisher.publish([small, large, small]) == 1
        with pytest.raises(MessageRefusedError, match=r"20\d\d bytes on .*, the broker takes at most 2000") as caught:
            publisher.publish([large, small])
        assert caught.value.for_ever
        assert publisher.publish([small]) == 1  # the connection holds


@pytest.mark.parametrize(
    ("protocol", "settings", "said"),
    [
        ("5", "message_size_limit 1000", r"Protocol error \(reason code 0x82\)"),
        ("3.1.1", "max_packet_size 1000", "the connection broke"),
    ],
)
def test_a_broker_that_hangs_up_on_a_message_is_told_from_one_that_is_gone(
    tmp_path: Path, protocol: str, settings: str, said: str
) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true", settings) as broker,
        publisher_to(broker.port, protocol=protocol) as publisher,
    ):
        large = dataclasses.replace(publisher.render(a_result(2))[0], payload=b"x" * 1001)
        with pytest.raises(ConnectionCutError, match=said):
            publisher.publish([large])


def test_a_killed_broker_cuts_the_connection_too(tmp_path: Path) -> None:
    """Nobody can tell: so it takes many such connections, each with a good start, before a message is given up."""
    with (
        mosquitto(tmp_path) as broker,
        publisher_to(broker.port) as publisher,
        killed_soon(broker),
        pytest.raises(ConnectionCutError),
    ):
        publisher.publish(publisher.render(a_result(1)))


def test_of_three_retained_results_a_refusal_is_that_of_the_newest(tmp_path: Path) -> None:
    """The two before it need not be sent: they are done, and the refused one is the first of the next call."""
    with allowing(tmp_path, "status") as broker:
        messages = [publisher_to(broker.port).render(a_result(n))[1] for n in (1, 2, 3)]
        with publisher_to(broker.port) as publisher:
            assert publisher.publish(messages) == 2
        with publisher_to(broker.port) as publisher, pytest.raises(MessageRefusedError):
            publisher.publish(messages[2:])


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_retained_result_that_is_not_allowed_any_more_does_not_keep_the_station_from_its_broker(
    tmp_path: Path, protocol: str
) -> None:
    with allowing(tmp_path, "status", "result", "result/last") as broker:
        publisher = publisher_to(broker.port, protocol=protocol)
        with publisher:
            assert publisher.publish(publisher.render(a_result(1))) == 2
        broker.stop()
        (tmp_path / "acl").write_text(f"topic write {BASE}/status\ntopic write {BASE}/result\ntopic read $SYS/#\n")
        broker.start()
        for _ in range(MENDING_TRIES):  # the broker may have been about to go down
            with suppress(OutputError), publisher:
                pass
        with publisher:
            assert publisher.publish(publisher.render(a_result(2))[:1]) == 1


class Scripted(Connection):
    """Without a broker: the message with this payload is refused as soon as it is sent."""

    def __init__(self, refuses: bytes) -> None:
        super().__init__("broker", config_to(1), "me", None, lambda _: None)
        self.sent: list[bytes] = []
        self._refuses = refuses

    def _publish(self, message: Outgoing) -> int:
        self.sent.append(message.payload)
        if message.payload == self._refuses:
            self._refused[len(self.sent)] = ReasonCode(PacketTypes.PUBACK, "Not authorized")
        return len(self.sent)


def test_behind_a_refusal_that_is_known_nothing_more_is_sent() -> None:
    """It would come twice, and another one of the refused topic might overtake the first."""
    connection = Scripted(b"2")
    assert connection.send([Outgoing("a/b", payload) for payload in (b"1", b"2", b"3", b"4")]) == 1
    assert connection.sent == [b"1", b"2"]


def test_a_message_that_was_never_sent_has_cut_no_connection(tmp_path: Path) -> None:
    """The connection ended behind the one before it: nothing is known of this one."""
    with mosquitto(tmp_path) as broker, publisher_to(broker.port) as publisher, killed_soon(broker):
        messages = publisher.render(a_result(1))
        with pytest.raises(ConnectionCutError):
            publisher.publish(messages)
        with pytest.raises(OutputError) as caught:
            publisher.publish(messages)
        assert type(caught.value) is OutputError


def test_a_broker_that_acknowledges_nothing_is_no_place_for_results() -> None:
    properties = Properties(PacketTypes.CONNACK)
    properties.MaximumQoS = 0
    connection = Scripted(b"")
    connection._on_connect(None, None, None, ReasonCode(PacketTypes.CONNACK, "Success"), properties)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="it takes QoS 0 only, which acknowledges nothing"):
        connection.subscribe("a/b")
