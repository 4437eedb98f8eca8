"""Rows 1 to 9 of the fault table: what PLC, log, counters and books tell of a running station whose camera fails."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from fault_record import FaultBook
from faulty_camera.rig import MOSQUITTO, WINDOW_MS, Deed, Part, Plant, assert_books_balance, assert_refused, plant

from edge_inspector.datatypes import Evaluation, Reason

pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
]
FIRST_WAIT_S = 0.5
"""After a camera was lost; each further wait is twice as long."""
HEARTBEAT_S = 3.0
"""For so long a GigE camera belongs to a program that has died."""


def assert_the_plc_saw(made: Plant, since_ns: int, text: str, camera: str = "cam1") -> None:
    """That the station was not READY, for that reason, with the camera's name; and that it is READY again."""
    made.wait("the station is ready again", lambda: made.panel.now.ready)
    shown = made.panel.between(since_ns, time.monotonic_ns())
    why = [sight for sight in shown if sight.error_code == 101 and text in sight.error_text]
    assert why, f"{text!r} is not in {[sight.error_text for sight in shown]}"
    assert not any(sight.ready for sight in why)
    assert all(camera in sight.error_text for sight in why)


def assert_one_line_each(made: Plant, camera: str, lost: int, up: int) -> None:
    """A camera that is away is tried again and again; the log tells of changes only."""
    errors = [line["error"] for line in made.log("camera_lost", camera)]
    assert (len(errors), len(made.log("camera_up", camera))) == (lost, up), errors
    assert all(before != after for before, after in pairwise(errors))


def test_row_1_an_unplugged_camera_costs_one_part_and_is_tried_ever_more_rarely_until_it_is_back(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path) as made:
        made.judged(2)
        since = time.monotonic_ns()
        made.lasting("cam1", "away", 4.0)
        assert_refused(made, made.spoil("cam1", "unplug"), Reason.CAMERA)
        made.judged(2)
        assert_the_plc_saw(made, since, "unplugged or without power")
        assert_the_plc_saw(made, since, "serial = 0815-0000, emulated fits 0 cameras")
        tries = [deed.ns / 1e9 for deed in made.deeds("opening", "cam1")[1:]]
        assert len(tries) >= 3
        assert all(after - before >= FIRST_WAIT_S * 2**n for n, (before, after) in enumerate(pairwise(tries), start=1))
        assert (made.count("cam1", "opened"), made.count("cam1", "lost")) == (2, 1)
        assert (made.count("cam2", "opened"), made.count("cam2", "lost")) == (1, 0)
        assert_one_line_each(made, "cam1", lost=2, up=2)
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 1, "the emulator's FirePnPCallback while a picture is taken; the camera stays away for 4 s")


@pytest.mark.heavy
def test_row_2_a_call_that_hangs_is_given_up_and_after_some_the_process_ends_for_systemd(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path, grab_timeout_s=0.3) as made:
        for hangs, name in enumerate(("hang_grab", "hang_trigger", "hang_grab"), start=1):
            since = time.monotonic_ns()
            assert_refused(made, made.spoil("cam1", name), Reason.DEADLINE)
            made.wait("the call is given up", lambda wanted=hangs: made.count("cam1", "hangs") == wanted)  # type: ignore[misc]
            made.judged(1)
            assert_the_plc_saw(made, since, "the driver hangs in taking a picture")
            if hangs == 1:
                made.fault("cam1", "release")  # what the old call still brings is heard by nobody
                made.judged(1)
        assert [line["hangs"] for line in made.log("camera_hung", "cam1")] == [1, 2, 3]
        assert made.books.late == 0
        made.fault("cam1", "hang_grab")
        assert made.running["station"].wait(30) == 70
        assert "the driver has hung 4 times" in made.log("station_died")[0]["error"]
        made.start("station")
        made.judged(1)
        made.finish()
        assert_books_balance(made)
        made.testify(
            fault, 2, "the driver's trigger and grab never come back, three times; a fourth time ends the process"
        )


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("hang", "call"), [("hang_open", "opening"), ("hang_close", "closing")])
def test_row_2_a_camera_that_hangs_while_it_is_opened_or_closed_is_replaced(
    tmp_path: Path, fault: FaultBook, hang: str, call: str
) -> None:
    with plant(tmp_path) as made:
        since = made.fault("cam1", hang)
        made.fault("cam1", "remove")
        made.wait("the call is given up", lambda: made.count("cam1", "hangs") == 1, 90)
        made.judged(2)
        assert_the_plc_saw(made, since, f"the driver hangs in {call}")
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 2, f"{call} never comes back")


