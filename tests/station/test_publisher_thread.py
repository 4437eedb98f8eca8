"""A destination's thread: when it comes back, when it ends, and how orders pass through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from publisher_fakes import FakeBroker, FakeOutbox, Time, message

from edge_inspector.datatypes import OutboxMessage
from edge_inspector.errors import OutputError, StorageError
from edge_inspector.interfaces import Order, OrderAnswer
from edge_inspector.station.events import LineEvent, Ordered, PublisherHealth
from edge_inspector.station.order_desk import ANSWER_S, BURST, OrderDesk
from edge_inspector.station.publisher_thread import PublisherThread

WAIT_S = 60.0


@contextmanager
def running(thread: PublisherThread) -> Iterator[threading.Thread]:
    run = threading.Thread(target=thread.run)
    run.start()
    try:
        yield run
    finally:
        thread.stop()
        run.join(WAIT_S)
        assert not run.is_alive()


class OpensOften(FakeBroker):
    """Notes when it was opened, and says when that was often enough."""

    def __init__(self, opens: int, takes: Callable[[OutboxMessage], None]) -> None:
        super().__init__(takes)
        self.enough = threading.Event()
        self._opens = opens

    def __enter__(self) -> OpensOften:
        super().__enter__()
        if self.opened == self._opens:
            self.enough.set()
        return self


class NotedWaits(threading.Event):
    """Nothing is waited for; the waits are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout or 0.0)
        return super().wait(0.001)


def lost(_: OutboxMessage) -> None:
    raise OutputError("broker: the connection broke")


def test_a_broker_that_takes_nothing_is_tried_ever_more_slowly_and_keeps_its_outbox() -> None:
    broker, outbox, events, stopping = OpensOften(10, lost), FakeOutbox(message(1)), list[LineEvent](), NotedWaits()
    thread = PublisherThread(broker, outbox, events.append, dict, stopping)
    with running(thread):
        assert broker.enough.wait(WAIT_S)
        assert not thread.counters().delivered
    assert stopping.waits_s[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0]
    assert outbox.waiting == [message(1)]
    assert PublisherHealth("broker", connected=False, text="broker: the connection broke") in events


def test_a_broker_that_took_something_is_tried_again_soon_however_often_it_falls() -> None:
    taken: list[int] = []

    def takes(one: OutboxMessage) -> None:
        if len(taken) < broker.opened:  # one message a connection
            taken.append(one.row)
        else:
            lost(one)

    broker, stopping = OpensOften(10, takes), NotedWaits()
    thread = PublisherThread(broker, FakeOutbox(*map(message, range(1, 20))), lambda _: None, dict, stopping)
    with running(thread):
        assert broker.enough.wait(WAIT_S)
    assert set(stopping.waits_s[:8]) == {0.2}
    assert thread.counters().reconnects >= 9


def test_an_outbox_that_cannot_be_read_ends_no_thread() -> None:
    class NoDisk(FakeOutbox):
        broken = 3

        def pending(self, *_: object) -> list[OutboxMessage]:  # type: ignore[override]
            raise_while(self)
            return super().pending("broker", 200)

        def standing(self, destination: str) -> object:  # type: ignore[override]
            raise StorageError("no disk")

    def raise_while(outbox: NoDisk) -> None:
        if outbox.broken:
            outbox.broken -= 1
            raise StorageError("no disk")

    broker = OpensOften(4, lambda _: None)
    outbox = NoDisk()
    with running(PublisherThread(broker, outbox, lambda _: None, dict, NotedWaits())):
        assert broker.enough.wait(WAIT_S)


