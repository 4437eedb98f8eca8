"""What the routes of one station share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fastapi import Request

from edge_inspector.config import StationConfig
from edge_inspector.web.access import Door
from edge_inspector.web.book import Book
from edge_inspector.web.events import Feed
from edge_inspector.web.listeners import Listeners
from edge_inspector.web.station import Station


@dataclass(frozen=True)
class Service:
    """Made once; every part of it may be used on any thread.

    `images` and `inbox` are folders; who holds `inspecting` has the one manual inspection.
    """

    config: StationConfig
    book: Book
    station: Station
    door: Door
    feed: Feed
    listeners: Listeners
    images: Path
    inbox: Path
    inspecting: threading.Lock
    now: Callable[[], datetime]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
