"""A camera's output lines on their own thread: late orders, a lost camera, a still loop, a driver that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_inspector.errors import CameraError
from edge_inspector.interfaces import OutputOrder
from edge_inspector.station.output_lines import DEAD_MAN_NS, LATE_NS, SET_S, OutputLines

PATIENT_S = 10.0


class FakeClock:
    def __init__(self) -> None:
        self.now_ns = 10**12

    def monotonic_ns(self) -> int:
        return self.now_ns

    def utc(self) -> str:
        return ""

    def synced(self) -> bool:
        return True


class LinesCamera:
    """A camera as far as `HasOutputLines` goes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []
        self.failing = False
        self.refused: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def set_output(self, line: str, on: bool) -> None:
        assert self.gate.wait(PATIENT_S)
        if self.failing:
            raise CameraError("camera top: is lost")
        if line in self.refused:
            raise CameraError(f"camera top: {line} is stuck")
        self.calls.append((line, on))

    @property
    def energised(self) -> set[str]:
        return {line for line, on in dict(self.calls).items() if on}


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.camera: object | None = LinesCamera()
        self.trouble: list[str] = []
        self.looks = 0
        """How often the thread has looked for its camera: before each order, and in between."""
        self.lines = OutputLines(["top"], self._opened, self.clock, lambda name, text: self.trouble.append(text))

    def _opened(self, _name: str) -> object | None:
        self.looks += 1
        return self.camera

    def order(self, line: str, on: bool) -> None:
        self.lines.put(OutputOrder("top", line, on))


@contextmanager
def running() -> Iterator[Rig]:
    rig = Rig()
    threads = [threading.Thread(target=run, name=f"outputs {name}") for name, run in rig.lines.threads.items()]
    for thread in threads:
        thread.start()
    try:
        yield rig
    finally:
        rig.lines.stop()
        for thread in threads:
            thread.join(PATIENT_S)
            assert not thread.is_alive()


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def camera(rig: Rig) -> LinesCamera:
    assert isinstance(rig.camera, LinesCamera)
    return rig.camera


def test_orders_are_carried_out_in_their_order_and_not_twice() -> None:
    with running() as rig:
        for on in (False, True, True, False, True):
            rig.order("Line2", on)
        until(lambda: len(camera(rig).calls) == 4)
        assert camera(rig).calls == [("Line2", False), ("Line2", True), ("Line2", False), ("Line2", True)]


def test_all_lines_fall_when_it_is_stopped() -> None:
    with running() as rig:
        rig.order("Line2", True)
        rig.order("Line3", True)
        until(lambda: camera(rig).energised == {"Line2", "Line3"})
    assert camera(rig).energised == set()


def test_an_order_to_energise_that_comes_late_is_not_carried_out_and_told() -> None:
    with running() as rig:
        camera(rig).gate.clear()
        rig.order("Line2", False)
        rig.order("Line3", True)
        rig.clock.now_ns += LATE_NS + 1
        camera(rig).gate.set()
        rig.order("Line4", True)
        until(lambda: "Line4" in camera(rig).energised)
        assert ("Line3", True) not in camera(rig).calls
        assert any("Line3 came too late" in text for text in rig.trouble)


def test_a_line_falls_even_when_the_order_is_late() -> None:
    with running() as rig:
        rig.order("Line2", True)
        until(lambda: camera(rig).energised == {"Line2"})
        camera(rig).gate.clear()
        rig.order("Line3", True)
        rig.order("Line2", False)
        rig.clock.now_ns += 2 * LATE_NS
        camera(rig).gate.set()
        until(lambda: "Line2" not in camera(rig).energised)


def test_a_camera_that_was_opened_anew_begins_with_all_lines_down() -> None:
    with running() as rig:
        rig.order("Line2", True)
        until(lambda: camera(rig).energised == {"Line2"})
        rig.camera = None
        rig.order("Line3", True)  # nobody is there to do it, and it is not done later either
        rig.camera = new = LinesCamera()
        until(lambda: ("Line2", False) in new.calls)
        rig.order("Line2", True)  # the next of the orders that come again and again
        until(lambda: new.energised >= {"Line2"})
        assert new.calls.index(("Line2", False)) < new.calls.index(("Line2", True))


def test_all_lines_fall_when_the_loop_stands_still_and_only_new_orders_raise_them() -> None:
    with running() as rig:
        rig.order("Line2", True)
        until(lambda: camera(rig).energised == {"Line2"})
        rig.clock.now_ns += DEAD_MAN_NS + 1
        until(lambda: camera(rig).energised == set())
        rig.order("Line2", True)
        until(lambda: camera(rig).energised == {"Line2"})


def test_a_line_that_refuses_to_fall_is_tried_again_until_it_obeys() -> None:
    with running() as rig:
        rig.order("Line2", True)
        until(lambda: camera(rig).energised == {"Line2"})
        camera(rig).failing = True
        rig.order("Line2", False)
        until(lambda: rig.trouble == ["camera top: is lost"])
        camera(rig).failing = False
        until(lambda: camera(rig).energised == set())
        until(lambda: rig.trouble == ["camera top: is lost", ""])


def test_one_line_that_obeys_does_not_say_that_another_does() -> None:
    with running() as rig:
        rig.order("Line2", True)
        until(lambda: camera(rig).energised == {"Line2"})
        camera(rig).refused.add("Line2")
        rig.order("Line2", False)
        until(lambda: rig.trouble == ["camera top: Line2 is stuck"])
        rig.order("Line3", True)
        until(lambda: "Line3" in camera(rig).energised)
        rig.order("Line3", False)
        until(lambda: "Line3" not in camera(rig).energised)
        assert rig.trouble == ["camera top: Line2 is stuck"]
        camera(rig).refused.clear()
        until(lambda: rig.trouble == ["camera top: Line2 is stuck", ""])


def test_a_camera_that_is_away_is_no_camera_without_output_lines() -> None:
    with running() as rig:
        rig.camera, there = None, camera(rig)
        rig.order("Line2", True)
        looks = rig.looks
        until(lambda: rig.looks >= looks + 3)
        assert rig.trouble == []
        rig.camera = there
        until(lambda: there.calls == [("Line2", False)])  # what it shows was not known until then


def test_a_camera_without_output_lines_is_told_with_the_remedy() -> None:
    with running() as rig:
        rig.camera = object()
        rig.order("Line2", True)
        until(lambda: rig.trouble == ["camera top: its driver has no output lines; use gpio or modbus"])


def test_a_driver_that_hangs_is_told_and_holds_up_nobody() -> None:
    with running() as rig:
        camera(rig).gate.clear()
        rig.order("Line2", True)
        until(lambda: rig.lines._of["top"]._call is not None)
        rig.clock.now_ns += int(SET_S * 1e9)
        rig.lines.check()
        assert rig.trouble == []
        rig.order("Line3", True)  # returns at once
        rig.clock.now_ns += 1
        rig.lines.check()
        rig.lines.check()
        assert rig.trouble == ["camera top: setting output Line2 does not come back"]
        camera(rig).gate.set()
        until(lambda: len(rig.trouble) > 1)


def test_a_pulse_is_not_begun_after_the_time_of_its_part() -> None:
    with running() as rig:
        rig.lines.put(OutputOrder("top", "Line3", True, rig.clock.now_ns - 1))
        rig.lines.put(OutputOrder("top", "Line4", True, rig.clock.now_ns))
        until(lambda: "Line4" in camera(rig).energised)
        assert ("Line3", True) not in camera(rig).calls
