"""The live view by itself: what it takes, what it lets go, and what it says of a picture."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from order_rig import JumpingClock

from edge_inspector.datatypes import Frame, Picture, PixelFormat
from edge_inspector.station.live_view import LONG_SIDE_PX, LiveView

PICTURE = Picture("a", 1)


class CountedLease:
    """A buffer of a ring in which `free` others are free."""

    def __init__(self, free: int = 9) -> None:
        self.held = 1
        self.free = free
        self._lock = threading.Lock()

    def retain(self) -> None:
        with self._lock:
            self.held += 1

    def retain_if_free(self, slots: int) -> bool:
        if self.free < slots:
            return False
        self.retain()
        return True

    def release(self) -> None:
        with self._lock:
            self.held -= 1


def frame(pixels: npt.NDArray[Any], pixel_format: PixelFormat = "Mono8", number: int = 1, free: int = 9) -> Frame:
    return Frame("a", number, 0, 0, pixels, pixel_format, CountedLease(free))


def gray(value: int, number: int = 1, free: int = 9) -> Frame:
    return frame(np.full((8, 16), value, np.uint8), number=number, free=free)


def held(one: Frame) -> int:
    assert isinstance(one.lease, CountedLease)
    return one.lease.held


@contextmanager
def running(view: LiveView) -> Iterator[None]:
    thread = threading.Thread(target=view.run)
    thread.start()
    try:
        yield
    finally:
        view.stop()
        thread.join(10)
        assert not thread.is_alive()


def opened(jpeg_base64: str, flags: int) -> npt.NDArray[Any]:
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(jpeg_base64), np.uint8), flags)
    assert picture is not None
    return picture


def shown(view: LiveView) -> dict[str, Any]:
    """The newest picture, as soon as there is one."""
    for _ in range(1000):
        answer = view.look("a")
        if answer.done:
            return dict(answer.facts)
        threading.Event().wait(0.005)
    raise AssertionError("no picture was shown within 5 s")


def test_nothing_is_held_while_nobody_watches() -> None:
    view, one = LiveView(["a"], JumpingClock()), gray(0)
    view.offer(PICTURE, one)
    assert held(one) == 1


def test_who_has_not_asked_for_three_seconds_has_gone() -> None:
    clock = JumpingClock()
    view = LiveView(["a", "b"], clock)
    view.look("a")
    assert view.watched("a")
    assert not view.watched("b")
    clock.jump(3.1)
    assert not view.anybody
    one = gray(0)
    view.offer(PICTURE, one)
    assert held(one) == 1


class StillClock(JumpingClock):
    """Goes on only when the test says so."""

    def monotonic_ns(self) -> int:
        return 10**12 + self._ahead_ns


def test_at_most_five_pictures_a_second_are_taken_and_only_the_newest_of_them_is_kept() -> None:
    clock = StillClock()
    view, offered = LiveView(["a"], clock), [gray(0, number) for number in range(10)]
    for one in offered:
        view.look("a")
        view.offer(PICTURE, one)
        clock.jump(0.1)
    assert [held(one) for one in offered] == [1] * 8 + [2, 1], "what a newer one replaced was let go"
    with running(view):
        assert shown(view)["frame_id"] == 8
    assert held(offered[8]) == 1


def test_a_camera_with_few_free_buffers_keeps_them_for_parts() -> None:
    view = LiveView(["a"], JumpingClock())
    view.look("a")
    scarce = gray(0, free=1)
    view.offer(PICTURE, scarce)
    assert held(scarce) == 1
    enough = gray(0, free=2)
    view.offer(PICTURE, enough)
    assert held(enough) == 2


def test_what_waits_at_the_end_is_let_go() -> None:
    view, one = LiveView(["a"], JumpingClock()), gray(0)
    view.look("a")
    view.offer(PICTURE, one)
    view.stop()
    view.run()
    assert held(one) == 1


def test_a_picture_of_the_last_time_that_somebody_watched_is_not_shown_again() -> None:
    clock = JumpingClock()
    view = LiveView(["a"], clock)
    with running(view):
        view.look("a")
        view.offer(PICTURE, gray(0))
        shown(view)
        clock.jump(3.1)
        assert not view.look("a").done


def test_the_age_is_that_of_the_picture() -> None:
    clock = JumpingClock()
    view = LiveView(["a"], clock)
    begun = clock.monotonic_ns()
    with running(view):
        view.look("a")
        view.offer(PICTURE, Frame("a", 1, 0, begun, np.zeros((8, 8), np.uint8), "Mono8"))
        shown(view)
        clock.jump(2)
        assert shown(view)["age_ms"] >= 2000


def pattern(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A bright quarter at the top left of black."""
    picture = np.zeros((height, width), np.uint8)
    picture[: height // 2, : width // 2] = 255
    return picture


RED_BGR = np.zeros((40, 40, 3), np.uint8)
RED_BGR[..., 2] = 200
RED_BAYER = np.zeros((40, 40), np.uint8)
RED_BAYER[::2, ::2] = 200  # RG / GB: red is at even rows and columns


@pytest.mark.parametrize(
    ("pixels", "pixel_format", "bgr", "mean", "saturated"),
    [
        (np.full((40, 40), 255, np.uint8), "Mono8", (255, 255, 255), 1.0, 1.0),
        (pattern(40, 40), "Mono8", None, 0.25, 0.25),
        (np.full((40, 40), 2048, np.uint16), "Mono12", (128, 128, 128), 2048 / 4095, 0.0),
        (np.full((40, 40), 4095, np.uint16), "Mono12", (255, 255, 255), 1.0, 1.0),
        (RED_BGR, "BGR8", (0, 0, 200), 200 / 255 / 3, 0.0),
        (RED_BGR[..., ::-1], "RGB8", (0, 0, 200), 200 / 255 / 3, 0.0),
        (RED_BAYER, "BayerRG8", (0, 0, 200), 200 / 255 / 4, 0.0),
        ((RED_BAYER.astype(np.uint16) << 4), "BayerRG12", (0, 0, 200), 3200 / 4095 / 4, 0.0),
    ],
    ids=["mono", "quarter", "mono12", "mono12 white", "bgr", "rgb", "bayer", "bayer12"],
)
def test_each_pixel_format_is_shown_in_its_colours_with_its_figures(
    pixels: npt.NDArray[Any],
    pixel_format: PixelFormat,
    bgr: tuple[int, int, int] | None,
    mean: float,
    saturated: float,
) -> None:
    view = LiveView(["a"], JumpingClock())
    with running(view):
        view.look("a")
        view.offer(PICTURE, frame(pixels, pixel_format))
        facts = shown(view)
    assert facts["mean"] == pytest.approx(mean)
    assert facts["saturated"] == pytest.approx(saturated)
    picture = opened(facts["jpeg"], cv2.IMREAD_COLOR)
    assert picture.shape[:2] == pixels.shape[:2] == (facts["height"], facts["width"])
    if bgr is not None:
        assert np.abs(picture[10:30, 10:30].reshape(-1, 3).mean(axis=0) - bgr).max() < 6


def test_a_large_picture_is_sent_smaller_and_its_figures_are_those_of_the_whole() -> None:
    view = LiveView(["a"], JumpingClock())
    with running(view):
        view.look("a")
        view.offer(PICTURE, frame(pattern(1000, 2560)))
        facts = shown(view)
    picture = opened(facts["jpeg"], cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (375, LONG_SIDE_PX)
    assert (facts["width"], facts["height"], facts["mean"]) == (2560, 1000, 0.25)


def test_a_sharp_edge_has_a_higher_figure_than_the_same_out_of_focus() -> None:
    figures = []
    sharp = pattern(200, 200)
    for pixels in (sharp, cv2.GaussianBlur(sharp, (31, 31), 0)):
        view = LiveView(["a"], JumpingClock())
        with running(view):
            view.look("a")
            view.offer(PICTURE, frame(pixels))
            figures.append(shown(view)["sharpness"])
    assert figures[0] > 10 * figures[1] > 0


@pytest.mark.parametrize(
    ("pixels", "pixel_format"),
    [
        (np.zeros((0, 8), np.uint8), "Mono8"),
        (np.zeros((8, 8, 3), np.uint8), "Mono8"),
        (np.zeros((8, 8), np.uint8), "Mono12"),
    ],
    ids=["empty", "colour as mono", "8 bits as 12"],
)
def test_pixels_that_are_not_what_their_format_says_are_not_shown_and_end_nothing(
    pixels: npt.NDArray[Any], pixel_format: PixelFormat
) -> None:
    clock = JumpingClock()
    view, wrong = LiveView(["a"], clock), frame(pixels, pixel_format)
    with running(view):
        view.look("a")
        view.offer(PICTURE, wrong)
        clock.jump(0.3)
        view.offer(PICTURE, gray(7, number=2))
        assert shown(view)["frame_id"] == 2
    assert held(wrong) == 1


def test_an_unknown_camera_is_named_with_those_that_there_are() -> None:
    answer = LiveView(["a", "b"], JumpingClock()).look("c")
    assert (answer.done, answer.text) == (False, "camera 'c': expected one of a, b")
