"""`edge-inspector power` on a simulated board."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated_board import SimulatedBoard
from typer.testing import CliRunner

from edge_inspector.cli import power
from edge_inspector.cli.main import app

runner = CliRunner()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="board-") as folder:
        yield Path(folder)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedBoard:
    if os.geteuid() != 0:
        pytest.skip("these set the mode as root does, and this is not root")
    made = SimulatedBoard(tmp_path)
    monkeypatch.setenv("PATH", str(made.tools), prepend=":")
    monkeypatch.setattr(power, "ROOT", made.root)
    return made


def told(*arguments: str, code: int = 0) -> str:
    done = runner.invoke(app, ["power", *arguments], env={"COLUMNS": "120"})
    assert done.exit_code == code, done.output
    return done.output


def test_a_board_is_shown_with_its_modes_and_what_it_takes(board: SimulatedBoard) -> None:
    board.heat()
    lines = [" ".join(line.split()) for line in told("show").splitlines()]
    assert lines == [
        "power mode 0 15W",
        "modes 3 7W (needs a reboot), 0 15W, 1 25W, 2 MAXN_SUPER",
        "can be set by nvpmodel itself: this is root",
        "clocks follow the load",
        "held down by heat: gpu-throttle-alert",
        "since boot oc1 0 times, oc3 813 times",
        "GPU load 42%",
        "power 9.0 W",
        "VDD_IN 9.0 W",
        "VDD_CPU_GPU_CV 4.5 W",
        "temperature cpu-thermal 52, gpu-thermal 48 °C",
    ]


def test_what_is_shown_can_be_read_by_a_program(board: SimulatedBoard) -> None:
    said = json.loads(told("show", "--json"))
    assert said["mode"] == {"number": 0, "name": "15W"}
    assert [(mode["name"], mode["needs_reboot"]) for mode in said["modes"]] == [
        ("7W", True),
        ("15W", False),
        ("25W", False),
        ("MAXN_SUPER", False),
    ]
    assert (said["set"], said["clocks_locked"], said["throttled"]) == ("root", False, "")
    assert said["over_current"] == {"oc1": 0, "oc3": 813}


def test_a_machine_that_is_no_jetson_is_shown_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "ROOT", tmp_path)
    assert "this machine has none" in told("show")
    said = json.loads(told("show", "--json"))
    assert (said["mode"], said["modes"], said["set"]) == (None, [], "none")
    assert "is not one of this board's: it has none" in told("set", "15W", code=2)


@pytest.mark.parametrize("name", ["25W", "1"])
def test_a_mode_is_set_by_its_name_or_its_number(board: SimulatedBoard, name: str) -> None:
    assert told("set", name) == "power mode 1 25W, clocks follow the load\n"
    assert board.mode == "25W"


def test_clocks_are_locked_and_freed_alone_or_with_a_mode(board: SimulatedBoard) -> None:
    assert told("set", "25W", "--clocks", "locked") == "power mode 1 25W, clocks locked at the mode's maximum\n"
    assert told("set", "--clocks", "free") == "power mode 1 25W, clocks follow the load\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set"], "nothing to set; give a mode"),
        (["set", "30W"], "power mode '30W' is not one of this board's: 3 7W, 0 15W"),
        (["set", "7W"], "7W needs a reboot, nothing was changed"),
        (["set", "25W", "--through", "helper"], "sudo systemctl enable --now edge-inspector-power.socket"),
    ],
)
def test_what_cannot_be_set_says_why_and_changes_nothing(
    board: SimulatedBoard, arguments: list[str], says: str
) -> None:
    assert says in " ".join(told(*arguments, code=2).replace("│", "").split())
    assert board.mode == "15W"


def test_no_mode_is_changed_under_a_station_that_runs_unless_it_is_forced(board: SimulatedBoard) -> None:
    folder = board.root / "run/edge-inspector/demo"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as station:
        station.bind(str(folder / "control.sock"))
        station.listen()
        assert "station demo is running" in told("set", "25W", code=2)
        assert board.mode == "15W"
        told("set", "25W", "--force")
        assert board.mode == "25W"
    told("set", "15W")  # it was killed and has left its socket
    assert board.mode == "15W"


def test_names_from_the_boards_files_cannot_move_the_cursor(board: SimulatedBoard) -> None:
    board.write("sys/class/thermal/thermal_zone0/type", "\x1b[2Jcpu [red]hot[/]")
    said = told("show")
    assert "\x1b[2J" not in said
    assert "[red]hot[/]" in said
