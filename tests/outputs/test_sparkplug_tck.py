"""Every tck-id assertion of the Sparkplug 3.0 specification: checked on captured traffic, or why it is not ours.

The ids come from the AsciiDoc sources of github.com/eclipse-sparkplug/sparkplug, commit e45b61002a2a.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from mqtt_rig import needs_mosquitto
from sparkplug_checked import CHECKED
from sparkplug_checks import Check, history
from sparkplug_not_ours import NOT_OURS
from sparkplug_traffic import Protocol, Traffic, capture

PREFIX = "tck-id-"
IDS = [name.removeprefix(PREFIX) for name in (Path(__file__).parent / "sparkplug_tck_ids.txt").read_text().split()]
TABLE = [(name, check) for check, names in CHECKED for name in names.split()]


@pytest.fixture(scope="module", params=["5", "3.1.1"])
def traffic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    return capture(tmp_path_factory.mktemp("broker"), cast("Protocol", request.param))


def test_the_tables_name_each_assertion_of_the_specification_exactly_once() -> None:
    named = [name for name, _ in TABLE]
    for reason, patterns in NOT_OURS:
        for pattern in patterns.split():
            found = fnmatch.filter(IDS, pattern)
            assert found, f"{pattern!r} ({reason}) is no assertion"
            named += found
    assert len(IDS) == 299
    assert Counter(named) == Counter(IDS)


@needs_mosquitto
@pytest.mark.parametrize(("name", "check"), TABLE, ids=[name for name, _ in TABLE])
def test_what_an_edge_node_sends_is_as_the_specification_wants_it(name: str, check: Check, traffic: Traffic) -> None:
    assert name in IDS
    check(traffic)


@needs_mosquitto
def test_what_waited_for_a_broker_is_historical_and_its_newest_then_becomes_the_present(traffic: Traffic) -> None:
    history(traffic)
