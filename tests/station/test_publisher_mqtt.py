"""A destination's thread with a real ledger and a real Mosquitto: outages, refusals, several brokers."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from mqtt_rig import BASE, ME, WAIT_S, Mosquitto, a_result, config_to, mosquitto, needs_mosquitto, retained

from edge_inspector.datatypes import OutboxMessage
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.outputs.mqtt import MqttPublisher
from edge_inspector.station.events import DestinationTrouble, LineEvent
from edge_inspector.station.publisher_thread import PublisherThread
from edge_inspector.store.ledger import BookResult, BookTrigger, Ledger

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


class Station:
    """The ledger's thread and one thread for each broker, as the station starts them."""

    def __init__(self, folder: Path, **ports: int) -> None:
        self.ledger = Ledger(folder / "ledger", list(ports))
        self.events: list[LineEvent] = []
        self.threads = {
            name: PublisherThread(
                MqttPublisher(name, config_to(port, ack_timeout_s=0.5), ME), self.ledger, self.events.append, dict
            )
            for name, port in ports.items()
        }

    def submit(self, numbers: range, *, defects: int = 0) -> None:
        for n in numbers:
            result = dataclasses.replace(a_result(n, defects=defects), model_hash="ef" * 32)
            messages = tuple(m for thread in self.threads.values() for m in thread.publisher.render(result))
            self.ledger.submit(BookTrigger(None, result.trigger))
            self.ledger.submit(BookResult(None, result, True, messages))

    def waiting(self, name: str) -> int:
        """Messages in the outbox, and records that are not in the book yet."""
        return self.ledger.standing(name).waiting + self.ledger.waiting


@contextmanager
def station(folder: Path, **ports: int) -> Iterator[Station]:
    made = Station(folder, **ports)
    with made.ledger:
        booking = threading.Thread(target=made.ledger.run)
        booking.start()
        running = [threading.Thread(target=thread.run) for thread in made.threads.values()]
        for thread in running:
            thread.start()
        try:
            yield made
        finally:
            for publishing in made.threads.values():
                publishing.stop()
            for thread in running:
                thread.join(WAIT_S)
            made.ledger.close()
            booking.join(WAIT_S)
            assert not any(thread.is_alive() for thread in (*running, booking))


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def ids(numbers: range) -> list[str]:
    return [f"line1.0a1b2c3d.{n}" for n in numbers]


def test_after_an_outage_the_outbox_drains_in_order_and_nothing_is_lost(broker: Mosquitto, tmp_path: Path) -> None:
    with station(tmp_path, mqtt=broker.port) as made, Subscriber(broker.port, f"{BASE}/#") as witness:
        made.submit(range(1, 101))
        assert witness.wait(lambda: len(witness.results) >= 20, WAIT_S)
        broker.stop()  # in peace: it keeps the witness's session and what it has acknowledged
        made.submit(range(101, 201))
        assert until(lambda: not made.threads["mqtt"].counters().connected)
        broker.start()
        made.submit(range(201, 301))
        assert witness.wait(lambda: len(witness.results) == 300, WAIT_S)
        assert until(lambda: made.waiting("mqtt") == 0)
        assert witness.order == ids(range(1, 301))
        last = retained(broker.port, "result/last")
        assert last is not None
        assert last["seq"] == 300
        counters = made.threads["mqtt"].counters()
        assert (counters.delivered, counters.dropped, counters.refused) == (600, 0, 0)
        assert counters.reconnects >= 1


def test_a_killed_broker_delays_messages_and_loses_none_of_ours(broker: Mosquitto, tmp_path: Path) -> None:
    """The witness has no session at a broker that was killed, so what counts here is what the broker has taken."""
    with station(tmp_path, mqtt=broker.port) as made, Subscriber(broker.port, f"{BASE}/#") as witness:
        made.submit(range(1, 21))
        assert witness.wait(lambda: len(witness.results) == 20, WAIT_S)
        broker.stop(signal.SIGKILL)
        made.submit(range(21, 41))
        assert until(lambda: not made.threads["mqtt"].counters().connected)
        broker.start()
        assert until(lambda: made.waiting("mqtt") == 0)
        counters = made.threads["mqtt"].counters()
        assert (counters.delivered, counters.refused) == (80, 0)
        last = retained(broker.port, "result/last")
        assert last is not None
        assert last["seq"] == 40


def test_a_frozen_broker_costs_nothing_but_time(broker: Mosquitto, tmp_path: Path) -> None:
    with station(tmp_path, mqtt=broker.port) as made, Subscriber(broker.port, f"{BASE}/#") as witness:
        made.submit(range(1, 11))
        assert witness.wait(lambda: len(witness.results) == 10, WAIT_S)
        broker.process.send_signal(signal.SIGSTOP)
        made.submit(range(11, 21))
        assert until(lambda: not made.threads["mqtt"].counters().connected)
        broker.process.send_signal(signal.SIGCONT)
        assert witness.wait(lambda: len(witness.results) == 20, WAIT_S)
        assert witness.order == ids(range(1, 21))


