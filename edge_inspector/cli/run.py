"""`edge-inspector run`: the daemon."""

from __future__ import annotations

import errno
import faulthandler
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import structlog
import typer

from edge_inspector import log
from edge_inspector.assembly import assemble
from edge_inspector.cli.failures import EXIT_USER, tell
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
_PASSES = frozenset(
    {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
)
"""Of a machine that is out of something, or of its disk: nothing that is wrong in a file of the user."""


def run(station: Annotated[Path, typer.Argument(help="The station file (TOML).", show_default=False)]) -> None:
    """Run a station until SIGTERM or Ctrl-C.

    Example: `edge-inspector run station.toml`
    """
    log.configure()
    with suppress(OSError, ValueError):  # standard error is no file
        faulthandler.enable()  # the watchdog's SIGABRT, and a crash, write every thread's stack into the journal
    if not sys.stderr.isatty():  # a reload that comes too early; for systemd it would be a clean end, and the last one
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    notifier = Notifier(service_manager())
    restarts = Restarts.of_service(notifier)
    with _stop_is_no_failure(restarts):
        restarts.begin(notifier)
        with _told(), restarts.noted(), _way_back(station):
            parts, control = assemble(station)
            assert parts.file is not None  # a station that was assembled has one
            settings = parts.file.now.settings
            for folder in (settings.station.state_dir, settings.station.runtime):
                folder.mkdir(parents=True, exist_ok=True)
        log.configure(settings.log.level, settings.log.json_lines)
        code = _serve(parts, control, notifier, restarts)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # where they lead to may be full, or gone
                stream.flush()
        os._exit(code)  # a thread that hangs in a driver cannot keep the process


@contextmanager
def _stop_is_no_failure(restarts: Restarts) -> Iterator[None]:
    """Until the station hears its signals itself, a stop ends the start at once, or its wait: nothing is in work yet.

    By a handler, not by a mask: the threads of a numerical library would take the signal for all of us.
    """

    def stop(_number: int, _frame: object) -> None:
        restarts.clean()
        os._exit(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _told() -> Iterator[None]:
    """An expected error is printed without a traceback; the exit code says whether another start may turn out well."""
    try:
        yield
    except (EdgeInspectorError, OSError) as exc:
        with suppress(OSError):
            tell(exc)
        raise typer.Exit(EXIT_LATER if _passes(exc) else EXIT_USER) from exc


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
        anyio.run(_live, parts, control, notifier, restarts, backend_options={"use_uvloop": _has_uvloop()})
    except Exception as exc:  # noqa: BLE001 - logged with its traceback, and the exit code tells systemd
        causes = list(_causes(exc))
        error = "; ".join(str(cause) or type(cause).__name__ for cause in causes)
        restarts.ended(error)
        if all(isinstance(cause, ConfigError) for cause in causes) and not any(map(_passes, causes)):
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


async def _live(parts: Parts, control: Control, notifier: Notifier, restarts: Restarts) -> None:
    try:
        await daemon.run(parts, control, notifier, restarts, partial(faulthandler.dump_traceback_later, exit=True))
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # the code of this end is what counts
            signal.signal(number, signal.SIG_IGN)


def _passes(exc: BaseException | None) -> bool:
    """Whether it comes from what may be over at the next start."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in _PASSES:
            return True
        exc = exc.__cause__
    return False


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
