"""Structured log: JSON lines in the service, readable lines on a terminal."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

_LEVELS = {name: logging.getLevelName(name.upper()) for name in ("debug", "info", "warning", "error", "critical")}


class _Enough:
    """Leaves out what is less than `least`. Loggers are made once and kept: so it is asked for with each line."""

    least = logging.INFO

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if _LEVELS[method] < self.least:
            raise structlog.DropEvent
        return event


_enough = _Enough()


class _Lossy:
    """stderr, whatever becomes of it: a line that a full disk or a dead journal does not take is lost, nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def set_level(level: str) -> None:
    """From now on what is less is left out; any thread."""
    _enough.least = logging.getLevelName(level.upper())
    # asyncua and paho tell their routine life at INFO; a station's log holds changes of state.
    logging.getLogger().setLevel(max(_enough.least, logging.WARNING))


def configure(level: str = "info", json: bool | None = None) -> None:
    """Send structlog and the libraries' own loggers to stderr; `json=None` means JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    stream = cast(TextIO, _Lossy(sys.stderr))
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The rich traceback renderer costs about 42 ms for each exception: plain_traceback even on a terminal.
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    formatting: list[structlog.typing.Processor] = [structlog.processors.format_exc_info] if as_json else []
    structlog.configure(
        processors=[_enough, *shared, *formatting, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *formatting, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
