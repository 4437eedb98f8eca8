"""What every request passes before anything looks at it: limits, and the headers of every answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_inspector.web.limits import Buckets, one_who_asks
from edge_inspector.web.problems import Refused, answer

SMALL_BODY = 16 * 1024
"""Bytes of a body that is no picture."""
BODY_S = 30.0
"""How long a body may take to arrive."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, buckets: Buckets, bodies: Mapping[str, int], tls: bool) -> None:
        """`bodies`: paths at which more than `SMALL_BODY` bytes are taken."""
        self._app, self._buckets, self._bodies = app, buckets, bodies
        self._headers = _HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if tls else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await answer(refused.status_code, refused.detail, dict(refused.headers or {}))(scope, receive, sent)
            return
        if scope["method"] in ("GET", "HEAD"):  # nobody reads what they send
            await self._app(scope, receive, sent)
        else:
            await self._app(scope, _bounded(receive, self._largest(scope)), sent)

    def _refused(self, scope: Scope) -> Refused | None:
        client = scope.get("client")
        wait_s = self._buckets.take(one_who_asks(client[0] if client else ""))
        if wait_s:
            return Refused(429, "too many requests from this address", retry_after_s=wait_s)
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/":
            return Refused(403, "another web site asked for this")
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:19]) > self._largest(scope):
            return _too_large(self._largest(scope))
        return None

    def _largest(self, scope: Scope) -> int:
        return self._bodies.get(scope["path"], SMALL_BODY)


def _bounded(receive: Receive, largest: int) -> Receive:
    """Counts what arrives: a body may have no Content-Length, or a wrong one, or never come."""
    arrived, whole = 0, False
    end = anyio.current_time() + BODY_S

    async def received() -> Message:
        nonlocal arrived, whole
        with anyio.CancelScope(deadline=math.inf if whole else end) as late:
            message: dict[str, Any] = dict(await receive())
        if late.cancelled_caught:
            raise Refused(408, f"the body did not arrive within {BODY_S:g} s")
        whole = not message.get("more_body", False)
        arrived += len(message.get("body", b""))
        if arrived > largest:
            raise _too_large(largest)
        return message

    return received


def _too_large(largest: int) -> Refused:
    return Refused(413, f"the body is larger than the {largest} bytes that are taken here")
