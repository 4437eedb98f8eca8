"""The thread on which the board is asked and ordered."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from power_rig import MAXN, MODES, W15, FakeBoard

from edge_inspector.station.events import LineEvent, PowerChanged, PowerOpened, PowerRead, PowerTrouble
from edge_inspector.station.power_speeds import Speeds
from edge_inspector.station.power_thread import VERIFY_READS, PowerThread


class Deaf(FakeBoard):
    """Does what it is told, and says its mode only in the n-th reading after."""

    def __init__(self, silent: int) -> None:
        super().__init__()
        self._silent = silent
        self._left = 0

    def set_mode(self, mode: object) -> None:
        super().set_mode(mode)  # type: ignore[arg-type]
        self._left = self._silent

    def state(self):  # type: ignore[no-untyped-def]
        self.mute, self._left = self._left > 0, self._left - 1
        return super().state()


@contextmanager
def running(board: FakeBoard, read_s: float = 60.0) -> Iterator[tuple[PowerThread, Callable[[type], LineEvent]]]:
    told: queue.Queue[LineEvent] = queue.Queue()
    power = PowerThread(board.open, lambda: Speeds((), ""), told.put, read_s=read_s, verify_s=0.0)
    thread = threading.Thread(target=power.run, daemon=True)
    thread.start()

    def next_of(kind: type) -> LineEvent:
        while True:
            event = told.get(timeout=10)
            if isinstance(event, kind):
                return event

    yield power, next_of
    power.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_what_the_board_says_is_told_again_and_again() -> None:
    board = FakeBoard()
    with running(board, read_s=0.01) as (_, next_of):
        opened = next_of(PowerOpened)
        assert isinstance(opened, PowerOpened)
        assert opened.modes == MODES
        next_of(PowerRead)
        board.mode = W15
        while (event := next_of(PowerRead)) and isinstance(event, PowerRead) and event.state.mode is not None:
            if event.state.mode.number == W15.number:
                break
    assert board.closed == 1


def test_an_answer_that_is_some_readings_old_is_waited_for() -> None:
    with running(Deaf(VERIFY_READS - 1)) as (power, next_of):
        power.order(W15)
        changed = next_of(PowerChanged)
        assert isinstance(changed, PowerChanged)
        assert (changed.error, changed.for_good) == ("", False)


def test_a_board_that_does_not_say_where_it_is_after_a_change_has_failed() -> None:
    with running(Deaf(VERIFY_READS + 1)) as (power, next_of):
        power.order(W15)
        changed = next_of(PowerChanged)
        assert isinstance(changed, PowerChanged)
        assert changed.error == "the board does not say in which mode it is"


def test_clocks_stay_as_they_are_when_the_mode_was_refused() -> None:
    board = FakeBoard()
    board.reboots = {W15}
    with running(board) as (power, next_of):
        power.order(W15)
        changed = next_of(PowerChanged)
        assert isinstance(changed, PowerChanged)
        assert (changed.error, changed.for_good) == ("power mode 15W needs a reboot", True)
    assert (board.mode, board.clocks) == (MAXN, [])


def test_a_board_that_cannot_be_opened_is_told() -> None:
    board = FakeBoard()
    board.absent = "no socket"
    with running(board) as (_, next_of):
        assert next_of(PowerTrouble) == PowerTrouble("no socket")


def test_an_order_that_has_waited_for_too_long_is_dropped() -> None:
    """The board hung, the station has given the change up, and inspects parts."""
    board = FakeBoard()
    told: queue.Queue[LineEvent] = queue.Queue()
    power = PowerThread(board.open, lambda: Speeds((), ""), told.put, read_s=60.0, verify_s=0.0, order_s=-1.0)
    thread = threading.Thread(target=power.run, daemon=True)
    power.order(W15)
    thread.start()
    while not isinstance(event := told.get(timeout=10), PowerChanged):
        pass
    assert (event.error, board.orders) == ("the board was busy for over -1 s before", [])
    power.stop()
    thread.join(10)
