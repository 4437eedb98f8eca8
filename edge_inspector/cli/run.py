"""`edge-inspector run`: the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import anyio
import structlog
import typer

from edge_inspector import config, log
from edge_inspector.assembly import assemble
from edge_inspector.cli.failures import told_to_the_user
from edge_inspector.errors import ConfigError
from edge_inspector.station import daemon

EXIT_BUG = 70
"""An error that nobody expected: systemd starts the station again."""


def run(station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)]) -> None:
    """Run a station until SIGTERM or Ctrl-C.

    Example: `edge-inspector run station.toml`
    """
    with told_to_the_user():
        settings = config.load(station)
        log.configure(settings.log.level, settings.log.json_lines)
        parts, control = assemble(station)
        settings.station.state_dir.mkdir(parents=True, exist_ok=True)
        settings.station.runtime.mkdir(parents=True, exist_ok=True)
        code = 0
        try:
            anyio.run(daemon.run, parts, control, backend_options={"use_uvloop": _has_uvloop()})
        except ConfigError:
            raise
        except Exception as exc:  # noqa: BLE001 - logged with its traceback, and the exit code tells systemd
            structlog.get_logger().critical("station_died", error=str(exc), exc_info=exc)
            code = EXIT_BUG
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that hangs in a driver cannot keep the process


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True
