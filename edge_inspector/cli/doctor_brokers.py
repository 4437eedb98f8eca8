"""What `edge-inspector doctor` finds out about the MQTT brokers of a station file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from edge_inspector.errors import OutputError
from edge_inspector.health.finding import Finding, judged
from edge_inspector.outputs.mqtt import Config
from edge_inspector.outputs.mqtt.config import Broker
from edge_inspector.outputs.mqtt.connection import Connection, Outgoing
from edge_inspector.outputs.refusal import MessageRefusedError

DROPPED = "$SYS/broker/publish/messages/dropped"  # Mosquitto's
VERSION = "$SYS/broker/version"
MOST_BYTES = 100
"""Of what a broker says of itself: a word or a number."""
ANSWER_S = 1.0
"""A broker sends retained messages at once; one that has none of these says nothing."""
_LOOK_S = 0.05
_HOW_TO = "see docs/how-to/read-results-over-mqtt.md"
_SPARKPLUG = "see docs/how-to/sparkplug.md"


def broker_findings(station: str, name: str, config: Config) -> Iterator[Finding]:
    """Log in beside a running station, publish one empty message on <prefix>/vision/<station>/doctor, read $SYS."""
    seen: dict[str, str] = {}

    def note(message: Any) -> None:
        seen[str(message.topic)] = bytes(message.payload[:MOST_BYTES]).decode(errors="replace")

    broker = f"{config.host}:{config.broker_port}"
    own = config.client_id or f"edge-inspector-{station}"
    topic = f"{config.prefix}/vision/{station}/doctor"
    connection = Connection(name, config, f"{own}-doctor", None, note)
    try:
        connection.open()
    except OutputError as exc:
        why = "Results wait in the ledger until the broker can be reached."
        yield judged("broker.connect", name, "fail", str(exc), "the broker lets this station in", why, _HOW_TO)
        return
    try:
        how = "TLS" if config.tls else "not encrypted"
        yield judged("broker.connect", name, "ok", f"{broker} speaks MQTT {config.protocol}, {how}")
        for asked in (VERSION, DROPPED, topic):
            connection.subscribe(asked)
        yield _may_publish(name, config, connection, topic, seen)
        yield _queue(name, broker, seen)
    except OutputError as exc:
        yield judged("broker.connect", name, "fail", str(exc), "a connection that holds", "", _HOW_TO)
    finally:
        connection.close()


def sparkplug_findings(station: str, name: str, config: Broker) -> Iterator[Finding]:
    """Log in beside a running station; nothing is published: hosts would take it for the station's own."""
    broker = f"{config.host}:{config.broker_port}"
    own = config.client_id or f"edge-inspector-{station}-sparkplug"
    connection = Connection(name, config, f"{own}-doctor", None, lambda message: None)
    try:
        connection.open()
    except OutputError as exc:
        why = "Results wait in the ledger until the broker can be reached."
        yield judged("broker.connect", name, "fail", str(exc), "the broker lets this station in", why, _SPARKPLUG)
        return
    connection.close()
    how = "TLS" if config.tls else "not encrypted"
    yield judged("broker.connect", name, "ok", f"{broker} speaks MQTT {config.protocol}, {how}; nothing was published")


def _may_publish(name: str, config: Config, connection: Connection, topic: str, seen: dict[str, str]) -> Finding:
    why = "What the broker does not take stays in the ledger; with MQTT 3.1.1 it is lost, and nobody is told."
    remedy = f"allow this user to publish on {topic.rpartition('/')[0]}/# at the broker"
    try:
        connection.send([Outgoing(topic, b"")])
    except MessageRefusedError as exc:
        return judged("broker.publish", name, "warn", str(exc), f"may publish on {topic}", why, remedy)
    end = time.monotonic() + ANSWER_S
    try:
        while not {topic, DROPPED} <= seen.keys() and time.monotonic() < end:
            connection.idle(_LOOK_S)
    except OutputError as exc:  # Mosquitto 2.0.11 acknowledges to a client of 3.1.1, drops the message, and hangs up
        return judged("broker.publish", name, "warn", str(exc), f"may publish on {topic}", why, remedy)
    if config.protocol == "5" or topic in seen:
        return judged("broker.publish", name, "ok", f"takes {topic}")
    found = f"{topic} did not come back: the broker does not let us read it, or drops what we publish"
    return judged("broker.publish", name, "note", found, "the message comes back", why, 'protocol = "5", or ' + remedy)


def _queue(name: str, broker: str, seen: dict[str, str]) -> Finding:
    version, dropped = seen.get(VERSION, "a broker that does not say its version"), seen.get(DROPPED, "")
    if not (dropped.isascii() and dropped.isdigit()):
        found = f"{version} at {broker} does not tell now how many messages it has dropped; Mosquitto does for a minute"
        return judged("broker.queue", name, "note", found, "max_queued_messages 0 in mosquitto.conf")
    return judged(
        "broker.queue",
        name,
        "warn" if int(dropped) else "ok",
        f"{version} at {broker} has dropped {dropped} messages since its start",
        "0 dropped",
        "The broker had acknowledged them, and a subscriber that was away for too long never gets them.",
        "set max_queued_messages 0 in mosquitto.conf, and restart Mosquitto",
    )
