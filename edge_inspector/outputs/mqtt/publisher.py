"""Publishes results, defects, pictures' names, events, status and metrics to an MQTT broker, on the caller's thread."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

import structlog

from edge_inspector.datatypes import Event, Identity, InspectionResult, Mode, OutboxMessage, SavedImage
from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Order, OrderAnswer
from edge_inspector.outputs import payloads
from edge_inspector.outputs.mqtt.config import Config
from edge_inspector.outputs.mqtt.connection import Connection, Outgoing
from edge_inspector.outputs.mqtt.orders import OrderInbox, ReplyTo
from edge_inspector.outputs.mqtt.tls import tls_context
from edge_inspector.outputs.refusal import MessageRefusedError

log = structlog.get_logger()
RENEW_S = 5.0
"""How often it is looked whether the files of certificates and password were replaced."""
MENDING_TRIES = 3
"""How often a retained result is given back to a broker that has lost it: one that hangs up on it gets the others."""


class MqttPublisher:
    """One connection; after an OutputError leave it and enter it again. Nothing is ever queued while it is down.

    All calls but `render` on one thread, which also serves the connection: call `idle` between messages.
    """

    def __init__(
        self,
        destination: str,
        config: Config,
        identity: Identity,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.destination = destination
        self.config = config
        self.identity = identity
        self._monotonic_s = monotonic_s
        self._base = f"{config.prefix}/vision/{identity.station}"
        self._name = f"{destination}: MQTT broker {config.host}:{config.broker_port}"
        self._status = ("starting", 0, "")  # state, its number, recipe: as last announced
        self._newest = ("", 0)  # book and seq of the result that the broker retains
        self._last: OutboxMessage | None = None  # the retained result that we have sent last
        self._mendings = 0  # how often it was sent to a broker that had lost it
        self._inbox = OrderInbox(destination, self._base, config.commands)
        self._connection: Connection | None = None
        self._files: tuple[object, ...] = ()
        self._look_at = 0.0

    @property
    def replay_per_s(self) -> float:
        return self.config.replay_per_s

    def __enter__(self) -> MqttPublisher:
        """Connect and say that we are online. OutputError: host, refusal, credentials, certificate or time-out."""
        self._newest = ("", 0)
        client_id = self.config.client_id or f"edge-inspector-{self.identity.station}"
        will = Outgoing(self._topic("status"), self._status_json(online=False), retain=True)
        connection = Connection(self._name, self.config, client_id, will, self._on_message)
        self._files, self._look_at = self._files_now(), self._monotonic_s() + RENEW_S
        connection.open()
        try:
            self._connection = connection
            for topic in self._inbox.topics:
                connection.subscribe(topic, qos=1)
            # The broker answers in order: before it acknowledges our status it has sent the retained result.
            connection.subscribe(self._topic("result/last"))
            self._publish_status(online=True)
            connection.unsubscribe(self._topic("result/last"))
            self._mend_last(connection)
        except BaseException:
            self._connection = None
            connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell that we go offline, as far as the broker still listens, and hang up."""
        connection = self._connection
        if connection is None:
            return
        try:
            if not connection.lost:
                self._publish_status(online=False)
        except OutputError:
            pass  # the broker is gone: its last will for us says the same
        finally:
            self._connection = None
            connection.close()

    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        """A result: `result`, `result/last` unless an earlier start saw the part, `defects` when there are any.

        Nothing for a picture that somebody posted: it is no part of the line, and who posted it was answered.
        """
        if isinstance(record, SavedImage):
            return (self._message("image", "vision.image/1", payloads.image_payload(record), record.seq),)
        if isinstance(record, Event):
            return (self._message("event", "vision.event/1", payloads.event_payload(record), 0),)
        if record.trigger.mode is Mode.MANUAL:
            return ()
        seq = record.trigger.seq
        payload = payloads.result_payload(record, self.identity)
        messages = [self._message("result", "vision.result/1", payload, seq)]
        if not payload.replayed:
            messages.append(self._message("result/last", "vision.result/1", payload, seq, retain=True))
        if record.defects:
            messages.append(self._message("defects", "vision.defects/1", payloads.defects_payload(record), seq))
        return tuple(messages)

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        """Returns how many, from the first on, the broker has acknowledged (QoS 1). OutputError when it is none.

        Of retained results only the newest is sent, and only when the broker does not have a newer one.
        """
        newest = self._newest_retained(messages)
        wanted = [i for i, message in enumerate(messages) if not message.retain or message is newest]
        sent = [Outgoing(messages[i].topic, messages[i].payload, messages[i].retain) for i in wanted]
        try:
            acknowledged = self._open().send(sent)
        except MessageRefusedError:
            if wanted[0] == 0:
                raise
            acknowledged = 0  # what is before the refused one needs not be sent; the next call begins with it
        done = wanted[acknowledged] if acknowledged < len(wanted) else len(messages)
        if newest is not None and any(message is newest for message in messages[:done]):
            self._newest, self._last, self._mendings = _book_and_seq(newest.payload), newest, 0
        return done

    def announce(self, state: str, state_no: int, recipe: str) -> None:
        """Publish the station's state, retained; the next connection begins with it even when this one is lost."""
        self._status = (state, state_no, recipe)
        self._publish_status(online=True)

    def metrics(self, values: dict[str, float]) -> None:
        """Publish counters and percentiles (QoS 0)."""
        body = payloads.MetricsPayload.model_validate({"ts": _utc(), **values}).to_json()
        self._open().send_unacknowledged(self._topic("metrics"), body)

    def idle(self, timeout_s: float) -> None:
        """Serve the connection for this long. OutputError when it is lost.

        Certificates or a password that were replaced on the disk are taken into use by a new connection.
        """
        self._open().idle(timeout_s)
        if self._monotonic_s() >= self._look_at:
            self._look_at = self._monotonic_s() + RENEW_S
            if self._files_now() != self._files:
                self._renew()

    def orders(self) -> Sequence[tuple[object, Order]]:
        """As `interfaces.TakesOrders`; what is no order is answered here."""
        while self._inbox.refused:
            refused = self._inbox.refused[0]
            self.answer(refused.reply_to, OrderAnswer(False, refused.why))
            self._inbox.refused.popleft()
        return self._inbox.taken()

    def answer(self, token: object, answer: OrderAnswer) -> None:
        """To the response topic of an MQTT 5 message, with its correlation data; otherwise nowhere."""
        if not isinstance(token, ReplyTo):
            raise TypeError(f"{token!r} is no token of an order that came in here")
        if not token.topic:
            return
        body = payloads.reply_payload(token.command, answer, _utc()).to_json()
        properties = () if token.correlation is None else (("CorrelationData", token.correlation),)
        try:
            self._open().send([Outgoing(token.topic, body, properties=properties)])
        except MessageRefusedError as exc:
            log.warning("reply_refused", destination=self.destination, order=token.command, error=str(exc))

    def _renew(self) -> None:
        """Connect again with the files as they are now; as long as they cannot be used, stay with the old ones."""
        files = self._files_now()
        try:
            if self.config.tls is not None:
                tls_context(self._name, self.config.tls)
        except OutputError as exc:
            log.warning("new_certificates_not_used", destination=self.destination, error=str(exc))
            self._files = files
            return
        log.info("certificates_renewed", destination=self.destination)
        if self._connection is not None:
            self._connection.close()  # in peace: the broker tells nobody that we are offline
            self._connection = None
        self.__enter__()

    def _files_now(self) -> tuple[object, ...]:
        """What tells whether one of our files was replaced."""
        tls = self.config.tls
        files = (self.config.password_file, *(() if tls is None else (tls.ca_file, tls.cert_file, tls.key_file)))
        return tuple(_stamp(str(file)) for file in files if file is not None)

    def _mend_last(self, connection: Connection) -> None:
        """A broker that was killed may have come back with an older last result than the one we had sent."""
        last = self._last
        if last is not None and self._is_newer(last) and self._mendings < MENDING_TRIES:
            self._mendings += 1
            connection.send([Outgoing(last.topic, last.payload, retain=True)])
            self._newest = _book_and_seq(last.payload)

    def _publish_status(self, *, online: bool) -> None:
        self._open().send([Outgoing(self._topic("status"), self._status_json(online=online), retain=True)])

    def _status_json(self, *, online: bool) -> bytes:
        state, state_no, recipe = self._status if online else ("offline", 0, self._status[2])
        return payloads.StatusPayload(
            ts=_utc(),
            online=online,
            state=state,
            state_no=state_no,
            boot_id=self.identity.boot_id,
            version=self.identity.software_version,
            recipe=recipe,
        ).to_json()

    def _open(self) -> Connection:
        if self._connection is None:
            raise OutputError(f"{self._name} is not connected: not opened")
        return self._connection

    def _newest_retained(self, messages: Sequence[OutboxMessage]) -> OutboxMessage | None:
        """The one retained result that is worth sending: the highest seq, unless the broker has it or a newer one."""
        newest = max((m for m in messages if m.retain), key=lambda m: m.seq, default=None)
        return newest if newest is not None and self._is_newer(newest) else None

    def _is_newer(self, message: OutboxMessage) -> bool:
        """Than what the broker retains; a book that was begun anew is newer than another one."""
        book, seq = _book_and_seq(message.payload)
        return book != self._newest[0] or seq > self._newest[1]

    def _message(
        self, topic: str, schema: str, payload: payloads.Payload, seq: int, *, retain: bool = False
    ) -> OutboxMessage:
        return OutboxMessage(self.destination, self._topic(topic), schema, payload.to_json(), seq, retain)

    def _topic(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _on_message(self, message: Any) -> None:
        if message.topic in self._inbox.topics:
            self._inbox.take(message)
        elif message.retain and message.topic == self._topic("result/last"):
            self._newest = max(self._newest, _book_and_seq(message.payload), key=lambda newest: newest[1])


def _stamp(file: str) -> object:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _book_and_seq(payload: bytes) -> tuple[str, int]:
    """Book and seq of a result payload; ("", 0) when it is not one."""
    try:
        _, book, seq = json.loads(payload)["result_id"].rsplit(".", 2)
        return str(book), int(seq)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", 0


def _utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
