"""Publishes results, events and states as a device of a Sparkplug B edge node, on the caller's thread."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import structlog

from edge_inspector.datatypes import Event, Identity, InspectionResult, Mode, OutboxMessage, SavedImage
from edge_inspector.errors import OutputError
from edge_inspector.outputs import payloads
from edge_inspector.outputs.mqtt.connection import Connection, Outgoing
from edge_inspector.outputs.refusal import MessageRefusedError
from edge_inspector.outputs.sparkplug.config import Config
from edge_inspector.outputs.sparkplug.metrics import REBIRTH
from edge_inspector.outputs.sparkplug.payload import booleans
from edge_inspector.outputs.sparkplug.session import EVENT_SCHEMA, NAMESPACE, Node, Session
from edge_inspector.plc.states import State

log = structlog.get_logger()
UNABLE = State.Error
"""In this state the device is dead: it can inspect nothing."""


class SparkplugPublisher:
    """One MQTT session each time it is entered. All calls but `render` on one thread.

    Sparkplug sends data at QoS 0. A message counts as acknowledged when the broker has answered something that was sent
    after it: it answers one connection in order.
    """

    def __init__(
        self,
        destination: str,
        config: Config,
        identity: Identity,
        utc_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.destination = destination
        self.config = config
        self.identity = identity
        self.node = Node(config.group, config.edge_node or platform.node(), identity.station)
        self._utc_ms = utc_ms
        self._name = f"{destination}: MQTT broker {config.host}:{config.broker_port}"
        self._sessions = 0
        self._connection: Connection | None = None
        self._session = Session(identity, 0)
        self._state: tuple[str, int, str] | None = None
        self._node_is_born = False
        self._device_is_born = False
        self._rebirth = False
        self._host_online = config.primary_host is None
        self._host_ms = -1
        """Of the last word of the primary host; an older one does not count."""

    @property
    def replay_per_s(self) -> float:
        return self.config.replay_per_s

    def __enter__(self) -> SparkplugPublisher:
        """Connect with the death certificate as will, then the births, when the primary host is there."""
        self._session = Session(self.identity, self._sessions)
        self._sessions += 1
        self._node_is_born = self._device_is_born = self._rebirth = False
        self._host_online, self._host_ms = self.config.primary_host is None, -1
        client_id = self.config.client_id or f"edge-inspector-{self.identity.station}-sparkplug"
        will = Outgoing(self.node.topic("NDEATH"), self._session.node_death(self._utc_ms()))
        connection = Connection(self._name, self.config, client_id, will, self._on_message)
        connection.open()
        self._connection = connection
        try:
            connection.subscribe(self.node.topic("NCMD"), qos=1)
            if self.config.primary_host is not None:
                connection.subscribe(self._state_topic, qos=1)
            connection.settled(self.node.topic("NCMD"))
            self._live()
        except BaseException:
            self._connection = None
            connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The node's death, as far as the broker still listens."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not connection.lost and self._node_is_born:
                connection.send([Outgoing(self.node.topic("NDEATH"), self._session.node_death(self._utc_ms()))])
        except OutputError:
            pass  # the broker is gone: its last will for us says the same
        finally:
            connection.close()

    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        """Results and events as they stand in MQTT's own topics: what a session makes of them is made when it sends."""
        if isinstance(record, SavedImage) or (
            isinstance(record, InspectionResult) and record.trigger.mode is Mode.MANUAL
        ):
            return ()
        topic = self.node.topic("DDATA")
        if isinstance(record, Event):
            body = payloads.event_payload(record).to_json()
            return (OutboxMessage(self.destination, topic, EVENT_SCHEMA, body, 0),)
        body = payloads.result_payload(record, self.identity).to_json()
        return (OutboxMessage(self.destination, topic, "vision.result/1", body, record.trigger.seq),)

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        """One DDATA each; none while the device is dead or the primary host is away."""
        self._live()
        if not self._device_is_born:
            return 0
        sent = 0
        for message in messages:
            try:
                payload = self._session.data(message, self._utc_ms())
            except ValueError as exc:  # pydantic's ValidationError is one
                if not sent:
                    raise MessageRefusedError(f"{self._name}: no {message.schema}: {exc}", for_ever=True) from exc
                break
            self._send("DDATA", payload)
            sent += 1
        self._open().settled(self.node.topic("NCMD"))
        return sent

    def announce(self, state: str, state_no: int, recipe: str) -> None:
        """A state that can inspect nothing is the device's death, the way out of it its birth."""
        self._state = (state, state_no, recipe)
        born = self._device_is_born
        self._live()
        if born and self._device_is_born:
            self._send("DDATA", self._session.state(self._state, self._utc_ms()))

    def metrics(self, values: dict[str, float]) -> None:
        """Not here: a Sparkplug device has the metrics that its birth named, and these are many."""

    def idle(self, timeout_s: float) -> None:
        """Serve the connection, and who asks for a rebirth. OutputError when it is lost."""
        self._open().idle(timeout_s)
        self._live()

    def _live(self) -> None:
        """Be born, born again, or die, as host, commands and state want it."""
        if not self._host_online:
            if self._node_is_born:
                raise OutputError(
                    f"{self._name}: primary host {self.config.primary_host} is offline; data waits for it"
                )
            return
        now_ms = self._utc_ms()
        if self._rebirth or not self._node_is_born:
            self._rebirth = self._device_is_born = False
            self._send("NBIRTH", self._session.node_birth(now_ms))
            self._node_is_born = True
        able = self._state is not None and self._state[1] != UNABLE
        if able and not self._device_is_born and self._state is not None:
            self._send("DBIRTH", self._session.device_birth(self._state, now_ms))
            self._device_is_born = True
        elif not able and self._device_is_born:
            self._send("DDEATH", self._session.device_death(now_ms))
            self._device_is_born = False

    def _send(self, verb: str, payload: bytes) -> None:
        self._open().send_unacknowledged(self.node.topic(verb), payload)

    def _open(self) -> Connection:
        if self._connection is None:
            raise OutputError(f"{self._name} is not connected: not opened")
        return self._connection

    @property
    def _state_topic(self) -> str:
        return f"{NAMESPACE}/STATE/{self.config.primary_host}"

    def _on_message(self, message: Any) -> None:
        if message.topic == self.node.topic("NCMD"):
            try:
                self._rebirth |= booleans(message.payload).get(REBIRTH, False)
            except ValueError as exc:
                log.warning("command_is_no_payload", destination=self.destination, topic=message.topic, error=str(exc))
        elif message.topic == self._state_topic:
            self._host(message.payload)

    def _host(self, payload: bytes) -> None:
        """STATE of the primary host: JSON with online and timestamp."""
        try:
            said = json.loads(payload)
            online, at_ms = said["online"], said["timestamp"]
        except (ValueError, KeyError, TypeError, RecursionError):
            online = at_ms = None
        if not isinstance(online, bool) or not isinstance(at_ms, int):
            log.warning("state_is_not_understood", destination=self.destination, payload=repr(payload[:100]))
            return
        if at_ms >= self._host_ms:
            self._host_ms, self._host_online = at_ms, online
