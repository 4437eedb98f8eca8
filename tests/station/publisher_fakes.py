"""A destination and an outbox at their protocols, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from edge_inspector.datatypes import Event, InspectionResult, OutboxMessage, SavedImage
from edge_inspector.errors import OutputError
from edge_inspector.interfaces import OutboxStanding
from edge_inspector.outputs.refusal import MessageRefusedError


def message(row: int, topic: str = "result", *, seq: int | None = None) -> OutboxMessage:
    return OutboxMessage("broker", topic, f"vision.{topic}/1", b"{}", row if seq is None else seq, row=row)


class FakeOutbox:
    """In memory, with the ledger's promises."""

    def __init__(self, *messages: OutboxMessage) -> None:
        self.waiting = list(messages)
        self.given_up: list[tuple[int, str]] = []
        self.asked = 0
        self._after = 0

    def pending(self, destination: str, limit: int, without: Collection[str] = ()) -> list[OutboxMessage]:
        self.asked += 1
        return [m for m in self.waiting if m.row > self._after and m.topic not in without][:limit]

    def rewind(self, destination: str) -> None:
        self._after = 0

    def delivered(self, destination: str, rows: Sequence[int]) -> None:
        self._remove(rows)

    def give_up(self, destination: str, row: int, why: str) -> None:
        self.given_up.append((row, why))
        self._remove([row])

    def standing(self, destination: str) -> OutboxStanding:
        oldest = "2026-11-22T00:00:00.000Z" if self.waiting else None
        return OutboxStanding(len(self.waiting), oldest, 0, len(self.given_up))

    def _remove(self, rows: Sequence[int]) -> None:
        self.waiting = [m for m in self.waiting if m.row not in rows]
        self._after = max([self._after, *rows])


class FakeBroker:
    """Takes what `takes` lets it; keeps the rows in the order in which it got them."""

    destination = "broker"

    def __init__(self, takes: Callable[[OutboxMessage], None] = lambda _: None, replay_per_s: float = 1e9) -> None:
        self.takes = takes
        self.replay_per_s = replay_per_s
        self.got: list[int] = []
        self.opened = 0

    def __enter__(self) -> FakeBroker:
        self.opened += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        return ()

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        """As a real one: what was on its way behind a refused message may be taken, and comes again."""
        refused: tuple[int, MessageRefusedError] | None = None
        for count, one in enumerate(messages):
            try:
                self.takes(one)
            except MessageRefusedError as exc:
                refused = refused or (count, exc)
            except OutputError:
                if count:
                    return count
                raise
            else:
                self.got.append(one.row)
        if refused is None:
            return len(messages)
        if refused[0] == 0:
            raise refused[1]
        return refused[0]

    def announce(self, state: str, state_no: int, recipe: str) -> None: ...
    def metrics(self, values: dict[str, float]) -> None: ...
    def idle(self, timeout_s: float) -> None: ...


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s
