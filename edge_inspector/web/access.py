"""Who asks, and whether they may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from edge_inspector.config.web import is_loopback
from edge_inspector.web.limits import Buckets
from edge_inspector.web.problems import Refused
from edge_inspector.web.tokens import WITHOUT_TOKEN, Role, Token, TokenFile, may

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_SAFE = ("GET", "HEAD")


@dataclass(frozen=True)
class Caller:
    """The one who asks; `expires_utc` is their token's."""

    name: str
    role: Role
    expires_utc: str | None = None


class Door:
    """Admits those who bring a valid token, as a bearer or as the page's cookie.

    While the station has no token at all, requests from this machine may read. They may order nothing: that a request
    comes from here says neither who made it nor that a person did; any program, and any web page that is open in a
    browser here, can make one.
    """

    def __init__(
        self,
        tokens: TokenFile,
        cookie: str,
        per_s: float,
        monotonic_s: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self.tokens = tokens
        self.cookie = cookie
        self._now = now
        self._asked = Buckets(per_s, max(1.0, 2 * per_s), monotonic_s)

    def admit(self, request: Request, bearer: str | None, needed: Role) -> Caller:
        """The caller, if they may do what needs this role. Refused: 401, 403 or 429."""
        caller = self._who(request, bearer)
        if not may(caller.role, needed):
            remedy = (
                "; make one with `edge-inspector web token add`" if caller.name == WITHOUT_TOKEN else f", not {needed}"
            )
            what = "this needs a token" if caller.name == WITHOUT_TOKEN else f"token {caller.name!r} is {caller.role}"
            raise Refused(403, f"{what}{remedy} (needed: role {needed})")
        return caller

    def token(self, secret: str) -> Token:
        """The token behind a secret. Refused: 401, or 429 when it asks too often.

        Wrong ones are slowed down only by what an address may ask: nobody guesses 256 random bits, and to lock an
        address out for its mistakes would lock out everybody behind the same proxy.
        """
        token = self.tokens.find(secret, self._now())
        if token is None:
            raise _unknown("this token is wrong, was removed or has expired; ask for a new one")
        wait_s = self._asked.take(token.name)
        if wait_s:
            raise Refused(429, f"token {token.name!r} asks too often", retry_after_s=wait_s)
        return token

    def still(self, caller: Caller) -> bool:
        """Whether one who was admitted would be again; asked while a stream goes on."""
        now, tokens = self._now(), self.tokens.tokens()
        if caller.name == WITHOUT_TOKEN:
            return not tokens
        return any((one.name, one.role) == (caller.name, caller.role) and not one.expired(now) for one in tokens)

    def _who(self, request: Request, bearer: str | None) -> Caller:
        secret = bearer or request.cookies.get(self.cookie)
        if secret:
            if not bearer and request.method not in _SAFE and not from_our_page(request):
                raise Refused(403, "another web site asked for this; expected our own page, or a bearer token")
            token = self.token(secret)
            return Caller(token.name, token.role, token.expires_utc)
        if not self.tokens.tokens() and _from_here(request):
            return Caller(WITHOUT_TOKEN, "reader")
        raise _unknown("a token is needed, as `Authorization: Bearer <token>`, or sign in on the page")


def _unknown(error: str) -> Refused:
    return Refused(401, error, headers={"WWW-Authenticate": 'Bearer realm="edge-inspector"'})


def _from_here(request: Request) -> bool:
    """Neither by a proxy on this machine, nor under a name that somebody else has pointed to it."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    address = request.client.host if request.client else ""
    return is_loopback(address) and is_loopback(_host(f"//{request.headers.get('host', '')}"))


def from_our_page(request: Request) -> bool:
    """Browsers send Origin with every request that changes something; a page of another port is another origin."""
    origin = urlsplit(request.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc == request.headers.get("host")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that do not match
        return ""


_BEARER = HTTPBearer(auto_error=False, description="A token from `edge-inspector web token add`.")
_Bearer = Annotated["HTTPAuthorizationCredentials | None", Depends(_BEARER)]


async def _reader(request: Request, bearer: _Bearer) -> Caller:
    return _admitted(request, bearer, "reader")


async def _operator(request: Request, bearer: _Bearer) -> Caller:
    return _admitted(request, bearer, "operator")


async def _engineer(request: Request, bearer: _Bearer) -> Caller:
    return _admitted(request, bearer, "engineer")


def _admitted(request: Request, bearer: HTTPAuthorizationCredentials | None, needed: Role) -> Caller:
    door: Door = request.app.state.service.door
    return door.admit(request, bearer.credentials if bearer else None, needed)


Reader = Annotated[Caller, Depends(_reader)]
Operator = Annotated[Caller, Depends(_operator)]
Engineer = Annotated[Caller, Depends(_engineer)]
