"""Output lines of a Basler camera: driven in pylon's emulator, and what a model may refuse."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from basler_rig import Node, NodeMap, camera, genicam, shoot

from edge_inspector.cameras.basler.nodes import Nodes
from edge_inspector.cameras.basler.outputs import Outputs
from edge_inspector.errors import CameraError
from edge_inspector.interfaces import HasOutputLines

pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((48, 61), np.uint8))
    return tmp_path


def line(opened: Any, name: str) -> dict[str, Any]:
    nodes = opened._device.GetNodeMap()
    nodes.GetNode("LineSelector").SetValue(name)
    state = {node: nodes.GetNode(node).GetValue() for node in ("LineMode", "LineSource")}
    nodes.GetNode("UserOutputSelector").SetValue(state["LineSource"])
    return state | {"on": nodes.GetNode("UserOutputValue").GetValue()}


def test_a_line_becomes_an_output_that_follows(folder: Path) -> None:
    with camera(folder) as opened:
        assert isinstance(opened, HasOutputLines)
        opened.set_output("Line2", True)
        assert line(opened, "Line2") == {"LineMode": "Output", "LineSource": "UserOutput1", "on": True}
        opened.set_output("Line2", False)
        assert line(opened, "Line2")["on"] is False


def test_two_lines_have_a_user_output_each_and_selectors_stay_where_they_were(folder: Path) -> None:
    with camera(folder, features={"LineSelector": "Line1", "UserOutputSelector": "UserOutput3"}) as opened:
        opened.set_output("Line2", True)
        opened.set_output("Line3", False)
        nodes = opened._device.GetNodeMap()
        assert nodes.GetNode("LineSelector").GetValue() == "Line1"
        assert nodes.GetNode("UserOutputSelector").GetValue() == "UserOutput3"
        assert line(opened, "Line2") == {"LineMode": "Output", "LineSource": "UserOutput1", "on": True}
        assert line(opened, "Line3") == {"LineMode": "Output", "LineSource": "UserOutput2", "on": False}


def test_a_user_output_that_the_file_gave_to_another_line_is_left_alone(folder: Path) -> None:
    taken = {"LineSelector": "Line3", "LineMode": "Output", "LineSource": "UserOutput1"}
    with camera(folder, features=taken) as opened:
        opened.set_output("Line2", True)
        assert line(opened, "Line2")["LineSource"] == "UserOutput2"


def test_lines_are_set_while_another_thread_takes_pictures(folder: Path) -> None:
    with camera(folder) as opened:
        failed: list[BaseException] = []

        def flicker() -> None:
            try:
                for n in range(50):
                    opened.set_output("Line2", n % 2 == 0)
                    opened.set_output("Line3", n % 2 == 1)
            except CameraError as exc:
                failed.append(exc)

        thread = threading.Thread(target=flicker)
        thread.start()
        frames = 0
        while thread.is_alive() or frames < 3:
            shoot(opened).release()
            opened.apply({"ExposureTimeAbs": 1000.0 + frames % 2})
            frames += 1
        thread.join()
        assert failed == []
        assert (line(opened, "Line2")["on"], line(opened, "Line3")["on"]) == (False, True)


def test_lines_fall_before_the_camera_is_closed(folder: Path) -> None:
    opened = camera(folder)
    with opened:
        opened.set_output("Line2", True)
        put: list[tuple[str, bool]] = []
        outputs = opened._outputs
        assert outputs is not None
        outputs.put = lambda line, on: put.append((line, on))  # type: ignore[method-assign]
    assert put == [("Line2", False)]


def test_a_camera_that_is_not_open_says_so(folder: Path) -> None:
    closed = camera(folder)
    with pytest.raises(CameraError, match="camera top: is not open, so its output line Line2 cannot be set"):
        closed.set_output("Line2", True)
    with closed:
        pass
    with pytest.raises(CameraError, match="is not open"):
        closed.set_output("Line2", True)


def test_a_line_that_the_camera_has_not_is_named_with_those_that_it_has(folder: Path) -> None:
    with (
        camera(folder) as opened,
        pytest.raises(CameraError, match="Line9 is no line of this camera; it has Line1, Line2"),
    ):
        opened.set_output("Line9", True)


def test_a_line_that_is_inverted_is_refused(folder: Path) -> None:
    with (
        camera(folder, features={"LineSelector": "Line2", "LineInverter": True}) as opened,
        pytest.raises(CameraError, match="Line2 is inverted, so it would be energised while nobody says good"),
    ):
        opened.set_output("Line2", True)


def outputs(**nodes: Node) -> Outputs:
    """The lines of a camera that is not the emulator."""
    both = {
        "TriggerMode": Node("TriggerMode", "Off", ("On", "Off")),
        "LineSelector": Node("LineSelector", "Line1", ("Line1", "Out1")),
        "LineMode": Node("LineMode", "Input", ("Input",), writable=False),
        "LineSource": Node("LineSource", "Off", ("Off", "UserOutput1")),
        "UserOutputSelector": Node("UserOutputSelector", "UserOutput1", ("UserOutput1",)),
        "UserOutputValue": Node("UserOutputValue", False),
    }
    return Outputs("top", Nodes(NodeMap((both | nodes).values()), genicam))


def test_an_input_that_cannot_be_an_output_is_refused() -> None:
    with pytest.raises(CameraError, match="Line1 is an input, and this model cannot make it an output"):
        outputs().put("Line1", True)


def test_the_line_that_triggers_the_camera_is_refused() -> None:
    triggered = {
        "TriggerMode": Node("TriggerMode", "On", ("On", "Off")),
        "TriggerSource": Node("TriggerSource", "Line1", ("Line1",)),
    }
    with pytest.raises(CameraError, match="Line1 is the trigger's input"):
        outputs(**triggered).put("Line1", True)


def test_a_line_without_a_user_output_is_refused() -> None:
    exposing = Node("LineSource", "ExposureActive", ("ExposureActive", "Timer1Active"))
    output = Node("LineMode", "Output", ("Output",), writable=False)
    with pytest.raises(CameraError, match="Out1 has no free user output as its LineSource"):
        outputs(LineSource=exposing, LineMode=output).put("Out1", True)


def test_an_output_of_fixed_direction_needs_no_change_of_it() -> None:
    value = Node("UserOutputValue", False)
    output = Node("LineMode", "Output", ("Output",), writable=False)
    source = Node("LineSource", "Off", ("Off", "UserOutput1"))
    # both lines show the same nodes here: the stand-in has no selectors, so nothing else can have the user output
    lines = Node("LineSelector", "Out1", ("Out1",))
    outputs(LineMode=output, UserOutputValue=value, LineSource=source, LineSelector=lines).put("Out1", True)
    assert (value.value, source.value) == (True, "UserOutput1")


def test_a_camera_with_a_single_user_output_has_no_number_for_it() -> None:
    value = Node("UserOutputValue", False)
    nodes = {
        "LineMode": Node("LineMode", "Output", ("Output",), writable=False),
        "LineSource": Node("LineSource", "ExposureActive", ("ExposureActive", "UserOutput")),
        "UserOutputSelector": Node("UserOutputSelector", "UserOutput1", ("UserOutput1",), writable=False),
        "UserOutputValue": value,
    }
    outputs(**nodes).put("Out1", True)
    assert (value.value, nodes["LineSource"].value) == (True, "UserOutput")
