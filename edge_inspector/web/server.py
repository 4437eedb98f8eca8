"""The web service's process: checked, then served by uvicorn until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from datetime import datetime, timezone
from socket import socket
from threading import Lock

import structlog
import uvicorn

from edge_inspector.config import StationConfig
from edge_inspector.control import ControlClient
from edge_inspector.web.access import Door
from edge_inspector.web.app import make_app
from edge_inspector.web.book import Book
from edge_inspector.web.connections import CONNECTIONS, Connection
from edge_inspector.web.counts import ShiftCounter
from edge_inspector.web.events import Feed
from edge_inspector.web.listeners import Listeners
from edge_inspector.web.service import Service
from edge_inspector.web.station import STATUS_S, Station
from edge_inspector.web.tokens import token_file

log = structlog.get_logger()
_KEEP_ALIVE_S = 15
_STOP_S = 3
EXIT_LATER = 75
"""As of `edge-inspector run`: what may work later."""
_NICE = 19
"""A flood of requests takes only the processor time that the station leaves: a verdict goes before any page."""
_HEADER_BYTES = 16 * 1024


def make_service(settings: StationConfig) -> Service:
    """Everything that the routes share; opens nothing."""
    station, images = settings.station, settings.images
    book = Book(station.state_dir / "ledger.sqlite")
    daemon = Station(ControlClient(station.runtime / "control.sock", STATUS_S))
    cookie = f"edge_inspector_{station.name}"
    return Service(
        config=settings,
        book=book,
        station=daemon,
        door=Door(token_file(settings.station.state_dir), cookie, settings.web.requests_per_s, time.monotonic, _now),
        feed=Feed(settings, book, daemon, ShiftCounter(settings.ledger.shifts), _now),
        listeners=Listeners(),
        images=(images.folder if images else None) or station.state_dir / "images",
        inbox=station.runtime / "inbox",
        inspecting=Lock(),
        now=_now,
    )


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("web_listens", host=self.config.host, port=self.config.port, tls=self.config.is_ssl)


def serve(settings: StationConfig) -> None:
    """Until SIGTERM or SIGINT; then SystemExit 0, or `EXIT_LATER` when it could not listen."""
    os.nice(_NICE)
    web = settings.web
    server = _Server(
        uvicorn.Config(
            make_app(make_service(settings)),
            host=web.host,
            port=web.port,
            ssl_certfile=web.certificate,
            ssl_keyfile=web.private_key,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # who comes through a proxy must not look as if from here
            ws="none",
            http=Connection,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_STOP_S,
        )
    )
    logging.getLogger("uvicorn.error").addFilter(_told)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has stopped
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        server.run()
    except SystemExit:
        if not server.started:
            log.error("web_does_not_listen", host=web.host, port=web.port, remedy="free the port, or set web.port")
            sys.exit(EXIT_LATER)
        raise


def _told(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _now() -> datetime:
    return datetime.now(timezone.utc)
