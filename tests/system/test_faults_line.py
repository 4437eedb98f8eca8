"""Rows 37 and 38 of the fault table: a camera's sensor bounces or sleeps, two cameras have changed places."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fault_record import FaultBook
from faulty_camera.rig import MOSQUITTO, Plant, assert_books_balance, plant

from edge_inspector.datatypes import ERROR_CODE, Evaluation, Reason

pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
]
EDGES = {"doubled": (0.0, 2), "missed": (0.0, 0), "bounced": (0.0, 4)}
"""What the second of three cameras sees of one part: how late, and how often."""
SWAPPED_S = 6.0


def out_of_step(made: Plant) -> int:
    return len(made.log("camera_out_of_step", "cam2"))


@pytest.mark.heavy
def test_row_37_a_trigger_that_bounces_or_is_missed_on_one_of_three_cameras_shifts_nothing(
    tmp_path: Path, fault: FaultBook
) -> None:
    """A defect that only the second camera sees would be another part's if its pictures were shifted by one."""
    pictures = [["dark", "dark"], ["dark", "dark", "bright"], ["dark", "dark"]]
    with plant(tmp_path, cameras=3, line_input=True, pictures=pictures) as made:
        made.judged(2)
        for edge in EDGES.values():
            before = out_of_step(made)
            made.belt = {"cam2": edge}
            made.wait("the station has seen that its numbers do not fit", lambda n=before: out_of_step(made) > n)  # type: ignore[misc]
            made.judged(3)
        made.finish()
        assert any(part.evaluation is Evaluation.UNDEFINED for part in made.parts)
        assert_books_balance(made)
        made.testify(fault, 37, f"the edge of the second of three cameras is {', '.join(EDGES)}")


@pytest.mark.heavy
def test_row_38_two_cameras_that_were_swapped_are_told_by_their_serials_and_nothing_is_inspected(
    tmp_path: Path, fault: FaultBook
) -> None:
    with plant(tmp_path) as made:
        made.judged(1)
        made.idle()
        since = time.monotonic_ns()
        for camera in made.cameras:
            made.lasting(camera, "swapped", SWAPPED_S)
            made.fault(camera, "remove")
        made.start("plc")
        made.wait("the swap is told", lambda: "swapped?" in made.panel.now.error_text)
        made.judged(2)
        shown = made.panel.between(since, time.monotonic_ns())
        swapped = [sight for sight in shown if "are two cameras swapped?" in sight.error_text]
        assert {sight.error_code for sight in swapped} == {ERROR_CODE[Reason.CAMERA]}
        assert not any(sight.ready for sight in swapped)
        wrong = [deed for deed in made.deeds("opened", since_ns=since) if deed.facts["serial"] != serial(deed.camera)]
        right = [deed for deed in made.deeds("opened", since_ns=since) if deed.facts["serial"] == serial(deed.camera)]
        assert {deed.camera for deed in wrong} == set(made.cameras)
        begun = min(deed.ns for deed in wrong)
        inspected = [part for part in made.parts if begun < part.accepted_ns < max(deed.ns for deed in right)]
        assert [part for part in inspected if part.evaluation is not Evaluation.UNDEFINED] == []
        made.finish()
        assert_books_balance(made)
        made.testify(fault, 38, f"each of two cameras is opened with the other's serial for {SWAPPED_S:g} s")


def serial(camera: str) -> str:
    """Of the calibration of cam1, cam2."""
    return f"0815-{int(camera.removeprefix('cam')) - 1:04d}"
