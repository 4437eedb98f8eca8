"""The systemd units: how far each is shut, that systemd understands them, and what others rely on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_inspector.station.supervision import HUNG_S

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "systemd"
DROP_IN = UNITS / "edge-inspector@.service.d" / "real-time.conf"
FILES = sorted([*UNITS.glob("*.service"), *UNITS.glob("*.socket")])
INSTALL = ROOT / "deploy" / "install.sh"
TIMEOUT_S = 30
# systemd.exec(5), systemd.service(5), systemd.resource-control(5): "Added in version 250" and later
NEWER_THAN_JETPACK_6 = {
    *("ExitType", "RestrictFileSystems", "LoadCredentialEncrypted", "SetCredentialEncrypted", "ImportCredential"),
    *(
        "StartupAllowedCPUs",
        "StartupAllowedMemoryNodes",
        "ExtensionDirectories",
        "OpenFile",
        "RootEphemeral",
        "PrivatePIDs",
    ),
    *("RestartSteps", "RestartMaxDelaySec", "RestartMode", "ReloadSignal", "MemoryPressureWatch", "MemoryZSwapMax"),
    *(
        "FileDescriptorStorePreserve",
        "SetLoginEnvironment",
        "MemoryKSM",
        "SurviveFinalKillSignal",
        "ConditionSecurityModule",
    ),
    *("RootMStack", "BindNetworkInterface", "CoredumpReceive", "DelegateSubgroup", "NFTSet", "PollLimitBurst"),
}


def settings(unit: Path) -> dict[str, list[str]]:
    """Each key with its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def exposure(folder: Path, unit: str) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(folder / unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    match = re.search(r"Overall exposure level for .*: ([0-9.]+) ", done.stdout)
    assert match, done.stdout + done.stderr
    return float(match[1])


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        ("edge-inspector@.service", 2.0),
        ("edge-inspector-web@.service", 1.5),
        ("edge-inspector-power.service", 2.5),  # root, because nvpmodel and jetson_clocks need it
    ],
)
def test_a_unit_is_exposed_no_more_than_its_work_needs(tmp_path: Path, unit: str, most: float) -> None:
    shutil.copy(UNITS / unit, tmp_path)
    assert exposure(tmp_path, unit) <= most


def test_the_real_time_settings_open_little_more(tmp_path: Path) -> None:
    shutil.copy(UNITS / "edge-inspector@.service", tmp_path)
    shutil.copytree(DROP_IN.parent, tmp_path / DROP_IN.parent.name)
    assert exposure(tmp_path, "edge-inspector@.service") <= 2.1


def test_a_unit_that_lost_its_fence_would_be_noticed(tmp_path: Path) -> None:
    text = (UNITS / "edge-inspector@.service").read_text()
    for line in ("User=edge-inspector\n", "ProtectSystem=strict\n", "NoNewPrivileges=yes\n"):
        assert line in text
        text = text.replace(line, "")
    (tmp_path / "edge-inspector@.service").write_text(text)
    assert exposure(tmp_path, "edge-inspector@.service") > 2.0


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for unit in FILES:
        text = re.sub(r"(?m)^(Exec\w+=)/opt/edge-inspector/current/bin/\S+", r"\1/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    shutil.copytree(DROP_IN.parent, tmp_path / DROP_IN.parent.name)
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [*FILES, DROP_IN], ids=lambda unit: unit.name)
def test_the_systemd_of_jetpack_6_knows_every_key(unit: Path) -> None:
    assert settings(unit).keys().isdisjoint(NEWER_THAN_JETPACK_6)


@pytest.mark.parametrize(
    ("key", "value", "because"),
    [
        ("Type", "notify", "READY=1 says that it serves"),
        ("NotifyAccess", "main", "a child that builds an engine must not feed the watchdog"),
        ("WatchdogSignal", "SIGABRT", "leaves the stacks in the journal"),
        ("Restart", "on-failure", "a stop by a person is a stop"),
        ("StartLimitIntervalSec", "0", "never given up: the program waits by itself"),
        ("KillMode", "mixed", "SIGTERM for the program alone; it ends its children"),
        ("RuntimeDirectoryPreserve", "yes", "the flight record outlives a restart"),
        ("User", "edge-inspector", "fixed: books, groups of devices"),
        ("LimitCORE", "0", "a dump of a gigabyte would wear the flash"),
        ("CapabilityBoundingSet", "", "none"),
        ("DevicePolicy", "closed", "only the devices that are listed"),
    ],
)
def test_the_station_lives_and_dies_as_agreed(key: str, value: str, because: str) -> None:
    assert settings(UNITS / "edge-inspector@.service")[key] == [value], because


def test_the_watchdog_waits_longer_than_the_program_needs_to_notice_by_itself() -> None:
    """Hung parts of the verdict path end the process after HUNG_S, settled and told; the watchdog comes after that."""
    (watchdog,) = settings(UNITS / "edge-inspector@.service")["WatchdogSec"]
    assert int(watchdog) > HUNG_S


def test_the_web_service_sees_the_stations_folders_as_the_stations_user() -> None:
    station, web = (settings(UNITS / f"edge-inspector{kind}@.service") for kind in ("", "-web"))
    for key in ("User", "Group", "StateDirectory", "RuntimeDirectory", "RuntimeDirectoryPreserve", "UMask"):
        assert web[key] == station[key], key


def test_units_and_installer_agree_on_the_folders() -> None:
    said = dict(re.findall(r"(\w+)=(/\S+)", INSTALL.read_text()))
    for unit in UNITS.glob("*.service"):
        (command,) = settings(unit)["ExecStart"]
        assert command.startswith(f"{said['base']}/current/bin/")
    assert settings(UNITS / "edge-inspector@.service")["ConditionPathExists"] == [f"{said['config']}/%i/station.toml"]


def test_shellcheck_has_nothing_to_say() -> None:
    command = ["shellcheck", "-x", "deploy/install.sh", "tests/system/station.sh", "tests/system/debian.sh"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (0, "")
