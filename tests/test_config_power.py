"""What is wrong with the power policy of a station file is told by the key that the user has written."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_station import OPCUA, STATION

from edge_inspector import config

SHIFTS = """kind = "schedule"
otherwise = "15W"
shifts = [
  { begin = "06:00", end = "14:00", mode = "MAXN" }, { days = ["mon"], begin = "13:00", end = "15:00", mode = "30W" },
]"""


@pytest.mark.parametrize(
    ("policy", "key", "told"),
    [
        ('kind = "takt"\nmargin = 1.5', "power.policy.margin", "expected less than 1"),
        ('kind = "takt"\nmode = "15W"', "power.policy.mode", "is not a known key"),
        ('kind = "best"', "power.policy.kind", "expected one of fixed, takt, schedule"),
        ('mode = "15W"', "power.policy.kind", "is missing"),
        (SHIFTS, "power.policy", "expected one shift at a time"),
        (SHIFTS.replace("13:00", "1 pm"), "power.policy.shifts.1.begin", "should match"),
    ],
)
def test_a_policy_that_cannot_be_is_told(tmp_path: Path, policy: str, key: str, told: str) -> None:
    file = tmp_path / "station.toml"
    file.write_text(f"{STATION}{OPCUA.format(port=4840)}[power.policy]\n{policy}\n")
    (problem,) = (one for one in config.draft(file).problems if one.key.startswith("power"))
    assert problem.key == key
    assert told in problem.expected


def test_an_empty_table_reads_the_board_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    file.write_text(f"{STATION}{OPCUA.format(port=4840)}[power]\n")
    power = config.load(file).power
    assert power is not None
    assert (power.root, power.through, power.policy) == (Path("/"), "auto", None)
