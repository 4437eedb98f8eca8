"""Which way a machine's power is changed."""

from __future__ import annotations

import importlib.util
import os
from contextlib import closing
from pathlib import Path

import pytest
from simulated_board import SimulatedBoard

from edge_inspector.errors import ConfigError, PowerError
from edge_inspector.health.power.control import HELPER_S, SOCKET
from edge_inspector.health.power.helper import ASK_S
from edge_inspector.health.power.opening import JTOP_SOCKET, Through, Way, how, open_power_control
from edge_inspector.health.power.tools import _KILLED_S, LOCK_S, SWITCH_S
from edge_inspector.interfaces import PowerMode

HAS_JTOP = importlib.util.find_spec("jtop") is not None


@pytest.fixture
def board(tmp_path: Path) -> SimulatedBoard:
    return SimulatedBoard(tmp_path)


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_the_helper_goes_before_all_others(board: SimulatedBoard) -> None:
    touch(board.root / SOCKET)
    touch(board.root / JTOP_SOCKET)
    assert how(board.root) == "helper"
    with closing(open_power_control("auto", board.root)) as control:
        assert control.through == "helper"


def test_a_service_of_jtop_is_of_no_use_without_its_client(board: SimulatedBoard) -> None:
    touch(board.root / JTOP_SOCKET)
    ways: tuple[Way, ...] = ("jtop",) if HAS_JTOP else ("root", "none")
    assert how(board.root) in ways


def test_root_with_the_tools_needs_nobody_else(board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(board.tools))
    assert how(board.root) == ("root" if os.geteuid() == 0 else "none")
    monkeypatch.setenv("PATH", str(board.root))
    assert how(board.root) == "none"


def test_a_board_that_cannot_be_changed_from_here_is_read_all_the_same(
    board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(board.root))
    with closing(open_power_control("auto", board.root)) as control:
        assert control.through == "none"
        assert [mode.name for mode in control.modes] == ["7W", "15W", "25W", "MAXN_SUPER"]
        assert control.state().mode == PowerMode(0, "15W")
        with pytest.raises(PowerError, match="1 25W cannot be set from here: the power helper is not installed"):
            control.set_mode(PowerMode(1, "25W"))
        with pytest.raises(PowerError, match="clocks cannot be locked from here"):
            control.set_clocks(True)
    assert board.calls == []


def test_a_machine_without_modes_opens_with_none(tmp_path: Path) -> None:
    with closing(open_power_control("auto", tmp_path)) as control:
        assert (control.through, control.modes) == ("none", ())
        with pytest.raises(PowerError, match="this machine has no power modes"):
            control.set_mode(PowerMode(1, "25W"))


@pytest.mark.parametrize(
    ("through", "says"),
    [("helper", "no socket .*edge-inspector-power.socket"), ("jtop", "jetson-stats is not installed")],
)
def test_a_way_that_was_asked_for_by_name_must_be_there(board: SimulatedBoard, through: Through, says: str) -> None:
    if through == "jtop" and HAS_JTOP:
        pytest.skip("jetson-stats is installed here")
    with pytest.raises(ConfigError, match=says):
        open_power_control(through, board.root)


def test_nothing_is_changed_on_request(board: SimulatedBoard) -> None:
    touch(board.root / SOCKET)
    with closing(open_power_control("none", board.root)) as control:
        assert control.through == "none"


@pytest.mark.parametrize("through", ["auto", "helper"])
def test_the_helper_is_not_left_in_the_middle_of_a_change(board: SimulatedBoard, through: Through) -> None:
    touch(board.root / SOCKET)
    with pytest.raises(ConfigError, match="a time-out of 29 s, expected at least 30 s"):
        open_power_control(through, board.root, 29.0)
    open_power_control(through, board.root, 30.0).close()


def test_the_helper_has_given_a_change_up_before_its_caller_does() -> None:
    assert SWITCH_S + LOCK_S + ASK_S + 2 * _KILLED_S < HELPER_S
