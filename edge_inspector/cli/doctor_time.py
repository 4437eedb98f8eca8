"""Time limits for checks that may hang for ever, such as a disk, a GPU or a folder on a server that has gone."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
_LEFT: list[threading.Thread] = []


def in_time(things: Iterable[T], limit_s: float) -> Iterator[T]:
    """What a thread of its own makes, one by one, and its error. TimeoutError: the next one takes too long.

    Then the thread is left behind: nothing can end it (see `left_behind`).
    """
    made: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()

    def make() -> None:
        try:
            for thing in things:
                made.put((thing,))
        except BaseException as exc:  # noqa: BLE001 - raised again below, where somebody waits
            made.put(exc)
        else:
            made.put(None)

    thread = threading.Thread(target=make, name="doctor", daemon=True)
    thread.start()
    while True:
        try:
            got = made.get(timeout=limit_s)
        except Empty:
            _LEFT.append(thread)
            raise TimeoutError(f"nothing more was heard within {limit_s:g} s") from None
        if isinstance(got, tuple):
            yield got[0]
            continue
        thread.join()
        if got is not None:
            raise got
        return


def left_behind() -> bool:
    """Whether a check still hangs: then the program must not end in Python's own way, which might wait for it."""
    return any(thread.is_alive() for thread in _LEFT)
