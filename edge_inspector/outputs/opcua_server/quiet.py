"""asyncua's log under a flood: one line of a kind now and then instead of one for each refused request."""

from __future__ import annotations

import logging
import time

_LOGGERS = (
    "asyncua.server.uaprocessor",
    "asyncua.server.binary_server_asyncio",
    "asyncua.server.address_space",
    "asyncua.server.internal_session",
    "asyncua.server.internal_subscription",
    "asyncua.server.subscription_service",
    "asyncua.uaprotocol",
    "asyncio",
)
EVERY_S = 10.0


class Sparingly(logging.Filter):
    """Lets one record of each message template pass in `EVERY_S` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, kind = time.monotonic(), f"{record.name} {record.msg}"
        if now < self._next.get(kind, 0.0):
            return False
        self._next[kind] = now + EVERY_S
        return True


def apply() -> None:
    """Once in this process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, Sparingly) for one in logger.filters):
            logger.addFilter(Sparingly())
