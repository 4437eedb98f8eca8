"""Pictures that wait for their verdict: whose they are may be known before or after, and memory is bounded."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images_rig import Clock, frame, pixels_of, verdict

from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import Evaluation, Frame, InspectionResult, Picture
from edge_inspector.store.images.policy import Wanted
from edge_inspector.store.images.waiting import SPARE_SLOTS, UNCLAIMED_NS, UNSETTLED_NS, WaitingRoom

REJECT, SAMPLE = (Wanted("original", ("rejects",), 1),), (Wanted("original", ("every_nth",), 10),)
SIZE = pixels_of().nbytes


def wanted(result: InspectionResult) -> tuple[Wanted, ...]:
    """Rejects; of good parts every tenth."""
    if result.evaluation is not Evaluation.OK:
        return REJECT
    return SAMPLE if result.trigger.seq % 10 == 0 else ()


def room(limit: int = 100 * SIZE, clock: Clock | None = None) -> WaitingRoom:
    return WaitingRoom(limit, wanted, (clock or Clock()).monotonic_ns)


def put(waiting: WaitingRoom, seq: int, *, good: bool, ring: FrameRing | None = None) -> None:
    """A part with one picture, in the usual order."""
    picture = Picture("top", seq)
    waiting.belongs(picture, seq)
    waiting.offer(picture, frame(frame_id=seq, ring=ring))
    waiting.settled(verdict(seq, good=good))


def taken(waiting: WaitingRoom) -> list[int]:
    seqs = []
    while task := waiting.take():
        seqs.append(task.result.trigger.seq)
    return seqs


@pytest.mark.parametrize("order", list(itertools.permutations(["offer", "belongs", "settled"])), ids="-".join)
@pytest.mark.parametrize("good", [True, False], ids=["good", "reject"])
def test_the_order_in_which_threads_come_does_not_matter(order: tuple[str, ...], good: bool) -> None:
    waiting, ring = room(), FrameRing(4)
    picture, offered = Picture("top", 1), frame(ring=ring)
    steps: dict[str, Callable[[], Any]] = {
        "offer": lambda: waiting.offer(picture, offered),
        "belongs": lambda: waiting.belongs(picture, 7),
        "settled": lambda: waiting.settled(verdict(7, good=good)),
    }
    for step in order:
        steps[step]()
    offered.release()  # the camera's own
    assert ring.free_slots == (4 if good else 3)
    assert taken(waiting) == ([] if good else [7])
    assert ring.free_slots == 4


@pytest.mark.parametrize("order", [("offer", "nobody"), ("nobody", "offer")], ids="-".join)
def test_a_picture_that_is_nobodys_is_let_go(order: tuple[str, ...]) -> None:
    waiting, ring = room(), FrameRing(4)
    offered = frame(ring=ring)
    for step in order:
        if step == "offer":
            waiting.offer(Picture("top", 1), offered)
        else:
            waiting.nobody(Picture("top", 1))
    offered.release()
    assert ring.free_slots == 4


def test_every_view_of_a_part_is_kept_and_a_second_picture_of_a_camera_has_its_number() -> None:
    waiting = room()
    for number, camera in enumerate(("top", "side", "top")):
        waiting.belongs(Picture(camera, number), 3)
        waiting.offer(Picture(camera, number), frame(camera=camera, frame_id=number))
    waiting.settled(verdict(3, good=False))
    tasks = [waiting.take() for _ in range(3)]
    assert [(task.frame.camera, task.frame.frame_id, task.number) for task in tasks if task] == [
        ("top", 0, 1),
        ("side", 1, 1),
        ("top", 2, 2),
    ]


def test_the_camera_always_finds_spare_slots() -> None:
    waiting, ring = room(), FrameRing(6)
    for seq in range(1, 20):
        own = frame(frame_id=seq, ring=ring)
        waiting.belongs(Picture("top", seq), seq)
        waiting.offer(Picture("top", seq), own)
        own.release()
        assert ring.free_slots >= SPARE_SLOTS
        waiting.settled(verdict(seq, good=False))
    # the camera's own frame was the fourth that is not spare
    assert waiting.waiting == 6 - SPARE_SLOTS
    assert sum(waiting.skipped) == 19 - waiting.waiting


def test_unloading_gives_the_slots_back_and_keeps_the_pixels() -> None:
    waiting, ring = room(), FrameRing(4)
    first = frame(pixels_of(seed=1), frame_id=1, ring=ring)
    waiting.belongs(Picture("top", 1), 1)
    waiting.offer(Picture("top", 1), first)
    waiting.settled(verdict(1, good=False))
    first.release()
    assert ring.free_slots == 3
    waiting.unload()
    assert ring.free_slots == 4
    for seed in range(2, 6):
        frame(pixels_of(seed=seed), ring=ring)  # the buffer is used again
    task = waiting.take()
    assert task is not None
    np.testing.assert_array_equal(task.frame.pixels, pixels_of(seed=1))


def test_when_memory_is_full_good_parts_give_way_to_pictures_that_may_be_rejects() -> None:
    waiting = room(limit=3 * SIZE)
    for seq in (10, 20, 30):
        put(waiting, seq, good=True)
    assert waiting.waiting == 3
    put(waiting, 31, good=False)
    put(waiting, 32, good=False)
    assert waiting.skipped == [2, 0, 0, 0]
    assert taken(waiting) == [31, 32, 30]


def test_rejects_never_give_way_and_what_finds_no_room_is_counted_once_it_is_wanted() -> None:
    waiting = room(limit=2 * SIZE)
    for seq in (1, 2, 3):
        put(waiting, seq, good=False)
    put(waiting, 4, good=True)
    put(waiting, 40, good=True)
    assert waiting.skipped == [1, 0, 0, 1]
    assert taken(waiting) == [1, 2]


def test_memory_is_free_again_once_a_picture_was_taken_or_let_go() -> None:
    waiting = room(limit=SIZE)
    for seq in range(1, 50):
        put(waiting, seq, good=True)
        put(waiting, 1000 + seq, good=False)
        assert taken(waiting) == [1000 + seq] if seq % 10 else True
        taken(waiting)
    assert waiting.skipped[3] == 0


def test_the_most_important_is_taken_first_and_among_equals_the_oldest() -> None:
    waiting = room()
    for seq, good in ((10, True), (1, False), (20, True), (2, False)):
        put(waiting, seq, good=good)
    assert taken(waiting) == [1, 2, 10, 20]


@pytest.mark.parametrize("by", ["wake", "a reject"])
def test_the_writer_sleeps_until_there_is_something_to_do(by: str) -> None:
    waiting, awake = room(), threading.Event()
    waiting.wait(0.0)  # the first one does not wait
    waiting.sweep()

    def write() -> None:
        waiting.wait(60.0)
        awake.set()

    thread = threading.Thread(target=write)
    thread.start()
    put(waiting, 1, good=True)
    assert not awake.wait(0.1), "it does not sleep"
    if by == "wake":
        waiting.wake()
    else:
        put(waiting, 2, good=False)
    assert awake.wait(20), "nobody wakes it"
    thread.join()


def test_what_was_put_back_comes_first_again() -> None:
    waiting = room()
    put(waiting, 1, good=False)
    put(waiting, 2, good=False)
    task = waiting.take()
    assert task is not None
    waiting.put_back(task)
    assert taken(waiting) == [1, 2]


def test_a_picture_that_nobody_claims_is_let_go_after_a_minute_and_not_before() -> None:
    clock, ring = Clock(), FrameRing(4)
    waiting = room(clock=clock)
    own = frame(ring=ring)
    waiting.offer(Picture("top", 1), own)
    own.release()
    clock.ns += UNCLAIMED_NS
    waiting.sweep()
    assert ring.free_slots == 3
    clock.ns += 1
    waiting.sweep()
    assert ring.free_slots == 4
    assert sum(waiting.skipped) == 0


def test_a_picture_of_an_open_part_waits_as_long_as_a_deadline_may_be() -> None:
    clock = Clock()
    waiting = room(clock=clock)
    waiting.belongs(Picture("top", 1), 1)
    waiting.offer(Picture("top", 1), frame())
    clock.ns += 600_000_000_000
    waiting.sweep()
    waiting.settled(verdict(1, good=False))
    assert taken(waiting) == [1]


def test_nothing_is_remembered_for_ever() -> None:
    clock, ring = Clock(), FrameRing(8)
    waiting = room(clock=clock)
    for seq in range(1, 101):
        waiting.belongs(Picture("top", seq), seq)  # never offered, for each second one never settled
        if seq % 2:
            waiting.settled(verdict(seq, good=False))
        waiting.nobody(Picture("side", seq))
    own = frame(ring=ring)
    waiting.belongs(Picture("top", 200), 200)
    waiting.offer(Picture("top", 200), own)
    own.release()
    clock.ns += UNSETTLED_NS + 1
    waiting.sweep()
    assert ring.free_slots == 8
    assert not any(value for value in vars(waiting).values() if isinstance(value, dict))


def test_giving_up_returns_every_buffer_and_counts_what_was_wanted() -> None:
    waiting, ring = room(), FrameRing(8)
    for seq, good in ((1, False), (10, True)):
        own = frame(frame_id=seq, ring=ring)
        waiting.belongs(Picture("top", seq), seq)
        waiting.offer(Picture("top", seq), own)
        own.release()
        waiting.settled(verdict(seq, good=good))
    open_one = frame(ring=ring)
    waiting.offer(Picture("top", 99), open_one)
    open_one.release()
    waiting.give_up()
    assert ring.free_slots == 8
    assert (waiting.skipped, waiting.waiting) == ([1, 0, 0, 1], 0)


def test_a_task_that_is_given_up_while_it_is_copied_loses_no_buffer() -> None:
    """Four threads of parts, a writer that unloads and takes, memory for three pictures: every buffer comes back."""
    waiting, ring = room(limit=3 * SIZE), FrameRing(8)
    stop = threading.Event()
    got: list[int] = []

    def write() -> None:
        while not stop.is_set():
            waiting.unload()
            got.extend(taken(waiting))

    def parts(first: int) -> None:
        for seq in range(first, first + 4000, 40):
            picture = Picture("top", seq)
            held = ring.copy_in(pixels_of(seed=seq), pixels_of().shape, np.uint8)
            if held is None:
                continue
            own = Frame("top", seq, 0, 0, held[0], "Mono8", held[1])
            waiting.belongs(picture, seq)
            waiting.offer(picture, own)
            own.release()
            waiting.settled(verdict(seq, good=seq % 20 == 0))

    writer = threading.Thread(target=write)
    threads = [threading.Thread(target=parts, args=(10 * k + 10,)) for k in range(4)]
    for thread in (writer, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    writer.join()
    waiting.unload()
    got += taken(waiting)
    assert got, "no picture was kept at all"
    assert ring.free_slots == 8
    assert len(got) == len(set(got))


@settings(max_examples=200)
@given(st.data())
def test_any_mixture_of_calls_keeps_the_bound_and_gives_everything_back(data: st.DataObject) -> None:
    clock, ring, limit = Clock(), FrameRing(7), 3 * SIZE
    waiting = room(limit, clock)
    calls = ["offer", "belongs", "nobody", "settled", "unload", "take", "sweep", "later"]
    settled: set[int] = set()
    offered: set[int] = set()
    for call in data.draw(st.lists(st.sampled_from(calls), max_size=60)):
        number = data.draw(st.integers(1, 12))
        if call == "offer" and number not in offered:
            offered.add(number)
            own = frame(frame_id=number, ring=ring)
            waiting.offer(Picture("top", number), own)
            own.release()
        elif call == "belongs":
            waiting.belongs(Picture("top", number), number)
        elif call == "nobody":
            waiting.nobody(Picture("top", number))
        elif call == "settled" and number not in settled:
            settled.add(number)
            waiting.settled(verdict(number, good=number % 2 == 0))
        elif call == "unload":
            waiting.unload()
        elif call == "take":
            waiting.take()
        elif call == "sweep":
            waiting.sweep()
        else:
            clock.ns += UNCLAIMED_NS
        assert ring.free_slots >= SPARE_SLOTS
        assert waiting.waiting <= 3
    waiting.give_up()
    assert ring.free_slots == 7
