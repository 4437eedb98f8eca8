"""The systemd unit of a station, as `systemctl show` tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_inspector.health.finding import Finding
from edge_inspector.health.unit import PROPERTIES, read_unit, unit_findings, unit_of

UNIT = "edge-inspector@line1.service"
HEALTHY: Mapping[str, str] = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "Result": "success",
    "Type": "notify",
    "User": "edge-inspector",
    "WatchdogUSec": "20s",
    "LimitNOFILESoft": "8192",
    "NRestarts": "0",
    "NeedDaemonReload": "no",
    "StatusText": "READY, 4711 parts",
    "FragmentPath": "/etc/systemd/system/edge-inspector@.service",
}


def told(**changed: str) -> dict[str, Finding]:
    return {one.check: one for one in unit_findings(UNIT, {**HEALTHY, **changed})}


def test_a_unit_that_runs_as_it_should_is_in_order() -> None:
    found = told()
    assert {name: one.level for name, one in found.items()} == dict.fromkeys(
        ("unit.installed", "unit.enabled", "unit.active", "unit.watchdog", "unit.open_files", "unit.restarts"), "ok"
    )
    assert found["unit.active"].found == "active: READY, 4711 parts"
    assert HEALTHY.keys() <= set(PROPERTIES), "systemd is asked for all that is judged"


@pytest.mark.parametrize(
    ("key", "value", "check", "level", "found"),
    [
        ("UnitFileState", "disabled", "unit.enabled", "warn", "disabled"),
        ("UnitFileState", "enabled-runtime", "unit.enabled", "warn", "enabled-runtime"),
        ("ActiveState", "inactive", "unit.active", "warn", "inactive: READY, 4711 parts"),
        ("ActiveState", "reloading", "unit.active", "ok", "reloading: READY, 4711 parts"),
        ("ActiveState", "failed", "unit.active", "fail", "failed: READY, 4711 parts"),
        ("Type", "simple", "unit.watchdog", "warn", "Type=simple, WatchdogSec=20s"),
        ("WatchdogUSec", "0", "unit.watchdog", "warn", "Type=notify, WatchdogSec=0"),
        ("WatchdogUSec", "infinity", "unit.watchdog", "warn", "Type=notify, WatchdogSec=infinity"),
        ("LimitNOFILESoft", "1024", "unit.open_files", "warn", "LimitNOFILE=1024"),
        ("LimitNOFILESoft", "4096", "unit.open_files", "ok", "LimitNOFILE=4096"),
        ("LimitNOFILESoft", "infinity", "unit.open_files", "ok", "LimitNOFILE=infinity"),
        ("NRestarts", "3", "unit.restarts", "warn", "systemd has started it 3 times again by itself"),
        ("NeedDaemonReload", "yes", "unit.changed", "warn", "changed on disk, not loaded"),
    ],
)
def test_each_thing_that_is_wrong_with_a_unit_is_told(key: str, value: str, check: str, level: str, found: str) -> None:
    findings = told(**{key: value})
    assert (findings[check].level, findings[check].found) == (level, found)
    assert bool(findings[check].remedy and findings[check].why) is (level != "ok")
    assert [one.check for one in findings.values() if one.level != "ok"] == ([check] if level != "ok" else [])


def test_why_a_unit_has_failed_stands_beside_its_state() -> None:
    assert told(ActiveState="failed", Result="watchdog", StatusText="")["unit.active"].found == "failed (watchdog)"


@pytest.mark.parametrize("properties", [{"LoadState": "not-found"}, {}, "there is no systemd here"])
def test_a_station_that_no_unit_runs_is_only_noted(properties: Mapping[str, str] | str) -> None:
    assert [(one.check, one.level) for one in unit_findings(UNIT, properties)] == [("unit.installed", "note")]


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("/etc/edge-inspector/line1/station.toml", UNIT),
        ("/etc/edge-inspector/x/../line1/station.toml", UNIT),
        ("/etc/edge-inspector/station.toml", ""),
        ("/home/me/line1/station.toml", ""),
    ],
)
def test_a_station_file_has_a_unit_where_the_installer_puts_it(file: str, unit: str) -> None:
    assert unit_of(Path(file)) == unit


def programme(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_systemd_is_asked_for_what_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programme(tmp_path, f'echo "$@" >{tmp_path}/asked; echo Type=notify; echo "StatusText=a=b"', monkeypatch)
    assert read_unit(UNIT) == {"Type": "notify", "StatusText": "a=b"}
    assert (tmp_path / "asked").read_text().split() == ["show", UNIT, f"--property={','.join(PROPERTIES)}"]


def test_a_systemd_that_does_not_run_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programme(tmp_path, "echo 'Failed to connect to bus' >&2; exit 1", monkeypatch)
    assert read_unit(UNIT) == "systemd does not tell: Failed to connect to bus"


def test_a_machine_without_systemd_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_unit(UNIT) == "there is no systemd here"
