"""What PLC links say against each other: one of several is the master, and a verdict must reach the gate in time."""

from __future__ import annotations

from pathlib import Path

import networks
import pytest

from edge_inspector import assembly
from edge_inspector.config import StationFileError

STATION = """\
schema = 1
[station]
name = "cell1"
recipe = "board"
state_dir = "state"
{station}
[cameras.top]
type = "basler"
serial = "1"
[cameras.files]
type = "folder"
path = "pictures"
[backend]
type = "onnxruntime"
[recipes.board]
number = 1
bundle = "bundle"
deadline_ms = 400
views = [{{ camera = "top" }}]
"""
FIRST = '[plc.line]\ntype = "opcua_server"\n'
GATE = '[plc.gate.camera]\ncamera = "top"\nready = "Line2"\nok = "Line3"\n[plc.gate]\ntype = "digital"\n'
LAMP = GATE.replace("gate", "lamp").replace("Line2", "Line4")
REMOTE = '[plc.gate]\ntype = "digital"\nmodbus = {{ host = "io", ready = 0, ok = {ok}{more} }}\n'
SECOND = '[plc.hmi]\ntype = "opcua_server"\nport = 4841\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    networks.bundle("yolo", tmp_path / "bundle", golden=1)
    (tmp_path / "pictures").mkdir()
    return tmp_path


def checked(folder: Path, plc: str, station: str = "") -> str:
    """The master of the station."""
    path = folder / "station.toml"
    path.write_text(STATION.format(station=station) + plc)
    return assembly.assemble(path)[0].master


@pytest.mark.parametrize(
    ("plc", "station", "master"),
    [
        pytest.param(FIRST, "", "line", id="the only link"),
        pytest.param(FIRST, 'master = "plc"', "line", id="the only link, said aloud"),
        pytest.param(FIRST + SECOND, 'master = "hmi"', "hmi", id="one of two, by name"),
        pytest.param(FIRST, 'master = "local"', "", id="none of them"),
        pytest.param(FIRST.replace("line", "plc") + SECOND, "", "plc", id="a link called plc"),
    ],
)
def test_the_master_is_the_only_link_or_the_one_that_is_named(
    folder: Path, plc: str, station: str, master: str
) -> None:
    assert checked(folder, plc, station) == master


@pytest.mark.parametrize(
    ("plc", "station", "said"),
    [
        pytest.param(FIRST + SECOND, "", ["station.master = 'plc'", "several", "line, hmi, local"], id="which of two"),
        pytest.param(FIRST, 'master = "mes"', ["station.master = 'mes'", "line, local"], id="a link that is not there"),
        pytest.param(
            FIRST + "plc_cycle_ms = 50\ngate_ms = 449\n",
            "",
            ["plc.line.gate_ms = 449", "at least 450", "'board'", "400 ms"],
            id="a gate that comes too soon",
        ),
        pytest.param(
            GATE + LAMP,
            "",
            ["plc.lamp = 'output Line3 of camera top'", "plc.gate has this line too"],
            id="two links pull at one line",
        ),
        pytest.param(
            REMOTE.format(ok=1, more="") + REMOTE.format(ok=2, more=", healthy = 1").replace("gate", "lamp"),
            "",
            ["coil 0 of io:502", "coil 1 of io:502", "plc.gate has this line too"],
            id="two links pull at one coil",
        ),
    ],
)
def test_what_cannot_work_is_told(folder: Path, plc: str, station: str, said: list[str]) -> None:
    with pytest.raises(StationFileError) as raised:
        checked(folder, plc, station)
    assert [word for word in said if word not in str(raised.value)] == []


def test_links_with_lines_of_their_own_are_right(folder: Path) -> None:
    checked(folder, FIRST + GATE + LAMP.replace("Line3", "Line5"))
    other = REMOTE.format(ok=1, more=", unit = 2").replace("gate", "lamp")
    checked(folder, FIRST + REMOTE.format(ok=1, more="") + other)


def test_a_gate_just_late_enough_is_right(folder: Path) -> None:
    assert checked(folder, FIRST + "plc_cycle_ms = 50\ngate_ms = 450\n") == "line"


def test_output_lines_of_a_camera_that_has_none_are_told(folder: Path) -> None:
    gate = '[plc.gate]\ntype = "digital"\ncamera = { camera = "files", ready = "Line2", ok = "Line3" }\n'
    with pytest.raises(StationFileError, match=r"plc\.gate\.camera\.camera = 'files': expected a camera that"):
        checked(folder, FIRST + gate)
