"""Connections that ask nothing: whoever opens many and stays silent must not keep others out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_inspector.config.web import is_loopback
from edge_inspector.web.limits import one_who_asks

CONNECTIONS = 128
"""More at once are answered 503: each costs a file descriptor and memory."""
OF_ONE_ADDRESS = 32
"""A browser opens six. From this machine all are taken: there a proxy stands for everybody."""
HEAD_S = 15.0
"""How long a connection may stay without a whole head of a request, at its begin and after each answer."""
UNREAD_S = 300.0
"""How long an answer may wait for somebody who does not read it: a large picture takes its time over a slow line."""


class Connection(H11Protocol):
    """Uvicorn's own, which waits for ever for the first request, and for the rest of one."""

    _patience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._too_many():
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._at_work():
            self._wait_no_more()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._at_work() and self._patience is None:
            self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def _too_many(self) -> bool:
        if self.client is None or is_loopback(self.client[0]):
            return False
        mine = one_who_asks(self.client[0])
        return sum(_address(one) == mine for one in self.connections) > OF_ONE_ADDRESS

    def _at_work(self) -> bool:
        """A request has come with its whole head, and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _address(connection: Any) -> str:
    return one_who_asks(connection.client[0]) if connection.client else ""
