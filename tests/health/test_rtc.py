"""The clock that goes on without power: there, right, wrong, silent."""

from __future__ import annotations

from pathlib import Path

import pytest
from host_machines import write

from edge_inspector.health.rtc import rtc_finding

NOW = 1_795_000_000  # 2026-11-18 12:26:40 UTC


def clock(root: Path, name: str, kept: str, takes_part: int) -> None:
    write(root, f"sys/class/rtc/{name}/since_epoch", f"{kept}\n")
    write(root, f"sys/class/rtc/{name}/hctosys", f"{takes_part}\n")


@pytest.mark.parametrize(
    ("kept", "level", "found"),
    [
        (str(NOW - 3600), "ok", "says 2026-11-18 10:06 UTC"),
        (str(NOW + 3601), "warn", "says 2026-11-18 12:06 UTC, 1 h off"),
        ("0", "warn", "says 1970-01-01 00:00 UTC, 498611 h off"),
        ("999999999999999", "warn", "says 999999999999999 s since 1970, 277777279167 h off"),
        ("?", "note", "the hardware clock does not tell its time"),
    ],
)
def test_a_clock_without_a_battery_is_seen(tmp_path: Path, kept: str, level: str, found: str) -> None:
    clock(tmp_path, "rtc0", kept, 1)
    one = rtc_finding(tmp_path, NOW, synced=True)
    assert (one.subject, one.level, one.found) == ("rtc0", level, found)


def test_the_clock_counts_from_which_the_kernel_takes_the_time(tmp_path: Path) -> None:
    clock(tmp_path, "rtc0", "0", 0)
    clock(tmp_path, "rtc1", str(NOW), 1)
    assert rtc_finding(tmp_path, NOW, synced=True).subject == "rtc1"


def test_a_machine_whose_time_nobody_has_set_judges_no_other_clock(tmp_path: Path) -> None:
    clock(tmp_path, "rtc0", "0", 1)
    one = rtc_finding(tmp_path, NOW, synced=False)
    assert (one.level, one.found) == ("note", "says 1970-01-01 00:00 UTC; nothing to compare it with")


def test_a_machine_without_such_a_clock_is_not_judged(tmp_path: Path) -> None:
    assert rtc_finding(tmp_path, NOW, synced=True).level == "note"
