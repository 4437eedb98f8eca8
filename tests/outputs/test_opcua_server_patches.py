"""Each defect of asyncua that we mend: still there in the installed version, and gone with our patches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBES = Path(__file__).with_name("asyncua_defects.py")
DEFECTS = (
    "republish_answers_good",
    "publishing_interval_of_0",
    "keep_alive_each_cycle",
    "lifetime_of_hours",
    "lifetime_below_three_keep_alives",
    "value_copied_for_each_item",
    "slow_drift_is_never_reported",
    "array_with_a_deadband_is_never_reported",
    "filter_that_cannot_work_is_taken",
    "index_range_of_an_item_is_ignored",
    "sampling_item_reports",
    "disabled_item_reports_what_waited",
    "disabled_event_item_reports",
    "enabled_item_does_not_report_the_value_it_had",
    "item_has_times_that_nobody_wants",
    "unknown_item_cannot_be_modified",
    "modified_queue_has_no_limit",
    "newest_is_discarded_although_the_oldest_may_not",
    "flag_is_published_before_its_data",
    "index_range_of_a_read_is_ignored",
    "index_range_of_a_write_is_ignored",
    "array_goes_into_a_scalar",
    "array_of_another_length_is_taken",
    "value_of_bad_status_is_taken",
    "text_of_any_length_is_taken",
    "array_of_nulls_fills_the_memory",
    "dimensions_fill_the_memory",
    "dimensions_of_no_array_are_an_error_without_a_name",
    "negative_length_reads_backwards",
    "transferred_subscription_asks_the_old_connection",
    "session_tokens_can_be_guessed",
)


def found(asyncua: str) -> dict[str, bool]:
    """In a process of its own: patches are for the whole process."""
    run = subprocess.run(
        [sys.executable, "-c", f"import runpy; runpy.run_path({str(PROBES)!r}, run_name='__main__')", asyncua],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    defects: dict[str, bool] = json.loads(run.stdout)
    assert tuple(defects) == DEFECTS
    return defects


@pytest.fixture(scope="module")
def installed() -> dict[str, bool]:
    return found("installed")


@pytest.fixture(scope="module")
def patched() -> dict[str, bool]:
    return found("patched")


@pytest.mark.parametrize("defect", DEFECTS)
def test_upstream_still_has_the_defect_else_its_patch_can_go(installed: dict[str, bool], defect: str) -> None:
    assert installed[defect]


@pytest.mark.parametrize("defect", DEFECTS)
def test_with_our_patches_the_defect_is_gone(patched: dict[str, bool], defect: str) -> None:
    assert not patched[defect]
