"""The frame ring: nothing is overwritten while held, nothing is lost, nothing is freed twice."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import Lease


def test_a_frame_is_copied_from_bytes_in_its_shape() -> None:
    held = FrameRing(1).copy_in(memoryview(bytes(range(12))), (2, 2, 3), np.uint8)
    assert held is not None
    np.testing.assert_array_equal(held[0], np.arange(12, dtype=np.uint8).reshape(2, 2, 3))


def test_a_strided_array_becomes_contiguous() -> None:
    padded = np.arange(24, dtype=np.uint16).reshape(4, 6)
    held = FrameRing(1).copy_in(padded[:, :5], (4, 5), np.uint16)
    assert held is not None
    assert held[0].flags.c_contiguous
    np.testing.assert_array_equal(held[0], padded[:, :5])


def test_the_pixels_cannot_be_written_by_a_holder() -> None:
    held = FrameRing(1).copy_in(memoryview(bytes(4)), (2, 2), np.uint8)
    assert held is not None
    with pytest.raises(ValueError, match="read-only"):
        held[0][0, 0] = 1


def test_no_slot_is_given_while_all_are_held_and_the_released_one_is_used_again() -> None:
    ring = FrameRing(2)
    first = ring.copy_in(memoryview(bytes(4)), (2, 2), np.uint8)
    second = ring.copy_in(memoryview(b"abcd"), (2, 2), np.uint8)
    assert first is not None
    assert second is not None
    assert ring.copy_in(memoryview(bytes(4)), (2, 2), np.uint8) is None
    first[1].release()
    third = ring.copy_in(memoryview(b"wxyz"), (2, 2), np.uint8)
    assert third is not None
    assert np.shares_memory(third[0], first[0])
    assert second[0].tobytes() == b"abcd"


def test_a_larger_and_then_a_smaller_size_fit_the_same_slot() -> None:
    ring = FrameRing(1)
    for shape in ((2, 2), (4, 8), (1, 3)):
        wanted = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
        held = ring.copy_in(wanted, shape, np.uint16)
        assert held is not None
        np.testing.assert_array_equal(held[0], wanted)
        held[1].release()
    assert ring.free_slots == 1


def test_a_slot_is_free_when_its_last_holder_has_released_it() -> None:
    ring = FrameRing(1)
    held = ring.copy_in(memoryview(bytes(4)), (2, 2), np.uint8)
    assert held is not None
    held[1].retain()
    held[1].release()
    assert ring.free_slots == 0
    held[1].release()
    assert ring.free_slots == 1


@pytest.mark.parametrize("call", ["release", "retain"])
def test_a_stale_lease_raises_even_when_the_slot_is_lent_again(call: str) -> None:
    ring = FrameRing(1)
    old = ring.copy_in(memoryview(bytes(4)), (2, 2), np.uint8)
    assert old is not None
    old[1].release()
    new = ring.copy_in(memoryview(bytes(4)), (2, 2), np.uint8)
    with pytest.raises(RuntimeError, match="already released"):
        getattr(old[1], call)()
    assert new is not None
    assert ring.free_slots == 0


@pytest.mark.parametrize("view", [memoryview(bytes(5)), np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.uint16)])
def test_pixels_that_do_not_fit_the_shape_raise_and_cost_no_slot(view: memoryview) -> None:
    ring = FrameRing(1)
    with pytest.raises(ValueError, match="expected"):
        ring.copy_in(view, (2, 2), np.uint8)
    assert ring.free_slots == 1


def test_leases_released_on_many_threads_leave_every_slot_free() -> None:
    ring = FrameRing(3)
    for _ in range(50):
        leases: list[Lease] = []
        while held := ring.copy_in(memoryview(bytes(4)), (2, 2), np.uint8):
            held[1].retain()
            leases += [held[1], held[1]]
        threads = [threading.Thread(target=lease.release) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ring.free_slots == 3


def test_other_python_threads_run_while_a_frame_is_copied() -> None:
    """A copy that held the GIL would stop the counting thread dead, which gives way itself at every count."""
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    frame, ring = np.zeros((8192, 4096), np.uint8), FrameRing(1)
    ran = 0
    counting = threading.Thread(target=count)
    counting.start()
    for _ in range(50):
        before = counted[0]
        held = ring.copy_in(frame, frame.shape, frame.dtype)
        ran += counted[0] > before
        assert held is not None
        held[1].release()
    stop.set()
    counting.join()
    assert ran > 25


def test_who_can_do_without_retains_only_while_enough_other_buffers_are_free() -> None:
    ring = FrameRing(4)
    leases = []
    for _ in range(2):
        held = ring.copy_in(memoryview(bytes(4)), (2, 2), np.uint8)
        assert held is not None
        leases.append(held[1])
    assert leases[0].retain_if_free(2)
    assert not leases[0].retain_if_free(3)
    leases[0].release()
    assert ring.free_slots == 2, "the second hold was not taken"
    leases[0].release()
    assert ring.free_slots == 3
    assert leases[1].retain_if_free(3)


def test_nobody_retains_what_was_released() -> None:
    held = FrameRing(4).copy_in(memoryview(bytes(4)), (2, 2), np.uint8)
    assert held is not None
    held[1].release()
    with pytest.raises(RuntimeError, match=r"retain_if_free\(\) on a frame that its last holder has already released"):
        held[1].retain_if_free(0)
