"""A board's own table of power modes, as NVIDIA writes it and as fleets edit it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_board import SimulatedBoard

from edge_inspector.health.power.table import disagreements, kept_mode, parse_table, read_table


def names_of(text: str) -> list[tuple[int, str]]:
    return [(mode.number, mode.name) for mode in parse_table(text).modes]


@pytest.mark.parametrize(
    ("text", "modes", "what"),
    [
        ("< POWER_MODEL ID=0 NAME=MAXN >\n<POWER_MODEL ID=1 NAME=10W>", [(1, "10W"), (0, "MAXN")], "spaces or none"),
        (
            "< POWER_MODEL ID=0 NAME=MODE_15W_6CORE >\n< POWER_MODEL ID=8 NAME=MODE_10W_DESKTOP >",
            [(8, "MODE_10W_DESKTOP"), (0, "MODE_15W_6CORE")],
            "Xavier's names, numbers with gaps",
        ),
        ("< POWER_MODEL ID=1 NAME=7W >\n< POWER_MODEL ID=0 NAME=MINE >", [(0, "MINE"), (1, "7W")], "watts not known"),
        ("< POWER_MODEL ID=1 NAME=A >\n< POWER_MODEL ID=1 NAME=B >", [(1, "A")], "one number twice"),
        ("# < POWER_MODEL ID=1 NAME=A >\n< POWER_MODEL ID=x NAME=B >\n< POWER_MODEL NAME=C >", [], "nothing usable"),
        ("", [], "empty"),
    ],
)
def test_the_modes_stand_from_the_least_to_the_most_power(text: str, modes: list[tuple[int, str]], what: str) -> None:
    assert names_of(text) == modes, what


def test_of_two_modes_with_equal_watts_the_one_with_fewer_processors_comes_first() -> None:
    text = "\n".join(
        [
            "< POWER_MODEL ID=3 NAME=25W >",
            "CPU_ONLINE CORE_0 1",
            "CPU_ONLINE CORE_1 1",
            "< POWER_MODEL ID=4 NAME=25W_1CORE >",
            "CPU_ONLINE CORE_0 1",
            "CPU_ONLINE CORE_1 0",
        ]
    )
    assert names_of(text) == [(4, "25W_1CORE"), (3, "25W")]


def test_a_real_boards_table_is_read_with_its_default_its_files_and_what_needs_a_reboot(tmp_path: Path) -> None:
    table = read_table(SimulatedBoard(tmp_path).root)
    assert table is not None
    assert [mode.name for mode in table.modes] == ["7W", "15W", "25W", "MAXN_SUPER"]
    assert table.default == 0
    assert table.files["GPU", "MAX_FREQ"] == "/sys/class/devfreq/17000000.gpu/max_freq"
    assert {mode.name: mode.gating for mode in table.modes} == {"7W": "254", "15W": "0", "25W": "0", "MAXN_SUPER": "0"}


def test_a_remark_behind_a_setting_is_not_part_of_it() -> None:
    mode = parse_table("< POWER_MODEL ID=0 NAME=15W > # ours\nGPU MAX_FREQ 612000000 # half").modes[0]
    assert dict(mode.settings) == {("GPU", "MAX_FREQ"): "612000000"}


def test_a_machine_without_the_table_has_none(tmp_path: Path) -> None:
    assert read_table(tmp_path) is None


@given(st.text(alphabet=st.sampled_from("<> =\n#_POWERMODELPARAMIDNAME0123456789 /x\t"), max_size=300))
def test_no_text_is_a_table_that_breaks_the_reader(text: str) -> None:
    table = parse_table(text)
    assert len({mode.number for mode in table.modes}) == len(table.modes)


@pytest.mark.parametrize(
    ("status", "mode"),
    [("pmode:0002 fmode:fan_mode_quiet", 2), ("pmode:0000", 0), ("fmode:quiet", None), ("", None), ("pmode:x", None)],
)
def test_the_mode_that_nvpmodel_keeps_is_read_as_it_writes_it(tmp_path: Path, status: str, mode: int | None) -> None:
    (tmp_path / "var/lib/nvpmodel").mkdir(parents=True)
    (tmp_path / "var/lib/nvpmodel/status").write_text(status)
    assert kept_mode(tmp_path) == mode


@pytest.mark.parametrize(
    ("path", "value", "seen"),
    [
        ("sys/class/devfreq/17000000.gpu/max_freq", "1020000000", True),
        ("sys/class/devfreq/17000000.gpu/max_freq", "624750000", False),  # the next step of the clock's table
        ("sys/class/devfreq/17000000.gpu/max_freq", "408000000", False),  # held down by something else: no lie
        ("sys/class/devfreq/17000000.gpu/max_freq", "unknown", False),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1728000", True),
        ("sys/devices/system/cpu/cpu5/online", "0", True),
    ],
)
def test_a_board_that_is_not_as_its_mode_has_it_is_found_out(tmp_path: Path, path: str, value: str, seen: bool) -> None:
    board = SimulatedBoard(tmp_path)
    table = read_table(board.root)
    assert table is not None
    mode = table.mode(0)
    assert mode is not None
    assert disagreements(table, mode, board.root) == []
    board.write(path, value)
    assert bool(disagreements(table, mode, board.root)) is seen
    assert all(f"/{path} is {value}" in words for words in disagreements(table, mode, board.root))


def test_files_that_a_table_names_are_looked_for_below_the_root_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("7")
    board = SimulatedBoard(tmp_path)
    conf = board.read("etc/nvpmodel.conf").replace("/sys/devices/system/cpu/cpu0/online", "/nowhere/online")
    board.write("etc/nvpmodel.conf", conf)
    table = read_table(board.root)
    assert table is not None
    mode = table.mode(0)
    assert mode is not None
    assert disagreements(table, mode, board.root) == []
