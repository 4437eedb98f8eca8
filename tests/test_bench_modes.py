"""Every recipe in every power mode: what fails is told, what does not is measured, and the board is as before."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from edge_inspector.bench.modes import in_each_mode
from edge_inspector.bench.recipe import RecipePace
from edge_inspector.bench.report import Spread
from edge_inspector.bench.watts import WattMeter
from edge_inspector.errors import InferenceError, PowerError, RebootNeededError
from edge_inspector.interfaces import PowerMode, PowerState

LOW, MID, TOP = PowerMode(2, "15W"), PowerMode(1, "30W"), PowerMode(0, "MAXN")
WATTS: Mapping[str, float] = {"15W": 12.0, "30W": 24.0, "MAXN": 40.0}


class Board:
    """Its power follows its mode; `reboots` and `refuses` are modes that it does not take."""

    modes: Sequence[PowerMode] = (LOW, MID, TOP)

    def __init__(self, mode: PowerMode | None) -> None:
        self.mode = mode
        self.reboots: set[PowerMode] = set()
        self.refuses: set[PowerMode] = set()
        self.throttled_in: set[PowerMode] = set()
        self.asked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()

    def state(self) -> PowerState:
        self.asked.set()
        self.answers.wait()
        if self.mode is None:
            return PowerState()
        throttled = "heat: gpu-throttle-alert" if self.mode in self.throttled_in else ""
        return PowerState(replace(self.mode, name="(sysfs)"), None, throttled, total_w=WATTS[self.mode.name])

    def set_mode(self, mode: PowerMode) -> None:
        if mode in self.reboots:
            raise RebootNeededError(f"{mode.name} needs a reboot")
        if mode in self.refuses:
            raise PowerError(f"nvpmodel: exit code 1 for {mode.name}")
        self.mode = mode

    def set_clocks(self, locked: bool) -> None:
        raise AssertionError("nobody has ordered that")


def measured(board: Board, ms: float = 10.0) -> RecipePace:
    return RecipePace(100, Spread(ms, ms, ms), 1000 / ms)


def test_each_recipe_is_measured_in_each_mode_with_the_power_of_its_load() -> None:
    board = Board(MID)

    def measure(recipe: str, load: AbstractContextManager[object]) -> RecipePace:
        with load:
            board.asked.clear()
            assert board.asked.wait(10)
            board.asked.clear()
            assert board.asked.wait(10)  # so one was read in between
        return measured(board)

    done = list(in_each_mode(board, [LOW, TOP], ["a"], measure))
    assert [(one.mode, one.recipe, one.power_w, one.error) for one in done] == [
        (LOW, "a", 12.0, ""),
        (TOP, "a", 40.0, ""),
    ]
    assert board.mode == MID


def test_what_fails_is_told_and_the_rest_is_measured() -> None:
    board = Board(TOP)
    board.reboots, board.refuses, board.throttled_in = {LOW}, set(), {TOP}

    def measure(recipe: str, load: AbstractContextManager[object]) -> RecipePace:
        if recipe == "broken":
            raise InferenceError("a part was not judged")
        return measured(board)

    done = list(in_each_mode(board, [LOW, MID, TOP], ["broken", "good"], measure))
    assert [(one.mode, one.recipe, one.pace is None, one.error) for one in done] == [
        (LOW, "", True, "15W needs a reboot"),
        (MID, "broken", True, "a part was not judged"),
        (MID, "good", False, ""),
        (TOP, "broken", True, "a part was not judged"),
        (TOP, "good", True, "the board was throttled: heat: gpu-throttle-alert; let it cool and measure again"),
    ]
    assert board.mode == TOP


def test_the_board_is_brought_back_also_when_somebody_has_had_enough() -> None:
    board = Board(TOP)

    def measure(recipe: str, load: AbstractContextManager[object]) -> RecipePace:
        assert board.mode == LOW
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_each_mode(board, [LOW, MID], ["a"], measure))
    assert board.mode == TOP


def test_a_board_that_cannot_be_brought_back_is_an_error() -> None:
    board = Board(TOP)
    board.refuses = {TOP}
    with pytest.raises(PowerError, match="exit code 1 for MAXN"):
        list(in_each_mode(board, [LOW], ["a"], lambda recipe, load: measured(board)))


def test_a_board_that_does_not_say_its_mode_is_not_touched() -> None:
    board = Board(None)
    with pytest.raises(PowerError, match="nothing changed"):
        list(in_each_mode(board, [LOW], ["a"], lambda recipe, load: measured(board)))
    assert board.mode is None


def test_a_board_that_says_no_power_has_no_mean() -> None:
    class Mute(Board):
        def state(self) -> PowerState:
            self.asked.set()
            return PowerState(LOW)

    board = Mute(LOW)
    meter = WattMeter(board, every_s=0.001)
    with meter:
        assert board.asked.wait(10)
    assert meter.mean_w is None