class HoldsBack(FakeBroker):
    """Takes nothing yet, as one that groups its messages."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        self.asked.set()
        return 0


def test_what_a_destination_holds_back_stays_in_the_outbox_and_does_not_hold_up_the_end() -> None:
    broker, outbox = HoldsBack(), FakeOutbox(message(1))
    with running(PublisherThread(broker, outbox, lambda _: None, dict)):
        assert broker.asked.wait(WAIT_S)
    assert outbox.waiting == [message(1)]


def test_a_stop_sends_what_waits() -> None:
    broker, outbox = FakeBroker(replay_per_s=1), FakeOutbox(*map(message, range(1, 501)))
    thread = PublisherThread(broker, outbox, lambda _: None, dict)
    with running(thread):
        pass
    assert broker.got == sorted(broker.got)
    assert broker.opened in (0, 1)  # a stop before the first connection makes none
    if broker.opened:
        assert outbox.waiting == []
    assert not thread.counters().connected


# --- orders ----------------------------------------------------------------------------------------------------------


class Ordering(FakeBroker):
    """Orders something once, and notes the answers."""

    def __init__(self, *orders: Order) -> None:
        super().__init__()
        self.coming: list[tuple[object, Order]] = list(enumerate(orders, 1))
        self.answers: list[tuple[object, OrderAnswer]] = []
        self.answered = threading.Event()
        self.lost = False

    def orders(self) -> Sequence[tuple[object, Order]]:
        coming, self.coming = self.coming, []
        return coming

    def answer(self, token: object, answer: OrderAnswer) -> None:
        if self.lost:
            raise OutputError("broker: lost")
        self.answers.append((token, answer))
        self.answered.set()


HALT = Order("halt", "mqtt:broker")


def test_an_order_is_posted_to_the_line_and_its_answer_goes_back_to_who_asked() -> None:
    broker, events = Ordering(HALT), list[LineEvent]()

    def line(event: LineEvent) -> None:
        events.append(event)
        if isinstance(event, Ordered):
            event.reply(OrderAnswer(True, "halted"))

    thread = PublisherThread(broker, FakeOutbox(), line, dict)
    with running(thread):
        assert broker.answered.wait(WAIT_S)
    assert [event.order for event in events if isinstance(event, Ordered)] == [HALT]
    assert broker.answers == [(1, OrderAnswer(True, "halted"))]
    assert thread.counters().orders == 1


def test_who_gets_no_answer_in_time_is_told_and_a_late_answer_goes_nowhere() -> None:
    time, broker, events = Time(), Ordering(HALT), list[LineEvent]()
    desk = OrderDesk(broker, events.append, time)
    assert desk.serve() == 1
    time.now_s += ANSWER_S - 0.1
    desk.serve()
    assert broker.answers == []
    time.now_s += 0.2
    desk.serve()
    assert broker.answers == [(1, OrderAnswer(False, "the station did not answer in 10 s"))]
    (ordered,) = events
    assert isinstance(ordered, Ordered)
    ordered.reply(OrderAnswer(True))
    desk.serve()
    assert len(broker.answers) == 1


def test_a_flood_of_orders_is_answered_and_only_a_few_a_second_reach_the_line() -> None:
    time, broker, events = Time(), Ordering(*[HALT] * 100), list[LineEvent]()
    desk = OrderDesk(broker, events.append, time)
    assert desk.serve() == 100
    assert len(events) == BURST
    assert broker.answers == [(n, OrderAnswer(False, "more than 10 orders a second")) for n in range(BURST + 1, 101)]
    time.now_s += 0.35
    broker.coming = [(n, HALT) for n in range(100)]
    desk.serve()
    assert len(events) == BURST + 3
    time.now_s += 1000
    broker.coming = [(n, HALT) for n in range(100)]
    desk.serve()
    assert len(events) == 2 * BURST + 3, "a quiet hour saves nothing up"


def test_an_answer_that_could_not_be_given_is_given_on_the_next_connection() -> None:
    time, broker = Time(), Ordering(HALT, Order("reset", "mqtt:broker"))
    desk = OrderDesk(broker, lambda event: event.reply(OrderAnswer(True)), time)  # type: ignore[union-attr]
    broker.lost = True
    with pytest.raises(OutputError):
        desk.serve()
    broker.lost = False
    desk.serve()
    assert broker.answers == [(1, OrderAnswer(True)), (2, OrderAnswer(True))]
