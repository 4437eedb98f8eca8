"""From the outbox to one destination: in order, at a bounded pace, around what the destination refuses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import structlog

from edge_inspector.datatypes import OutboxMessage
from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Outbox, Publisher
from edge_inspector.outputs.refusal import ConnectionCutError, MessageRefusedError
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.events import DestinationTrouble
from edge_inspector.station.pace import Pace
from edge_inspector.station.tally import Tally

log = structlog.get_logger()
MOST = 200
"""Messages that are asked of the outbox at once; as many as this are a backlog."""
TRIES = 3
"""How often a message is refused before it is believed."""
LETHAL = 10
"""Some brokers just hang up on what is too large. A message at which connections have ended is sent alone, and given up
after so many of them that had taken another one of its topic before: a network that cuts everything proves nothing."""
AGAIN_S = 0.2
_SUSPECT_S = (1.0, 60.0)  # from one try of such a message to the next: four minutes in all
_TELL_S = 60.0


@runtime_checkable
class LimitsReplay(Protocol):
    """A publisher whose destination should not be flooded after an outage."""

    @property
    def replay_per_s(self) -> float: ...


class Draining:
    """On the destination's thread.

    A message that can never pass is given up after `TRIES`. A topic that is refused is passed over, and tried again
    every 1 to 30 s: its messages stay in the outbox, in order, and the other topics go on.
    """

    def __init__(
        self,
        publisher: Publisher,
        outbox: Outbox,
        tally: Tally,
        trouble: Callable[[DestinationTrouble], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._outbox = outbox
        self._tally = tally
        self._trouble = trouble
        self._monotonic_s = monotonic_s
        self._name = publisher.destination
        self.answered = 0
        """How often the destination has taken or refused something."""
        per_s = publisher.replay_per_s if isinstance(publisher, LimitsReplay) else math.inf
        self._pace = Pace(per_s, monotonic_s)
        self._passed_over: set[str] = set()
        self._known: set[str] = set()  # topics that are refused, and were told to be
        self._tries = (0, 0)  # row of the message that was refused last, and how often in a row
        self._suspect = 0  # row of the message at which a connection has ended
        self._cut_alone = False  # whether one has ended at it when nothing was behind it
        self._cuts = 0  # how many of these had taken another one of its topic before
        self._passed: dict[str, OutboxMessage] = {}  # the last one of each topic that was taken
        self._proven = False  # whether this connection has
        self._suspect_waits = Backoff(*_SUSPECT_S)
        self._try_at = -math.inf
        self._backoff = Backoff(first_s=1.0, last_s=30.0)
        self._topics_at = math.inf
        self._given_up: list[str] = []
        self._tell_at = -math.inf

    def begin(self) -> None:
        """A new connection. What was refused still waits for its time: some brokers refuse a message and hang up."""
        self._proven = False
        self._pace.sent(0, backlog=False)

    def step(self, *, hurry: bool = False) -> bool:
        """Publish the next messages; False when none is due. `hurry`: the station stops, a backlog may go at once."""
        now = self._monotonic_s()
        self._tell_given_up(now)
        if now >= self._topics_at:
            self._try_topics_again()
        if now < self._try_at or not (hurry or self._pace.is_due()):
            return False
        messages = self._outbox.pending(self._name, MOST, self._passed_over)
        backlog = len(messages) == MOST
        self._count(backlog)
        if not messages:
            self._note_empty()
            return False
        share = len(messages) if hurry else self._pace.share(len(messages), MOST)
        try:
            if messages[0].row == self._suspect and self._cut_alone:
                self._prove(messages[0])
            taken = self._publisher.publish(self._together(messages[:share]))
        except MessageRefusedError as exc:
            self.answered += 1
            self._refused(messages[0], exc)
            return False
        except ConnectionCutError as exc:
            self._cut_off(messages[0], str(exc))
            raise
        self._pace.sent(taken, backlog=backlog)
        self._outbox.delivered(self._name, [message.row for message in messages[:taken]])
        self._tally.delivered += taken
        self.answered += taken > 0
        self._taken(messages[:taken])
        if taken == len(messages) and not backlog:
            self._note_empty()
        return taken > 0

    def _together(self, messages: Sequence[OutboxMessage]) -> Sequence[OutboxMessage]:
        """What may go at once: what comes behind a doubtful message would be sent twice, or overtake it."""
        if messages[0].row in (self._suspect, self._tries[0]) or messages[0].topic in self._known:
            return messages[:1]
        doubtful = (i for i, message in enumerate(messages) if message.topic in self._known)
        return messages[: next(doubtful, len(messages))]

    def _prove(self, message: OutboxMessage) -> None:
        """Send the last message of the topic that was taken once more: whoever has it knows it by its result_id.

        Before a retained copy, of which an older one must not be sent, any other will do, and the largest proves most.
        """
        passed = self._passed.get(message.topic)
        if message.retain:
            passed = max(self._passed.values(), key=lambda one: len(one.payload), default=None)
        if self._proven or passed is None:
            return
        try:
            self._proven = self._publisher.publish([passed]) == 1
        except MessageRefusedError:  # now: it says nothing of the message that waits
            self._suspect = 0
        except OutputError:
            self._suspect = 0  # they all end so
            raise

    def _count(self, backlog: bool) -> None:
        if backlog or self._passed_over:
            self._tally.piled_up()
        if self._tally.look_is_due():
            self._tally.looked(self._outbox.standing(self._name))
            if backlog and self._pace.counted(self._tally.waiting):
                log.warning("replay_is_too_slow", destination=self._name, now_per_s=self._pace.per_s)

    def _note_empty(self) -> None:
        if not self._passed_over:
            self._tally.emptied()

    def _refused(self, message: OutboxMessage, refusal: MessageRefusedError) -> None:
        row, tries = self._tries
        tries = tries + 1 if row == message.row else 1
        self._tries = message.row, tries
        self._try_at = self._monotonic_s() + AGAIN_S
        if message.topic in self._known and not refusal.for_ever:
            self._pass_over(message.topic)
        elif tries < TRIES:
            return
        elif refusal.for_ever:
            self._give_up(message, str(refusal))
        else:
            self._known.add(message.topic)
            self._pass_over(message.topic)
            self._tally.refused_topics = tuple(sorted(self._known))
            text = f"{refusal}; the messages on {message.topic} wait, and are tried again"
            self._trouble(DestinationTrouble(self._name, "alarm", "topic_refused", text))
        self._try_at = -math.inf

    def _cut_off(self, message: OutboxMessage, why: str) -> None:
        if self._suspect != message.row:
            self._suspect, self._cut_alone, self._cuts = message.row, False, 0
            self._suspect_waits.reset()
            return
        self._cut_alone = True
        if self._proven:
            self._cuts += 1
            self._try_at = self._monotonic_s() + self._suspect_waits.next_s()
        if self._cuts >= LETHAL:
            self._give_up(message, f"{LETHAL} connections have ended at it, and not at others: {why}")

    def _give_up(self, message: OutboxMessage, why: str) -> None:
        self._try_at = -math.inf
        self._outbox.give_up(self._name, message.row, why)
        log.warning("message_given_up", destination=self._name, row=message.row, seq=message.seq, why=why)
        if message.seq:  # an event about an event would never end
            self._given_up.append(f"{message.schema} of part {message.seq} ({why})")

    def _pass_over(self, topic: str) -> None:
        self._passed_over.add(topic)
        if math.isinf(self._topics_at):
            self._topics_at = self._monotonic_s() + self._backoff.next_s()

    def _try_topics_again(self) -> None:
        self._passed_over.clear()
        self._topics_at = math.inf
        self._outbox.rewind(self._name)

    def _taken(self, messages: Sequence[OutboxMessage]) -> None:
        self._passed.update((message.topic, message) for message in messages if not message.retain)
        allowed = {message.topic for message in messages} & self._known
        if not allowed:
            return
        self._known -= allowed
        self._tally.refused_topics = tuple(sorted(self._known))
        self._backoff.reset()
        text = f"{self._name}: messages on {', '.join(sorted(allowed))} are taken again"
        self._trouble(DestinationTrouble(self._name, "info", "topic_taken", text))

    def _tell_given_up(self, now: float) -> None:
        """At once, and then grouped: a broker that refuses every picture shall not fill the book with events."""
        if not self._given_up or now < self._tell_at:
            return
        count, first = len(self._given_up), self._given_up[0]
        others = f", and {count - 1} more" if count > 1 else ""
        text = f"{self._name} will never get {first}{others}"
        self._given_up.clear()
        self._tell_at = now + _TELL_S
        self._trouble(DestinationTrouble(self._name, "warning", "messages_given_up", text))
