"""What the Sparkplug tests share: an edge node, the clock that it reads, and a host application."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from mqtt_rig import ME, WAIT_S, a_result
from sparkplug_wire import PUBLISH, Body, Packet

from edge_inspector.datatypes import Event, InspectionResult, OutboxMessage
from edge_inspector.outputs.sparkplug.config import Config
from edge_inspector.outputs.sparkplug.publisher import SparkplugPublisher

NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z


class Clock:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS
        self.s = 0.0

    def utc_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.s

    def on(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.s += seconds


def publisher_to(port: int, clock: Clock | None = None, **config: Any) -> SparkplugPublisher:
    fields = {"host": "127.0.0.1", "port": port, "group": "plant", "ack_timeout_s": 3.0, "connect_timeout_s": 3.0}
    clock = Clock() if clock is None else clock
    return SparkplugPublisher("scada", Config(**{**fields, **config}), ME, clock.utc_ms, clock.monotonic_s)


def utc(ms: int) -> str:
    at = datetime.fromtimestamp(ms / 1000, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def result_at(seq: int, ms: int, **of: Any) -> InspectionResult:
    result = a_result(seq, defects=seq % 2, **of)
    return dataclasses.replace(result, trigger=dataclasses.replace(result.trigger, wall_utc=utc(ms)))


def results(publisher: SparkplugPublisher, seqs: Sequence[int], ms: int, **of: Any) -> list[OutboxMessage]:
    return [message for seq in seqs for message in publisher.render(result_at(seq, ms, **of))]


def an_event(ms: int, text: str = "cam: unplugged") -> Event:
    return Event("alarm", "camera_lost", text, utc(ms), ())


class Host:
    """A host application on paho's own thread: keeps what the broker delivers, publishes commands and STATE."""

    def __init__(self, port: int, topics: str = "spBv1.0/#") -> None:
        self.got: list[Packet] = []
        self._port, self._topics = port, topics
        self._changed = threading.Condition()
        self._granted = 0

    def __enter__(self) -> Host:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"host-{id(self)}")
        self._client.reconnect_delay_set(0.1, 0.1)  # type: ignore[arg-type]
        self._client.on_connect = lambda client, *_: client.subscribe(self._topics, qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self.wait_granted(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def bodies(self, verb: str) -> list[Body]:
        with self._changed:
            return [packet.body for packet in self.got if f"/{verb}/" in packet.topic]

    @property
    def result_ids(self) -> list[str]:
        """In order, each time that it was told."""
        told = (metric for body in self.bodies("DDATA") for metric in body.metrics if metric.name == "Result/ResultId")
        return [metric.value for metric in told]

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S)

    def wait_granted(self, times: int) -> None:
        """Until the broker has granted the subscription so often: once a connection."""
        self.wait(lambda: self._granted >= times)

    def rebirth(self, payload: bytes | None = None, *, retain: bool = False) -> None:
        name = b"Node Control/Rebirth"
        metric = b"\x0a" + bytes([len(name)]) + name + b"\x20\x0b\x70\x01"
        body = b"\x08\x01\x12" + bytes([len(metric)]) + metric if payload is None else payload
        self.publish("spBv1.0/plant/NCMD/line1", body, retain=retain, qos=0)

    def state(self, online: object, timestamp: object, host: str = "ignition") -> None:
        body = json.dumps({"online": online, "timestamp": timestamp}).encode()
        self.publish(f"spBv1.0/STATE/{host}", body, retain=True)

    def publish(self, topic: str, payload: bytes, *, retain: bool, qos: int = 1) -> None:
        self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(WAIT_S)

    def _on_subscribe(self, *_: object) -> None:
        with self._changed:
            self._granted += 1
            self._changed.notify_all()

    def _on_message(self, _client: object, _userdata: object, message: Any) -> None:
        with self._changed:
            self.got.append(Packet(PUBLISH, message.topic, message.qos, message.retain, message.payload))
            self._changed.notify_all()


def idle_until(publisher: SparkplugPublisher, condition: Callable[[], bool]) -> None:
    """Serve the connection until it holds."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        publisher.idle(0.01)
