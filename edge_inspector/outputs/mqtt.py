"""Publishes results, defects, events, status and metrics to an MQTT broker (paho-mqtt, on the caller's thread)."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from edge_inspector.datatypes import Event, Identity, InspectionResult, OutboxMessage
from edge_inspector.errors import OutputError
from edge_inspector.outputs import payloads
from edge_inspector.settings import LocalPath, PluginConfig, Settings

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PORT, TLS_PORT = 1883, 8883  # IANA's
LOOP_S = 0.25  # the longest wait in one call of paho's loop; it returns at once when something arrives
_FAILURE = 0x80  # MQTT 5 reason codes from here on are failures
_UNSPECIFIED = 0x80  # what paho says when the broker said nothing

Topic = Annotated[str, StringConstraints(pattern=r"^[^/#+\x00]+(/[^/#+\x00]+)*$", max_length=400)]


class Tls(Settings):
    """TLS 1.2 or newer; the broker's name is always checked."""

    ca_file: LocalPath | None = Field(default=None, description="Certificates to trust; the system's own without it.")
    cert_file: LocalPath | None = Field(default=None, description="Our certificate, when the broker asks for one.")
    key_file: LocalPath | None = Field(default=None, description="The key of cert_file.")

    @model_validator(mode="after")
    def _pair(self) -> Tls:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or none")
        return self


class Config(PluginConfig):
    """One broker."""

    type: Literal["mqtt"] = "mqtt"
    host: str = Field(default="localhost", min_length=1, description="Name or address of the broker.")
    port: int | None = Field(default=None, ge=1, le=65535, description="1883, or 8883 with tls, when not given.")
    prefix: Topic = Field(
        default="edge/site/area/line/cell",
        description="ISA-95 path; topics are <prefix>/vision/<station>/..., no # or +.",
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="edge-inspector-<station> when not given; unique at the broker.",
    )
    username: str | None = Field(default=None, description="Without one the station logs in as nobody.")
    password_file: LocalPath | None = Field(default=None, description="File with the password in its first line.")
    tls: Tls | None = Field(default=None, description="Encrypt; an empty table trusts the system's certificates.")
    keepalive_s: int = Field(
        default=12, ge=2, le=600, description="A frozen station is reported offline after 1.5 times this."
    )
    protocol: Literal["5", "3.1.1"] = Field(default="5", description="Version of MQTT that the broker speaks.")
    in_flight: int = Field(default=20, ge=1, le=1000, description="Messages on their way at once; 20 measured best.")
    connect_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="How long the broker may take to answer; then it is tried again."
    )
    ack_timeout_s: float = Field(
        default=10.0, gt=0, le=120, description="Without any PUBACK for so long the connection is given up."
    )

    @model_validator(mode="after")
    def _user(self) -> Config:
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file is given without username: give both or none")
        return self

    @property
    def broker_port(self) -> int:
        return self.port or (TLS_PORT if self.tls else PORT)


