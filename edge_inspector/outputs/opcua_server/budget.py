"""Who may use the event loop next: each connection has a budget, and all of them together leave most of it free.

A PLC, which is whoever writes, does not queue behind those who only read.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

RATE = 0.25
"""Seconds of processor time a second that one connection may use; a PLC that reads 30 tags each 10 ms uses 0.1."""
BURST_S = 0.2
"""What a connection that was silent may use at once."""
SHARE = 0.4
"""Of the loop, for the requests of all connections while some of them wait."""
ALL_BURST_S = 0.0005
"""What all of them may use before they pause; timers are no finer than 1 ms."""
_PENALTY = 5.0  # seconds behind in the queue for each second of its budget that a connection has used


class Bucket:
    """Processor time that may be used: `rate` seconds a second, at most `burst_s` at once; debts are paid off first."""

    def __init__(self, rate: float, burst_s: float, now: Callable[[], float]) -> None:
        """`now` is a monotonic clock, seconds."""
        self._rate = rate
        self._burst_s = burst_s
        self._left_s = burst_s
        self._now = now
        self._at = now()

    def spend(self, seconds: float) -> None:
        self._refill()
        self._left_s -= seconds

    def waits_s(self) -> float:
        """Until there is something left."""
        self._refill()
        return max(0.0, -self._left_s / self._rate)

    def used_s(self) -> float:
        self._refill()
        return self._burst_s - self._left_s

    def _refill(self) -> None:
        now = self._now()
        self._left_s = min(self._burst_s, self._left_s + (now - self._at) * self._rate)
        self._at = now


class Budget:
    """Hands out turns, in the order of asking, but later to those who have used more."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._all = Bucket(SHARE, ALL_BURST_S, now)
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def spender(self) -> Bucket:
        """For one connection."""
        return Bucket(RATE, BURST_S, self._now)

    async def turn(self, spender: Bucket, first: bool) -> None:
        """Returns when the spender's next request may be served. `first`: it waits for its own budget only."""
        own = spender.waits_s()
        if own > 0:
            await asyncio.sleep(own)
        if first or (not own and not self._waiting and not self._all.waits_s()):
            return
        turn = asyncio.get_running_loop().create_future()
        place = self._now() + _PENALTY * spender.used_s()
        heapq.heappush(self._waiting, (place, next(self._numbers), turn))
        self._arm()
        await turn

    def charge(self, spender: Bucket, seconds: float) -> None:
        """The turn is over and took so much processor time."""
        spender.spend(seconds)
        self._all.spend(seconds)

    def _arm(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self._all.waits_s(), self._serve)

    def _serve(self) -> None:
        """One turn; the next one comes after it has been charged, in the loop's next round at the earliest."""
        self._timer = None
        while self._waiting and not self._all.waits_s():
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # done is cancelled: its connection is gone
                turn.set_result(None)
                break
        self._arm()
