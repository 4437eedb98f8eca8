"""The reading side of the outbox, on the real ledger: order, what is passed over, and what is gone."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_inspector.datatypes import Event, OutboxMessage
from edge_inspector.errors import StorageError
from edge_inspector.store.ledger import BookEvent, Ledger, connect_read_only

AT = "2026-11-22T00:00:0{}.000Z"


@contextmanager
def ledger(folder: Path, *topics: str, destinations: tuple[str, ...] = ("plant",)) -> Iterator[Ledger]:
    """One message for each of `topics`, booked; rows are 1, 2, 3 ..."""
    with Ledger(folder / "ledger", destinations) as opened:
        for number, topic in enumerate(topics, 1):
            text = str(number)
            message = OutboxMessage("plant", topic, f"vision.{topic}/1", text.encode(), number)
            opened.submit(BookEvent(Event("info", "n", text, AT.format(number)), (message,)))
        book(opened)
        yield opened


def book(opened: Ledger) -> None:
    """All that was submitted is on the disk now."""
    opened.close()
    opened.run()
    opened._closing = False


def rows(messages: list[OutboxMessage]) -> list[int]:
    return [message.row for message in messages]


def test_what_is_delivered_never_comes_again_before_it_is_deleted_and_after(tmp_path: Path) -> None:
    with ledger(tmp_path, *["result"] * 5) as outbox:
        assert rows(outbox.pending("plant", 3)) == [1, 2, 3]
        outbox.delivered("plant", [1, 2])
        assert rows(outbox.pending("plant", 9)) == [3, 4, 5]
        outbox.rewind("plant")
        assert rows(outbox.pending("plant", 2)) == [3, 4]
        assert rows(outbox.pending("plant", 9)) == [3, 4, 5]
        book(outbox)
        outbox.rewind("plant")
        assert rows(outbox.pending("plant", 9)) == [3, 4, 5]
        reader = connect_read_only(tmp_path / "ledger")
        assert reader.execute("SELECT row FROM outbox ORDER BY row").fetchall() == [(3,), (4,), (5,)]
        reader.close()


def test_topics_that_are_passed_over_come_in_their_order_after_a_rewind(tmp_path: Path) -> None:
    with ledger(tmp_path, "image", "result", "image", "event", "result") as outbox:
        assert rows(outbox.pending("plant", 9, {"image"})) == [2, 4, 5]
        outbox.delivered("plant", [2, 4, 5])
        assert outbox.pending("plant", 9, {"image"}) == []
        assert outbox.pending("plant", 9) == []  # not before the rewind: nobody reads them again and again
        outbox.rewind("plant")
        assert rows(outbox.pending("plant", 9)) == [1, 3]


def test_two_topics_are_passed_over(tmp_path: Path) -> None:
    with ledger(tmp_path, "image", "result", "event") as outbox:
        assert rows(outbox.pending("plant", 9, ["image", "event"])) == [2]


def test_new_messages_are_seen_behind_what_is_passed_over(tmp_path: Path) -> None:
    with ledger(tmp_path, "image", "image") as outbox:
        assert outbox.pending("plant", 9, {"image"}) == []
        assert outbox.pending("plant", 9) == []  # nobody reads them again and again
        message = OutboxMessage("plant", "result", "vision.result/1", b"3", 3)
        outbox.submit(BookEvent(Event("info", "n", "3", AT.format(3)), (message,)))
        book(outbox)
        assert rows(outbox.pending("plant", 9, {"image"})) == [3]


def test_only_the_first_of_what_was_handed_out_can_be_done(tmp_path: Path) -> None:
    with ledger(tmp_path, *["result"] * 3) as outbox:
        outbox.pending("plant", 9)
        for wrong in ([2], [1, 3], [4]):
            with pytest.raises(StorageError, match="order would be lost"):
                outbox.delivered("plant", wrong)
        with pytest.raises(StorageError, match="order would be lost"):
            outbox.give_up("plant", 2, "too large")


def test_what_is_given_up_is_booked_with_its_reason_and_counted(tmp_path: Path) -> None:
    with ledger(tmp_path, "image", "result") as outbox:
        outbox.pending("plant", 9)
        outbox.give_up("plant", 1, "too large")
        book(outbox)
        standing = outbox.standing("plant")
        assert dataclasses.astuple(standing) == (1, AT.format(2), 0, 1)
        reader = connect_read_only(tmp_path / "ledger")
        found = reader.execute("SELECT destination, schema, seq, why FROM dropped").fetchall()
        reader.close()
        assert found == [("plant", "vision.image/1", 1, "too large")]


def test_standing_tells_how_many_wait_and_since_when(tmp_path: Path) -> None:
    with ledger(tmp_path, *["result"] * 3, destinations=("plant", "other")) as outbox:
        assert (outbox.standing("plant").waiting, outbox.standing("plant").oldest_utc) == (3, AT.format(1))
        assert (outbox.standing("other").waiting, outbox.standing("other").oldest_utc) == (0, None)
        outbox.pending("plant", 9)
        outbox.delivered("plant", [1, 2, 3])
        assert (outbox.standing("plant").waiting, outbox.standing("plant").oldest_utc) == (0, None)


def test_a_destination_that_the_station_has_not_is_told(tmp_path: Path) -> None:
    with ledger(tmp_path) as outbox:
        for ask in (outbox.standing, outbox.rewind, lambda name: outbox.pending(name, 1)):
            with pytest.raises(StorageError, match="outbox 'b' is not known; known are plant"):
                ask("b")


def test_a_book_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with ledger(tmp_path, "result") as outbox:
        writer = sqlite3.connect(tmp_path / "ledger")
        writer.execute("ALTER TABLE outbox RENAME TO gone")
        writer.close()
        with pytest.raises(StorageError, match="the outbox of plant cannot be read: no such table"):
            outbox.pending("plant", 1)


def test_a_row_that_is_being_delivered_is_at_no_moment_in_nobodys_hands(tmp_path: Path) -> None:
    """What nobody holds may be dropped when the outbox is too large: it would be booked as lost, and is not."""
    with ledger(tmp_path, *["result"] * 3) as outbox:
        lanes = outbox._lanes
        lane, held = lanes._lanes["plant"], list[frozenset[int]]()

        class Watched(set[int]):
            def update(self, *rows: Iterable[int]) -> None:
                held.append(lanes.held())
                super().update(*rows)
                held.append(lanes.held())

        lane.leaving = Watched()
        outbox.pending("plant", 9)
        outbox.delivered("plant", [1, 2])
        assert held == [frozenset({1, 2, 3})] * 2


def test_a_message_that_comes_while_others_are_passed_over_is_not_passed_over_with_them(tmp_path: Path) -> None:
    with ledger(tmp_path, "image") as outbox:
        reader, writer = connect_read_only(tmp_path / "ledger"), sqlite3.connect(tmp_path / "ledger")
        columns = "destination, topic, schema, payload, seq, retain"
        asked: list[str] = []

        class Reading:
            """The first question is answered before the result comes, the others behind it."""

            def execute(self, query: str, values: Sequence[object]) -> list[tuple[object, ...]]:
                answer = reader.execute(query, values).fetchall()
                if not asked:
                    writer.execute(f"INSERT INTO outbox ({columns}) VALUES ('plant', 'result', '', x'7b7d', 2, 0)")
                    writer.commit()
                asked.append(query)
                return type("Answer", (), {"fetchall": lambda _: answer})()  # type: ignore[return-value]

        outbox._lanes._reader = Reading  # type: ignore[assignment]
        seen = [*rows(outbox.pending("plant", 9, {"image"})), *rows(outbox.pending("plant", 9, {"image"}))]
        assert seen[-1:] == [2]
        reader.close()
        writer.close()


class Door:
    """A lock that knows whether somebody is inside."""

    def __init__(self) -> None:
        self.inside = False

    def __enter__(self) -> None:
        self.inside = True

    def __exit__(self, *_: object) -> None:
        self.inside = False


def test_messages_are_handed_out_behind_the_door_behind_which_others_are_dropped(tmp_path: Path) -> None:
    """Or one of them could be both."""
    seen: list[bool] = []
    with ledger(tmp_path, "result") as outbox:
        door = outbox._handing = Door()  # type: ignore[assignment]
        pending = outbox._lanes.pending
        outbox._lanes.pending = lambda *given: (seen.append(door.inside), pending(*given))[1]  # type: ignore[assignment]
        assert rows(outbox.pending("plant", 9)) == [1]
    assert seen == [True]
    assert not door.inside
