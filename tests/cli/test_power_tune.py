"""`edge-inspector power tune`: what it refuses. That it measures is shown in tests/system/test_power_station.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_station import OPCUA, RealStation
from simulated_board import SimulatedBoard
from typer.testing import CliRunner

from edge_inspector.cli.main import app

POWER = '[power]\nthrough = "none"\nroot = "{root}"\n{more}\n'


@pytest.fixture
def board(tmp_path: Path) -> SimulatedBoard:
    return SimulatedBoard(tmp_path)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A station file without `[power]`."""
    return RealStation(tmp_path_factory.mktemp("station"), OPCUA.format(port=4840)).file


def tune(station: Path, root: Path, *options: str, more: str = "") -> tuple[int, str]:
    file = station.with_name("powered.toml")
    file.write_text(station.read_text() + POWER.format(root=root, more=more))
    result = CliRunner().invoke(app, ["power", "tune", str(file), *options])
    return result.exit_code, result.output


def test_a_machine_without_power_modes_has_nothing_to_be_tuned(tmp_path: Path, station: Path) -> None:
    code, said = tune(station, tmp_path / "nowhere")
    assert (code, said) == (2, "this machine has no power modes; see: edge-inspector power show\n")


def test_a_mode_that_the_board_does_not_have_is_named(station: Path, board: SimulatedBoard) -> None:
    code, said = tune(station, board.root, "--mode", "50W")
    assert code == 2
    assert said == "power mode '50W' is not known, expected one of 7W, 15W, 25W, MAXN_SUPER\n"


def test_so_is_one_of_the_policy(station: Path, board: SimulatedBoard) -> None:
    code, said = tune(station, board.root, more='[power.policy]\nkind = "takt"\nmodes = ["15W", "60W"]')
    assert (code, said) == (2, "power mode '60W' is not known, expected one of 7W, 15W, 25W, MAXN_SUPER\n")


def test_a_recipe_that_the_station_does_not_have_is_named(station: Path, board: SimulatedBoard) -> None:
    code, said = tune(station, board.root, "--recipe", "dots")
    assert (code, said) == (2, "recipe 'dots' is not known, expected one of spots\n")


def test_a_board_that_may_not_be_changed_is_left_as_it_is(station: Path, board: SimulatedBoard) -> None:
    code, said = tune(station, board.root, "--mode", "25W")
    assert code == 2
    assert "25W: power mode 1 25W cannot be set from here" in said
    assert said.endswith("nothing was measured; nothing was written\n")
    assert board.mode == "15W"
    assert not (station.parent / "state" / "power.json").exists()


def test_a_damaged_table_does_not_stop_what_would_mend_it(station: Path, board: SimulatedBoard) -> None:
    table = station.parent / "state" / "power.json"
    table.parent.mkdir(exist_ok=True)
    table.write_text("[{")
    try:
        code, said = tune(station, board.root, "--mode", "25W")
    finally:
        table.unlink()
    assert "a new one will be written" in said
    assert (code, said.splitlines()[-1]) == (2, "nothing was measured; nothing was written")
