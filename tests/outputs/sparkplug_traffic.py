"""Sessions of an edge node with a real Mosquitto, and every byte that it sent in them."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from mqtt_rig import mosquitto
from relay import Relay
from sparkplug_rig import NOON_MS, Clock, Host, an_event, idle_until, publisher_to, results
from sparkplug_wire import CONNECT, PUBLISH, Body, Packet, packets

from edge_inspector.errors import OutputError
from edge_inspector.outputs.sparkplug.publisher import QUIET_S

READY, ERROR, HALTED = ("Ready", 6, "pcb"), ("Error", 3, "pcb"), ("Halted", 2, "pcb")
BATCH = 100
Protocol = Literal["5", "3.1.1"]
NODE, DEVICE = "line1", "line1"


@dataclass
class Traffic:
    """One MQTT session each: what the client sent. The first two have no primary host, the last three have one."""

    protocol: Protocol
    sessions: list[list[Packet]] = field(default_factory=list)
    delivered: list[Packet] = field(default_factory=list)
    """By the broker to a host application, also the wills."""
    before_rebirth: int = 0
    """DDATA messages of the first session that were sent before the host asked for a rebirth."""
    while_waiting: list[list[Packet]] = field(default_factory=list)
    """What had been sent before each word of a host, none of which made the primary host be online."""

    @property
    def connects(self) -> list[Packet]:
        return [session[0] for session in self.sessions]

    @property
    def published(self) -> list[list[Packet]]:
        return [[packet for packet in session if packet.kind == PUBLISH] for session in self.sessions]

    def of(self, *verbs: str) -> list[Packet]:
        """Of all sessions."""
        return [packet for session in self.published for packet in session if packet.verb in verbs]

    def bodies(self, *verbs: str) -> list[Body]:
        return [packet.body for packet in self.of(*verbs)]

    @property
    def wills(self) -> list[Packet]:
        return [connect.will for connect in self.connects if connect.will is not None]


def capture(folder: Path, protocol: Protocol) -> Traffic:
    """The clock stands at noon, and is moved by seconds only where silence counts."""
    traffic = Traffic(protocol)
    with mosquitto(folder) as broker, Relay(broker.port) as relay:
        clock = Clock()
        node = publisher_to(relay.port, clock, protocol=protocol)
        waiting = results(node, range(400, 420), NOON_MS + 60_000)
        with Host(broker.port) as host:
            node.__enter__()
            _work(node, clock, host, traffic)
            traffic.delivered += host.got
        broker.stop(signal.SIGKILL)
        with pytest.raises(OutputError):
            sum(node.publish(waiting) for _ in range(100))
        node.__exit__(None, None, None)
        clock.on(3600)
        broker.start()
        with Host(broker.port) as host:
            with node:
                node.announce(*READY)
                assert node.publish(waiting) == len(waiting)
                clock.on(QUIET_S)
                node.idle(0)
                clock.on(QUIET_S)
                node.idle(0)
                assert node.publish(results(node, [420, 421], clock.now_ms)) == 2
            deaths = 1 + (protocol == "5")  # our own, and the will that MQTT 5 asks for
            host.wait(lambda: sum(packet.verb == "NDEATH" for packet in host.got) >= deaths)
            _wait_for_host(relay, clock, host, traffic)
            traffic.delivered += host.got
    traffic.sessions = [packets(bytes(stream), protocol) for stream in relay.streams]
    assert all(session[0].kind == CONNECT for session in traffic.sessions)
    return traffic


def _work(node, clock: Clock, host: Host, traffic: Traffic) -> None:  # type: ignore[no-untyped-def]
    node.announce(*READY)
    clock.on(1)
    assert node.publish([*results(node, [1, 2], clock.now_ms), *node.render(an_event(clock.now_ms))]) == 3
    node.announce(*HALTED)
    node.announce(*ERROR)
    clock.on(QUIET_S)
    node.idle(0)  # dead
    assert node.publish(node.render(an_event(clock.now_ms))) == 1  # born for its last words
    clock.on(QUIET_S)
    node.idle(0)  # dead again
    node.announce(*READY)
    assert node.publish(results(node, range(3, 3 + BATCH), clock.now_ms)) == BATCH
    host.rebirth()
    idle_until(node, lambda: len(host.bodies("NBIRTH")) == 2)
    traffic.before_rebirth = 3 + 1 + 1 + BATCH  # with the word of the state Error, and the event of the dead device
    for first in (200, 300):  # the sequence comes round
        assert node.publish(results(node, range(first, first + 2 * BATCH), clock.now_ms)) == 2 * BATCH


def _wait_for_host(relay: Relay, clock: Clock, host: Host, traffic: Traffic) -> None:
    node = publisher_to(relay.port, clock, protocol=traffic.protocol, primary_host="ignition")
    session = len(relay.streams)

    def unmoved(online: object, timestamp: object, who: str = "ignition") -> None:
        host.state(online, timestamp, who)
        node.idle(0.1)
        assert node.publish(results(node, [500], clock.now_ms)) == 0
        traffic.while_waiting.append(packets(bytes(relay.streams[session]), traffic.protocol))

    def disappointed() -> None:
        with pytest.raises(OutputError, match="ignition is offline"):
            idle_until(node, lambda: False)
        node.__exit__(None, None, None)

    node.__enter__()
    node.announce(*READY)
    unmoved(True, 1000, "another")
    unmoved(False, 1000)
    unmoved(True, 999)
    host.state(True, 1000)
    idle_until(node, lambda: len(host.bodies("DBIRTH")) == 2)
    host.state(False, 999)
    node.idle(0.1)
    assert node.publish(results(node, [500], clock.now_ms)) == 1
    host.state(False, 1000)
    disappointed()
    session = len(relay.streams)
    node.__enter__()
    unmoved(False, 1000)
    host.state(True, 2000)
    idle_until(node, lambda: len(host.bodies("DBIRTH")) == 3)
    host.state(False, 2001)
    disappointed()
    with node:  # waits in vain, and is stopped
        node.idle(0.1)
