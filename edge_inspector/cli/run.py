"""`edge-inspector run`: the daemon."""

from __future__ import annotations

import faulthandler
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import anyio
import structlog
import typer

from edge_inspector import config, log
from edge_inspector.assembly import assemble
from edge_inspector.cli.failures import EXIT_USER, tell, told_to_the_user
from edge_inspector.config import StationFileError, last_good
from edge_inspector.control import Control
from edge_inspector.errors import ConfigError, EdgeInspectorError
from edge_inspector.health.notify import Notifier, service_manager
from edge_inspector.station import daemon
from edge_inspector.station.parts import Parts
from edge_inspector.station.restarts import Restarts

EXIT_BUG = 70
"""An error that nobody expected: systemd starts the station again."""
EXIT_LATER = 75
"""A port or a storage that may be usable later: systemd starts the station again."""


def run(station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)]) -> None:
    """Run a station until SIGTERM or Ctrl-C.

    Example: `edge-inspector run station.toml`
    """
    log.configure()
    faulthandler.enable()  # the watchdog's SIGABRT, and a crash, write every thread's stack into the journal
    notifier = Notifier(service_manager())
    restarts = Restarts.of_service(notifier)
    if not restarts.begin(notifier):
        return
    with told_to_the_user(), restarts.noted(), _way_back(station):
        parts, control = assemble(station)
        settings = config.load(station)
        for folder in (settings.station.state_dir, settings.station.runtime):
            folder.mkdir(parents=True, exist_ok=True)
    log.configure(settings.log.level, settings.log.json_lines)
    code = _serve(parts, control, notifier, restarts)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that hangs in a driver cannot keep the process


@contextmanager
def _way_back(station: Path) -> Iterator[None]:
    """A station never runs by an older file of itself; but who wants that is told where it is."""
    try:
        yield
    except StationFileError as exc:
        kept = last_good.find(station)
        if kept is None:
            raise
        copy = f"cp {shlex.quote(str(kept))} {shlex.quote(str(station))}"
        raise ConfigError(f"{exc}\nthe station was READY last with another content of this file: {copy}") from exc


def _serve(parts: Parts, control: Control, notifier: Notifier, restarts: Restarts) -> int:
    """Run to the end; returns the exit code."""
    try:
        anyio.run(daemon.run, parts, control, notifier, restarts, backend_options={"use_uvloop": _has_uvloop()})
    except Exception as exc:  # noqa: BLE001 - logged with its traceback, and the exit code tells systemd
        causes = list(_causes(exc))
        error = "; ".join(str(cause) or type(cause).__name__ for cause in causes)
        restarts.ended(error)
        if all(isinstance(cause, ConfigError) for cause in causes):
            for cause in causes:
                tell(cause)
            return EXIT_USER
        if all(isinstance(cause, EdgeInspectorError) for cause in causes):
            structlog.get_logger().critical("station_cannot_run", error=error)
            return EXIT_LATER
        structlog.get_logger().critical("station_died", error=error, exc_info=exc)
        return EXIT_BUG
    restarts.clean()
    return 0


def _causes(exc: Exception) -> Iterator[Exception]:
    """What went wrong, out of the groups in which the task groups wrap it."""
    inside = getattr(exc, "exceptions", None)
    if inside is None:
        yield exc
    else:
        for one in inside:
            yield from _causes(one)


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True
