"""What a board says of itself through /sys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from simulated_board import GPU, OVER_CURRENT, RAILS, SimulatedBoard

from edge_inspector.health.power.sensors import BoardSensors, over_current_counts
from edge_inspector.interfaces import PowerMode, PowerState


@pytest.fixture
def board(tmp_path: Path) -> SimulatedBoard:
    return SimulatedBoard(tmp_path)


def test_everything_that_a_board_says_is_read(board: SimulatedBoard) -> None:
    assert BoardSensors(board.root).read() == PowerState(
        mode=PowerMode(0, "15W"),
        clocks_locked=False,
        throttled="",
        gpu_load=0.423,
        total_w=9.0,
        rails_w={"VDD_IN": 9.0, "VDD_CPU_GPU_CV": 4.5},
        temperatures_c={"cpu-thermal": 51.687, "gpu-thermal": 48.5},
    )


def test_of_a_machine_that_is_no_jetson_nothing_is_made_up(tmp_path: Path) -> None:
    assert BoardSensors(tmp_path).read() == PowerState()
    assert BoardSensors(tmp_path).modes() == ()


@pytest.mark.parametrize(
    ("device", "state", "throttled"),
    [
        ("gpu-throttle-alert", 1, "heat: gpu-throttle-alert"),
        ("hot-surface-alert", 2, "heat: hot-surface-alert"),
        ("devfreq-17000000.gpu", 3, "heat: devfreq-17000000.gpu"),
        ("thermal-cpufreq-0", 3, "heat: thermal-cpufreq-0"),
        ("gpu-throttle-alert", 0, ""),
        ("pwm-fan", 3, ""),
    ],
)
def test_heat_that_takes_speed_is_throttling_and_a_fan_that_turns_is_not(
    board: SimulatedBoard, device: str, state: int, throttled: str
) -> None:
    board.heat(device, state)
    assert BoardSensors(board.root).read().throttled == throttled


def test_over_current_is_throttling_only_while_its_counter_rises(board: SimulatedBoard) -> None:
    sensors = BoardSensors(board.root)
    assert sensors.read().throttled == ""  # 813 times since boot, but when?
    board.over_current(3, times=2)
    board.over_current(1)
    assert sensors.read().throttled == "over-current: oc1, oc3"
    assert sensors.read().throttled == ""


def test_heat_and_over_current_at_once_are_both_told(board: SimulatedBoard) -> None:
    sensors = BoardSensors(board.root)
    sensors.read()
    board.heat()
    board.over_current()
    assert sensors.read().throttled == "heat: gpu-throttle-alert; over-current: oc3"


def test_a_guard_that_only_watches_slows_nothing_down(board: SimulatedBoard) -> None:
    board.write(f"{OVER_CURRENT}/oc3_throt_en", "0")
    assert over_current_counts(board.root) == {"oc1": 0}


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ("0", 0.0), ("1000", 1.0), ("1001", None), ("-1", None), ("", None), ("nan", None), ("5\u00b2", None),
        ("9" * 5000, None),
    ],
)  # fmt: skip
def test_the_load_of_the_gpu_is_a_share_or_unknown(board: SimulatedBoard, load: str, expected: float | None) -> None:
    board.write(f"{GPU}/device/load", load)
    assert BoardSensors(board.root).read().gpu_load == expected


def test_clocks_are_locked_when_none_can_fall(board: SimulatedBoard) -> None:
    sensors = BoardSensors(board.root)
    board.write(f"{GPU}/min_freq", board.read(f"{GPU}/max_freq"))
    assert sensors.read().clocks_locked is False  # the processors' still can
    board.lock_clocks()
    assert sensors.read().clocks_locked is True


def test_a_gpu_that_is_missing_after_boot_leaves_the_rest_readable(board: SimulatedBoard) -> None:
    shutil.rmtree(board.root / GPU)
    state = BoardSensors(board.root).read()
    assert (state.gpu_load, state.clocks_locked, state.mode) == (None, False, PowerMode(0, "15W"))


def test_a_board_without_a_rail_for_the_whole_takes_the_sum_of_its_rails(board: SimulatedBoard) -> None:
    board.write(f"{RAILS}/in1_label", "VDD_GPU_SOC")
    assert BoardSensors(board.root).read().total_w == 13.5


def test_rails_of_a_machine_that_is_no_board_are_not_summed_up(board: SimulatedBoard) -> None:
    board.write(f"{RAILS}/name", "amdgpu")
    board.write(f"{RAILS}/in1_label", "PPT")
    assert BoardSensors(board.root).read().total_w is None


def test_a_mode_that_is_not_in_the_table_is_unknown(board: SimulatedBoard) -> None:
    board.write("var/lib/nvpmodel/status", "pmode:0009")
    assert BoardSensors(board.root).read().mode is None


@pytest.mark.parametrize("label", ["VDD_IN", "VDD_GPU_SOC"])
def test_a_board_that_seems_to_give_power_back_does_not_say_what_it_takes(board: SimulatedBoard, label: str) -> None:
    board.write(f"{RAILS}/in1_label", label)
    board.write(f"{RAILS}/curr1_input", "-5000")
    assert BoardSensors(board.root).read().total_w is None
