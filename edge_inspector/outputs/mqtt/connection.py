"""One connection to a broker: paho-mqtt with time-outs, acknowledgements and words for each failure."""

from __future__ import annotations

import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_inspector.errors import OutputError
from edge_inspector.outputs.mqtt.config import Broker
from edge_inspector.outputs.mqtt.reasons import CUT, FAILURE, FOR_EVER, REMEDY, UNSPECIFIED, in_words
from edge_inspector.outputs.mqtt.tls import TlsContext, handshake_failed, said, tls_context
from edge_inspector.outputs.refusal import ConnectionCutError, MessageRefusedError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

LOOP_S = 0.25  # the longest wait in one call of paho's loop; it returns at once when something arrives
MAX_INCOMING = 65536  # bytes of one packet that a broker may send us (MQTT 5); orders and our own last result are small
_OVERHEAD = 16  # bytes of a PUBLISH beside topic, properties and payload, at the most


@dataclass(frozen=True)
class Outgoing:
    """A message at QoS 1; `properties` are MQTT 5's, by paho's names."""

    topic: str
    payload: bytes
    retain: bool = False
    properties: tuple[tuple[str, str | bytes], ...] = ()


class Connection:
    """Opened once; after an OutputError of any call but a refusal it is of no use. All calls on one thread.

    paho queues nothing: what is not acknowledged is the caller's.
    """

    def __init__(
        self, name: str, config: Broker, client_id: str, will: Outgoing | None, on_message: Callable[[Any], None]
    ) -> None:
        """`name` begins each error; `on_message` takes paho's MQTTMessage, on this thread."""
        self._name = name
        self._config = config
        self._will = will
        self._client_id = client_id
        self._on_incoming = on_message
        self._client: Client | None = None
        self._tls: TlsContext | None = None
        self._connack: Any = None  # paho's ReasonCode
        self._lost = ""
        self._cut = False
        self._in_flight = config.in_flight
        self._largest = 0  # bytes of one packet that the broker takes; 0 = it sets no limit
        self._open: set[int] = set()
        self._refused: dict[int, Any] = {}  # by message id: paho's ReasonCode
        self.introduced = False
        """Whether the broker was sent a CONNECT packet, and so may publish the will."""
        self._asked: int | None = None  # message id of the subscription that `settled` waits for
        self._not_subscribed: Any = None  # its ReasonCode, when it was refused

    @property
    def lost(self) -> bool:
        return self._client is None or bool(self._lost)

    def open(self) -> None:
        """TCP, TLS and CONNACK. OutputError: host, certificate, refusal, credentials or time-out."""
        self._client = client = self._new_client()
        try:
            self._dial(client)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up, politely as long as the connection holds."""
        client, self._client = self._client, None
        if client is None:
            return
        if not self._lost and self._connack is not None and not self._connack.is_failure:
            with suppress(OSError):
                client.disconnect()
        socket = client.socket()
        if socket is not None:
            socket.close()

    def die(self) -> None:
        """Hang up so that the broker publishes the will: MQTT 5 asks it to, 3.1.1 just does not say goodbye."""
        client = self._client
        if client is not None and not self._lost and self._config.protocol == "5":
            from paho.mqtt.packettypes import PacketTypes
            from paho.mqtt.reasoncodes import ReasonCode

            with suppress(OSError):
                client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        self._lost = self._lost or "hung up"
        self.close()

    def subscribe(self, topic: str, qos: int = 0) -> None:
        """Ask for a topic; the broker's answer is not waited for."""
        with self._holding() as client:
            self._check(client.subscribe(topic, qos=qos)[0])

    def unsubscribe(self, topic: str) -> None:
        with self._holding() as client:
            self._check(client.unsubscribe(topic)[0])

    def send(self, messages: Sequence[Outgoing]) -> int:
        """Returns how many, from the first on, the broker has acknowledged: all, unless something came between.

        OutputError when it is none of them: a MessageRefusedError when the broker refuses the first one.
        """
        sent: list[int] = []
        try:
            for message in messages:
                if not self._fits(message, alone=not sent):
                    break
                sent.append(self._publish(message))
                self._await_acknowledgements(self._in_flight - 1)
                if self._refused:
                    break
            self._await_acknowledgements()
        except OutputError as exc:
            taken = self._taken(sent)
            if taken:
                return taken  # the next call tells
            if sent and sent[0] in self._refused:  # Mosquitto 2.0.11 refuses, and hangs up
                raise self._refusal(messages[0].topic, self._refused[sent[0]]) from exc
            if self._cut and sent:
                raise ConnectionCutError(str(exc)) from exc
            raise
        taken, refused = self._taken(sent), dict(self._refused)
        self._refused.clear()
        if not taken and sent:
            raise self._refusal(messages[0].topic, refused[sent[0]])
        return taken

    def send_unacknowledged(self, topic: str, payload: bytes) -> None:
        """At QoS 0: it may be lost."""
        with self._holding() as client:
            self._check(client.publish(topic, payload, qos=0).rc)

    def fits(self, message: Outgoing) -> bool:
        """Whether the broker takes a packet of this size; what does not fit would end the connection."""
        return self._fits(message, alone=False)

    def settled(self, topic: str) -> None:
        """Returns when the broker has got all that was sent, also at QoS 0: it answers one connection in order.

        What is asked is a subscription, which may be there already. OutputError when it is refused, or lost.
        """
        with self._holding() as client:
            rc, self._asked = client.subscribe(topic, qos=1)
            self._check(rc)
        end = time.monotonic() + self._config.ack_timeout_s
        while self._asked is not None:
            self._loop(LOOP_S)
            if time.monotonic() >= end and self._asked is not None:
                self._lost = f"no SUBACK after {self._config.ack_timeout_s:g} s"
                raise OutputError(f"{self._name}: {self._lost}")
        if self._not_subscribed is not None:
            code = in_words(self._not_subscribed, self._config.protocol)
            raise OutputError(f"{self._name} refused a subscription: {code}; may this client read {topic} ?")

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

        config = self._config
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if config.protocol == "5" else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = config.connect_timeout_s
        client.max_inflight_messages_set(0)  # we hold it ourselves: paho cannot follow the broker's Receive Maximum
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=self._will.retain)
        if config.username is not None:
            client.username_pw_set(config.username, self._password())
        if config.tls is not None:
            self._tls = tls_context(self._name, config.tls)
            client.tls_set_context(self._tls)
        return client

    def _password(self) -> str | None:
        path = self._config.password_file
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as exc:
            raise OutputError(f"{self._name}: password_file {path} cannot be read: {exc}") from exc

    def _dial(self, client: Client) -> None:
        """Looking the host name up takes as long as the resolver allows."""
        timeout_s, protocol = self._config.connect_timeout_s, self._config.protocol
        try:
            # Clean start without a session: what waits is in our outbox, and no old order is carried out late.
            client.connect(
                self._config.host,
                self._config.broker_port,
                self._config.keepalive_s,
                properties=_properties("CONNECT", (("MaximumPacketSize", MAX_INCOMING),)) if protocol == "5" else None,
            )
        except ssl.SSLError as exc:
            raise handshake_failed(self._name, exc) from exc
        except (ConnectionResetError, BrokenPipeError) as exc:
            raise OutputError(
                f"{self._name} hung up at once: {exc}; is this the broker's port, and the right one for TLS or none?"
            ) from exc
        except (OSError, UnicodeError) as exc:  # UnicodeError: a host that is no host name
            raise OutputError(
                f"{self._name} cannot be reached: {exc}; check host and port, and that the broker runs"
            ) from exc
        self.introduced = True
        end = time.monotonic() + timeout_s
        while self._connack is None and not self._lost and time.monotonic() < end:
            self._turn(client, min(LOOP_S, timeout_s))
        if self._connack is None:
            if self._tls is not None and self._tls.said is not None:
                raise handshake_failed(self._name, self._tls.said)
            why = f"hung up before its CONNACK ({self._lost})" if self._lost else f"sent no CONNACK in {timeout_s:g} s"
            raise OutputError(f"{self._name} {why}; does it speak MQTT {protocol}, and does it want TLS?")
        if self._connack.is_failure:
            remedy = REMEDY.get(self._connack.value, "check username, password_file and client_id")
            raise OutputError(f"{self._name} refused the connection: {in_words(self._connack, protocol)}; {remedy}")

    def _publish(self, message: Outgoing) -> int:
        properties = _properties("PUBLISH", message.properties) if message.properties else None
        with self._holding() as client:
            info = client.publish(message.topic, message.payload, qos=1, retain=message.retain, properties=properties)
            self._check(info.rc)
        self._open.add(info.mid)
        return info.mid

    def _fits(self, message: Outgoing, *, alone: bool) -> bool:
        """Whether the broker takes a packet of this size; a message that does not fit is sent to nobody."""
        size = _OVERHEAD + len(message.topic.encode()) + len(message.payload)
        if not self._largest or size <= self._largest:
            return True
        if alone:
            text = f"{self._name}: {size} bytes on {message.topic}, the broker takes at most {self._largest}"
            raise MessageRefusedError(text, for_ever=True)
        return False

    def _refusal(self, topic: str, reason: Any) -> MessageRefusedError:
        code = in_words(reason, self._config.protocol)
        text = f"{self._name} refused a message: {code}; may this client publish on {topic} ?"
        return MessageRefusedError(text, for_ever=reason.value in FOR_EVER)

    def _taken(self, sent: Sequence[int]) -> int:
        """How many of `sent`, from the first on, were acknowledged."""
        for count, mid in enumerate(sent):
            if mid in self._open or mid in self._refused:
                return count
        return len(sent)

    def _await_acknowledgements(self, but: int = 0) -> None:
        """Returns when at most `but` messages are unacknowledged."""
        timeout_s = self._config.ack_timeout_s
        end = time.monotonic() + timeout_s
        while len(self._open) > but:
            before = len(self._open)
            self._loop(LOOP_S)
            if len(self._open) < before:
                end = time.monotonic() + timeout_s  # a slow broker is not a dead one
            elif time.monotonic() >= end:
                self._lost = f"{before} messages without PUBACK after {timeout_s:g} s"
                raise OutputError(f"{self._name}: {self._lost}")

    def _loop(self, timeout_s: float) -> None:
        self._check(self._turn(self._connected(), timeout_s))

    def _turn(self, client: Client, timeout_s: float) -> int:
        """paho's loop, which in 2.1 raises anything when what comes is no MQTT."""
        from paho.mqtt import MQTTException

        try:
            return client.loop(timeout_s)
        except (MQTTException, ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error) as exc:
            self._lost = f"what came is no MQTT: {exc!r}"
            raise OutputError(f"{self._name}: {self._lost}; check host and port") from exc
        except OSError as exc:
            raise self._broken(exc) from exc

    def _connected(self) -> Client:
        if self._client is None or self._lost:
            raise OutputError(f"{self._name} is not connected: {self._lost or 'not opened'}")
        return self._client

    @contextmanager
    def _holding(self) -> Iterator[Client]:
        """The client, for one call; paho wakes itself through a pair of sockets, and lets out what becomes of it."""
        client = self._connected()
        try:
            yield client
        except OSError as exc:
            raise self._broken(exc) from exc

    def _broken(self, error: OSError) -> OutputError:
        self._lost = f"the connection broke: {error}"
        return OutputError(f"{self._name}: {self._lost}")

    def _check(self, rc: int) -> None:
        from paho.mqtt.client import error_string
        from paho.mqtt.enums import MQTTErrorCode

        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS and not self._lost:
            self._lost = error_string(MQTTErrorCode(rc))
        if self._lost:
            raise OutputError(f"{self._name} is lost: {self._lost}")

    def _on_connect(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._connack = reason
        self._in_flight = min(self._config.in_flight, getattr(properties, "ReceiveMaximum", self._config.in_flight))
        self._largest = getattr(properties, "MaximumPacketSize", 0)
        if getattr(properties, "MaximumQoS", 1) == 0:
            self._lost = "it takes QoS 0 only, which acknowledges nothing"

    def _on_disconnect(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._lost:
            return
        tls = None if self._tls is None else self._tls.said
        self._cut = tls is None and reason.value in CUT
        if tls is not None:
            self._lost = f"TLS: {said(tls)}"
        elif reason.value == UNSPECIFIED:
            self._lost = "the connection broke"
        else:
            self._lost = in_words(reason, self._config.protocol)

    def _on_publish(self, _client: Client, _userdata: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._open.discard(mid)
        if reason.value >= FAILURE:
            self._refused[mid] = reason

    def _on_subscribe(self, _client: Client, _userdata: Any, mid: int, reasons: Any, _properties: Any) -> None:
        if mid == self._asked:
            self._asked = None
            self._not_subscribed = next((reason for reason in reasons if reason.value >= FAILURE), None)

    def _on_message(self, _client: Client, _userdata: Any, message: Any) -> None:
        self._on_incoming(message)


def _properties(packet: str, values: Sequence[tuple[str, str | bytes | int]]) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(getattr(PacketTypes, packet))  # type: ignore[no-untyped-call]
    for name, value in values:
        setattr(properties, name, value)
    return properties
