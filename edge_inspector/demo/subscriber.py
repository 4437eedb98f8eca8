"""An independent MQTT subscriber that counts what arrives: the demo's witness for "nothing lost"."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from edge_inspector.errors import OutputError

CONNECT_TIMEOUT_S = 5.0


class Subscriber:
    """Subscribes at QoS 1 with paho's own thread; reconnects by itself and keeps its session at the broker.

    The counts may be read at any time; `results` counts each result_id of the `result` topics, so 2 is a duplicate.
    """

    def __init__(
        self,
        port: int,
        topics: str = "#",
        host: str = "127.0.0.1",
        client_id: str = "edge-inspector-witness",
        protocol: Literal["5", "3.1.1"] = "3.1.1",
    ) -> None:
        self.by_topic: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.order: list[str] = []
        """The result_ids in the order of their first arrival."""
        self.last_payload: dict[str, bytes] = {}
        self._address = (host, port)
        self._topics = topics
        self._client_id = client_id
        self._protocol = protocol
        self._changed = threading.Condition()
        self.subscriptions = 0
        """How often the broker has granted the subscription: once for each connection."""

    def __enter__(self) -> Subscriber:
        """Returns when the broker has granted the subscription. OutputError when it does not."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=False if self._protocol == "3.1.1" else None,
            protocol=MQTTProtocolVersion.MQTTv311 if self._protocol == "3.1.1" else MQTTProtocolVersion.MQTTv5,
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        try:
            if self._protocol == "5":
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = 3600
                self._client.connect(*self._address, clean_start=False, properties=properties)
            else:
                self._client.connect(*self._address)
        except OSError as exc:
            raise OutputError(f"MQTT broker {self._address} cannot be reached: {exc}") from exc
        self._client.loop_start()
        if not self.wait(lambda: self.subscriptions > 0, CONNECT_TIMEOUT_S):
            self.__exit__(None, None, None)
            raise OutputError(f"MQTT broker {self._address} did not grant the subscription to {self._topics!r}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def duplicates(self) -> int:
        """Results that arrived more than once, which QoS 1 allows."""
        with self._changed:
            return sum(count - 1 for count in self.results.values())

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the condition on our counts is true; whether it is."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def _on_connect(self, client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            client.subscribe(self._topics, qos=1)

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        with self._changed:
            self.subscriptions += not any(reason.is_failure for reason in reasons)
            self._changed.notify_all()

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        with self._changed:
            self.by_topic[message.topic] += 1
            self.last_payload[message.topic] = message.payload
            if message.topic.endswith("/result"):
                result_id = str(json.loads(message.payload)["result_id"])
                if result_id not in self.results:
                    self.order.append(result_id)
                self.results[result_id] += 1
            self._changed.notify_all()
