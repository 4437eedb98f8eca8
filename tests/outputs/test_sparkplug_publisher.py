"""An edge node at a real Mosquitto, with the station's ledger and thread: outages, absent hosts, hostile commands."""

from __future__ import annotations

import dataclasses
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mqtt_rig import WAIT_S, Mosquitto, mosquitto, needs_mosquitto
from sparkplug_rig import NOON_MS, Clock, Host, an_event, idle_until, publisher_to, result_at, results

from edge_inspector.datatypes import OutboxMessage
from edge_inspector.errors import OutputError
from edge_inspector.outputs.refusal import MessageRefusedError
from edge_inspector.outputs.sparkplug.publisher import QUIET_S
from edge_inspector.plc.states import STARTING
from edge_inspector.station.publisher_thread import PublisherThread
from edge_inspector.store.ledger import BookResult, BookTrigger, Ledger

pytestmark = needs_mosquitto
READY = ("Ready", 6, "pcb")
ABLE = dataclasses.replace(STARTING, recipe="pcb", recipe_ready=True)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


class Station:
    """The ledger's thread and that of one edge node which waits for the host application "ignition"."""

    def __init__(self, folder: Path, port: int) -> None:
        self.ledger = Ledger(folder / "ledger", ["scada"])
        publisher = publisher_to(port, primary_host="ignition", ack_timeout_s=1.0)
        publisher._utc_ms = lambda: time.time_ns() // 1_000_000
        publisher._monotonic_s = time.monotonic
        self.thread = PublisherThread(publisher, self.ledger, lambda _: None, dict)
        self.thread.announce(ABLE)

    def submit(self, numbers: range) -> None:
        for n in numbers:
            result = dataclasses.replace(result_at(n, time.time_ns() // 1_000_000), model_hash="ef" * 32)
            self.ledger.submit(BookTrigger(None, result.trigger))
            self.ledger.submit(BookResult(None, result, True, self.thread.publisher.render(result)))

    @property
    def waiting(self) -> int:
        return self.ledger.standing("scada").waiting


@contextmanager
def station(folder: Path, port: int) -> Iterator[Station]:
    made = Station(folder, port)
    with made.ledger:
        threads = [threading.Thread(target=made.ledger.run), threading.Thread(target=made.thread.run)]
        for thread in threads:
            thread.start()
        try:
            yield made
        finally:
            made.thread.stop()
            threads[1].join(WAIT_S)
            made.ledger.close()
            threads[0].join(WAIT_S)
            assert not any(thread.is_alive() for thread in threads)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def ids(numbers: range) -> list[str]:
    return [f"line1.0a1b2c3d.{n}" for n in numbers]


def first_times(host: Host) -> list[str]:
    return list(dict.fromkeys(host.result_ids))


def test_a_broker_killed_in_the_middle_of_a_batch_costs_a_listening_host_nothing(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with station(tmp_path, broker.port) as made, Host(broker.port) as host:
        host.state(True, 1)
        made.submit(range(1, 301))
        host.wait(lambda: len(host.got) >= 20)
        broker.stop(signal.SIGKILL)
        made.submit(range(301, 401))
        until(lambda: not made.thread.counters().connected)
        broker.start()
        host.wait_granted(2)
        host.state(True, 2)
        made.submit(range(401, 451))
        host.wait(lambda: len(set(host.result_ids)) == 450)
        until(lambda: made.waiting == 0)
        assert first_times(host) == ids(range(1, 451))
        late = {body["Result/Seq"] for body in host.bodies("DDATA") if any(m.historical for m in body.metrics)}
        assert set(range(301, 401)) <= late
        assert host.bodies("NBIRTH")[0]["bdSeq"] == 0
        assert host.bodies("NBIRTH")[-1]["bdSeq"] >= 1
        host.state(False, 3)


def test_what_happens_while_the_primary_host_is_away_waits_for_it(broker: Mosquitto, tmp_path: Path) -> None:
    with station(tmp_path, broker.port) as made:
        made.submit(range(1, 51))
        with Host(broker.port) as host:
            host.state(True, 1)
            host.wait(lambda: len(set(host.result_ids)) == 50)
            host.state(False, 2)
            host.wait(lambda: bool(host.bodies("NDEATH")))
            before = len(host.result_ids)
            made.submit(range(51, 101))
            until(lambda: made.waiting == 50)
            assert len(host.result_ids) == before
        with Host(broker.port) as back:
            back.state(True, 3)
            back.wait(lambda: len(set(back.result_ids)) == 50)
            assert first_times(back) == ids(range(51, 101))
            until(lambda: made.waiting == 0)


def test_what_was_sent_while_the_host_went_is_sent_again(broker: Mosquitto) -> None:
    node = publisher_to(broker.port, primary_host="ignition")
    with Host(broker.port) as host:
        host.state(True, 1)
        with node:
            node.announce(*READY)
            idle_until(node, lambda: bool(host.bodies("DBIRTH")))
            host.state(False, 2)  # the broker has it, the node has not heard of it
            with pytest.raises(OutputError, match="ignition is offline"):
                node.publish(results(node, [1, 2], NOON_MS))


def test_what_a_host_said_before_the_connection_broke_is_not_believed_behind_it(broker: Mosquitto) -> None:
    node = publisher_to(broker.port, primary_host="ignition")
    with Host(broker.port) as host, node:
        host.state(True, 1)
        node.announce(*READY)
        idle_until(node, lambda: bool(host.bodies("DBIRTH")))
        broker.stop(signal.SIGKILL)
    broker.start()  # without the STATE that it had retained
    with Host(broker.port) as host, node:
        node.idle(0.1)
        assert node.publish(results(node, [1], NOON_MS)) == 0
        assert host.got == []
        host.state(True, 0)
        idle_until(node, lambda: bool(host.bodies("DBIRTH")))


def test_only_connects_that_were_sent_count_in_bd_seq(broker: Mosquitto) -> None:
    node = publisher_to(broker.port)
    with Host(broker.port) as host:
        with node:
            node.announce(*READY)
        broker.stop()
        for _ in range(3):
            with pytest.raises(OutputError, match="cannot be reached"):
                node.__enter__()
        broker.start()
        host.wait_granted(2)
        with node:
            pass
        host.wait(lambda: len(host.bodies("NBIRTH")) == 2)
        assert [body["bdSeq"] for body in host.bodies("NBIRTH")] == [0, 1]


def test_a_broker_that_was_told_of_a_will_and_did_not_answer_never_sees_the_same_number_again(
    broker: Mosquitto,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = publisher_to(int(silent.getsockname()[1]), connect_timeout_s=0.3)
        with pytest.raises(OutputError, match="sent no CONNACK"):
            node.__enter__()
    node.config = node.config.model_copy(update={"port": broker.port})
    with Host(broker.port) as host, node:
        node.announce(*READY)
        host.wait(lambda: bool(host.bodies("NBIRTH")))
        assert host.bodies("NBIRTH")[0]["bdSeq"] == 1


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, b"\x12\xff", b"{}", bytes(range(256))])
def test_a_command_that_is_none_changes_nothing(broker: Mosquitto, damage: bytes) -> None:
    with Host(broker.port) as host, publisher_to(broker.port) as node:
        node.announce(*READY)
        host.rebirth(damage)
        node.publish(results(node, [1], NOON_MS))  # the broker answers in order: the command was there
        host.rebirth()
        idle_until(node, lambda: len(host.bodies("NBIRTH")) == 2)
        assert node.publish(results(node, [2], NOON_MS)) == 1


def test_a_retained_request_for_a_rebirth_is_no_request_at_each_subscription(broker: Mosquitto) -> None:
    with Host(broker.port) as host:
        host.rebirth(retain=True)
        with publisher_to(broker.port) as node:
            node.announce(*READY)
            for seq in range(1, 6):
                assert node.publish(results(node, [seq], NOON_MS)) == 1
                node.idle(0.02)
            host.wait(lambda: len(host.result_ids) == 5)
            assert len(host.bodies("NBIRTH")) == 1


def test_a_message_that_the_broker_cannot_take_is_refused_and_leaves_no_gap_in_the_sequence(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 4000") as broker,
        Host(broker.port) as host,
        publisher_to(broker.port) as node,
    ):
        node.announce(*READY)
        (large,) = node.render(an_event(NOON_MS, "x" * 5000))
        one, two = results(node, [1, 2], NOON_MS)
        assert node.publish([one, large, two]) == 1
        with pytest.raises(MessageRefusedError, match="more than the broker takes") as refused:
            node.publish([large, two])
        assert refused.value.for_ever
        assert node.publish([two]) == 1
        host.rebirth()
        idle_until(node, lambda: len(host.bodies("DBIRTH")) == 2)
        assert [body.seq for body in host.bodies("DDATA")] == [2, 3]


def test_a_record_that_is_none_is_refused_and_does_not_hold_up_what_is_before_it(broker: Mosquitto) -> None:
    with publisher_to(broker.port) as node:
        node.announce(*READY)
        broken = OutboxMessage("scada", "", "vision.result/1", b'{"seq": 1}', 1)
        assert node.publish([*results(node, [1], NOON_MS), broken]) == 1
        with pytest.raises(MessageRefusedError, match=r"vision\.result/1 of part 1 cannot be sent"):
            node.publish([broken])


def test_nothing_is_said_before_the_state_is_known(broker: Mosquitto) -> None:
    with Host(broker.port) as host, publisher_to(broker.port) as node:
        assert node.publish(results(node, [1], NOON_MS)) == 0
        node.idle(0.05)
        assert host.got == []
        node.announce(*READY)
        host.wait(lambda: [packet.verb for packet in host.got] == ["NBIRTH", "DBIRTH"])


def test_neither_a_death_nor_the_present_is_said_between_the_batches_of_a_backlog(broker: Mosquitto) -> None:
    clock = Clock()
    with Host(broker.port) as host, publisher_to(broker.port, clock) as node:
        node.announce("Error", 3, "pcb")
        for seq in (1, 2):
            assert node.publish(results(node, [seq], NOON_MS - 5)) == 1
            clock.on(QUIET_S - 0.01)
            node.idle(0)
        assert node.publish(results(node, [3], NOON_MS - 5)) == 1
        host.wait(lambda: len(host.result_ids) == 3)
        assert host.result_ids == ids(range(1, 4))
        clock.on(QUIET_S)
        node.idle(0)
        host.wait(lambda: len(host.result_ids) == 4)
        assert host.result_ids[3:] == ids(range(3, 4))
        assert not host.bodies("DDEATH")
        clock.on(QUIET_S)
        node.idle(0)
        host.wait(lambda: len(host.bodies("DDEATH")) == 1)


class MuteBroker:
    """Accepts the session, and answers a subscription with `suback`, or not at all."""

    def __init__(self, suback: bytes) -> None:
        self._suback = suback
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> MuteBroker:
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(WAIT_S)
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client:
            client.recv(4096)
            client.sendall(b"\x20\x02\x00\x00")  # CONNACK
            client.recv(4096)
            client.sendall(self._suback)
            client.recv(4096)


@pytest.mark.parametrize(
    ("suback", "why"),
    [(b"\x90\x03\x00\x01\x80", r"refused a subscription: .*may this client read spBv1.0/plant/NCMD/line1"),
     (b"", "no SUBACK after 0.3 s")],
)  # fmt: skip
def test_a_broker_that_does_not_grant_commands_is_an_error_that_says_so(suback: bytes, why: str) -> None:
    with MuteBroker(suback) as mute, pytest.raises(OutputError, match=why):
        publisher_to(mute.port, protocol="3.1.1", ack_timeout_s=0.3).__enter__()
