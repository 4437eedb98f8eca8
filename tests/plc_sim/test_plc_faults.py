"""Which faults are played, and how often."""

from __future__ import annotations

import pytest

from edge_inspector.errors import ConfigError
from edge_inspector.plc_sim.faults import ALL, AT_A_PART, DEFAULT_SHARE, Faults, shares


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], {}),
        (["restart"], {"restart": DEFAULT_SHARE}),
        (["restart=0.5", "no-ack=1"], {"restart": 0.5, "no-ack": 1.0}),
        (["all=0.25"], dict.fromkeys(ALL, 0.25)),
        (["all=0.25", "restart=0"], {**dict.fromkeys(ALL, 0.25), "restart": 0.0}),
    ],
)
def test_faults_are_asked_for_by_name_and_share(asked: list[str], found: dict[str, float]) -> None:
    assert shares(asked) == found


@pytest.mark.parametrize("asked", ["explode", "restart=2", "restart=-0.1", "restart=often", "restart=nan", "=0.1", ""])
def test_what_is_no_fault_or_no_share_is_refused_by_name(asked: str) -> None:
    with pytest.raises(ConfigError, match=r"fault '.*'"):
        shares([asked])


def test_a_share_of_one_always_strikes_and_of_zero_never() -> None:
    faults = Faults({"restart": 1.0, "no-ack": 0.0}, seed=1)
    assert {faults.at_a_part() for _ in range(50)} == {("restart",)}
    assert {faults.cuts(9) for _ in range(50)} == {()}


def test_the_same_seed_strikes_the_same_parts() -> None:
    first, second, other = (Faults(dict.fromkeys(ALL, 0.1), seed) for seed in (3, 3, 4))
    struck = [first.at_a_part() for _ in range(300)]
    assert struck == [second.at_a_part() for _ in range(300)]
    assert struck != [other.at_a_part() for _ in range(300)]
    assert {name for names in struck for name in names} == set(AT_A_PART)


def test_a_torn_scan_is_cut_into_three_reads_none_of_which_is_empty() -> None:
    faults = Faults({"torn-scans": 1.0}, seed=1)
    for _ in range(200):
        first, second = faults.cuts(5)
        assert 0 < first < second < 5
