"""The progress book tells which loop of the verdict path stands still."""

from __future__ import annotations

from edge_inspector.health.progress import ProgressBook


class Hands:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc(self) -> str:
        raise AssertionError("nobody asks for the wall clock")

    def synced(self) -> bool:
        raise AssertionError("nobody asks for the wall clock")


def test_a_loop_that_has_not_signed_for_longer_is_stale() -> None:
    clock = Hands()
    book = ProgressBook(clock)
    book.sign("gpu")
    clock.now_ns = 1_500_000_000
    book.sign("line")
    assert book.stale(1.5) == []
    clock.now_ns += 1
    assert book.stale(1.5) == ["gpu"]


def test_nothing_is_expected_of_a_loop_that_rests_until_it_signs_again() -> None:
    clock = Hands()
    book = ProgressBook(clock)
    book.sign("gpu")
    book.rest("gpu")
    clock.now_ns = 60_000_000_000
    assert book.stale(1.5) == []
    book.sign("gpu")
    clock.now_ns *= 2
    assert book.stale(1.5) == ["gpu"]
