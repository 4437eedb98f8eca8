"""Publishes results, events and states as a device of a Sparkplug B edge node, on the caller's thread."""

from __future__ import annotations

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
from edge_inspector.outputs.sparkplug.host import PrimaryHost
from edge_inspector.outputs.sparkplug.metrics import REBIRTH
from edge_inspector.outputs.sparkplug.payload import booleans
from edge_inspector.outputs.sparkplug.session import EVENT_SCHEMA, Node, Session
from edge_inspector.plc.states import State

log = structlog.get_logger()
UNABLE = State.Error
"""In this state the device can inspect nothing: it dies as soon as it has nothing more to say."""
QUIET_S = 1.0
"""Nothing was said for so long: no backlog is being sent, and what was told last is the present."""


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
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.destination = destination
        self.config = config
        self.identity = identity
        self.node = Node(config.group, config.edge_node or identity.station, identity.station)
        self._utc_ms = utc_ms
        self._monotonic_s = monotonic_s
        self._name = f"{destination}: MQTT broker {config.host}:{config.broker_port}"
        self._connects = 0  # CONNECT packets that were sent
        self._connection: Connection | None = None
        self._session = Session(identity)
        self._host = PrimaryHost(config.primary_host)
        self._state: tuple[str, int, str] | None = None
        self._node_is_born = False
        self._device_is_born = False
        self._rebirth = False
        self._told_s = 0.0
        self._warned = ""

    @property
    def replay_per_s(self) -> float:
        return self.config.replay_per_s

    def __enter__(self) -> SparkplugPublisher:
        """Connect with the death certificate as will, then the births, when state and primary host are known."""
        self._session.begin(self._connects)
        self._host = PrimaryHost(self.config.primary_host)
        self._node_is_born = self._device_is_born = False
        client_id = self.config.client_id or f"edge-inspector-{self.identity.station}-sparkplug"
        will = Outgoing(self.node.topic("NDEATH"), self._session.node_death(self._utc_ms()))
        connection = Connection(self._name, self.config, client_id, will, self._on_message)
        try:
            connection.open()
        finally:
            self._connects += connection.introduced
        self._connection = connection
        try:
            connection.settled(self.node.topic("NCMD"))
            if self._host.topic:
                connection.settled(self._host.topic)
            self._live()
        except BaseException:
            self.__exit__(None, None, None)
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
            connection.die()

    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        """Results and events as they stand in MQTT's own topics: what a session makes of them is made when it sends."""
        topic = self.node.topic("DDATA")
        if isinstance(record, Event):
            body = payloads.event_payload(record).to_json()
            return (OutboxMessage(self.destination, topic, EVENT_SCHEMA, body, 0),)
        if isinstance(record, SavedImage) or record.trigger.mode is Mode.MANUAL:
            return ()
        body = payloads.result_payload(record, self.identity).to_json()
        return (OutboxMessage(self.destination, topic, "vision.result/1", body, record.trigger.seq),)

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        """One DDATA each, from a device that is born for it if need be; none while the primary host is away."""
        self._live(telling=True)
        if not self._device_is_born:
            return 0
        sent = 0
        for message in messages:
            payload = self._data(message, alone=not sent)
            if payload is None:
                break
            self._send("DDATA", payload)
            sent += 1
        self._open().settled(self.node.topic("NCMD"))
        self._host.require(self._name)  # else who should have listened may have gone: all of it is sent again
        return sent

    def announce(self, state: str, state_no: int, recipe: str) -> None:
        """In DDATA when it is new, unless a birth has just said it."""
        before, self._state = self._state, (state, state_no, recipe)
        if not self._live() and self._device_is_born and self._state != before:
            self._send("DDATA", self._session.state(self._state, self._utc_ms()))

    def metrics(self, values: dict[str, float]) -> None:
        """Not here: a Sparkplug device has the metrics that its birth named, and these are many."""

    def idle(self, timeout_s: float) -> None:
        """Serve the connection, and who asks for a rebirth. OutputError when it is lost."""
        self._open().idle(timeout_s)
        self._live()
        if not self._device_is_born or self._monotonic_s() - self._told_s < QUIET_S:
            return
        present = self._session.present(self._utc_ms())
        if present is not None:
            self._send("DDATA", present)
        elif not self._is_able:
            self._send("DDEATH", self._session.device_death(self._utc_ms()))
            self._device_is_born = False

    @property
    def _is_able(self) -> bool:
        return self._state is not None and self._state[1] != UNABLE

    def _live(self, *, telling: bool = False) -> bool:
        """Be born, or born again, as host, commands and state want it; whether the device was.

        The device is born with its node, in whatever state, and later when it is able or has something to tell.
        """
        if self._node_is_born:
            self._host.require(self._name)
        if self._state is None or not self._host.online:
            return False
        now_ms, wanted = self._utc_ms(), not self._device_is_born and (self._is_able or telling)
        if self._rebirth or not self._node_is_born:
            wanted = wanted or self._device_is_born or not self._node_is_born
            self._rebirth = False
            self._send("NBIRTH", self._session.node_birth(now_ms))
            self._node_is_born = True
        if wanted:
            self._send("DBIRTH", self._session.device_birth(self._state, now_ms))
            self._device_is_born = True
        return wanted

    def _data(self, message: OutboxMessage, *, alone: bool) -> bytes | None:
        """None = not behind others; MessageRefusedError when the message alone cannot be sent."""
        try:
            payload = self._session.data(message, self._utc_ms())
            if not self._open().fits(Outgoing(message.topic, payload)):
                raise ValueError(f"{len(payload)} bytes are more than the broker takes")
        except ValueError as exc:  # pydantic's ValidationError is one
            if alone:
                text = f"{self._name}: {message.schema} of part {message.seq} cannot be sent: {exc}"
                raise MessageRefusedError(text, for_ever=True) from exc
            return None
        return payload

    def _send(self, verb: str, payload: bytes) -> None:
        self._open().send_unacknowledged(self.node.topic(verb), payload)
        self._session.sent()
        self._told_s = self._monotonic_s()

    def _open(self) -> Connection:
        if self._connection is None:
            raise OutputError(f"{self._name} is not connected: not opened")
        return self._connection

    def _on_message(self, message: Any) -> None:
        try:
            if message.topic == self._host.topic:
                self._host.said(message.payload)
            elif not message.retain:  # a command is never retained: that would be a rebirth for each subscription
                self._rebirth |= booleans(message.payload).get(REBIRTH, False)
        except ValueError as exc:
            if str(exc) != self._warned:
                self._warned = str(exc)
                log.warning("not_understood", destination=self.destination, topic=message.topic, error=str(exc))
