"""node-opcua as the client of OPC 40100-1: methods, states, events and structures of a real station, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_programs import Node
from real_station import OPCUA, RealStation, real_station

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]
PARTS = 4


@pytest.fixture
def controlled(tmp_path: Path, opcua_port: int) -> Iterator[RealStation]:
    """A real station that takes its orders through the VisionSystem."""
    plc = OPCUA.format(port=opcua_port) + 'machine_vision = "control"\n'
    with real_station(tmp_path, plc, opcua_port) as made:
        yield made


def test_a_client_of_opc_40100_prepares_runs_asks_halts_and_resets(
    node: Node, controlled: RealStation, opcua_port: int
) -> None:
    endpoint = f"opc.tcp://127.0.0.1:{opcua_port}/edge-inspector"
    said = node("machine_vision.mjs", endpoint, PARTS, "spots").finish()
    assert said[0]["own"] == 2
    assert [line["failed"] for line in said if "failed" in line] == []

    calls = [(line["call"], line["status"], line["outputs"][-1]) for line in said if "call" in line]
    assert calls == [
        ("PrepareRecipe", "Good", 0),
        ("PrepareRecipe", "Good", -113),
        ("PrepareRecipe", "Good", 0),
        ("Stop", "Good", -1),
        ("StartContinuous", "Good", -7),
        *[("StartSingleJob", "Good", 0)] * PARTS,
        ("GetResultListFiltered", "Good", 0),
        ("GetResultById", "Good", 0),
        ("GetResultComponentsById", "Good", 0),
        ("GetResultById", "Good", -2),
        ("GetConfigurationList", "Good", 0),
        ("Halt", "Good", 0),
        ("StartSingleJob", "Good", -1),
        ("Reset", "Good", 0),
        ("SelectModeAutomatic", "Good", 0),
    ]
    at = {line["at"]: (line["vision"], line["automatic"]) for line in said if "at" in line}
    assert at == {
        "begin": (4, 6),
        "refused recipe": (3, "BadStateNotActive"),
        "after the parts": (4, 6),
        "halted": (2, "BadStateNotActive"),
        "reset": (1, "BadStateNotActive"),
        "automatic": (4, 6),
    }
    check_results(said)
    check_events(said)


def check_results(said: list[dict[str, Any]]) -> None:
    jobs = [line["outputs"][0]["id"] for line in said if line.get("call") == "StartSingleJob"][:PARTS]
    complete, count, _handle, listed, _error = next(
        line["outputs"] for line in said if line.get("call") == "GetResultListFiltered"
    )
    assert (complete, count) == (True, PARTS)
    assert [r["jobId"]["id"] for r in listed] == jobs
    assert [r["partId"]["id"] for r in listed] == [f"part {i} ✓" for i in range(1, PARTS + 1)]
    assert [r["measId"]["id"] for r in listed] == [f"M-part {i} ✓" for i in range(1, PARTS + 1)]
    assert [r["resultContent"][0] for r in listed] == [1, 2] * (PARTS // 2)  # good and bad pictures in turn
    for one in listed:
        assert (one["isSimulated"], one["resultState"]) == (False, 1)
        assert (one["productId"]["id"], one["internalRecipeId"]["id"]) == ("product 9", "spots")
        evaluation, _mode, _reason, _words, count, classes, scores, boxes = one["resultContent"]
        assert (count > 0) == (evaluation == 2)
        assert len(classes) == len(scores) == len(boxes) / 4 == count


def check_events(said: list[dict[str, Any]]) -> None:
    by_listener = {
        listener: [line for line in said if line.get("listener") == listener] for listener in ("VisionSystem", "Server")
    }
    at_system, at_server = (
        [{k: v for k, v in line.items() if k != "listener"} for line in events] for events in by_listener.values()
    )
    assert at_system == at_server
    kinds = [line["event"] for line in at_system]
    assert [kinds.count(kind) for kind in ("JobStarted", "AcquisitionDone", "ResultReady", "Ready")] == [PARTS] * 4
    assert {"RecipePrepared", "Error", "StateChanged"} <= set(kinds)
    numbers = [line["Transition.Number"] for line in at_system if line["event"] == "StateChanged"]
    assert numbers.count(671) == PARTS
    assert [n for n in numbers if n in (421, 211, 151)] == [421, 211, 151]
    ready = [line for line in at_system if line["event"] == "ResultReady"]
    assert [line["PartId"]["id"] for line in ready] == [f"part {i} ✓" for i in range(1, PARTS + 1)]
    assert all(line["ProcessingTimes"]["startTime"] < line["ProcessingTimes"]["endTime"] for line in ready)
