"""Orders over MQTT, through a real broker: off by default, answered to MQTT 5, nobody speaks in the station's name."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mqtt_rig import BASE, WAIT_S, Mosquitto, mosquitto, needs_mosquitto, publisher_to
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from edge_inspector.interfaces import Order, OrderAnswer, TakesOrders
from edge_inspector.outputs.mqtt import Config, MqttPublisher
from edge_inspector.outputs.mqtt.orders import MAX_BYTES, MAX_WAITING, OrderInbox, ReplyTo

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


class Asker:
    """A client that is not ours; publishes orders, and keeps what comes to its reply topic."""

    def __init__(self, port: int, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5) -> None:
        self.replies: list[tuple[bytes, dict[str, Any]]] = []
        self.arrived = threading.Event()
        subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="asker", protocol=protocol)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe("hmi/replies", qos=1)
        assert subscribed.wait(WAIT_S)

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        self.replies.append((getattr(message.properties, "CorrelationData", b""), json.loads(message.payload)))
        self.arrived.set()

    def order(self, name: str, payload: bytes = b"", *, reply_to: str = "hmi/replies", retain: bool = False) -> None:
        properties = None
        if reply_to:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic, properties.CorrelationData = reply_to, b"\x00\x01"
        topic = f"{BASE}/cmd/{name}"
        self._client.publish(topic, payload, qos=1, retain=retain, properties=properties).wait_for_publish(WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def asking(port: int, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5) -> Iterator[Asker]:
    asker = Asker(port, protocol)
    try:
        yield asker
    finally:
        asker.close()


def came_in(publisher: MqttPublisher, enough: Callable[[Sequence[Any]], bool] = bool) -> list[tuple[object, Order]]:
    """Serve the connection until the orders that came in are enough."""
    orders: list[tuple[object, Order]] = []
    for _ in range(int(WAIT_S / 0.05)):
        publisher.idle(0.05)
        orders += publisher.orders()
        if enough(orders):
            break
    return orders


def test_an_order_is_handed_over_and_its_answer_goes_back_with_its_correlation_data(broker: Mosquitto) -> None:
    with publisher_to(broker.port, commands=["setup"]) as publisher, asking(broker.port) as asker:
        assert isinstance(publisher, TakesOrders)
        asker.order("setup", b'{"on": true, "who": "J\xc3\xb6rg; drop"}')
        ((token, order),) = came_in(publisher)
        assert order == Order("setup", "mqtt:mqtt:J_rg_ drop", {"on": True})
        publisher.answer(token, OrderAnswer(False, "a part is open"))
        assert asker.arrived.wait(WAIT_S)
        ((correlation, reply),) = asker.replies
        assert correlation == b"\x00\x01"
        assert {name: reply[name] for name in ("schema", "command", "done", "text")} == {
            "schema": "vision.reply/1",
            "command": "setup",
            "done": False,
            "text": "a part is open",
        }


def test_nothing_is_taken_by_default(broker: Mosquitto) -> None:
    with (
        publisher_to(broker.port, commands=["reset"]) as listening,
        publisher_to(broker.port, client_id="other") as deaf,
        asking(broker.port) as asker,
    ):
        asker.order("halt")
        asker.order("reset")
        assert [order.name for _, order in came_in(listening)] == ["reset"]
        deaf.idle(0.0)
        assert deaf.orders() == []


def test_with_mqtt_311_an_order_is_carried_out_and_nobody_is_answered(broker: Mosquitto) -> None:
    with (
        publisher_to(broker.port, protocol="3.1.1", commands=["ack_line_stop"]) as publisher,
        asking(broker.port, MQTTProtocolVersion.MQTTv311) as asker,
    ):
        asker.order("ack_line_stop", reply_to="")
        ((token, order),) = came_in(publisher)
        assert order == Order("ack_line_stop", "mqtt:mqtt", {})
        publisher.answer(token, OrderAnswer(True))


def test_a_retained_order_is_refused_with_a_reason(broker: Mosquitto) -> None:
    with asking(broker.port) as asker:
        asker.order("halt", b"{}", retain=True)
        with publisher_to(broker.port, commands=["halt"]) as publisher:
            assert came_in(publisher, lambda _: asker.arrived.is_set()) == []
        assert asker.replies[0][1]["text"].startswith("a retained message is no order")


def test_a_station_that_was_away_gets_no_old_orders(broker: Mosquitto) -> None:
    publisher = publisher_to(broker.port, commands=["halt", "reset"])
    with asking(broker.port) as asker:
        with publisher:
            publisher.idle(0.0)
        asker.order("halt")
        with publisher:
            asker.order("reset")
            assert [order.name for _, order in came_in(publisher)] == ["reset"]


@pytest.mark.parametrize("topic", [f"{BASE}/result", BASE, "$SYS/broker", "a/+/b", "a/#", "", "x" * 401])
def test_an_answer_never_goes_to_the_stations_own_topics_or_to_none(topic: str) -> None:
    """Whoever may order could otherwise publish with the station's rights, where results are expected."""
    inbox = OrderInbox("mqtt", BASE, ["halt"])
    inbox.take(incoming("halt", b"", ResponseTopic=topic, CorrelationData=b"1"))
    assert [token for token, _ in inbox.taken()] == [ReplyTo("halt")]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"[]", "expected nothing, or a JSON object"),
        (b"{", "expected nothing, or a JSON object"),
        (b"\xff\xfe", "expected nothing, or a JSON object"),
        (b"[" * 4000, "expected nothing, or a JSON object"),
        (b'{"who": 5}', "expected text in who"),
        (b" " * (MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes, expected at most {MAX_BYTES}"),
    ],
)
def test_what_is_no_order_is_refused_with_a_reason(payload: bytes, why: str) -> None:
    inbox = OrderInbox("mqtt", BASE, ["halt"])
    inbox.take(incoming("halt", payload, ResponseTopic="hmi/replies"))
    assert inbox.taken() == []
    (refused,) = inbox.refused
    assert refused.why.startswith(why)
    assert refused.reply_to.topic == "hmi/replies"


def test_a_flood_of_orders_is_refused_beyond_a_bound() -> None:
    inbox = OrderInbox("mqtt", BASE, ["halt"])
    for _ in range(3 * MAX_WAITING):
        inbox.take(incoming("halt", b""))
    assert len(inbox.taken()) == MAX_WAITING
    assert len(inbox.refused) == MAX_WAITING


def test_only_the_stations_own_orders_can_be_allowed() -> None:
    for command in ("audit", "inspect", "live", "stop", "#", "+"):
        with pytest.raises(ValidationError, match="commands"):
            Config(commands=(command,))  # type: ignore[arg-type]


def incoming(command: str, payload: bytes, **properties: object) -> Any:
    return SimpleNamespace(
        topic=f"{BASE}/cmd/{command}", payload=payload, retain=False, properties=SimpleNamespace(**properties)
    )