@pytest.mark.heavy
def test_row_3_a_triggered_camera_that_falls_silent_is_opened_again_and_one_that_has_nothing_to_do_is_not(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path, grab_timeout_s=0.5) as made:
        since = time.monotonic_ns()
        part = made.spoil("cam1", "stall")
        assert_refused(made, part, Reason.NO_FRAME)
        assert "within 0.5 s of its trigger" in part.text
        made.judged(2)
        assert_the_plc_saw(made, since, "gave no picture within 0.5 s")
        assert_one_line_each(made, "cam1", lost=1, up=2)
        made.idle()
        made.wait("the PLC is missed", lambda: made.panel.now.error_code == 401)
        end = time.monotonic() + 2.0
        made.wait("four grab time-outs without a part are over", lambda: time.monotonic() >= end)
        assert made.panel.now.error_code == 401  # and no camera is complained of
        made.start("plc")
        made.judged(2)
        assert (made.count("cam1", "opened"), made.count("cam2", "opened")) == (2, 1)
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 3, "a trigger brings no picture and no error")


@pytest.mark.heavy
def test_row_3_a_line_camera_that_misses_part_after_part_is_opened_again(tmp_path: Path, fault: FaultBook) -> None:
    with plant(tmp_path, cameras=3, line_input=True, pictures=[["dark", "dark"]]) as made:
        since = made.fault("cam2", "stall", n=3)
        made.wait("three parts passed unseen", lambda: len(faults(made, "stall", "cam2")) == 3)
        for deed in faults(made, "stall", "cam2"):
            assert_refused(made, made.part_at(deed.ns), Reason.NO_FRAME, names="cam2")
        made.judged(2)
        assert_the_plc_saw(made, since, "brought no picture, one after the other", camera="cam2")
        assert [made.count(camera, "opened") for camera in made.cameras] == [1, 2, 1]
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 3, "a line camera brings no picture of three parts")


def test_row_4_a_failed_buffer_costs_its_part_but_no_second_exposure_and_the_camera_stays_open(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path) as made:
        made.judged(1)
        for failed in (1, 2):
            part = made.spoil("cam1", "failed")
            assert_refused(made, part, Reason.BAD_FRAME)
            assert "incompletely grabbed" in part.text
            made.judged(1)
            assert exposures(made, part) == 1
            assert made.count("cam1", "failed_buffers") == failed
        assert made.count("cam1", "opened") == 1
        assert_one_line_each(made, "cam1", lost=0, up=1)
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 4, "the emulator's ForceFailedBuffer, twice")


def test_row_5_an_empty_picture_and_one_of_another_size_are_refused(tmp_path: Path, fault: FaultBook) -> None:
    with plant(tmp_path, pictures=[[*["dark"] * 9, "bright", "small"], ["dark", "dark"]]) as made:
        empty, half = made.spoil("cam1", "empty"), made.spoil("cam1", "shape")
        assert_refused(made, empty, Reason.BAD_FRAME, names="the picture is empty ((0, 320))")
        assert_refused(made, half, Reason.BAD_FRAME, names="the picture is 320x120")
        text = "320 x 120 pixels, expected 320 x 240"
        made.wait("the driver has refused a file", lambda: bool(refused(made, text)))
        assert_refused(made, refused(made, text)[0], Reason.BAD_FRAME)
        made.judged(2)
        assert made.count("cam1", "opened") == 1
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 5, "an empty picture, half a picture, a file of another size")


@pytest.mark.heavy
def test_row_6_a_frozen_black_saturated_or_blurred_picture_is_no_verdict_and_a_camera_that_stays_frozen_is_opened_again(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path) as made:
        made.judged(1)
        for name, text in {
            "black": "gate.min_brightness",
            "saturated": "gate.max_saturated",
            "defocus": "gate.min_sharpness",
            "frozen": "pixel for pixel the one before",
        }.items():
            part = made.spoil("cam1", name)
            assert_refused(made, part, Reason.BAD_FRAME)
            assert text in part.text
            made.judged(1)
        assert made.count("cam1", "opened") == 1
        since = made.fault("cam1", "frozen", n=6)
        made.wait("the camera is opened again", lambda: made.count("cam1", "opened") == 2)
        made.judged(1)
        assert_the_plc_saw(made, since, "5 pictures in a row")
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 6, "black, saturated, blurred and frozen pictures; then six times the same picture")


