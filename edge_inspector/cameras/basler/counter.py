"""Edges of the trigger input, counted by the camera itself and sent with each picture."""

from __future__ import annotations

from typing import Any

from edge_inspector.cameras.basler.nodes import Nodes

COUNTER = "Counter1"
CHUNK = "CounterValue"
STARTER = "SoftwareSignal1"


def count_line_edges(nodes: Nodes, line: str) -> bool:
    """Let Counter1 count the edges of an input, and send its value as a chunk of each picture. False = it cannot.

    Basler's feature reference has the inputs as CounterEventSource of ace 2, boost, dart and racer 2; an ace classic
    counts only what it has made of them (FrameTrigger), so there the answer is False. A counter ends at its
    CounterDuration, hence the maximum, and may have to be started after its reset. pylon's emulator has no counter, so
    this was tried on a stand-in for the node map, never on hardware.
    """
    writable = ("CounterSelector", "CounterEventSource", "CounterReset", "ChunkModeActive")
    if not all(nodes.writable(name) for name in writable) or COUNTER not in nodes.choices("CounterSelector"):
        return False
    nodes.put("CounterSelector", COUNTER)
    if line not in nodes.choices("CounterEventSource"):
        return False
    nodes.put("ChunkModeActive", True)  # without it the chunk's features are locked
    if CHUNK not in nodes.choices("ChunkSelector"):
        return False
    nodes.put("ChunkSelector", CHUNK)
    if not nodes.writable("ChunkEnable"):
        return False
    nodes.put("ChunkEnable", True)
    nodes.put("CounterEventSource", line)
    if nodes.writable("CounterEventActivation"):
        edge = nodes.value("TriggerActivation")
        known = isinstance(edge, str) and edge in nodes.choices("CounterEventActivation")
        nodes.put("CounterEventActivation", edge if edge is not None and known else "RisingEdge")
    duration = nodes.feature("CounterDuration")
    if duration is not None and duration.writable and duration.maximum is not None:
        nodes.put("CounterDuration", int(duration.maximum))
    nodes.execute("CounterReset")
    return _is_counting(nodes)


def _is_counting(nodes: Nodes) -> bool:
    """Start the counter if it waits for that; True where the camera does not tell."""
    if nodes.value("CounterStatus") == "CounterTriggerWait" and STARTER in nodes.choices("CounterTriggerSource"):
        nodes.put("CounterTriggerSource", STARTER)
        nodes.put("SoftwareSignalSelector", STARTER)
        nodes.execute("SoftwareSignalPulse")
    return nodes.value("CounterStatus") in (None, "CounterActive")


def line_edges(chunks: Nodes) -> int | None:
    """What Counter1 had counted when the picture began, from the picture's own chunks; None = not in them."""
    if COUNTER in chunks.choices("ChunkCounterSelector"):
        chunks.put("ChunkCounterSelector", COUNTER)
    value: Any = chunks.value("ChunkCounterValue")
    return None if value is None else int(value)