class MqttPublisher:
    """One connection; after an OutputError leave it and enter it again. Nothing is ever queued while it is down.

    All calls but `render` on one thread, which also serves the connection: call `idle` between messages.
    """

    def __init__(self, destination: str, config: Config, identity: Identity) -> None:
        self.destination = destination
        self.config = config
        self.identity = identity
        self._base = f"{config.prefix}/vision/{identity.station}"
        self._status = ("starting", 0, "")  # state, its number, recipe: as last announced
        self._newest = ("", 0)  # book and seq of the retained result
        self._client: Client | None = None
        self._connack: Any = None  # paho's ReasonCode
        self._lost = ""
        self._in_flight = config.in_flight
        self._unacknowledged: set[int] = set()
        self._refused: dict[int, str] = {}  # by message id: the broker's reason

    def __enter__(self) -> MqttPublisher:
        """Connect and say that we are online. OutputError: host, refusal, credentials, certificate or time-out."""
        self._client = None
        self._connack, self._lost = None, ""
        self._unacknowledged.clear()
        self._refused.clear()
        client = self._new_client()
        try:
            self._connect(client)
            self._client = client
            # The broker answers in order: before it acknowledges our status it has sent the retained result.
            client.subscribe(self._topic("result/last"), qos=0)
            self._publish_status(online=True)
            client.unsubscribe(self._topic("result/last"))
        except BaseException:
            self._client = None
            _drop(client)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell that we go offline, as far as the broker still listens, and hang up."""
        client = self._client
        if client is None:
            return
        try:
            if not self._lost:
                self._publish_status(online=False)
                client.disconnect()
        except OutputError:
            pass  # the broker is gone: its last will for us says the same
        finally:
            self._client = None
            _drop(client)

    def render(self, record: InspectionResult | Event) -> tuple[OutboxMessage, ...]:
        """A result: `result`, `result/last` unless an earlier start saw the part, `defects` when there are any."""
        if isinstance(record, Event):
            return (self._message("event", "vision.event/1", payloads.event_payload(record).to_json(), 0),)
        seq = record.trigger.seq
        payload = payloads.result_payload(record, self.identity)
        body = payload.to_json()
        messages = [self._message("result", "vision.result/1", body, seq)]
        if not payload.replayed:
            messages.append(self._message("result/last", "vision.result/1", body, seq, retain=True))
        if record.defects:
            defects = payloads.defects_payload(record).to_json()
            messages.append(self._message("defects", "vision.defects/1", defects, seq))
        return tuple(messages)

    def publish(self, messages: Sequence[OutboxMessage]) -> None:
        """Returns when the broker has acknowledged all of them (QoS 1). OutputError otherwise: all stay in the outbox.

        Of retained results only the newest is sent, and only when the broker does not have a newer one.
        """
        newest = self._newest_retained(messages)
        for message in messages:
            if not message.retain or message is newest:
                self._send(message.topic, message.payload, retain=message.retain)
                self._await_acknowledgements(self._in_flight - 1)
        self._await_acknowledgements()
        if newest is not None:
            self._newest = _book_and_seq(newest.payload)

    def announce(self, state: str, state_no: int, recipe: str) -> None:
        """Publish the station's state, retained; the next connection begins with it even when this one is lost."""
        self._status = (state, state_no, recipe)
        self._publish_status(online=True)

    def metrics(self, values: dict[str, float]) -> None:
        """Publish counters and percentiles (QoS 0)."""
        body = payloads.MetricsPayload.model_validate({"ts": _utc(), **values}).to_json()
        self._check(self._connected().publish(self._topic("metrics"), body, qos=0).rc)

    def idle(self, timeout_s: float) -> None:
        """Serve the connection for this long. OutputError when it is lost."""
        end = time.monotonic() + timeout_s
        while True:
            self._loop(max(0.0, min(LOOP_S, end - time.monotonic())))
            if time.monotonic() >= end:
                return

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        config = self.config
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.client_id or f"edge-inspector-{self.identity.station}",
            protocol=MQTTProtocolVersion.MQTTv5 if config.protocol == "5" else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = config.connect_timeout_s
        client.max_inflight_messages_set(0)  # we hold it ourselves: paho cannot follow the broker's Receive Maximum
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.will_set(self._topic("status"), self._status_json(online=False), qos=1, retain=True)
        if config.username is not None:
            client.username_pw_set(config.username, self._password())
        if config.tls is not None:
            client.tls_set_context(self._tls_context(config.tls))
        return client

    def _password(self) -> str | None:
        path = self.config.password_file
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as exc:
            raise OutputError(f"{self._name()}: password_file {path} cannot be read: {exc}") from exc

    def _tls_context(self, tls: Tls) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            # Python 3.13 began to refuse a plant's own CA for a missing key identifier; chain and name stay checked.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            context.sslsocket_class = _TlsSocket
            if tls.cert_file is not None:
                # An empty password: a key that wants one is an error, not a question at a terminal.
                context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as exc:  # ssl.SSLError is one
            files = ", ".join(str(f) for f in (tls.ca_file, tls.cert_file, tls.key_file) if f is not None)
            raise OutputError(f"{self._name()}: certificate files {files} cannot be used: {exc}") from exc
        return context

    def _connect(self, client: Client) -> None:
        """TCP, TLS and CONNACK. Looking the host name up takes as long as the resolver allows."""
        timeout_s = self.config.connect_timeout_s
        try:
            client.connect(self.config.host, self.config.broker_port, self.config.keepalive_s)
        except ssl.SSLCertVerificationError as exc:
            raise OutputError(
                f"{self._name()}: the broker's certificate is not accepted: {exc.verify_message}; "
                "check tls.ca_file and that host is a name in the certificate"
            ) from exc
        except ssl.SSLError as exc:
            raise OutputError(
                f"{self._name()}: no TLS: {exc}; is this the broker's TLS port, and does it want tls.cert_file?"
            ) from exc
        except (OSError, UnicodeError) as exc:  # UnicodeError: a host that is no host name
            raise OutputError(
                f"{self._name()} cannot be reached: {exc}; check host and port, and that the broker runs"
            ) from exc
        end = time.monotonic() + timeout_s
        while self._connack is None and not self._lost and time.monotonic() < end:
            client.loop(min(LOOP_S, timeout_s))
        if self._connack is None:
            why = f"hung up before its CONNACK ({self._lost})" if self._lost else f"sent no CONNACK in {timeout_s:g} s"
            raise OutputError(f"{self._name()} {why}; does it speak MQTT {self.config.protocol}, and does it want TLS?")
        if self._connack.is_failure:
            raise OutputError(
                f"{self._name()} refused the connection: {self._connack}; "
                f"check username, password_file, client_id and protocol = {self.config.protocol!r}"
            )

    def _publish_status(self, *, online: bool) -> None:
        self._send(self._topic("status"), self._status_json(online=online), retain=True)
        self._await_acknowledgements()

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

    def _send(self, topic: str, payload: bytes, *, retain: bool) -> None:
        info = self._connected().publish(topic, payload, qos=1, retain=retain)
        self._check(info.rc)
        self._unacknowledged.add(info.mid)

    def _await_acknowledgements(self, but: int = 0) -> None:
        """Returns when at most `but` messages are unacknowledged."""
        timeout_s = self.config.ack_timeout_s
        end = time.monotonic() + timeout_s
        while len(self._unacknowledged) > but and not self._refused:
            before = len(self._unacknowledged)
            self._loop(LOOP_S)
            if len(self._unacknowledged) < before:
                end = time.monotonic() + timeout_s  # a slow broker is not a dead one
            elif time.monotonic() >= end:
                self._lost = f"{before} messages without PUBACK after {timeout_s:g} s"
                raise OutputError(f"{self._name()}: {self._lost}")
        if self._refused:
            self._lost = f"the broker refused a message: {next(iter(self._refused.values()))}"
            raise OutputError(f"{self._name()}: {self._lost}; may this client publish under {self._base}/ ?")

    def _loop(self, timeout_s: float) -> None:
        self._check(self._connected().loop(timeout_s))

    def _connected(self) -> Client:
        if self._client is None or self._lost:
            raise OutputError(f"{self._name()} is not connected: {self._lost or 'not opened'}")
        return self._client

    def _check(self, rc: int) -> None:
        from paho.mqtt.client import error_string
        from paho.mqtt.enums import MQTTErrorCode

        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS and not self._lost:
            self._lost = error_string(MQTTErrorCode(rc))
        if self._lost:
            raise OutputError(f"{self._name()} is lost: {self._lost}")

    def _newest_retained(self, messages: Sequence[OutboxMessage]) -> OutboxMessage | None:
        """The one retained result that is worth sending: the highest seq, unless the broker has it or a newer one."""
        newest = max((m for m in messages if m.retain), key=lambda m: m.seq, default=None)
        if newest is None:
            return None
        book, seq = _book_and_seq(newest.payload)
        return newest if book != self._newest[0] or seq > self._newest[1] else None

    def _message(self, topic: str, schema: str, payload: bytes, seq: int, *, retain: bool = False) -> OutboxMessage:
        return OutboxMessage(self.destination, self._topic(topic), schema, payload, seq, retain)

    def _topic(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _name(self) -> str:
        return f"{self.destination}: MQTT broker {self.config.host}:{self.config.broker_port}"

    def _on_connect(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._connack = reason
        self._in_flight = min(self.config.in_flight, getattr(properties, "ReceiveMaximum", self.config.in_flight))

    def _on_disconnect(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not self._lost:
            self._lost = "the connection broke" if reason.value == _UNSPECIFIED else str(reason)

    def _on_publish(self, _client: Client, _userdata: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._unacknowledged.discard(mid)
        if reason.value >= _FAILURE:
            self._refused[mid] = str(reason)

    def _on_message(self, _client: Client, _userdata: Any, message: Any) -> None:
        if message.retain:
            self._newest = max(self._newest, _book_and_seq(message.payload), key=lambda newest: newest[1])


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which paho 2.2 leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _book_and_seq(payload: bytes) -> tuple[str, int]:
    """Book and seq of a result payload; ("", 0) when it is not one."""
    try:
        _, book, seq = json.loads(payload)["result_id"].rsplit(".", 2)
        return str(book), int(seq)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", 0


def _drop(client: Client) -> None:
    """Close the socket, whatever paho thinks of it; what it had not sent is in the outbox."""
    socket = client.socket()
    if socket is not None:
        socket.close()


def _utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
