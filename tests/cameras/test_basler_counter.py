"""The line-edge counter, on a stand-in for the node map: the emulator has neither input nor counter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from basler_rig import Node, NodeMap, genicam

from edge_inspector.cameras.basler.counter import count_line_edges, line_edges
from edge_inspector.cameras.basler.nodes import Nodes


class Ace2(NodeMap):
    """The counter of an ace 2, by Basler's feature reference: reset, it waits for its start."""

    def __init__(self) -> None:
        super().__init__(
            [
                Node("TriggerActivation", "FallingEdge", ("RisingEdge", "FallingEdge")),
                Node("CounterSelector", "Counter2", ("Counter1", "Counter2")),
                Node("CounterEventSource", "Off", ("Off", "Line1", "Line3")),
                Node("CounterEventActivation", "RisingEdge", ("RisingEdge", "FallingEdge", "AnyEdge")),
                Node("CounterDuration", 1, low=1, high=4_294_967_295),
                Node("CounterReset", then=self._reset),
                Node("CounterStatus", "CounterActive", writable=False),
                Node("CounterTriggerSource", "Off", ("Off", "SoftwareSignal1")),
                Node("SoftwareSignalSelector", "SoftwareSignal2", ("SoftwareSignal1", "SoftwareSignal2")),
                Node("SoftwareSignalPulse", then=self._pulse),
                Node("ChunkModeActive", False, then=self._chunk_mode),
                Node("ChunkSelector", "Gain", ("Gain", "CounterValue")),
                Node("ChunkEnable", False, writable=False),
            ]
        )
        self.resets = 0

    def value(self, name: str) -> object:
        return self.by_name[name].value

    def _reset(self) -> None:
        self.resets += 1
        if "CounterStatus" in self.by_name:
            self.by_name["CounterStatus"].value = "CounterTriggerWait"

    def _pulse(self) -> None:
        if self.value("CounterTriggerSource") == self.value("SoftwareSignalSelector"):
            self.by_name["CounterStatus"].value = "CounterActive"

    def _chunk_mode(self) -> None:
        if "ChunkEnable" in self.by_name:
            self.by_name["ChunkEnable"].writable = self.value("ChunkModeActive") is True


def test_the_edges_of_the_trigger_input_are_counted_and_sent_with_each_picture() -> None:
    camera = Ace2()
    assert count_line_edges(Nodes(camera, genicam), "Line3")
    assert {
        name: camera.value(name) for name in ("CounterSelector", "CounterEventSource", "CounterEventActivation")
    } == {
        "CounterSelector": "Counter1",
        "CounterEventSource": "Line3",
        "CounterEventActivation": "FallingEdge",
    }
    assert camera.value("CounterDuration") == 4_294_967_295
    assert (camera.resets, camera.value("CounterStatus")) == (1, "CounterActive")
    assert (camera.value("ChunkSelector"), camera.value("ChunkEnable")) == ("CounterValue", True)


def _without(name: str) -> Callable[[Ace2], object]:
    return lambda camera: camera.by_name.pop(name)


def _choices(name: str, *choices: str) -> Callable[[Ace2], None]:
    return lambda camera: setattr(camera.by_name[name], "choices", choices)


@pytest.mark.parametrize(
    "lacking",
    [
        pytest.param(_without("CounterSelector"), id="no counters"),
        pytest.param(_without("CounterReset"), id="a counter that cannot begin at 0"),
        pytest.param(_without("ChunkModeActive"), id="no chunks"),
        pytest.param(_without("ChunkEnable"), id="chunks that cannot be chosen"),
        pytest.param(_choices("CounterSelector", "Counter2"), id="another counter only"),
        pytest.param(
            _choices("CounterEventSource", "FrameTrigger", "FrameStart"), id="ace classic: not the line itself"
        ),
        pytest.param(_choices("ChunkSelector", "Gain", "Triggerinputcounter"), id="no chunk of the counter"),
        pytest.param(_choices("CounterTriggerSource", "Off"), id="a counter that is never started"),
    ],
)
def test_a_camera_that_cannot_count_edges_says_so(lacking: Callable[[Ace2], object]) -> None:
    camera = Ace2()
    lacking(camera)
    assert not count_line_edges(Nodes(camera, genicam), "Line3")


def test_a_camera_without_an_edge_to_choose_counts_as_it_does() -> None:
    camera = Ace2()
    camera.by_name.pop("CounterEventActivation")
    camera.by_name.pop("CounterStatus")
    assert count_line_edges(Nodes(camera, genicam), "Line1")


def test_the_count_of_a_picture_is_that_of_the_counter_in_its_chunks() -> None:
    selector = Node("ChunkCounterSelector", "Counter2", ("Counter1", "Counter2"))
    assert line_edges(Nodes(NodeMap([selector, Node("ChunkCounterValue", 41)]), genicam)) == 41
    assert selector.value == "Counter1"
    assert line_edges(Nodes(NodeMap([Node("ChunkCounterValue", 42)]), genicam)) == 42
    assert line_edges(Nodes(NodeMap([]), genicam)) is None
