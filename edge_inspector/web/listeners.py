"""Those who listen to the event stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Send

ALL, OF_ONE = 32, 8
"""How many there may be; who lets streams run full locks out nobody but themselves."""
UNREAD_S = 10.0
"""Who has not taken a message for so long is hung up on."""


class Listeners:
    """How many there are; on the event loop's thread."""

    def __init__(self) -> None:
        self._by_name: Counter[str] = Counter()

    def full_for(self, name: str) -> bool:
        return self._by_name.total() >= ALL or self._by_name[name] >= OF_ONE

    @contextmanager
    def one_more(self, name: str) -> Iterator[None]:
        self._by_name[name] += 1
        try:
            yield
        finally:
            self._by_name[name] -= 1


class Stream(StreamingResponse):
    """Server-sent events for somebody who reads them."""

    def __init__(self, messages: AsyncGenerator[str, None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(messages, media_type="text/event-stream", headers=headers)
        self._messages = messages

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._messages) as messages:
            async for message in messages:
                with anyio.move_on_after(UNREAD_S) as unread:
                    await send({"type": "http.response.body", "body": message.encode(), "more_body": True})
                if unread.cancelled_caught:
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
