"""The thread on which the board is asked and ordered: nvpmodel may take half a minute, and jtop may hang."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from edge_inspector.errors import ConfigError, PowerError, RebootNeededError
from edge_inspector.interfaces import PowerControl, PowerMode, PowerState
from edge_inspector.station.backoff import Backoff
from edge_inspector.station.events import LineEvent, PowerChanged, PowerOpened, PowerRead, PowerTrouble
from edge_inspector.station.power_speeds import Speeds

READ_S = 2.0
VERIFY_READS = 6
"""So often the board is asked for its mode after a change; jtop's answer may be some seconds old."""
VERIFY_S = 0.5
ORDER_S = 10.0
"""An order that could not be begun in this time is dropped: the station may inspect again by the time it is done."""


class OpenedPower(PowerControl, Protocol):
    """A board's power control that holds something open."""

    def close(self) -> None: ...


class PowerThread:
    """Runs `run` on a thread of its own; `order` and `stop` may be called from any other."""

    def __init__(
        self,
        open_control: Callable[[], OpenedPower],
        read_speeds: Callable[[], Speeds],
        post: Callable[[LineEvent], None],
        *,
        lock_clocks: bool = False,
        read_s: float = READ_S,
        verify_s: float = VERIFY_S,
        order_s: float = ORDER_S,
    ) -> None:
        self._open = open_control
        self._read_speeds = read_speeds
        self._post = post
        self._lock_clocks = lock_clocks
        self._read_s = read_s
        self._verify_s = verify_s
        self._order_s = order_s
        self._orders: queue.SimpleQueue[tuple[PowerMode, float] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def order(self, mode: PowerMode) -> None:
        """Change to this mode; `PowerChanged` says what came of it."""
        self._orders.put((mode, time.monotonic() + self._order_s))

    def stop(self) -> None:
        self._stopping.set()
        self._orders.put(None)

    def run(self) -> None:
        backoff = Backoff(first_s=5.0, last_s=300.0)
        while not self._stopping.is_set():
            try:
                control = self._open()
            except (PowerError, ConfigError) as exc:
                self._post(PowerTrouble(str(exc)))
                self._stopping.wait(backoff.next_s())
                continue
            try:
                self._serve(control)
            finally:
                control.close()

    def _serve(self, control: OpenedPower) -> None:
        speeds, wrong = Speeds((), ""), ""
        try:
            speeds = self._read_speeds()
        except ConfigError as exc:
            wrong = str(exc)
        self._post(PowerOpened(tuple(control.modes), control.state(), speeds))
        if wrong:
            self._post(PowerTrouble(wrong))
        if self._lock_clocks:
            self._hold_clocks(control)
        while not self._stopping.is_set():
            order = None
            with suppress(queue.Empty):
                order = self._orders.get(timeout=self._read_s)
            if self._stopping.is_set():
                return
            self._post(PowerRead(control.state()) if order is None else self._change(control, *order))

    def _change(self, control: PowerControl, mode: PowerMode, begin_by: float) -> PowerChanged:
        """The board's own word counts, whatever the order came to."""
        if time.monotonic() > begin_by:
            return PowerChanged(mode, control.state(), f"the board was busy for over {self._order_s:g} s before")
        error, for_good = "", False
        try:
            control.set_mode(mode)
        except RebootNeededError as exc:
            error, for_good = str(exc), True
        except PowerError as exc:
            error = str(exc)
        if self._lock_clocks and not error:
            self._hold_clocks(control)
        state = self._settled(control) if not error else control.state()
        if not error and state.mode is None:
            error = "the board does not say in which mode it is"
        elif not error and state.mode is not None and state.mode.number != mode.number:
            error = f"the change was confirmed, and the board is in {state.mode.name}"
        return PowerChanged(mode, state, error, for_good)

    def _settled(self, control: PowerControl) -> PowerState:
        """As soon as the board says its mode, or what it says at last."""
        for _ in range(VERIFY_READS - 1):
            state = control.state()
            if state.mode is not None or self._stopping.wait(self._verify_s):
                return state
        return control.state()

    def _hold_clocks(self, control: PowerControl) -> None:
        try:
            control.set_clocks(locked=True)
        except PowerError as exc:
            self._post(PowerTrouble(f"the clocks are not held: {exc}"))
