"""Checks of the systemd unit that runs a station."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_inspector.health.asking import ask
from edge_inspector.health.finding import Finding, judged
from edge_inspector.health.host import FILES

INSTALLED = Path("/etc/edge-inspector")
"""Each folder in it is a station's: its file is station.toml, its unit edge-inspector@FOLDER.service."""
ANSWER_S = 10.0
PROPERTIES = (
    *("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "Type", "User", "WatchdogUSec"),
    *("LimitNOFILESoft", "NRestarts", "NeedDaemonReload", "StatusText", "StateDirectory", "FragmentPath", "MainPID"),
)
_OFF = ("", "0", "infinity")


def unit_of(file: Path) -> str:
    """The unit that runs a station file; empty = the file does not lie where units look."""
    folder = Path(os.path.realpath(file)).parent  # which takes a link to itself as it is
    return f"edge-inspector@{folder.name}.service" if folder.parent == INSTALLED else ""


def read_unit(unit: str) -> Mapping[str, str] | str:
    """Its PROPERTIES as systemd has them, or why it does not tell. Blocks for up to ANSWER_S."""
    command = ["systemctl", "show", unit, f"--property={','.join(PROPERTIES)}"]
    try:
        code, out, err = ask(command, ANSWER_S)
    except FileNotFoundError:
        return "there is no systemd here"
    except TimeoutError:
        return f"systemd has not answered within {ANSWER_S:g} s"
    except OSError as exc:
        return f"systemd cannot be asked: {exc.strerror}"
    if code:
        return f"systemd does not tell: {' '.join(err.split())}"
    return dict(line.partition("=")[::2] for line in out.splitlines())


def unit_findings(unit: str, told: Mapping[str, str] | str) -> Iterator[Finding]:
    """`told` as `read_unit` gives it."""
    if isinstance(told, str):
        yield judged("unit.installed", unit, "note", told)
        return
    if told.get("LoadState") != "loaded":
        found = f"{told.get('LoadState', 'unknown')}: the station is started in another way"
        yield judged("unit.installed", unit, "note", found, "loaded")
        return
    yield judged("unit.installed", unit, "ok", told.get("FragmentPath", ""))
    yield _enabled(unit, told.get("UnitFileState", ""))
    yield _active(unit, told)
    yield _watchdog(unit, told)
    yield _files(unit, told.get("LimitNOFILESoft", ""))
    yield _restarts(unit, told.get("NRestarts", "0"))
    if told.get("NeedDaemonReload") == "yes":
        why = "systemd still runs the unit as it was before somebody changed its file."
        mend = f"sudo systemctl daemon-reload && sudo systemctl restart {unit}"
        yield judged("unit.changed", unit, "warn", "changed on disk, not loaded", "loaded as on disk", why, mend)


def _enabled(unit: str, state: str) -> Finding:
    right = state in ("enabled", "static", "generated")  # enabled-runtime ends with the power
    why = "After a power cut nobody starts the station."
    mend = f"sudo systemctl enable {unit}"
    return judged("unit.enabled", unit, "ok" if right else "warn", state or "unknown", "enabled", why, mend)


def _active(unit: str, told: Mapping[str, str]) -> Finding:
    state, result = told.get("ActiveState", "unknown"), told.get("Result", "")
    said = f": {told['StatusText']}" if told.get("StatusText") else ""
    failed = f" ({result})" if result not in ("", "success") else ""
    return judged(
        "unit.active",
        unit,
        "ok" if state in ("active", "reloading") else "fail" if state == "failed" else "warn",
        f"{state}{failed}{said}",
        "active",
        "The station does not run: the PLC sees it not READY.",
        f"sudo systemctl restart {unit} # why it stopped: journalctl -u {unit} -n 100",
    )


def _watchdog(unit: str, told: Mapping[str, str]) -> Finding:
    limit, kind = told.get("WatchdogUSec", ""), told.get("Type", "")
    return judged(
        "unit.watchdog",
        unit,
        "ok" if kind == "notify" and limit not in _OFF else "warn",
        f"Type={kind}, WatchdogSec={limit or 'none'}",
        "Type=notify and a watchdog",
        "A station that hangs is not ended and started again.",
        "take the unit that came with this version: sudo ./install.sh upgrade --force",
    )


def _files(unit: str, limit: str) -> Finding:
    return judged(
        "unit.open_files",
        unit,
        "ok" if limit == "infinity" or (limit.isdigit() and int(limit) >= FILES) else "warn",
        f"LimitNOFILE={limit or 'unknown'}",
        f"at least {FILES}",
        "Each opening of a camera takes files, and pylon keeps some (pypylon #792).",
        f"sudo systemctl edit {unit} # and write LimitNOFILE={FILES} below [Service]; then restart it",
    )


def _restarts(unit: str, count: str) -> Finding:
    return judged(
        "unit.restarts",
        unit,
        "ok" if count == "0" else "warn",
        f"systemd has started it {count} times again by itself" if count != "0" else "never started again by itself",
        "never",
        "It ended with an error or was ended by its watchdog: each time some parts were UNDEFINED.",
        f"journalctl -u {unit} --grep 'critical|watchdog|Main process exited' -n 50 # forget: systemctl reset-failed",
    )
