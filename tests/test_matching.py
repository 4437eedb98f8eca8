"""Announced parts and the pictures that cameras bring: nothing may shift results by one part."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_inspector.datatypes import Reason
from edge_inspector.matching import Doubt, Match, Matcher, Seen, Spare, Window

MS = 1_000_000


def window(seq: int | None, opens_ms: int = 0, closes_ms: int = 100) -> Window:
    return Window(seq, opens_ms * MS, closes_ms * MS)


def picture(number: int | None, at_ms: float, edges: int | None = None) -> Seen:
    return Seen(number, edges, int(at_ms * MS))


def in_step(*pictures: Seen) -> Matcher:
    """A camera that has brought these pictures and is trusted again."""
    return Matcher("a", last=pictures[-1] if pictures else None)


def test_the_picture_in_the_window_is_the_parts_and_certain_when_the_window_ends() -> None:
    me, outcome = in_step().announced(window(7)).seen(picture(1, 50))
    assert outcome == Match(7)
    assert not me.free
    me, outcome = me.closed(7, 120 * MS)
    assert outcome == Match(7)
    assert me.free


@pytest.mark.parametrize(
    ("before", "open_window", "arriving", "said"),
    [
        (picture(4, 1), None, picture(5, 50), "nobody announced"),
        (picture(4, 1), window(7, 20, 100), picture(5, 10), "10.0 ms before its window"),
        (picture(4, 1), window(7, 20, 100), picture(5, 101), "1.0 ms after its window"),
        (picture(4, 1), window(7), picture(6, 50), "1 pictures before number 6 are lost"),
        (picture(4, 1), window(7), picture(4, 50), "picture 4 came after picture 4"),
        (picture(4, 1), window(7), picture(1, 50), "picture 1 came after picture 4"),
        (picture(4, 1, 9), window(7), picture(5, 50, 11), "saw 2 edges for one picture"),
        (picture(4, 1, 9), window(7), picture(5, 50, 9), "saw 0 edges for one picture"),
    ],
)
def test_any_picture_out_of_place_or_order_is_a_doubt(
    before: Seen, open_window: Window | None, arriving: Seen, said: str
) -> None:
    me = in_step(before)
    me = me if open_window is None else me.announced(open_window)
    me, outcome = me.seen(arriving)
    assert isinstance(outcome, Doubt)
    assert said in outcome.text
    assert outcome.reason is Reason.UNANNOUNCED
    assert not me.free


def test_a_second_picture_before_the_window_ends_is_a_doubt_about_the_first() -> None:
    me, _ = in_step().announced(window(7)).seen(picture(1, 40))
    me, outcome = me.seen(picture(2, 60))
    assert isinstance(outcome, Doubt)
    assert me.closed(7, 120 * MS)[1] is None, "the doubt is told once"


def test_a_part_without_a_picture_is_told_when_its_window_ends() -> None:
    me, outcome = in_step().announced(window(7)).closed(7, 120 * MS)
    assert isinstance(outcome, Doubt)
    assert outcome.reason is Reason.NO_FRAME
    assert not me.free


def test_a_damaged_picture_without_a_number_takes_its_place_and_the_count_goes_on_with_the_next() -> None:
    me, outcome = in_step(picture(4, 1)).announced(window(7)).seen(picture(None, 50))
    assert outcome == Match(7)
    me, _ = me.closed(7, 120 * MS)
    me, outcome = me.announced(window(8, 200, 300)).seen(picture(9, 250))
    assert outcome == Match(8)
    assert me.closed(8, 320 * MS)[0].announced(window(9, 400, 500)).seen(picture(11, 450))[1] != Match(9)


def test_the_picture_of_a_refused_part_is_nobodys_and_no_doubt() -> None:
    me, outcome = in_step().announced(window(None)).seen(picture(1, 50))
    assert outcome == Spare()
    me, outcome = me.closed(None, 120 * MS)
    assert outcome is None
    assert me.free


def test_a_refused_part_with_exactly_one_picture_puts_a_camera_in_step_again() -> None:
    doubtful = replace(in_step(), doubt="because")
    me, _ = doubtful.announced(window(None)).seen(picture(1, 50))
    assert me.closed(None, 120 * MS)[0].free
    me, _ = doubtful.announced(window(None)).closed(None, 120 * MS)
    assert not me.free


def test_a_quiet_time_puts_a_camera_in_step_again_and_each_picture_begins_it_anew() -> None:
    me = Matcher("a").reopened(0)
    me, outcome = me.seen(picture(1, 90))
    assert isinstance(outcome, Doubt)
    assert not me.ticked(100 * MS, quiet_ns=100 * MS).free
    assert not me.ticked(189 * MS, quiet_ns=100 * MS).free
    assert me.ticked(190 * MS, quiet_ns=100 * MS).free


def test_a_part_cannot_be_announced_to_a_camera_that_is_not_free() -> None:
    with pytest.raises(ValueError, match="part 8 announced to camera a, which is not free"):
        in_step().announced(window(7)).announced(window(8))


def test_a_part_that_is_refused_while_a_window_is_open_may_still_bring_its_picture() -> None:
    """Its announcement has no window: the camera is not free before that picture can have come."""
    me, _ = in_step().announced(window(7)).announced(window(None, 90, 190)).seen(picture(1, 50))
    me, outcome = me.closed(7, 120 * MS)
    assert outcome == Match(7)
    assert not me.free
    late, outcome = me.seen(picture(2, 170))
    assert isinstance(outcome, Doubt)
    assert not late.ticked(220 * MS, quiet_ns=100 * MS).free
    assert me.ticked(220 * MS, quiet_ns=100 * MS).free


def test_parts_that_the_plc_has_skipped_may_still_bring_their_pictures() -> None:
    assert not in_step().skipped(0).free
    me, _ = in_step().announced(window(7)).skipped(10 * MS).seen(picture(1, 50))
    assert not me.closed(7, 120 * MS)[0].free


def test_the_end_of_an_older_window_says_nothing_about_a_newer_one() -> None:
    me, _ = in_step().announced(window(8, 200, 300)).seen(picture(1, 250))
    assert me.closed(7, 320 * MS) == (me, None)
    assert me.closed(8, 290 * MS) == (me, None), "it has not ended"


def test_a_camera_that_is_opened_again_forgets_everything_and_is_not_trusted_yet() -> None:
    me, _ = in_step(picture(9, 1)).announced(window(7)).seen(picture(10, 50))
    me = me.reopened(60 * MS)
    assert (me.window, me.last, me.free) == (None, None, False)
    assert not me.ticked(159 * MS, quiet_ns=100 * MS).free


def test_a_camera_whose_window_is_open_is_not_quiet() -> None:
    doubtful = replace(in_step(), doubt="because").announced(window(None, 0, 500))
    assert not doubtful.ticked(400 * MS, quiet_ns=100 * MS).free
    assert not doubtful.closed(None, 520 * MS)[0].ticked(600 * MS, quiet_ns=100 * MS).free


FAULTS = ("good", "missed", "doubled", "phantom", "late", "a part late", "lost")
ONLY_TOGETHER_INVISIBLE = {"missed", "late", "lost", "a part late"}
"""After a picture that is a whole part late these leave exactly one picture in the next window: nobody can tell."""


def edges_of(part: int, fault: str) -> list[tuple[int, bool]]:
    """When pictures are taken of a part that is announced at 300 ms x its number, and whether each arrives at all."""
    at = part * 300
    return {
        "good": [(at + 50, True)],
        "missed": [],
        "doubled": [(at + 50, True), (at + 55, True)],
        "phantom": [(at + 50, True), (at + 200, True)],
        "late": [(at + 110, True)],
        "a part late": [(at + 330, True)],
        "lost": [(at + 50, False)],
    }[fault]


@given(st.lists(st.sampled_from(FAULTS), min_size=1, max_size=40))
def test_whatever_happens_at_the_sensor_a_certain_part_has_its_own_picture(faults: list[str]) -> None:
    """Parts pass every 300 ms; one is announced when the camera is free; a picture shows the part it was taken for."""
    for first, second in pairwise(faults):
        assume(not (first == "a part late" and second in ONLY_TOGETHER_INVISIBLE))
    taken = sorted((at, part, arrives) for part, fault in enumerate(faults) for at, arrives in edges_of(part, fault))
    happens: list[tuple[int, int, object]] = []
    for part in range(len(faults)):
        happens += [(part * 300, 0, part), (part * 300 + 100, 2, part)]
    happens += [(at, 1, (number, part)) for number, (at, part, arrives) in enumerate(taken, 1) if arrives]
    me, shown, asked, certain = Matcher("a"), dict[int, int](), dict[int, int | None](), list[int]()
    for at_ms, kind, what in sorted(happens, key=lambda event: event[:2]):
        now = at_ms * MS
        me = me.ticked(now, quiet_ns=80 * MS)
        if kind == 0:
            assert isinstance(what, int)
            asked[what] = what if me.free else None
            me = me.announced(Window(asked[what], now + 20 * MS, now + 80 * MS))
        elif kind == 1:
            assert isinstance(what, tuple)
            me, outcome = me.seen(Seen(what[0], None, now))
            if isinstance(outcome, Match):
                shown[outcome.seq] = what[1]
        else:
            assert isinstance(what, int)
            me, ended = me.closed(asked[what], now)
            if isinstance(ended, Match):
                certain.append(ended.seq)
    assert all(shown[seq] == seq for seq in certain)
    assert {faults[seq] for seq in certain} <= {"good", "phantom"}
    if set(faults) == {"good"}:
        assert certain == list(range(len(faults)))


class AnyOrder(RuleBasedStateMachine):
    """Announcements, pictures and ends of windows in any order: one verdict of certainty a part, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.me = Matcher("a")
        self.now = 0
        self.seq = 0
        self.number = 0
        self.matched: dict[int, int] = {}
        self.certain: list[int] = []

    @rule(ms=st.integers(1, 90))
    def time_passes(self, ms: int) -> None:
        self.now += ms * MS
        self.me = self.me.ticked(self.now, 100 * MS)

    @precondition(lambda self: self.me.free)
    @rule()
    def a_part_is_announced(self) -> None:
        self.seq += 1
        self.me = self.me.announced(Window(self.seq, self.now, self.now + 100 * MS))

    @rule()
    def a_part_is_refused(self) -> None:
        self.me = self.me.announced(Window(None, self.now, self.now + 100 * MS))

    @rule(step=st.integers(0, 2))
    def a_picture_comes(self, step: int) -> None:
        self.number += step
        self.me, outcome = self.me.seen(Seen(self.number, None, self.now))
        if isinstance(outcome, Match):
            assert step == 1 or self.me.last == Seen(self.number, None, self.now)
            self.matched[outcome.seq] = self.matched.get(outcome.seq, 0) + 1

    @rule()
    def a_window_ends(self) -> None:
        if self.me.window is not None and self.now >= self.me.window.closes_ns:
            self.me, outcome = self.me.closed(self.me.window.seq, self.now)
            if isinstance(outcome, Match):
                self.certain.append(outcome.seq)

    @invariant()
    def a_certain_part_had_exactly_one_picture(self) -> None:
        assert all(self.matched.get(seq) == 1 for seq in self.certain)
        assert len(set(self.certain)) == len(self.certain)


TestAnyOrder = AnyOrder.TestCase