@pytest.mark.heavy
def test_row_7_a_gap_a_late_picture_a_doubled_edge_and_a_wrong_order_shift_no_verdict_to_another_part(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(
        tmp_path, cameras=3, line_input=True, pictures=[["dark", "dark"], ["dark", "dark", "bright"], ["dark", "dark"]]
    ) as made:
        made.judged(2)
        gap = made.spoil("cam2", "skip")
        assert_refused(made, gap, Reason.UNANNOUNCED, names="1 pictures before number")
        made.judged(2)
        before, made.belt = made.books.unannounced, {"cam2": (2 * WINDOW_MS / 1e3, 1)}
        made.wait("a part was not seen", lambda: out_of_step(made, "an announced part brought no picture"))
        made.wait("it was seen late, and is nobody's", lambda: made.books.unannounced > before)
        made.judged(2)
        made.belt = {"cam2": (0.0, 2)}
        made.wait("a part was seen twice", lambda: out_of_step(made, "a second picture for one"))
        made.judged(2)
        assert_refused(made, made.spoil("cam2", "reorder"), Reason.NO_FRAME, names="cam2")
        made.wait("the old picture came", lambda: any(d.fault == "reordered" for d in made.deeds("frame", "cam2")))
        made.judged(3)
        assert [made.count(camera, "opened") for camera in made.cameras] == [1, 1, 1]
        made.finish()
        assert made.books.unannounced >= 4
        assert_books_balance(made)
        made.testify(fault, 7, "a lost block, a late edge, a doubled edge, two pictures in the wrong order")


@pytest.mark.heavy
def test_row_7_an_old_picture_is_never_the_next_parts_of_a_camera_that_the_station_triggers(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path, pictures=[["dark", "bright", "dark"], ["dark", "dark"]]) as made:
        made.judged(1)
        made.fault("cam1", "reorder")
        made.wait("the old picture came", lambda: any(d.fault == "reordered" for d in made.deeds("frame", "cam1")))
        made.spoil("cam1", "late", s=1.4)
        assert_refused(made, made.spoil("cam1", "repeat"), Reason.BAD_FRAME)
        made.judged(2)
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 7, "two pictures in the wrong order, a late one, one that comes twice")


@pytest.mark.heavy
def test_row_8_a_camera_that_is_held_after_a_crash_is_tried_until_it_is_free(tmp_path: Path, fault: FaultBook) -> None:
    """The emulator lets two processes open one camera, so the plugin plays the holder, with the driver's own words."""
    with plant(tmp_path) as made:
        made.judged(1)
        made.fault("cam1", "late", s=1.4)
        made.wait("a part is open", lambda: bool(faults(made, "late", "cam1")))
        made.running["station"].kill()
        made.running["station"].wait()
        since = time.monotonic_ns()
        made.lasting("cam1", "held", 300.0)
        made.start("station")
        made.wait("it was tried", lambda: bool(made.deeds("opening", "cam1", since)))
        free_ns = made.deeds("opening", "cam1", since)[0].ns + HEARTBEAT_S * 1e9
        made.wait("the camera's heartbeat is over", lambda: time.monotonic_ns() > free_ns)
        made.lasting("cam1", "held", 0.0)
        made.judged(2)
        assert_the_plc_saw(made, since, "is held by another program")
        tries = made.deeds("opening", "cam1", since)
        assert tries[-1].ns - tries[0].ns >= HEARTBEAT_S * 1e9
        assert made.count("cam1", "opened") == 1
        held = [line for line in made.log("camera_lost", "cam1") if "held by another program" in line["error"]]
        assert len(held) == 1
        made.finish()
        assert [part.reason for part in made.parts].count(Reason.RESTART) == 1
        assert_books_balance(made)
        made.testify(fault, 8, f"the station is killed with a part open, the camera is held for {HEARTBEAT_S:g} s")


@pytest.mark.heavy
def test_row_9_a_camera_that_goes_away_while_there_is_nothing_to_do_is_back_before_the_next_part(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path) as made:
        made.judged(1)
        made.idle()
        since = made.fault("cam1", "remove")
        made.wait("the camera is opened again", lambda: made.count("cam1", "opened") == 2)
        before = len(made.parts)
        made.start("plc")
        made.judged(2)
        assert_the_plc_saw(made, since, "unplugged or without power")
        assert [part.evaluation for part in made.parts[before:] if part.evaluation is Evaluation.UNDEFINED] == []
        assert_one_line_each(made, "cam1", lost=1, up=2)
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 9, "the emulator's FirePnPCallback while no part comes")


def faults(made: Plant, fault: str, camera: str) -> list[Deed]:
    return [deed for deed in made.deeds("trigger", camera) if deed.fault == fault]


def out_of_step(made: Plant, text: str) -> bool:
    return any(text in line["why"] for line in made.log("camera_out_of_step", "cam2"))


def refused(made: Plant, text: str) -> list[Part]:
    return [part for part in made.parts if part.evaluation is Evaluation.UNDEFINED and text in part.text]


def exposures(made: Plant, part: Part) -> int:
    """How often the first camera was triggered for it."""
    following = [other.accepted_ns for other in made.parts if other.seq == part.seq + 1]
    end = following[0] if following else time.monotonic_ns()
    return sum(part.accepted_ns <= deed.ns < end for deed in made.deeds("trigger", "cam1"))
