"""A destination's thread: what it does when the broker lets it in and takes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from edge_inspector.datatypes import Event, InspectionResult, OutboxMessage
from edge_inspector.errors import OutputError
from edge_inspector.station.events import LineEvent, PublisherHealth
from edge_inspector.station.publisher_thread import PublisherThread

WAITING = OutboxMessage("broker", "t", "vision.result/1", b"{}", 1, row=1)


class RefusingBroker:
    """Accepts every connection and refuses every message."""

    destination = "broker"

    def __init__(self, opens: int) -> None:
        self.opened_s: list[float] = []
        self.enough = threading.Event()
        self._opens = opens

    def __enter__(self) -> RefusingBroker:
        self.opened_s.append(time.monotonic())
        if len(self.opened_s) == self._opens:
            self.enough.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def render(self, record: InspectionResult | Event) -> tuple[OutboxMessage, ...]:
        return ()

    def publish(self, messages: Sequence[OutboxMessage]) -> None:
        raise OutputError("broker: not authorised to publish on t")

    def announce(self, state: str, state_no: int, recipe: str) -> None: ...
    def metrics(self, values: dict[str, float]) -> None: ...
    def idle(self, timeout_s: float) -> None: ...


class OneMessage:
    def __init__(self) -> None:
        self.gone: list[int] = []

    def pending(self, destination: str, limit: int) -> list[OutboxMessage]:
        return [WAITING]

    def delivered(self, destination: str, rows: Sequence[int]) -> None:
        self.gone += rows


def test_a_broker_that_refuses_every_message_is_tried_ever_more_slowly_and_keeps_its_outbox() -> None:
    broker, outbox, events = RefusingBroker(opens=4), OneMessage(), list[LineEvent]()
    thread = PublisherThread(broker, outbox, events.append, dict)
    running = threading.Thread(target=thread.run)
    running.start()
    assert broker.enough.wait(60)
    thread.stop()
    running.join()
    first, second, third = (b - a for a, b in zip(broker.opened_s, broker.opened_s[1:4], strict=False))
    assert first < second < third
    assert outbox.gone == []
    assert PublisherHealth("broker", connected=False, text="broker: not authorised to publish on t") in events