def test_one_of_two_brokers_is_away_and_the_other_one_does_not_notice(tmp_path: Path) -> None:
    for name in ("near", "far"):
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        near = stack.enter_context(mosquitto(tmp_path / "near"))
        far = Mosquitto(tmp_path / "far", "allow_anonymous true")
        made = stack.enter_context(station(tmp_path, near=near.port, far=far.port))
        witness = stack.enter_context(Subscriber(near.port, f"{BASE}/#", client_id="near"))
        made.submit(range(1, 51), defects=1)
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/defects"] == 50, WAIT_S)
        assert witness.order == ids(range(1, 51))
        assert until(lambda: made.waiting("near") == 0)
        assert made.waiting("far") == 150
        assert made.threads["far"].counters().delivered == 0
        far.start()
        stack.callback(far.stop)
        assert until(lambda: made.waiting("far") == 0)
        last = retained(far.port, "result/last")
        assert last is not None
        assert last["seq"] == 50


def test_a_topic_that_is_not_allowed_waits_and_the_results_go_on_until_it_is(tmp_path: Path) -> None:
    rights = tmp_path / "acl"
    some = f"topic write {BASE}/status\ntopic write {BASE}/result\ntopic write {BASE}/result/last\ntopic read #\n"
    rights.write_text(some)
    with (
        mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rights}") as broker,
        station(tmp_path, mqtt=broker.port) as made,
        Subscriber(broker.port, f"{BASE}/#") as witness,
    ):
        made.submit(range(1, 11), defects=1)
        assert witness.wait(lambda: len(witness.results) == 10, WAIT_S)
        assert until(lambda: made.threads["mqtt"].counters().refused_topics == (f"{BASE}/defects",))
        assert until(lambda: made.waiting("mqtt") == 10)
        rights.write_text(f"{some}topic write {BASE}/defects\n")
        broker.reload()
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/defects"] == 10, 40.0)
        assert until(lambda: made.waiting("mqtt") == 0)
        assert made.threads["mqtt"].counters().refused_topics == ()
        codes = [event.code for event in made.events if isinstance(event, DestinationTrouble)]
        assert codes == ["topic_refused", "topic_taken"]
        assert witness.order == ids(range(1, 11))


def test_results_that_are_refused_for_a_while_all_come_in_order(tmp_path: Path) -> None:
    """An access list that somebody has broken is an outage, no reason to give anything up."""
    rights = tmp_path / "acl"
    rights.write_text(f"topic write {BASE}/status\ntopic read #\n")
    with (
        mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rights}") as broker,
        station(tmp_path, mqtt=broker.port) as made,
        Subscriber(broker.port, f"{BASE}/#") as witness,
    ):
        made.submit(range(1, 31))
        refused = (f"{BASE}/result", f"{BASE}/result/last")
        assert until(lambda: made.threads["mqtt"].counters().refused_topics == refused)
        rights.write_text("topic readwrite #\n")
        broker.reload()
        assert witness.wait(lambda: len(witness.results) == 30, 40.0)
        assert witness.order == ids(range(1, 31))
        assert until(lambda: made.waiting("mqtt") == 0)
        assert made.ledger.standing("mqtt").refused == 0


def test_a_message_that_is_too_large_is_given_up_and_the_others_arrive(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 2000") as broker,
        station(tmp_path, mqtt=broker.port) as made,
        Subscriber(broker.port, f"{BASE}/#") as witness,
    ):
        made.submit(range(1, 6))
        made.submit(range(6, 7), defects=40)
        made.submit(range(7, 11))
        assert witness.wait(lambda: len(witness.results) == 10, WAIT_S)
        assert until(lambda: made.waiting("mqtt") == 0)
        assert made.ledger.standing("mqtt").refused == 1
        (trouble,) = [event for event in made.events if isinstance(event, DestinationTrouble)]
        assert trouble.code == "messages_given_up"
        assert "vision.defects/1 of part 6" in trouble.text
        assert "the broker takes at most 2000" in trouble.text


def test_a_broker_that_was_killed_and_kept_an_older_last_result_gets_the_newest_again(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true", "autosave_interval 0") as broker,
        station(tmp_path, mqtt=broker.port) as made,
    ):
        made.submit(range(1, 4))
        assert until(lambda: made.threads["mqtt"].counters().delivered == 6)
        broker.stop(signal.SIGKILL)  # its disk has nothing of this
        broker.start()
        with Subscriber(broker.port, f"{BASE}/result/last", client_id="late") as late:
            assert late.wait(lambda: bool(late.by_topic), WAIT_S)
        last = retained(broker.port, "result/last")
        assert last is not None
        assert last["seq"] == 3


def test_the_message_that_comes_twice_is_the_same_byte_by_byte(tmp_path: Path) -> None:
    """What `render` makes is what `pending` gives back, now and after a restart."""
    made = Station(tmp_path, mqtt=1)
    with made.ledger as ledger:
        made.submit(range(1, 2), defects=1)
        ledger.close()
        ledger.run()
        kept = [dataclasses.replace(m, row=0) for m in ledger.pending("mqtt", 9)]
    result = dataclasses.replace(a_result(1, defects=1), model_hash="ef" * 32)
    expected: list[OutboxMessage] = list(made.threads["mqtt"].publisher.render(result))
    assert kept == expected
    assert len(kept) == 3
