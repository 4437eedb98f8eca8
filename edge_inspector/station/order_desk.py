"""Orders that come in through a publisher: on to the line, and the line's answers back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog

from edge_inspector.interfaces import OrderAnswer, TakesOrders
from edge_inspector.station.events import LineEvent, Ordered

log = structlog.get_logger()
ANSWER_S = 10.0
"""Who orders is answered within this, if only that the station did not answer."""
ORDERS_PER_S, BURST = 10, 20
"""More are refused: each may change what the station tells its PLCs, its brokers and its ledger."""
_TOO_MANY = OrderAnswer(done=False, text=f"more than {ORDERS_PER_S} orders a second")


class OrderDesk:
    """On the publisher's thread; the line may answer from its own."""

    def __init__(
        self,
        publisher: TakesOrders,
        post: Callable[[LineEvent], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._post = post
        self._monotonic_s = monotonic_s
        self._number = 0
        self._open: dict[int, tuple[object, float]] = {}
        """By the order's number: the token, and until when an answer is worth waiting for."""
        self._room, self._looked_s = float(BURST), monotonic_s()
        self._answers: deque[tuple[int, OrderAnswer]] = deque()

    def serve(self) -> int:
        """Hand over what came in, and give back what was answered; how many came in. OutputError: it is lost.

        Answers that could not be given stay, for the next connection.
        """
        came = self._publisher.orders()
        for token, order in came:
            self._number += 1
            self._open[self._number] = token, self._monotonic_s() + ANSWER_S
            if self._is_one_too_many():
                self._answered(self._number, _TOO_MANY)
                continue
            log.info("order_received", order=order.name, who=order.who)
            self._post(Ordered(order, partial(self._answered, self._number)))
        while self._answers:
            number, answer = self._answers[0]
            if number in self._open:
                self._publisher.answer(self._open[number][0], answer)
                del self._open[number]
            self._answers.popleft()
        now = self._monotonic_s()
        for number, (token, until_s) in list(self._open.items()):
            if now >= until_s:
                self._publisher.answer(token, OrderAnswer(False, f"the station did not answer in {ANSWER_S:g} s"))
                del self._open[number]
        return len(came)

    def _is_one_too_many(self) -> bool:
        before_s, self._looked_s = self._looked_s, self._monotonic_s()
        self._room = min(float(BURST), self._room + (self._looked_s - before_s) * ORDERS_PER_S)
        if self._room < 1:
            return True
        self._room -= 1
        return False

    def _answered(self, number: int, answer: OrderAnswer) -> None:
        self._answers.append((number, answer))
