"""NVIDIA's tools with the failures of real boards: none may leave the board in a state that nobody knows of."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from simulated_board import GPU_HZ, SimulatedBoard

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power import tools
from edge_inspector.health.power.tools import BoardTools

SOON_S = 0.4
PATIENT_S = 60.0
"""For what must work: this machine may be busy."""
NUMBERS = {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedBoard:
    made = SimulatedBoard(tmp_path)
    monkeypatch.setenv("PATH", str(made.tools), prepend=":")
    monkeypatch.setattr(tools, "LOCK_S", PATIENT_S)
    return made


def test_a_mode_is_set_when_the_board_says_so(board: SimulatedBoard) -> None:
    BoardTools(board.root).set_mode(NUMBERS["25W"], PATIENT_S)
    assert board.mode == "25W"
    assert board.clocks[1] == str(GPU_HZ["25W"])
    assert board.calls == ["nvpmodel -q", "nvpmodel -m 1", "nvpmodel -q"]


def test_the_mode_in_which_the_board_is_is_not_set_again(board: SimulatedBoard) -> None:
    BoardTools(board.root).set_mode(NUMBERS["15W"], PATIENT_S)
    assert board.calls == ["nvpmodel -q"]


def test_a_mode_that_was_only_reported_before_is_set_again(board: SimulatedBoard) -> None:
    board.write("sys/class/devfreq/17000000.gpu/max_freq", "1020000000")
    BoardTools(board.root).set_mode(NUMBERS["15W"], PATIENT_S)
    assert board.clocks[1] == str(GPU_HZ["15W"])


@pytest.mark.parametrize(
    ("fault", "mode", "after", "says"),
    [
        (
            "exit",
            "25W",
            "15W",
            "power mode 1 25W was not taken, the board is in 0 15W: nvpmodel -m 1: exit code 255, NVPM",
        ),
        ("reverts", "25W", "15W", "power mode 1 25W was reported as set, but the board is in 0 15W"),
        ("lies", "25W", "25W", "power mode 1 25W is what nvpmodel says, but /sys/devices/system/cpu/cpufreq/policy0"),
        ("partly", "25W", "25W", "25W is what nvpmodel says, but nvpmodel -m 1 ended with exit code 255, NVPM ERROR"),
        ("query-none", "25W", "15W", "did not tell the power mode (exit code 0, NV Power Mode: None)"),
    ],
)
def test_a_change_that_failed_says_how_and_where_the_board_is(
    board: SimulatedBoard, fault: str, mode: str, after: str, says: str
) -> None:
    board.fault(fault)
    with pytest.raises(PowerError) as caught:
        BoardTools(board.root).set_mode(NUMBERS[mode], PATIENT_S)
    assert says in str(caught.value)
    assert not isinstance(caught.value, RebootNeededError)
    assert board.mode == after


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_30W\n2\n", (2, "MODE_30W")),
        ("NVPM WARN: fan mode is not set to cool\nNV Power Mode: MAXN\n0\n", (0, "MAXN")),
        ("NV Power Mode: 15W\n", None),
        ("NV Power Mode: \n1\n", None),
        ("Permission denied\n", None),
        ("", None),
    ],
)
def test_the_mode_is_read_out_of_what_nvpmodel_says_on_real_boards(
    board: SimulatedBoard, said: str, mode: tuple[int, str] | None
) -> None:
    (board.root / "said").write_text(said)
    (board.tools / "nvpmodel").write_text(f"#!/bin/sh\ncat {board.root / 'said'}\n")
    if mode is not None:
        assert BoardTools(board.root).query(PATIENT_S) == mode
    else:
        with pytest.raises(PowerError, match="did not tell the power mode"):
            BoardTools(board.root).query(PATIENT_S)


@pytest.mark.heavy
@pytest.mark.parametrize("fault", ["hang", "query-hangs"])
def test_a_tool_that_hangs_is_killed_with_all_that_it_started(board: SimulatedBoard, fault: str) -> None:
    board.fault(fault)
    with pytest.raises(PowerError, match=r"had not ended after .* and was killed"):
        BoardTools(board.root).set_mode(NUMBERS["25W"], SOON_S)
    board.fault()
    BoardTools(board.root).set_mode(NUMBERS["25W"], PATIENT_S)
    assert board.mode == "25W"


@pytest.mark.parametrize(("fault", "mode"), [("reboot", "25W"), ("", "7W")])
def test_a_mode_that_needs_a_reboot_is_refused_and_the_board_never_reboots(
    board: SimulatedBoard, fault: str, mode: str
) -> None:
    board.fault(fault)
    with pytest.raises(RebootNeededError, match=f"{mode} needs a reboot, nothing was changed"):
        BoardTools(board.root).set_mode(NUMBERS[mode], PATIENT_S)
    assert board.mode == "15W"
    assert not (board.root / "rebooted").exists()


def test_a_board_that_moves_although_it_asks_for_a_reboot_is_not_told_as_unchanged(board: SimulatedBoard) -> None:
    board.fault("reboot", "moves")
    with pytest.raises(PowerError, match="25W needs a reboot, and nvpmodel says that the board is in 1 25W") as caught:
        BoardTools(board.root).set_mode(NUMBERS["25W"], PATIENT_S)
    assert not isinstance(caught.value, RebootNeededError)


def test_what_a_tool_says_cannot_move_the_cursor(board: SimulatedBoard) -> None:
    (board.tools / "nvpmodel").write_text("#!/bin/sh\nprintf '\\033[2Jno\\a power'\nexit 3\n")
    with pytest.raises(PowerError, match=r"\(exit code 3, \[2Jno  power\)"):
        BoardTools(board.root).query(PATIENT_S)


def test_a_mode_that_the_table_does_not_have_is_never_tried(board: SimulatedBoard) -> None:
    with pytest.raises(PowerError, match=r"power mode 9 is not in /etc/nvpmodel\.conf; it has 3 7W, 0 15W"):
        BoardTools(board.root).set_mode(9)
    assert board.calls == []


def test_a_machine_without_the_tools_says_so(board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(board.root))
    with pytest.raises(PowerError, match="nvpmodel -q cannot be run"):
        BoardTools(board.root).set_mode(1)


def test_a_machine_without_a_table_says_so(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match=r"/etc/nvpmodel\.conf is not there"):
        BoardTools(tmp_path).set_mode(1)


def test_locked_clocks_are_free_during_a_change_and_locked_again_after_it(board: SimulatedBoard) -> None:
    on = BoardTools(board.root)
    on.set_clocks(True, PATIENT_S)
    on.set_mode(NUMBERS["25W"], PATIENT_S)
    assert board.clocks == (str(GPU_HZ["25W"]), str(GPU_HZ["25W"]))
    at = board.calls.index("nvpmodel -m 1")
    assert [call.split()[1:2] for call in board.calls[at - 1 :: 1]] == [["--restore"], ["-m"], ["-q"], ["--store"], []]


def test_clocks_that_were_locked_in_one_mode_are_free_in_another_as_that_mode_has_them(board: SimulatedBoard) -> None:
    on = BoardTools(board.root)
    on.set_clocks(True, PATIENT_S)
    on.set_mode(NUMBERS["25W"], PATIENT_S)
    on.set_clocks(False, PATIENT_S)
    assert board.clocks == ("306000000", str(GPU_HZ["25W"]))
    assert list((board.root / "var/lib/edge-inspector-power").iterdir()) == []


def test_what_was_stored_before_the_board_was_started_again_is_stored_anew(board: SimulatedBoard) -> None:
    kept = board.root / "var/lib/edge-inspector-power/clocks-mode-0.conf"
    kept.parent.mkdir(parents=True)
    kept.write_text("1 2 3 4")
    BoardTools(board.root).set_clocks(True, PATIENT_S)
    assert kept.read_text().split() == ["729600", "1497600", "306000000", "612000000"]


@pytest.mark.parametrize("fault", ["exit", "reboot", "reverts"])
def test_clocks_are_locked_again_after_a_change_that_failed(board: SimulatedBoard, fault: str) -> None:
    on = BoardTools(board.root)
    on.set_clocks(True, PATIENT_S)
    board.fault(fault)
    with pytest.raises(PowerError):
        on.set_mode(NUMBERS["25W"], PATIENT_S)
    assert board.clocks == (str(GPU_HZ["15W"]), str(GPU_HZ["15W"]))


def test_clocks_that_somebody_else_locked_are_left_and_no_mode_is_tried(board: SimulatedBoard) -> None:
    board.lock_clocks()
    on = BoardTools(board.root)
    with pytest.raises(PowerError, match="locked by somebody else"):
        on.set_clocks(False, PATIENT_S)
    with pytest.raises(PowerError, match="locked by somebody else"):
        on.set_mode(NUMBERS["25W"], PATIENT_S)
    assert board.mode == "15W"
    assert board.clocks == (str(GPU_HZ["15W"]), str(GPU_HZ["15W"]))


@pytest.mark.parametrize(
    ("fault", "limit_s", "says"),
    [
        ("clocks-exit", PATIENT_S, "failed: exit code 1, Error: Unknown GPU Type!"),
        ("clocks-hang", SOON_S, "had not ended"),
        ("clocks-lie", PATIENT_S, "the clocks of GPU and processors are not locked"),
    ],
)
def test_clocks_that_cannot_be_locked_say_why(board: SimulatedBoard, fault: str, limit_s: float, says: str) -> None:
    board.fault(fault)
    with pytest.raises(PowerError, match=says):
        BoardTools(board.root).set_clocks(True, limit_s)


def test_clocks_of_which_only_some_were_locked_are_all_freed(board: SimulatedBoard) -> None:
    on = BoardTools(board.root)
    board.fault("clocks-lie")
    with pytest.raises(PowerError):
        on.set_clocks(True, PATIENT_S)
    board.fault()
    board.write("sys/class/devfreq/17000000.gpu/min_freq", board.clocks[1])
    on.set_clocks(False, PATIENT_S)
    assert board.clocks == ("306000000", str(GPU_HZ["15W"]))


def test_what_a_killed_tool_left_running_does_not_hold_the_caller(
    board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grandchild in a session of its own keeps the pipe open, as one that hangs in the kernel would."""
    monkeypatch.setattr(tools, "_KILLED_S", 0.1)
    gone = board.root / "gone"
    (board.tools / "nvpmodel").write_text(
        f"#!/bin/sh\nsetsid sh -c 'while [ ! -e {gone} ]; do sleep 0.05; done' & wait\n"
    )
    failed: list[BaseException] = []

    def change() -> None:
        try:
            BoardTools(board.root).set_mode(1, 0.2)
        except PowerError as exc:
            failed.append(exc)

    caller = threading.Thread(target=change)
    caller.start()
    caller.join(10)
    try:
        assert not caller.is_alive()
        assert "the board must be started again" in str(failed[0])
    finally:
        gone.touch()
        caller.join(10)
