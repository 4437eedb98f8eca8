"""Structured log: JSON lines in the service, readable lines on a terminal."""

import logging
import sys

import structlog


def configure(level: str = "info", json: bool | None = None) -> None:
    """Send structlog and the libraries' own loggers to stderr; `json=None` means JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    number: int = logging.getLevelName(level.upper())
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
        processors=[*shared, *formatting, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *formatting, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # asyncua and paho tell their routine life at INFO; a station's log holds changes of state.
    root.setLevel(max(number, logging.WARNING))
