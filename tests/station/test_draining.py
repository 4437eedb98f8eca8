"""From the outbox to a destination: order, pace, and what happens around a refusal; the clock is the test's own."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from publisher_fakes import FakeBroker, FakeOutbox, Time, message

from edge_inspector.datatypes import OutboxMessage
from edge_inspector.outputs.refusal import ConnectionCutError, MessageRefusedError
from edge_inspector.station.draining import LETHAL, MOST, TRIES, Draining
from edge_inspector.station.events import DestinationTrouble
from edge_inspector.station.pace import Pace
from edge_inspector.station.tally import LOOK_S, Tally


def refusing(*topics: str, for_ever: bool = False) -> Callable[[OutboxMessage], None]:
    def takes(one: OutboxMessage) -> None:
        if one.topic in topics:
            raise MessageRefusedError(f"not authorised on {one.topic}", for_ever=for_ever)

    return takes


class Bench:
    def __init__(self, broker: FakeBroker, *messages: OutboxMessage) -> None:
        self.time, self.broker, self.outbox = Time(), broker, FakeOutbox(*messages)
        self.troubles: list[DestinationTrouble] = []
        self.tally = Tally("broker", self.time, lambda: datetime(2026, 11, 22, 0, 1, tzinfo=timezone.utc))
        self.draining = Draining(broker, self.outbox, self.tally, self.troubles.append, self.time)
        self.draining.begin()

    @property
    def got(self) -> list[int]:
        """In the order of their first arrival; QoS 1 may bring them again."""
        return list(dict.fromkeys(self.broker.got))

    def run_for(self, seconds: float, step_s: float = 0.1) -> None:
        end = self.time.now_s + seconds
        while self.time.now_s < end:
            while self.draining.step():
                pass
            self.time.now_s += step_s


def test_everything_goes_in_order_and_leaves_the_outbox() -> None:
    bench = Bench(FakeBroker(), *(message(row) for row in range(1, 451)))
    bench.run_for(1.0)
    assert bench.broker.got == list(range(1, 451))
    assert bench.outbox.waiting == []
    assert bench.tally.counters().delivered == 450


def test_a_refused_topic_waits_in_order_while_the_others_go_on_and_comes_when_it_is_allowed() -> None:
    broker = FakeBroker(refusing("image"))
    images, results = [1, 4, 5], [2, 3, 6]
    bench = Bench(broker, *(message(row, "image" if row in images else "result") for row in range(1, 7)))
    bench.run_for(5.0)
    assert bench.got == results
    assert [m.row for m in bench.outbox.waiting] == images
    assert bench.outbox.given_up == []
    assert bench.tally.counters().refused_topics == ("image",)
    bench.outbox.waiting.append(message(7, "image"))
    broker.takes = lambda _: None
    bench.run_for(31.0)
    assert bench.got == [*results, *images, 7]
    assert [(t.severity, t.code) for t in bench.troubles] == [("alarm", "topic_refused"), ("info", "topic_taken")]
    assert bench.tally.counters().refused_topics == ()


def test_a_broker_that_refuses_everything_loses_nothing_however_long_it_lasts() -> None:
    broker = FakeBroker(refusing("result", "event"))
    rows = list(range(1, 301))
    bench = Bench(broker, *(message(row, "event" if row % 7 == 0 else "result") for row in rows))
    bench.run_for(3600.0, step_s=0.5)
    assert len(bench.outbox.waiting) == 300
    assert sorted(t.text.split()[3].rstrip(";") for t in bench.troubles) == ["event", "result"]
    broker.takes = lambda _: None
    bench.run_for(31.0)
    assert broker.got == rows


def test_a_refused_topic_is_tried_ever_more_rarely_and_alone() -> None:
    tried: list[tuple[float, str]] = []
    bench: Bench

    def takes(one: OutboxMessage) -> None:
        tried.append((bench.time.now_s, one.topic))
        refusing("image")(one)

    bench = Bench(FakeBroker(takes), message(1, "image"), *(message(row) for row in range(2, 12)))
    bench.run_for(200.0)
    assert bench.got == list(range(2, 12))
    assert max(Counter(bench.broker.got).values()) == 2  # behind the first refusal, which nobody could know
    at = [s for s, topic in tried if topic == "image"]
    waits = [round(b - a) for a, b in zip(at[TRIES - 1 :], at[TRIES:], strict=False)]
    assert waits[:5] == [1, 2, 4, 8, 16]
    assert set(waits[5:]) == {30}


def test_a_message_that_can_never_pass_is_given_up_after_some_tries_and_told_once() -> None:
    broker = FakeBroker(refusing("image", for_ever=True))
    bench = Bench(broker, message(1), message(2, "image"), message(3), message(4, "image"), message(5))
    bench.run_for(10.0)
    assert bench.got == [1, 3, 5]
    assert bench.outbox.waiting == []
    assert [row for row, _ in bench.outbox.given_up] == [2, 4]
    (first,) = bench.troubles
    assert (first.severity, first.code) == ("warning", "messages_given_up")
    assert first.text == "broker will never get vision.image/1 of part 2 (not authorised on image)"
    bench.run_for(61.0)
    assert [t.text for t in bench.troubles[1:]] == [
        "broker will never get vision.image/1 of part 4 (not authorised on image)"
    ]


def test_a_refused_event_makes_no_event_or_it_would_never_end() -> None:
    bench = Bench(FakeBroker(refusing("event", for_ever=True)), message(1, "event", seq=0))
    bench.run_for(120.0)
    assert [row for row, _ in bench.outbox.given_up] == [1]
    assert bench.troubles == []


def test_a_message_is_refused_some_times_before_it_is_believed() -> None:
    left = [TRIES - 1]

    def takes(_: OutboxMessage) -> None:
        if left[0]:
            left[0] -= 1
            raise MessageRefusedError("quota exceeded", for_ever=False)

    bench = Bench(FakeBroker(takes), message(1))
    bench.run_for(2.0)
    assert (bench.broker.got, bench.troubles) == ([1], [])


def cut(_: OutboxMessage) -> None:
    raise ConnectionCutError("the connection broke")


def connections(bench: Bench, seconds: float) -> list[float]:
    """Connect again and again for so long; when each of them ended."""
    ended: list[float] = []
    end = bench.time.now_s + seconds
    while bench.time.now_s < end:
        try:
            bench.draining.step()
        except ConnectionCutError:
            ended.append(bench.time.now_s)
            bench.draining.begin()
        bench.time.now_s += 0.2
    return ended


def test_a_message_at_which_connections_end_and_at_no_other_is_given_up_after_minutes() -> None:
    broker = FakeBroker(lambda one: cut(one) if one.row == 2 else None)
    bench = Bench(broker, *(message(row) for row in range(1, 6)))
    ended = connections(bench, 235.0)
    assert bench.outbox.given_up == []
    assert len(ended) == LETHAL + 1  # two, and all but the last of those that count
    assert connections(bench, 30.0) != []
    ((row, why),) = bench.outbox.given_up
    assert (row, why) == (2, f"{LETHAL} connections have ended at it, and not at others: the connection broke")
    assert [t.code for t in bench.troubles] == ["messages_given_up"]
    assert broker.got == [1] * (LETHAL + 1) + [3, 4, 5]  # what proves that others pass comes again; none overtakes


def test_a_network_that_cuts_every_message_for_hours_costs_none() -> None:
    bench = Bench(FakeBroker(cut), *(message(row, "defects" if row % 2 else "result") for row in range(1, 30)))
    assert len(connections(bench, 1200.0)) > 300
    bench.broker.takes = lambda _: None
    bench.run_for(70.0)
    assert (bench.outbox.waiting, bench.outbox.given_up) == ([], [])
    assert bench.got == list(range(1, 30))


def test_a_network_that_lets_only_small_topics_pass_costs_no_large_one() -> None:
    """An MTU that is too small somewhere: every status and event passes, and no result, for hours."""
    broker = FakeBroker()
    bench = Bench(broker, message(1), message(2, "event"))
    bench.run_for(1.0)
    bench.outbox.waiting = [message(row, "event" if row % 3 == 0 else "result") for row in range(3, 31)]
    broker.takes = lambda one: None if one.topic == "event" else cut(one)
    assert len(connections(bench, 1200.0)) > 300
    assert bench.outbox.given_up == []
    broker.takes = lambda _: None
    bench.run_for(70.0)
    assert bench.got == list(range(1, 31))


def test_a_refusal_that_is_lost_with_its_connection_is_found_out_by_sending_one_by_one() -> None:
    """A broker that refuses a message and hangs up takes the acknowledgements of those before it along."""
    broker = FakeBroker()
    publish = broker.publish

    def hangs_up(messages: Sequence[OutboxMessage]) -> int:
        if len(messages) > 1 and any(m.topic == "defects" for m in messages):
            raise ConnectionCutError("the connection broke")
        return publish(messages)

    broker.publish = hangs_up  # type: ignore[method-assign]
    broker.takes = refusing("defects")
    bench = Bench(broker, message(1), message(2, "defects"), message(3), message(4, "defects"), message(5))
    connections(bench, 20.0)
    assert bench.got == [1, 3, 5]
    assert bench.outbox.given_up == []
    assert bench.tally.counters().refused_topics == ("defects",)


def test_without_a_message_that_passes_nothing_is_given_up() -> None:
    bench = Bench(FakeBroker(cut), message(1), message(2))
    assert len(connections(bench, 1200.0)) > 300
    assert bench.outbox.given_up == []


def test_of_a_topic_that_is_refused_nothing_is_sent_behind_another_message() -> None:
    """When it is allowed again between two of them, the second one would overtake the first."""
    refusals = [TRIES + 1]

    def takes(one: OutboxMessage) -> None:
        if one.topic == "image" and refusals[0]:
            refusals[0] -= 1
            raise MessageRefusedError("not authorised", for_ever=False)

    bench = Bench(FakeBroker(takes), message(1, "image"))
    bench.run_for(0.9)
    assert bench.tally.counters().refused_topics == ("image",)
    bench.outbox.waiting = [message(4), message(5, "image"), message(6, "image")]
    bench.run_for(31.0)
    assert bench.broker.got == [4, 5, 6]


def test_a_backlog_is_sent_no_faster_than_allowed_and_its_end_at_once() -> None:
    bench = Bench(FakeBroker(replay_per_s=100), *(message(row) for row in range(1, 1001)))
    bench.run_for(5.0, step_s=0.01)
    assert 475 <= len(bench.broker.got) <= 525  # 100 a second, and one burst
    bench.run_for(5.0, step_s=0.01)
    assert bench.broker.got == list(range(1, 1001))


def test_what_is_no_backlog_is_never_slowed() -> None:
    bench = Bench(FakeBroker(replay_per_s=1))
    for first in range(0, 10 * (MOST - 1), MOST - 1):
        bench.outbox.waiting = [message(row) for row in range(first + 1, first + MOST)]
        assert bench.draining.step()
        assert bench.outbox.waiting == []


def test_a_replay_that_is_slower_than_production_becomes_faster() -> None:
    bench = Bench(FakeBroker(replay_per_s=100), *(message(row) for row in range(1, 1001)))
    made = 1000
    for _ in range(600):
        bench.outbox.waiting += [message(row) for row in range(made + 1, made + 31)]  # 300 a second
        made += 30
        bench.run_for(0.1)
    assert bench.outbox.waiting == []
    assert bench.broker.got == list(range(1, made + 1))


def test_a_station_that_stops_sends_its_backlog_without_waiting() -> None:
    bench = Bench(FakeBroker(replay_per_s=1), *(message(row) for row in range(1, 501)))
    while bench.draining.step(hurry=True):
        pass
    assert bench.broker.got == list(range(1, 501))


def test_counters_tell_how_much_waits_and_since_when() -> None:
    bench = Bench(FakeBroker(refusing("result")), message(1), message(2))
    bench.run_for(3 * LOOK_S)
    counters = bench.tally.counters()
    assert (counters.waiting, counters.oldest_waiting_s, counters.delivered) == (2, 60.0, 0)
    bench.broker.takes = lambda _: None
    bench.run_for(31.0)
    counters = bench.tally.counters()
    assert (counters.waiting, counters.oldest_waiting_s, counters.delivered) == (0, 0.0, 2)


def test_a_retained_copy_at_which_connections_end_does_not_stop_the_results_for_ever() -> None:
    """It is the same payload as the result before it, which was given up as well; nothing on its topic ever passed."""
    broker = FakeBroker(lambda one: cut(one) if one.row in (2, 3) else None)
    copy = dataclasses.replace(message(3, "result/last"), retain=True)
    bench = Bench(broker, message(1), message(2), copy, message(4))
    connections(bench, 1200.0)
    assert [row for row, _ in bench.outbox.given_up] == [2, 3]
    assert bench.got == [1, 4]


def test_a_network_that_cuts_everything_costs_no_retained_copy() -> None:
    broker = FakeBroker()
    bench = Bench(broker, message(1))
    bench.run_for(1.0)
    copy = dataclasses.replace(message(2, "result/last"), retain=True)
    bench.outbox.waiting = [copy, message(3)]
    broker.takes = cut
    connections(bench, 1200.0)
    assert bench.outbox.given_up == []


def test_a_message_of_a_refused_topic_that_can_never_pass_is_given_up_too() -> None:
    """While its topic was refused nobody knew; now it would stand before all others of its topic."""
    broker = FakeBroker(refusing("image"))
    bench = Bench(broker, message(1, "image"), message(2, "image"), message(3))
    bench.run_for(2.0)
    assert bench.tally.counters().refused_topics == ("image",)

    def takes(one: OutboxMessage) -> None:
        if one.row == 1:
            raise MessageRefusedError("too large", for_ever=True)

    broker.takes = takes
    bench.run_for(31.0)
    assert [row for row, _ in bench.outbox.given_up] == [1]
    assert bench.got == [3, 2]
    assert bench.outbox.waiting == []


def test_a_topic_that_is_allowed_again_in_the_middle_of_a_batch_keeps_its_order() -> None:
    """What stands behind a message of a topic that was refused waits until that one has passed."""
    allowed = [False]
    bench: Bench

    def takes(one: OutboxMessage) -> None:
        if one.topic == "image" and not allowed[0]:
            allowed[0] = bench.tally.refused_topics == ("image",)  # from the next one on
            raise MessageRefusedError("not authorised", for_ever=False)

    bench = Bench(FakeBroker(takes), *(message(row, "image") for row in (1, 2, 3)))
    bench.run_for(0.9)
    bench.broker.got.clear()
    bench.outbox.waiting = [message(4), *(message(row, "image") for row in (5, 6, 7))]
    bench.time.now_s += 60.0  # the topic is to be tried again, and a result stands before it
    bench.run_for(65.0)
    assert bench.broker.got == [4, 5, 6, 7]


def test_a_topic_that_was_taken_again_is_tried_soon_after_the_next_refusal() -> None:
    broker = FakeBroker(refusing("image"))
    bench = Bench(broker, message(1, "image"))
    bench.run_for(200.0)  # the last tries were 30 s apart
    broker.takes = lambda _: None
    bench.run_for(31.0)
    assert bench.outbox.waiting == []
    bench.outbox.waiting = [message(2, "image")]
    broker.takes = refusing("image")
    bench.run_for(1.0)
    broker.takes = lambda _: None
    bench.run_for(1.5)
    assert bench.outbox.waiting == []


def test_a_backlog_begins_with_a_burst_after_each_new_connection() -> None:
    """A pause that the last connection had earned is over, and so is what was counted on it."""
    bench = Bench(FakeBroker(replay_per_s=100), *(message(row) for row in range(1, 1001)))
    while bench.draining.step():
        pass
    bench.draining.begin()
    assert bench.draining.step()


def test_a_replay_after_another_one_is_not_faster_because_more_waits_than_at_the_end_of_the_first() -> None:
    pace = Pace(100.0, Time())
    assert not pace.counted(10)
    pace.sent(1, backlog=False)
    assert not pace.counted(500)
    assert pace.per_s == 100
    assert pace.counted(501)
    assert pace.per_s == 200


def test_what_a_broker_says_of_another_message_costs_the_one_that_waits_nothing() -> None:
    """Its limit was lowered: it refuses now what it had taken, and hangs up on the next one for reasons of its own."""
    broker = FakeBroker()
    bench = Bench(broker, message(1), message(2))
    bench.outbox.waiting.pop()
    bench.run_for(1.0)

    def takes(one: OutboxMessage) -> None:
        if one.row == 1:
            raise MessageRefusedError("too large", for_ever=True)
        cut(one)

    broker.takes = takes
    bench.outbox.waiting = [message(2)]
    connections(bench, 600.0)
    assert bench.outbox.given_up == []
    assert bench.troubles == []


def test_each_message_at_which_connections_end_is_tried_as_often_as_the_first() -> None:
    broker = FakeBroker(lambda one: cut(one) if one.row in (2, 3) else None)
    bench = Bench(broker, *(message(row) for row in range(1, 5)))
    ended = [0, 0]
    for number in (0, 1):
        while len(bench.outbox.given_up) == number:
            ended[number] += len(connections(bench, 1.0))
    assert [row for row, _ in bench.outbox.given_up] == [2, 3]
    assert min(ended) >= LETHAL


def test_a_retained_copy_that_passed_proves_nothing() -> None:
    """A publisher does not send it again: the broker has it."""
    broker = FakeBroker()
    copies = (dataclasses.replace(message(row, "result/last"), retain=True, payload=b'{"a":1}') for row in (2, 4))
    old, new = copies
    bench = Bench(broker, message(1), old)
    bench.run_for(1.0)
    bench.outbox.waiting = [new]
    broker.takes = lambda one: None if one is old else cut(one)
    connections(bench, 1200.0)
    assert bench.outbox.given_up == []
